// SPDX-License-Identifier: Apache-2.0
//
// Page versions against a model that keeps everything: random histories of few pages with snapshots
// that come and go, in little memory, on a file that works or fails now and then.
#include "txn/versions.hpp"

#include <array>
#include <cstring>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "sim/sim_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

using store::Index;
using store::PageKey;
using txn::Holder;
using txn::SpillFile;
using txn::Versions;

constexpr std::uint32_t kPages = 40;
constexpr std::uint64_t kMemory = 8 * store::kPageBytes;

class VersionHistory {
 public:
  explicit VersionHistory(std::uint64_t seed) : random_(seed), disk_(seed) {
    epochs_.fill(0);
    states_.push_back(Pages{});
  }
  void step() {
    switch (random_.below(8)) {
      case 0:
        return open_snapshot();
      case 1:
        return end_snapshot();
      case 2:
        return read();
      default:
        return commit();
    }
  }
  void end_all() {
    while (!snapshots_.empty()) end_snapshot();
    EXPECT_EQ(versions_.memory_bytes(), 0u);
    EXPECT_EQ(versions_.file_bytes(), 0u);
    EXPECT_EQ(file_size(), 0u);
    EXPECT_EQ(versions_.newest_snapshot(), 0u);
  }
  void fail_writes() {
    disk_.inject({.on = sim::FaultOn::write, .code = Errc::no_space, .file = "scratch"});
  }
  [[nodiscard]] std::size_t given_up() const {
    std::size_t count = 0;
    for (const auto& [index, holder] : snapshots_) count += versions_.usable(index) ? 0 : 1;
    return count;
  }
  [[nodiscard]] std::uint64_t file_size() {
    const auto file = disk_.open("scratch", sys::OpenMode::read_only);
    return file ? (*file)->size().value() : 0;
  }
  Versions& versions() { return versions_; }

 private:
  using Pages = std::array<std::uint64_t, kPages>;

  static PageKey key(std::uint32_t page) { return {.object = {1, page % 3}, .page = page}; }
  void open_snapshot() {
    const Holder holder = random_.chance(1, 4) ? Holder::checkpoint : Holder::view;
    const Index last = states_.size() - 1;
    versions_.add_snapshot(last, holder);
    snapshots_.emplace(last, holder);
  }
  void end_snapshot() {
    if (snapshots_.empty()) return;
    const auto ended = std::next(snapshots_.begin(),
                                 static_cast<std::ptrdiff_t>(random_.below(snapshots_.size())));
    versions_.remove_snapshot(ended->first, ended->second);
    snapshots_.erase(ended);
  }
  void commit() {
    Pages now = states_.back();
    const Index index = states_.size();
    std::set<std::uint32_t> changed;
    for (std::uint64_t i = 1 + random_.below(6); i > 0; --i) {
      changed.insert(static_cast<std::uint32_t>(random_.below(kPages)));
    }
    const Index newest = versions_.newest_snapshot();
    for (const std::uint32_t page : changed) {
      if (epochs_[page] < newest) {
        auto contents = versions_.new_page(store::kPageBytes);
        fill({contents.get(), store::kPageBytes}, now[page]);
        versions_.keep(key(page), epochs_[page], index, std::move(contents), store::kPageBytes);
      }
      epochs_[page] = index;
      now[page] = random_();
    }
    states_.push_back(now);
    versions_.make_room();
  }
  /// Every page at one snapshot.
  void read() {
    if (snapshots_.empty()) return;
    const auto at = std::next(snapshots_.begin(),
                              static_cast<std::ptrdiff_t>(random_.below(snapshots_.size())));
    for (std::uint32_t page = 0; page < kPages; ++page) {
      std::array<std::byte, store::kPageBytes> got{};
      const auto found = versions_.find(key(page), at->first, got);
      ASSERT_TRUE(found) << found.error().message();
      if (!*found) fill(got, states_.back()[page]);
      std::array<std::byte, store::kPageBytes> expected{};
      fill(expected, states_[at->first][page]);
      if (versions_.usable(at->first)) {
        ASSERT_EQ(std::memcmp(got.data(), expected.data(), got.size()), 0)
            << "page " << page << " at " << at->first;
      } else {
        ASSERT_EQ(at->second, Holder::view) << "checkpoints keep what they need";
      }
    }
  }
  static void fill(base::MutableBytes out, std::uint64_t value) {
    for (std::size_t at = 0; at < out.size(); at += 8) {
      const std::uint64_t word = value == 0 ? 0 : value + at;
      std::memcpy(out.data() + at, &word, sizeof word);
    }
  }

  base::Random random_;
  sim::SimDisk disk_;
  Versions versions_{kMemory, *sys::linux_env().memory,
                     [this] { return disk_.open("scratch", sys::OpenMode::create_or_open); }};
  std::vector<Pages> states_;
  std::array<Index, kPages> epochs_{};
  std::multimap<Index, Holder> snapshots_;
};

TEST(Versions, EverySnapshotFindsWhatItNeedsWhereverThatIs) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    VersionHistory history(seed);
    std::uint64_t most_in_file = 0;
    for (int i = 0; i < 600; ++i) {
      history.step();
      if (testing::Test::HasFatalFailure()) return;
      EXPECT_LE(history.versions().memory_bytes(), kMemory);
      EXPECT_GE(history.file_size(), history.versions().file_bytes());
      most_in_file = std::max(most_in_file, history.versions().file_bytes());
    }
    EXPECT_GT(most_in_file, 0u);
    history.end_all();
  }
}

TEST(Versions, AFileThatFailsEndsViewsAndNothingElse) {
  std::size_t given_up = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    VersionHistory history(seed);
    for (int i = 0; i < 600; ++i) {
      if (i % 20 == 0) history.fail_writes();
      history.step();
      if (testing::Test::HasFatalFailure()) return;
      given_up += history.given_up();
    }
    history.end_all();
  }
  EXPECT_GT(given_up, 0u);
}

TEST(SpillFile, ItsRoomIsGivenBackFromTheEndAndInHoles) {
  sim::SimDisk disk(1);
  SpillFile file([&] { return disk.open("scratch", sys::OpenMode::create_or_open); });
  const std::vector<std::byte> pages(64 * SpillFile::kSlotBytes, std::byte{7});
  ASSERT_EQ(file.take(64).count, 64u);
  ASSERT_TRUE(file.write({0, 64}, pages));
  const auto allocated = [&] {
    return disk.open("scratch", sys::OpenMode::read_only).value()->allocated_bytes().value();
  };
  const auto size = [&] {
    return disk.open("scratch", sys::OpenMode::read_only).value()->size().value();
  };
  const auto give_back = [&](std::uint32_t first, std::uint32_t count) {
    std::vector<std::uint32_t> slots;
    for (std::uint32_t i = count; i > 0; --i) slots.push_back(first + i - 1);
    file.give_back(slots);
  };
  EXPECT_EQ(allocated(), 64u * SpillFile::kSlotBytes);
  give_back(10, 20);
  EXPECT_EQ(allocated(), 44u * SpillFile::kSlotBytes);
  give_back(40, 24);
  EXPECT_EQ(size(), 40u * SpillFile::kSlotBytes);
  const SpillFile::Run hole = file.take(32);
  EXPECT_EQ(hole.first, 10u);
  EXPECT_EQ(hole.count, 20u);
  give_back(10, 20);
  give_back(30, 10);
  EXPECT_EQ(size(), 10u * SpillFile::kSlotBytes);
  give_back(0, 10);
  EXPECT_EQ(size(), 0u);
  EXPECT_EQ(file.take(1).first, 0u);
}

}  // namespace
}  // namespace dolmen::node
