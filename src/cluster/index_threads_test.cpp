// SPDX-License-Identifier: Apache-2.0
//
// A writer and readers in threads of their own, on memory that they share.
#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "cluster/index_reader_fixture.hpp"
#include "log/lane.hpp"

namespace dolmen::cluster {
namespace {

constexpr std::uint64_t kKeys = 120;
/// Keys below this are put again and again, and never erased.
constexpr std::uint64_t kKept = 30;

struct ReaderReport {
  std::uint64_t found = 0;
  std::uint64_t asked = 0;
  bool is_wrong = false;
};

/// Values only rise, and what is never erased is never absent.
ReaderReport read_until(const std::atomic<bool>& is_over, const Table& table, base::Bytes region,
                        std::uint64_t seed) {
  base::Random random(seed);
  IndexHints hints(table.geometry());
  std::array<std::uint64_t, kKeys> seen{};
  ReaderReport report;
  std::vector<std::vector<std::byte>> buffers;
  while (!is_over.load(std::memory_order_relaxed) && !report.is_wrong) {
    const std::uint64_t key = random.below(kKeys);
    IndexLookup lookup = lookup_of(table, hints, key, ReadLevel::lease, {}, 1, candidates_for(key));
    while (lookup.state() == LookupState::reading) {
      buffers.clear();
      for (const IndexRead& read : lookup.reads()) {
        buffers.emplace_back(read.bytes);
        log::copy_shared(buffers.back(), region.subspan(read.offset, read.bytes));
        std::atomic_thread_fence(std::memory_order_acquire);
      }
      const std::vector<base::Bytes> bytes(buffers.begin(), buffers.end());
      lookup.arrived(bytes, {.completed_ns = 1, .lease_until_ns = 2});
    }
    if (lookup.state() == LookupState::found) {
      const auto number = number_in(table, lookup, key);
      report.is_wrong |= !number || *number < seen[key];
      if (number) seen[key] = *number;
      ++report.found;
    } else if (lookup.state() == LookupState::absent) {
      report.is_wrong |= key < kKept;
    } else {
      ++report.asked;
    }
  }
  return report;
}

class IndexThreads : public testing::TestWithParam<IndexKind> {};

TEST_P(IndexThreads, ReadersBelieveWhatTheyMay) {
  Table table(sizes_of(GetParam()));
  const base::Bytes region = table.region();
  for (std::uint64_t key = 0; key < kKept; ++key) table.apply(table.put_command(key, 0));
  std::atomic<bool> is_over{false};
  std::array<ReaderReport, 2> reports;
  std::vector<std::thread> readers;
  for (std::size_t i = 0; i < reports.size(); ++i) {
    readers.emplace_back([&, i] { reports[i] = read_until(is_over, table, region, i + 1); });
  }
  base::Random random(1);
  const std::uint64_t changes = base::kSanitized ? 3'000 : 100'000;
  bool has_room = true;
  for (std::uint64_t i = 1; i <= changes; ++i) {
    const std::uint64_t key = random.below(kKeys);
    const bool is_erase = key >= kKept && random.chance(i / 500 % 2 == 0 ? 1 : 4, 5);
    const auto outcome =
        table.apply(is_erase ? table.erase_command(key) : table.put_command(key, i));
    has_room &= outcome != IndexOutcome::no_space;
    if (random.chance(1, 5)) table.apply(IndexCommand::release(table.last()));
  }
  is_over.store(true, std::memory_order_relaxed);
  for (std::thread& reader : readers) reader.join();
  EXPECT_TRUE(has_room);
  EXPECT_TRUE(table.index().check());
  for (const ReaderReport& report : reports) {
    EXPECT_FALSE(report.is_wrong);
    EXPECT_GT(report.found, report.asked);
  }
}

INSTANTIATE_TEST_SUITE_P(Both, IndexThreads, testing::Values(IndexKind::homes, IndexKind::records),
                         [](const auto& info) {
                           return info.param == IndexKind::homes ? "Homes" : "Records";
                         });

}  // namespace
}  // namespace dolmen::cluster
