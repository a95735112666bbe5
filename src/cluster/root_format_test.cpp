// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "cluster/root_fixture.hpp"

namespace dolmen::cluster {
namespace {

template <class T>
Errc code_of(const Result<T>& result) {
  return result ? Errc{} : result.error().code();
}

/// One of each kind, in the order of their numbers; of an index, one of either table.
std::vector<RootCommand> example_commands() {
  RootSignature signature{};
  signature.fill(std::byte{0x51});
  return {root::Init{.cluster = kTestCluster,
                     .owner = identity(0xEE),
                     .nodes = {RootHistory::founder(1), RootHistory::founder(2)},
                     .size = 3,
                     .shard_bits = 4,
                     .clients = {{.client = 1, .name = "web", .key = identity(0xC1)},
                                 {.client = 2,
                                  .name = "monitor",
                                  .key = identity(0xC2),
                                  .rights = ClientRights::none}}},
          root::AddNode{"n3", "10.0.0.3:7400", identity(3), 2},
          root::SetAddress{3, "10.0.0.4:7400"},
          root::NodeLost{3},
          root::NodeBack{3},
          root::SetLife{3, 0x01020304},
          root::Drain{3},
          root::Undrain{3},
          root::RemoveNode{3, signature},
          root::CreateGroup{GroupKind::index, "people", 5},
          root::SetSize{2, 7},
          root::BeginChange{.group = 2, .add = 3, .leave = 1},
          root::EndChange{.group = 2,
                          .since = 12,
                          .as_of = 34,
                          .is_done = true,
                          .members = {{2}, {3, 0x01020304}, {4, kGoneLife}}},
          root::AssignShard{7, 2},
          root::AddClient{.client = kTokenNumbers + 4,
                          .name = "node-4",
                          .key = identity(0x84),
                          .expires_s = 2'000'000'000,
                          .rights = ClientRights::owner,
                          .generation = 5,
                          .groups_max = 77,
                          .signature = signature},
          root::RevokeClient{9, signature},
          root::Join{.token = kTokenNumbers + 4,
                     .name = "n4",
                     .address = "10.0.0.4:7400",
                     .identity = identity(4),
                     .signature = signature},
          root::CreateIndex{.name = "years",
                            .size = 3,
                            .shards = 4,
                            .seed = 0x1122334455667788,
                            .bucket_bytes = 1u << 20,
                            .record_bytes = 3u << 20},
          root::CreateIndex{.name = "names",
                            .size = 3,
                            .shards = 3,
                            .bucket_bytes = 1u << 20,
                            .record_bytes = 3u << 20,
                            .table = TableKind::ordered,
                            .splits = {"g", std::string("p\0\xFF", 3)}},
          root::ReleaseName{.group = 3, .name = "web"},
          root::CreateDirectory{.bits = 3, .size = 5}};
}

/// All of them, each with its length in front.
std::vector<std::byte> example_log() {
  base::ByteWriter out;
  for (const RootCommand& command : example_commands()) {
    const std::vector<std::byte> bytes = encode(command);
    out.put(static_cast<std::uint16_t>(bytes.size()));
    out.put_bytes(bytes);
  }
  return out.release();
}

TEST(RootFormat, BytesOfAStateAreForEver) {
  EXPECT_EQ(encode_root(rich_root_state()), golden("root_state_v3.bin"));
  EXPECT_EQ(decode_root(golden("root_state_v3.bin")), rich_root_state());
}

TEST(RootFormat, BytesOfCommandsAreForEver) {
  EXPECT_EQ(example_commands().size(), std::variant_size_v<RootCommand> + 1);
  EXPECT_EQ(example_log(), golden("root_commands_v3.bin"));
  for (const RootCommand& command : example_commands()) {
    EXPECT_EQ(decode_root_command(encode(command)), command) << command.index();
  }
}

TEST(RootFormat, BytesOfAReplyAreForEver) {
  const RootReply reply{RootStatus::has_seats, 0x0102030405060708};
  EXPECT_EQ(encode(reply), golden("root_reply_v1.bin"));
  EXPECT_EQ(decode_root_reply(encode(reply)), reply);
}

TEST(RootFormat, LeasesAreThereOrLeftOut) {
  root::Init init = std::get<root::Init>(example_commands().front());
  const std::size_t without = encode(init).size();
  init.lease_ms = 60;
  std::vector<std::byte> bytes = encode(init);
  EXPECT_EQ(bytes.size(), without + 4);
  EXPECT_EQ(decode_root_command(bytes), RootCommand(init));
  bytes[without] = std::byte{0};
  EXPECT_EQ(code_of(decode_root_command(bytes)), Errc::corrupt) << "none, and not left out";
  bytes.resize(without + 3);
  EXPECT_EQ(code_of(decode_root_command(bytes)), Errc::corrupt);

  RootState state;
  ASSERT_EQ(state.apply(3, init).status, RootStatus::done);
  EXPECT_EQ(state.lease_ms(), 60u);
  std::vector<std::byte> all = encode_root(state);
  EXPECT_EQ(decode_root(all), state);
  for (const std::uint32_t wrong : {0u, kGroupLeaseMsMax + 1}) {
    base::store(base::MutableBytes(all), 40, wrong);
    EXPECT_EQ(code_of(decode_root(all)), Errc::corrupt) << wrong;
  }
  for (std::size_t length = 0; length < all.size(); ++length) {
    EXPECT_FALSE(decode_root(base::Bytes(all).first(length))) << length;
  }
}

TEST(RootFormat, WhatIsCutIsCorrupt) {
  const std::vector<std::byte> state = encode_root(rich_root_state());
  for (std::size_t length = 0; length < state.size(); ++length) {
    EXPECT_EQ(code_of(decode_root({state.data(), length})), Errc::corrupt) << length;
  }
  auto longer = state;
  longer.push_back({});
  EXPECT_EQ(code_of(decode_root(longer)), Errc::corrupt);
  for (const RootCommand& command : example_commands()) {
    std::vector<std::byte> bytes = encode(command);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_EQ(code_of(decode_root_command({bytes.data(), length})), Errc::corrupt)
          << command.index() << " " << length;
    }
    bytes.push_back({});
    EXPECT_EQ(code_of(decode_root_command(bytes)), Errc::corrupt);
  }
  const std::vector<std::byte> reply = encode(RootReply{});
  for (std::size_t length = 0; length < reply.size(); ++length) {
    EXPECT_EQ(code_of(decode_root_reply({reply.data(), length})), Errc::corrupt);
  }
}

TEST(RootFormat, ANewerVersionIsSaidToBeOne) {
  std::vector<std::byte> state = encode_root(rich_root_state());
  state[4] = std::byte{4};
  EXPECT_EQ(code_of(decode_root(state)), Errc::version_unsupported);
  std::vector<std::byte> command = encode(RootCommand(root::Drain{1}));
  command[0] = std::byte{4};
  EXPECT_EQ(code_of(decode_root_command(command)), Errc::version_unsupported);
  std::vector<std::byte> reply = encode(RootReply{});
  reply[0] = std::byte{2};
  EXPECT_EQ(code_of(decode_root_reply(reply)), Errc::version_unsupported);
  std::vector<std::byte> unknown = encode(RootCommand(root::Drain{1}));
  for (const int kind : {0, 19, 21, 23, 255}) {
    unknown[2] = static_cast<std::byte>(kind);
    EXPECT_EQ(code_of(decode_root_command(unknown)), Errc::corrupt);
  }
}

// Each bit of a state that may hold everything: what is understood is exactly what would be
// encoded, and is a state in which nothing is impossible.
TEST(RootFormat, WhatIsChangedIsRefusedOrAnotherState) {
  const std::vector<std::byte> state = encode_root(rich_root_state());
  std::size_t understood = 0;
  for (std::size_t bit = 0; bit < 8 * state.size(); ++bit) {
    std::vector<std::byte> changed = state;
    changed[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto decoded = decode_root(changed);
    if (!decoded) continue;
    ++understood;
    EXPECT_EQ(encode_root(*decoded), changed) << bit;
    EXPECT_FALSE(*decoded == rich_root_state());
  }
  EXPECT_GT(understood, 100u) << "names, keys and addresses may be any";
  EXPECT_LT(understood, 7 * state.size()) << "and much may not";
}

// Of the largest indexes there are, which the bounds of a command are for.
TEST(RootFormat, ACommandHasAllSplitsOfAnIndex) {
  root::CreateIndex many{.name = std::string(kIndexNameBytesMax, 'n'),
                         .size = 3,
                         .shards = kIndexShardsMax,
                         .bucket_bytes = 4096,
                         .record_bytes = 4096,
                         .table = TableKind::ordered};
  for (std::size_t i = 1; i < kIndexShardsMax; ++i) {
    many.splits.push_back(static_cast<char>(i) + std::string(i == 1 ? 47 : 23, 's'));
  }
  ASSERT_TRUE(are_splits(many.splits));
  many.splits.back() += 's';
  ASSERT_FALSE(are_splits(many.splits)) << "one byte more";
  many.splits.back().pop_back();
  const auto bytes = encode(RootCommand(many));
  EXPECT_LE(bytes.size(), kRootCommandBytesMax);
  EXPECT_EQ(decode_root_command(bytes), RootCommand(many));
  RootHistory history;
  history.begin(3);
  EXPECT_EQ(history.apply(many).status, RootStatus::done);
  EXPECT_EQ(decode_root(encode_root(history.state)), history.state);
}

// What no commands make is no state: shards whose ranges are in another order, or of several kinds.
TEST(RootFormat, ShardsBeginOneBehindTheOther) {
  RootHistory history;
  history.begin(1, 1, 1);
  const RootReply made = history.apply(root::CreateIndex{.name = "names",
                                                         .size = 1,
                                                         .shards = 3,
                                                         .bucket_bytes = 4096,
                                                         .record_bytes = 4096,
                                                         .table = TableKind::ordered,
                                                         .splits = {"split-1", "split-2"}});
  ASSERT_EQ(made.status, RootStatus::done);
  const std::vector<std::byte> state = encode_root(history.state);
  ASSERT_EQ(decode_root(state), history.state);
  const auto with = [&](std::string_view text, std::size_t at, char changed) {
    std::vector<std::byte> other = state;
    const auto found = std::ranges::search(other, base::as_bytes(text));
    EXPECT_FALSE(found.empty());
    found[at] = static_cast<std::byte>(changed);
    return code_of(decode_root(other));
  };
  EXPECT_EQ(with("split-1", 6, '0'), Errc{});
  EXPECT_EQ(with("split-1", 6, '2'), Errc::corrupt) << "the same key twice";
  EXPECT_EQ(with("split-1", 6, '3'), Errc::corrupt);
  EXPECT_EQ(with("split-2", 6, '0'), Errc::corrupt);
  EXPECT_EQ(with("names/1", 0, 'N'), Errc::corrupt) << "of another index";
  EXPECT_EQ(with("names/2", 6, '1'), Errc::corrupt);
}

TEST(RootFormat, AnEmptyStateIsOne) {
  const std::vector<std::byte> bytes = encode_root(RootState{});
  EXPECT_EQ(decode_root(bytes), RootState{});
  std::vector<std::byte> changed = bytes;
  changed[6] = std::byte{1};
  EXPECT_EQ(code_of(decode_root(changed)), Errc::corrupt) << "begun, and nothing in it";
  changed = bytes;
  changed[8] = std::byte{1};
  EXPECT_EQ(code_of(decode_root(changed)), Errc::corrupt) << "of a cluster, and not begun";
}

}  // namespace
}  // namespace dolmen::cluster
