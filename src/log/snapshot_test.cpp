// SPDX-License-Identifier: Apache-2.0
#include "log/snapshot.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>

#include <gtest/gtest.h>

#include "base/checksum.hpp"

namespace dolmen::log {
namespace {

SnapshotPlace place() {
  return {.last = {.origin = 4, .index = 70},
          .configured_at = 30,
          .settled_at = 33,
          .configuration = {.voters = {ReplicaId{1}, ReplicaId{2}, ReplicaId{5}},
                            .learners = {ReplicaId{7}}}};
}

SnapshotPtr example() {
  return Snapshot::make(place(), base::as_bytes("what the machine remembers")).value();
}

std::vector<std::byte> bytes_of(const Snapshot& snapshot) {
  return {snapshot.bytes().begin(), snapshot.bytes().end()};
}

Errc error_of(std::vector<std::byte> bytes) {
  const auto snapshot = Snapshot::decode(std::move(bytes));
  return snapshot ? Errc{} : snapshot.error().code();
}

TEST(Snapshot, ComesBackAsItWas) {
  const SnapshotPtr snapshot = example();
  const auto again = Snapshot::decode(bytes_of(*snapshot));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ((*again)->last(), place().last);
  EXPECT_EQ((*again)->place().configured_at, 30u);
  EXPECT_EQ((*again)->place().settled_at, 33u);
  EXPECT_EQ((*again)->place().configuration, place().configuration);
  EXPECT_TRUE(std::ranges::equal((*again)->state(), base::as_bytes("what the machine remembers")));
  EXPECT_TRUE(std::ranges::equal((*again)->bytes(), snapshot->bytes()));
}

TEST(Snapshot, IsTheGoldenFile) {
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "log_snapshot_v1.bin";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), example()->bytes()));
}

TEST(Snapshot, IsRefusedWhenAnyBitIsFlippedOrAnyByteIsMissing) {
  const std::vector<std::byte> bytes = bytes_of(*example());
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

TEST(Snapshot, IsRefusedWhenItsFieldsAreImpossibleThoughItsChecksumFits) {
  struct Change {
    const char* what;
    std::size_t offset;
    std::uint64_t value;
    std::size_t bytes;
    Errc expected = Errc::corrupt;
  };
  const Change changes[] = {
      {"another magic", 0, 1, 4},
      {"a newer version", 4, 2, 2, Errc::version_unsupported},
      {"a spare field", 6, 1, 2},
      {"no origin", 8, 0, 8},
      {"an origin that is no epoch", 8, ~std::uint64_t{0}, 8},
      {"no index", 16, 0, 8},
      {"an index that has no next", 16, ~std::uint64_t{0}, 8},
      {"configured behind its end", 24, 71, 8},
      {"settled behind its end", 32, 71, 8},
      {"settled before it was configured", 32, 30, 8},
      {"settled and never configured", 24, 0, 8},
      {"a configuration longer than the whole", 40, 0xFFFFFFFF, 4},
      {"a configuration cut short", 40, 8, 4},
      {"a spare field", 44, 1, 4},
  };
  const std::vector<std::byte> bytes = bytes_of(*example());
  for (const Change& change : changes) {
    std::vector<std::byte> changed = bytes;
    for (std::size_t i = 0; i < change.bytes; ++i) {
      changed[change.offset + i] = static_cast<std::byte>(change.value >> (8 * i));
    }
    const base::Bytes body = base::Bytes(changed).first(changed.size() - 8);
    base::store(base::MutableBytes(changed), body.size(), base::checksum64(body, kSnapshotSeed));
    EXPECT_EQ(error_of(changed), change.expected) << change.what;
  }
}

}  // namespace
}  // namespace dolmen::log
