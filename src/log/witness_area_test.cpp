// SPDX-License-Identifier: Apache-2.0
#include "log/witness_area.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "base/checksum.hpp"

namespace dolmen::log {
namespace {

std::vector<std::byte> bytes(std::string_view text) {
  const base::Bytes all = base::as_bytes(text);
  return {all.begin(), all.end()};
}

constexpr Epoch kEpoch = 9;

class Area : public testing::Test {
 protected:
  Area() {
    encode_area_header(area(), header_);
    std::ranges::copy(snapshot_->bytes(), area().subspan(kAreaHeaderBytes).begin());
    end_ = area_base_bytes(snapshot_->bytes().size());
    for (const Entry& entry : entries_) {
      encode_lane_entry(area().subspan(end_), entry, entry.index - 1, kEpoch);
      end_ += lane_entry_bytes(entry.payload.size());
    }
  }
  base::MutableBytes area() { return std::as_writable_bytes(std::span(words_)); }

  const SnapshotPtr snapshot_ =
      Snapshot::make({.last = {.origin = 7, .index = 41},
                      .configuration = {{ReplicaId{1}, ReplicaId{2}, ReplicaId{3}}}},
                     bytes("the state"))
          .value();
  const AreaHeader header_{.owner = ReplicaId{3},
                           .writer = ReplicaId{1},
                           .name = {kEpoch, 2},
                           .snapshot_bytes = snapshot_->bytes().size()};
  const std::vector<Entry> entries_{{.origin = 8, .index = 42, .payload = bytes("lock the door")},
                                    {.origin = 9, .index = 43, .kind = EntryKind::opening}};
  std::vector<std::uint64_t> words_ = std::vector<std::uint64_t>(64);
  std::size_t end_ = 0;
};

TEST_F(Area, ComesBackAsItWas) {
  const auto found = read_area(area());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->header, header_);
  ASSERT_TRUE(found->snapshot);
  EXPECT_EQ(found->snapshot->last(), snapshot_->last());
  EXPECT_EQ(found->entries, entries_);
  EXPECT_EQ(found->stable, 42u);
  EXPECT_EQ(found->end(), entries_.back().position());
}

TEST_F(Area, IsTheGoldenFile) {
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "witness_area_v1.bin";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), area()));
}

TEST_F(Area, WhatWasNeverWrittenIsNothing) {
  std::ranges::fill(words_, 0);
  EXPECT_FALSE(read_area(area()));
}

TEST_F(Area, ALogMayBeginWithItsFirstEntry) {
  std::ranges::fill(words_, 0);
  AreaHeader header = header_;
  header.snapshot_bytes = 0;
  encode_area_header(area(), header);
  const Entry first{.origin = 2, .index = 1, .kind = EntryKind::opening};
  encode_lane_entry(area().subspan(kAreaHeaderBytes), first, 0, kEpoch);
  const auto found = read_area(area());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->entries, std::vector{first});
}

// Whichever word has not landed: nothing, or what is before it.
TEST_F(Area, APartOfItIsThereOrNothing) {
  const std::vector<std::uint64_t> whole = words_;
  for (std::size_t word = 0; word < end_ / 8; ++word) {
    if (whole[word] == 0) continue;
    words_[word] = ~whole[word];
    const auto found = read_area(area());
    if (found) {
      ASSERT_LT(found->entries.size(), entries_.size()) << word;
      EXPECT_TRUE(std::equal(found->entries.begin(), found->entries.end(), entries_.begin()));
      EXPECT_GE(word * 8, area_base_bytes(snapshot_->bytes().size()));
    }
    words_[word] = whole[word];
  }
}

TEST_F(Area, EntriesOfAnotherEpochAreNotPartOfIt) {
  AreaHeader header = header_;
  ++header.name.epoch;
  encode_area_header(area(), header);
  const auto found = read_area(area());
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->entries.empty());
  EXPECT_EQ(found->end(), snapshot_->last());
  header.name.epoch = 6;  // below the snapshot's own
  encode_area_header(area(), header);
  EXPECT_FALSE(read_area(area()));
}

TEST_F(Area, AnImpossibleHeaderIsRefusedThoughItsChecksumFits) {
  const auto error_of = [&](const AreaHeader& header) {
    encode_area_header(area(), header);
    const auto result = decode_area_header(area());
    return result ? Errc{} : result.error().code();
  };
  const auto with = [&](auto change) {
    AreaHeader header = header_;
    change(header);
    return error_of(header);
  };
  EXPECT_EQ(with([](AreaHeader&) {}), Errc{});
  EXPECT_EQ(with([](AreaHeader& header) { header.owner = kNobody; }), Errc::corrupt);
  EXPECT_EQ(with([](AreaHeader& header) { header.writer = kNobody; }), Errc::corrupt);
  EXPECT_EQ(with([](AreaHeader& header) { header.name.number = 0; }), Errc::corrupt);
  EXPECT_EQ(with([](AreaHeader& header) { header.name.epoch = 0; }), Errc::corrupt);
  EXPECT_EQ(with([](AreaHeader& header) { header.name.epoch = kEpochMax + 1; }), Errc::corrupt);
  EXPECT_EQ(with([](AreaHeader& header) { header.snapshot_bytes = 64 * 8; }), Errc::corrupt);
  EXPECT_EQ(with([](AreaHeader& header) { header.snapshot_bytes = ~std::uint64_t{0}; }),
            Errc::corrupt);
  encode_area_header(area(), header_);
  base::store(area(), 4, kAreaVersion + 1);
  base::store(area(), 48, base::checksum64(area().first(48), kAreaMagic));
  EXPECT_EQ(decode_area_header(area()).error().code(), Errc::version_unsupported);
}

}  // namespace
}  // namespace dolmen::log
