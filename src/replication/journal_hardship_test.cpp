// SPDX-License-Identifier: Apache-2.0
//
// A journal whose checkpoint is cut short, whose pages are damaged, and who is asked for too much.
#include <array>
#include <optional>
#include <thread>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "replication/journal_fixture.hpp"
#include "sim/crash_plan.hpp"
#include "sim/log_checks.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::replication {
namespace {

using sim::means;

constexpr std::array<GroupId, 2> kGroups = {GroupId{7, 1}, GroupId{3, 2}};
constexpr JournalOptions kSmall{.segment_bytes = 8u << 10, .tail_bytes_max = 24u << 10};

class JournalHardshipTest : public testing::Test {
 protected:
  Result<std::unique_ptr<Journal>> open(sim::SimDisk& disk) {
    return Journal::open(env_.env(), std::make_unique<sys::BorrowedDisk>(disk), kSmall);
  }
  /// A journal with a checkpoint, and enough behind it for another.
  std::unique_ptr<Journal> filled(sim::SimDisk& disk) {
    auto journal = std::move(*open(disk));
    for (std::size_t g = 0; g < 2; ++g) {
      EXPECT_TRUE(journal->add(kGroups[g], makers_[g].hosted().self, makers_[g].hosted().first));
    }
    for (int step = 0; step < 60; ++step) append(*journal, step % 2);
    EXPECT_TRUE(journal->write_checkpoint(start(*journal)));
    for (int step = 0; step < 60; ++step) append(*journal, step % 2);
    return journal;
  }
  void append(Journal& journal, std::size_t g) {
    EXPECT_TRUE(journal.append(kGroups[g], makers_[g].next()));
  }
  Journal::Checkpoint start(Journal& journal) {
    whole_ = {makers_[0].hosted(), makers_[1].hosted()};
    for (RecordMaker& maker : makers_) maker.compact();
    return journal.start_checkpoint(all());
  }
  [[nodiscard]] std::map<GroupId, Hosted> all() const {
    return {{kGroups[0], makers_[0].hosted()}, {kGroups[1], makers_[1].hosted()}};
  }
  /// Everything that was appended: as of now, or as of the last start(), not compacted yet.
  [[nodiscard]] bool holds_all(Journal& journal) const {
    auto found = journal.take_recovered();
    const auto is = [&](const Hosted& first, const Hosted& second) {
      return means(found[kGroups[0]].state, first.state) &&
             means(found[kGroups[1]].state, second.state);
    };
    return found.size() == 2 &&
           (is(makers_[0].hosted(), makers_[1].hosted()) || is(whole_[0], whole_[1]));
  }

  sim::SimEnv env_{1, *sys::linux_env().memory};
  std::array<RecordMaker, 2> makers_ = {RecordMaker{log::ReplicaId{11}, 5},
                                        RecordMaker{log::ReplicaId{12}, 6}};
  std::array<Hosted, 2> whole_;
};

// The last checkpoint and the log behind it are in force until the new one is, at every moment.
TEST_F(JournalHardshipTest, ACrashDuringACheckpointLosesNothingCrash) {
  sim::SimDisk disk(1);
  auto journal = filled(disk);
  ASSERT_TRUE(journal->sync());
  const auto checkpoint = start(*journal);
  disk.record();
  ASSERT_TRUE(journal->write_checkpoint(checkpoint));
  const sim::DiskHistory history = disk.history();
  ASSERT_GT(history.ops.size(), 5u);
  unsigned old_ones = 0;
  unsigned new_ones = 0;
  using Kind = sim::CrashPlan::Kind;
  for (std::size_t ops = 0; ops <= history.ops.size(); ++ops) {
    sim::DiskModel model = history.start;
    for (std::size_t op = 0; op < ops; ++op) model.apply(history.ops[op]);
    for (std::uint64_t plan = 0; plan < 12; ++plan) {
      const Kind kind = plan == 0 ? Kind::none : plan == 1 ? Kind::all : Kind::random;
      sim::SimDisk after(model.crash({.kind = kind, .argument = plan}), plan);
      const auto again = open(after);
      ASSERT_TRUE(again) << again.error().message() << ", op " << ops << ", plan " << plan;
      EXPECT_TRUE(holds_all(**again)) << "op " << ops << ", plan " << plan;
      const bool is_new = (*again)->stats().checkpoint_index == checkpoint.as_of;
      is_new ? ++new_ones : ++old_ones;
    }
  }
  EXPECT_GT(old_ones, 0u);
  EXPECT_GT(new_ones, 0u);
}

// One sync is for all groups: whatever moment the power goes, none of them lacks what it was told.
TEST_F(JournalHardshipTest, ACrashAtAnyMomentRecoversAllGroupsCrash) {
  using State = std::map<GroupId, Hosted>;
  sim::SimDisk disk(1);
  auto journal = std::move(*open(disk));
  disk.record();
  const std::uint64_t start = disk.op_count();
  std::map<GroupId, RecordMaker> makers;
  std::vector<State> states{{}};
  /// From so many changes of the disk on, no state before this one is possible.
  std::vector<std::pair<std::uint64_t, std::size_t>> durable{{start, 0}};
  const auto now = [&] {
    State state;
    for (const auto& [group, maker] : makers) state[group] = maker.hosted();
    states.push_back(std::move(state));
  };
  const auto is_durable = [&] { durable.emplace_back(disk.op_count(), states.size() - 1); };
  for (std::uint64_t number = 1; number <= 5; ++number) {
    const GroupId group{number % 2, number};
    RecordMaker maker(log::ReplicaId{100 + number}, number);
    ASSERT_TRUE(journal->add(group, maker.hosted().self, maker.hosted().first));
    makers.emplace(group, std::move(maker));
    now();
    is_durable();
  }
  for (int round = 0; round < 16; ++round) {
    for (auto& [group, maker] : makers) {
      ASSERT_TRUE(journal->append(group, maker.next()));
      now();
    }
    ASSERT_TRUE(journal->sync());
    is_durable();
    if (round % 6 != 5) continue;
    for (auto& [group, maker] : makers) maker.compact();
    State state;
    for (const auto& [group, maker] : makers) state[group] = maker.hosted();
    ASSERT_TRUE(journal->write_checkpoint(journal->start_checkpoint(state)));
    now();
  }
  const sim::DiskHistory history = disk.history();
  const std::size_t strides = base::kSanitized ? 7 : 1;
  using Kind = sim::CrashPlan::Kind;
  sim::DiskModel model = history.start;
  for (std::size_t ops = 0; ops <= history.ops.size(); ++ops) {
    if (ops > 0) model.apply(history.ops[ops - 1]);
    if (ops % strides != 0) continue;
    std::size_t least = 0;
    for (const auto& [from, state] : durable) {
      if (from <= start + ops) least = state;
    }
    for (std::uint64_t plan = 0; plan < 5; ++plan) {
      const Kind kind = plan == 0 ? Kind::none : plan == 1 ? Kind::all : Kind::random;
      sim::SimDisk after(model.crash({.kind = kind, .argument = plan}), plan);
      auto again = open(after);
      ASSERT_TRUE(again) << again.error().message() << ", op " << ops << ", plan " << plan;
      const State found = (*again)->take_recovered();
      const auto is_it = [&](const State& state) {
        return std::ranges::equal(found, state, [](const auto& one, const auto& other) {
          return one.first == other.first && means(one.second.state, other.second.state);
        });
      };
      EXPECT_TRUE(
          std::any_of(states.begin() + static_cast<std::ptrdiff_t>(least), states.end(), is_it))
          << "op " << ops << ", plan " << plan;
    }
  }
}

TEST_F(JournalHardshipTest, EveryCallOfACheckpointMayFail) {
  for (const Errc code : {Errc::io_error, Errc::no_space}) {
    unsigned usable = 0;
    for (std::uint64_t nth = 1;; ++nth) {
      sim::SimDisk disk(nth);
      makers_ = {RecordMaker{log::ReplicaId{11}, nth}, RecordMaker{log::ReplicaId{12}, nth}};
      auto journal = filled(disk);
      ASSERT_TRUE(journal->sync());
      const auto checkpoint = start(*journal);
      const std::uint64_t before = disk.fallible_calls();
      disk.inject({.nth = nth, .code = code});
      const auto written = journal->write_checkpoint(checkpoint);
      const bool has_failed = disk.fallible_calls() - before >= nth;
      disk.clear_faults();
      if (!written) {
        EXPECT_TRUE(has_failed) << "call " << nth << ": " << written.error().message();
      }
      if (!journal->failed()) {
        // What went wrong is over: the next one takes all of it.
        append(*journal, 0);
        EXPECT_TRUE(journal->write_checkpoint(start(*journal))) << "call " << nth;
        if (has_failed) ++usable;
      }
      journal.reset();
      auto again = open(disk);
      ASSERT_TRUE(again) << again.error().message() << ", call " << nth;
      EXPECT_TRUE(holds_all(**again)) << "call " << nth;
      if (!has_failed) break;
    }
    EXPECT_GT(usable, 0u);
  }
}

TEST_F(JournalHardshipTest, DamagedPagesAreCorruptAndNeverAnotherReplica) {
  sim::SimDisk disk(1);
  auto journal = filled(disk);
  ASSERT_TRUE(journal->close());
  journal.reset();
  const auto pages = disk.open("pages", sys::OpenMode::read_only);
  ASSERT_TRUE(pages);
  const std::uint64_t bytes = (*pages)->size().value();
  unsigned refused = 0;
  for (std::uint64_t offset = 0; offset < bytes; offset += 97) {
    disk.flip_bit("pages", offset, static_cast<unsigned>(offset % 8));
    auto again = open(disk);
    if (again) {
      EXPECT_TRUE(holds_all(**again)) << "byte " << offset;  // nothing that is used lies there
    } else {
      EXPECT_EQ(again.error().code(), Errc::corrupt) << "byte " << offset;
      ++refused;
    }
    if (again) again->reset();
    disk.flip_bit("pages", offset, static_cast<unsigned>(offset % 8));
  }
  EXPECT_GT(refused, 20u);
  EXPECT_TRUE(open(disk));
}

TEST_F(JournalHardshipTest, RecordsGoOnWhileACheckpointIsWritten) {
  sim::SimDisk disk(1);
  auto journal = filled(disk);
  for (int round = 0; round < 20; ++round) {
    const auto checkpoint = start(*journal);
    Result<void> written;
    std::thread writer([&] { written = journal->write_checkpoint(checkpoint); });
    for (int step = 0; step < 10; ++step) {
      append(*journal, step % 2);
      EXPECT_TRUE(journal->sync());
      (void)journal->checkpoint_due();
    }
    writer.join();
    ASSERT_TRUE(written) << written.error().message();
    EXPECT_EQ(journal->stats().checkpoint_index, checkpoint.as_of);
  }
  journal.reset();
  auto again = open(disk);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_TRUE(holds_all(**again));
}

// It would be there twice, and no later opening could say which one it is.
TEST_F(JournalHardshipTest, ANodeHasOneReplicaOfAGroup) {
  sim::SimDisk disk(1);
  auto journal = filled(disk);
  const log::Configuration first = makers_[0].hosted().first;
  const auto twice = [&] { return journal->add(kGroups[0], log::ReplicaId{13}, first); };
  EXPECT_EQ(twice().error().code(), Errc::already_exists);
  ASSERT_TRUE(journal->sync());
  journal.reset();
  journal = std::move(*open(disk));
  EXPECT_EQ(twice().error().code(), Errc::already_exists);
  EXPECT_TRUE(holds_all(*journal));
}

TEST_F(JournalHardshipTest, AReplicaThatDidNotFitIsAddedLater) {
  sim::SimDisk disk(1);
  auto journal = std::move(*open(disk));
  const Hosted hosted = makers_[0].hosted();
  // Fill what is left of the log's segments, so that the next needs one more.
  ASSERT_TRUE(journal->add(kGroups[1], makers_[1].hosted().self, makers_[1].hosted().first));
  disk.set_capacity_bytes(disk.used_bytes());
  GroupId group{9, 1};
  Result<void> added;
  while ((added = journal->add(group, hosted.self, hosted.first))) ++group.low;
  EXPECT_EQ(added.error().code(), Errc::no_space);
  disk.set_capacity_bytes(~std::uint64_t{0});
  EXPECT_TRUE(journal->add(group, hosted.self, hosted.first));
  journal.reset();
  auto again = open(disk);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_TRUE((*again)->take_recovered().contains(group));
}

TEST_F(JournalHardshipTest, ABatchThatIsTooLargeIsRefusedAndSmallerOnesFit) {
  sim::SimDisk disk(1);
  auto journal = filled(disk);
  ASSERT_TRUE(journal->write_checkpoint(start(*journal)));
  std::vector<log::Record> batch;
  const log::DurableState& state = makers_[0].hosted().state;
  const log::Index end = state.base.index + state.entries.size();
  for (log::Index i = 1; i <= 8; ++i) {
    batch.push_back({.entry = log::Entry{.origin = state.epoch,
                                         .index = end + i,
                                         // Zeros, of which the pages are not even written.
                                         .payload = std::vector<std::byte>(100'000)}});
  }
  EXPECT_EQ(journal->append(kGroups[0], batch).error().code(), Errc::too_large);
  EXPECT_FALSE(journal->failed());
  for (const std::size_t half : {0u, 4u}) {
    const std::vector<log::Record> part(batch.begin() + static_cast<std::ptrdiff_t>(half),
                                        batch.begin() + static_cast<std::ptrdiff_t>(half + 4));
    const auto appended = journal->append(kGroups[0], part);
    ASSERT_TRUE(appended) << appended.error().message();
    Hosted hosted = makers_[0].hosted();
    for (std::size_t i = 0; i < half + 4; ++i) hosted.state.apply(batch[i]);
    ASSERT_TRUE(journal->write_checkpoint(
        journal->start_checkpoint({{kGroups[0], hosted}, {kGroups[1], makers_[1].hosted()}})));
  }
  journal.reset();
  auto again = open(disk);
  ASSERT_TRUE(again) << again.error().message();
  auto found = (*again)->take_recovered();
  EXPECT_EQ(found[kGroups[0]].state.entries.back().index, end + 8);
}

TEST_F(JournalHardshipTest, WhatIsNoJournalIsLeftAlone) {
  sim::SimDisk disk(1);
  ASSERT_TRUE(disk.open("something else", sys::OpenMode::create_new));
  const auto journal = open(disk);
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().code(), Errc::already_exists);
  EXPECT_EQ(disk.list().value(), std::vector<std::string>{"something else"});
}

using JournalDeathTest = JournalHardshipTest;

// The log would be cut for all, and of one nothing be kept.
TEST_F(JournalDeathTest, ACheckpointHasAllReplicas) {
  sim::SimDisk disk(1);
  auto journal = filled(disk);
  EXPECT_DEATH((void)journal->start_checkpoint({{kGroups[0], makers_[0].hosted()}}), "");
  EXPECT_DEATH((void)journal->append({9, 9}, makers_[0].next()), "");
}

}  // namespace
}  // namespace dolmen::replication
