// SPDX-License-Identifier: Apache-2.0
#include "log/message.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <gtest/gtest.h>

#include "base/checksum.hpp"

namespace dolmen::log {
namespace {

std::vector<std::byte> payload(std::string_view text) {
  const base::Bytes bytes = base::as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

Message example() {
  return {.kind = MessageKind::append,
          .epoch = 9,
          .position = {.origin = 7, .index = 41},
          .stable = 40,
          .entries = {{.origin = 8, .index = 42, .payload = payload("lock the door")},
                      {.origin = 9, .index = 43, .kind = EntryKind::opening},
                      {.origin = 9, .index = 44, .payload = {}}},
          .round = 5};
}

/// The bytes with a checksum that fits them.
std::vector<std::byte> sealed(std::vector<std::byte> bytes) {
  const base::Bytes body = base::Bytes(bytes).first(bytes.size() - 8);
  base::store(base::MutableBytes(bytes), body.size(), base::checksum64(body, kMessageSeed));
  return bytes;
}

Errc error_of(const std::vector<std::byte>& bytes) {
  const auto message = decode_message(bytes);
  return message ? Errc{} : message.error().code();
}

TEST(Message, ComesBackAsItWas) {
  for (std::uint8_t kind = 1; kind <= 16; ++kind) {
    Message message = example();
    message.kind = static_cast<MessageKind>(kind);
    if (message.kind != MessageKind::append && message.kind != MessageKind::fetched) {
      message.entries.clear();
    }
    const bool has_round = message.kind == MessageKind::append ||
                           message.kind == MessageKind::appended ||
                           message.kind == MessageKind::mismatch;
    if (!has_round) message.round = 0;
    if (message.kind == MessageKind::snapshot || message.kind == MessageKind::fetched_part) {
      message.part = payload("of a snapshot");
      message.part_of = message.stable + message.part.size();
    }
    const auto again = decode_message(encode(message));
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(*again, message);
  }
}

TEST(Message, IsTheGoldenFile) {
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "log_message_v2.bin";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  const std::vector<std::byte> bytes = encode(example());
  ASSERT_EQ(bytes.size(), golden.size());
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), std::span(bytes)));
}

TEST(Message, IsRefusedWhenAnyBitIsFlippedOrAnyByteIsMissing) {
  const std::vector<std::byte> bytes = encode(example());
  for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
    std::vector<std::byte> changed = bytes;
    changed[i / 8] ^= std::byte{1} << (i % 8);
    EXPECT_EQ(error_of(changed), Errc::corrupt) << i;
  }
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(error_of({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)}),
              Errc::corrupt);
  }
}

TEST(Message, IsRefusedWhenItsFieldsAreImpossibleThoughItsChecksumFits) {
  struct Change {
    const char* what;
    std::size_t offset;
    std::uint64_t value;
    std::size_t bytes;
    Errc expected = Errc::corrupt;
  };
  const Change changes[] = {
      {"another magic", 0, 1, 4},
      {"an older version", 4, 1, 2, Errc::version_unsupported},
      {"a newer version", 4, 3, 2, Errc::version_unsupported},
      {"no kind", 6, 0, 1},
      {"an unknown kind", 6, 15, 1},
      {"a kind that carries no entries", 6, 3, 1},
      {"a spare byte", 7, 1, 1},
      {"no epoch", 8, 0, 8},
      {"an epoch that has no next", 8, ~std::uint64_t{0}, 8},
      {"entries of a later epoch than the sender's", 8, 8, 8},
      {"entries that end beyond the last index", 24, ~std::uint64_t{0} - 1, 8},
      {"a position of a later epoch than the sender's", 16, 10, 8},
      {"more entries than there are", 40, 4, 4},
      {"fewer entries than there are", 40, 2, 4},
      {"a spare field", 44, 1, 4},
      {"a round of a kind that has none", 6, 7, 1},
      {"an origin before the position's", 56, 6, 8},
      {"an entry longer than the message", 64, 0xFFFFFFFF, 4},
      {"an unknown kind of entry", 68, 5, 1},
      {"a settlement with a payload", 68, 4, 1},
      {"a configuration that is none", 68, 3, 1},
      {"an opening with a payload", 68, 2, 1},
      {"a spare byte of an entry", 69, 1, 1},
  };
  const std::vector<std::byte> bytes = encode(example());
  for (const Change& change : changes) {
    std::vector<std::byte> changed = bytes;
    for (std::size_t i = 0; i < change.bytes; ++i) {
      changed[change.offset + i] = static_cast<std::byte>(change.value >> (8 * i));
    }
    EXPECT_EQ(error_of(sealed(changed)), change.expected) << change.what;
  }
  EXPECT_EQ(error_of(std::vector<std::byte>(kMessageBytesMax + 1)), Errc::corrupt);
}

TEST(Message, APartOfASnapshotLiesWithinIt) {
  const Message right{.kind = MessageKind::snapshot,
                      .epoch = 9,
                      .position = {.origin = 7, .index = 41},
                      .stable = 100,
                      .part = payload("some"),
                      .part_of = 104};
  EXPECT_TRUE(decode_message(encode(right)));
  const auto with = [&](std::uint64_t offset, std::uint64_t in_all) {
    Message message = right;
    message.stable = offset;
    message.part_of = in_all;
    return error_of(encode(message));
  };
  EXPECT_EQ(with(101, 104), Errc::corrupt);
  EXPECT_EQ(with(105, 104), Errc::corrupt);
  EXPECT_EQ(with(~std::uint64_t{0}, 104), Errc::corrupt);
  EXPECT_EQ(with(0, 0), Errc::corrupt);
  EXPECT_EQ(with(0, ~std::uint64_t{0}), Errc::corrupt);
}

}  // namespace
}  // namespace dolmen::log
