// SPDX-License-Identifier: Apache-2.0
#include "replication/entries_message.hpp"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "replication/envelope.hpp"
#include "replication/member_fixture.hpp"
#include "store/golden_file.hpp"

namespace dolmen::replication {
namespace {

const std::vector<std::byte> kLong(kEntryHeadToldMax + 8, std::byte{0x5A});

EntriesTold three() {
  const base::Bytes head = base::Bytes(kLong).first(kEntryHeadToldMax);
  return {.number = 9,
          .base = 4,
          .end = 8,
          .stable = 6,
          .first = 5,
          .entries = {{.origin = 2, .kind = log::EntryKind::opening},
                      {.origin = 2, .bytes = 2, .head = base::as_bytes("hi")},
                      {.origin = 3, .bytes = kEntryHeadToldMax + 8, .head = head}}};
}
Errc told_error(base::Bytes body) {
  const auto decoded = decode_entries_told(body);
  return decoded ? Errc{} : decoded.error().code();
}
Errc ask_error(const AskEntries& ask) {
  const auto body = encode(ask);
  const auto decoded = decode_ask_entries(body);
  if (decoded) {
    EXPECT_EQ(*decoded, ask);
  }
  return decoded ? Errc{} : decoded.error().code();
}

TEST(EntriesMessage, IsWhatTheDocumentationSays) {
  EXPECT_EQ(encode(AskEntries{.number = 9, .from = 5, .count = 3}),
            store::read_golden("member_ask_entries_v1.bin"));
  EXPECT_EQ(encode(three()), store::read_golden("member_entries_v1.bin"));
}

TEST(EntriesMessage, ComesBackAsItWas) {
  const auto body = encode(three());
  const auto decoded = decode_entries_told(body);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(encode(*decoded), body);
  ASSERT_EQ(decoded->entries.size(), 3u);
  EXPECT_EQ(decoded->entries[2].bytes, kEntryHeadToldMax + 8);
  EXPECT_EQ(decoded->entries[2].head.size(), kEntryHeadToldMax);
  for (std::size_t size = 0; size < body.size(); ++size) {
    EXPECT_EQ(told_error(base::Bytes(body).first(size)), Errc::corrupt) << size;
  }
  auto longer = body;
  longer.push_back(std::byte{0});
  EXPECT_EQ(told_error(longer), Errc::corrupt);
}

TEST(EntriesMessage, WhatCannotBeIsRefused) {
  EXPECT_EQ(ask_error({.number = 1, .count = 1}), Errc{});
  EXPECT_EQ(ask_error({.from = log::kIndexMax, .count = kEntriesToldMax}), Errc{});
  EXPECT_EQ(ask_error({.from = log::kIndexMax + 1, .count = 1}), Errc::corrupt);
  EXPECT_EQ(ask_error({.count = 0}), Errc::corrupt);
  EXPECT_EQ(ask_error({.count = kEntriesToldMax + 1}), Errc::corrupt);

  const auto refused = [](auto change) {
    EntriesTold told = three();
    change(told);
    return told_error(encode(told)) == Errc::corrupt;
  };
  EXPECT_FALSE(refused([](EntriesTold&) {}));
  EXPECT_TRUE(refused([](EntriesTold& told) { told.base = 9; })) << "base behind the end";
  EXPECT_TRUE(refused([](EntriesTold& told) { told.first = 4; })) << "one that is gone";
  EXPECT_TRUE(refused([](EntriesTold& told) { told.first = 7; })) << "beyond the end";
  EXPECT_TRUE(refused([](EntriesTold& told) { told.first = ~std::uint64_t{0}; }));
  EXPECT_TRUE(refused([](EntriesTold& told) { told.end = ~std::uint64_t{0}; }));
  EXPECT_TRUE(refused([](EntriesTold& told) { told.entries[0].kind = log::EntryKind{0}; }));
  EXPECT_TRUE(refused([](EntriesTold& told) { told.entries[0].kind = log::EntryKind{5}; }));
  EXPECT_TRUE(refused([](EntriesTold& told) { told.entries[1].origin = log::kEpochMax + 1; }));
  EXPECT_TRUE(refused([](EntriesTold& told) { told.entries[1].bytes = 3; })) << "cut short";
  EXPECT_TRUE(refused([](EntriesTold& told) {
    told.entries[2].bytes = static_cast<std::uint32_t>(log::kPayloadBytesMax + 1);
  }));
  EXPECT_TRUE(refused([](EntriesTold& told) {
    told.end = 1000;
    told.entries.assign(kEntriesToldMax + 1, {.origin = 2, .kind = log::EntryKind::opening});
  }));
}

EntriesTold ask(MemberWorld& world, MemberClient& client, std::size_t member,
                const AskEntries& question) {
  const auto body = encode(question);
  client.entries().reset();
  bool is_sent = false;
  EXPECT_TRUE(world.run([&] {
    if (!is_sent) is_sent = client.send(member, EnvelopeKind::ask_entries, body);
    return client.entries().has_value();
  }));
  const auto told = decode_entries_told(*client.entries());
  EXPECT_TRUE(told);
  return told.value_or(EntriesTold{});
}

TEST(Member, SaysWhatIsInItsLogAndNoMoreThanIsThere) {
  MemberWorld world({});
  MemberClient client(world, fabric::NodeId{50});
  const std::size_t leader = world.lead();
  constexpr std::uint64_t kCommands = 5;
  std::uint64_t done = 0;
  for (std::uint64_t i = 0; i < kCommands; ++i) {
    world.member(leader).submit(kTestGroup, Tally::add(1, i == 4 ? 4096 : 0),
                                [&](const Executor::Outcome&) { ++done; });
  }
  ASSERT_TRUE(world.run([&] { return done == kCommands && world.agrees(); }));
  for (std::size_t member = 0; member < world.size(); ++member) {
    const EntriesTold all = ask(world, client, member, {.number = 7, .from = 1, .count = 100});
    EXPECT_EQ(all.number, 7u);
    EXPECT_EQ(all.base, 0u);
    EXPECT_EQ(all.first, 1u);
    ASSERT_EQ(all.entries.size(), all.end) << "all of them";
    EXPECT_EQ(all.entries.front().kind, log::EntryKind::opening);
    EXPECT_EQ(std::ranges::count(all.entries, log::EntryKind::command, &EntriesTold::One::kind),
              kCommands);
    EXPECT_GT(all.entries.back().bytes, 4096u);
    EXPECT_EQ(all.entries.back().head.size(), kEntryHeadToldMax);

    const EntriesTold last = ask(world, client, member, {.number = 8, .count = 2});
    EXPECT_EQ(last.first, last.end - 1);
    EXPECT_EQ(last.entries.size(), 2u);
    const EntriesTold none = ask(world, client, member, {.from = all.end + 10, .count = 2});
    EXPECT_TRUE(none.entries.empty());
    EXPECT_EQ(none.end, all.end);
  }
}

}  // namespace
}  // namespace dolmen::replication
