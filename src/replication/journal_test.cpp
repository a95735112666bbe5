// SPDX-License-Identifier: Apache-2.0
#include "replication/journal.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include <gtest/gtest.h>

#include "base/test_budget.hpp"
#include "replication/journal_fixture.hpp"
#include "sim/crash_plan.hpp"
#include "sim/log_checks.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::replication {
namespace {

using sim::means;

constexpr GroupId kGroups[] = {{7, 1}, {3, 2}};
constexpr JournalOptions kSmall{.segment_bytes = 8u << 10, .tail_bytes_max = 24u << 10};

class JournalTest : public testing::Test {
 protected:
  Result<std::unique_ptr<Journal>> open(sim::SimDisk& disk,
                                        const JournalOptions& options = kSmall) {
    return Journal::open(env_.env(), std::make_unique<sys::BorrowedDisk>(disk), options);
  }

  sim::SimEnv env_{1, *sys::linux_env().memory};
};

TEST_F(JournalTest, AnEmptyDirectoryBecomesAnEmptyJournal) {
  sim::SimDisk disk(1);
  auto journal = open(disk);
  ASSERT_TRUE(journal) << journal.error().message();
  EXPECT_TRUE((*journal)->take_recovered().empty());
  ASSERT_TRUE((*journal)->close());
  EXPECT_TRUE(open(disk));
}

TEST_F(JournalTest, ReplicasComeBackAsTheyWere) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    sim::SimDisk disk(seed);
    RecordMaker makers[] = {{log::ReplicaId{11}, seed}, {log::ReplicaId{12}, seed + 100}};
    base::Random random(seed);
    for (int life = 0; life < 4; ++life) {
      auto journal = open(disk);
      ASSERT_TRUE(journal) << journal.error().message();
      auto found = (*journal)->take_recovered();
      for (std::size_t g = 0; g < 2; ++g) {
        if (life == 0) {
          ASSERT_TRUE(
              (*journal)->add(kGroups[g], makers[g].hosted().self, makers[g].hosted().first));
          continue;
        }
        ASSERT_TRUE(found.contains(kGroups[g]));
        const Hosted& hosted = found[kGroups[g]];
        EXPECT_EQ(hosted.self, makers[g].hosted().self);
        EXPECT_EQ(hosted.first, makers[g].hosted().first);
        EXPECT_TRUE(means(hosted.state, makers[g].hosted().state)) << "seed " << seed;
      }
      for (int step = 0; step < 60; ++step) {
        const std::size_t g = random.below(2);
        ASSERT_TRUE((*journal)->append(kGroups[g], makers[g].next()));
        if (random.below(10) != 0 && !(*journal)->checkpoint_due()) continue;
        makers[0].compact();
        makers[1].compact();
        const auto checkpoint = (*journal)->start_checkpoint(
            {{kGroups[0], makers[0].hosted()}, {kGroups[1], makers[1].hosted()}});
        ASSERT_TRUE((*journal)->append(kGroups[g], makers[g].next()));  // meanwhile
        const auto written = (*journal)->write_checkpoint(checkpoint);
        ASSERT_TRUE(written) << written.error().message();
        EXPECT_EQ((*journal)->stats().checkpoint_index, checkpoint.as_of);
      }
      ASSERT_TRUE((*journal)->sync());
    }
  }
}

TEST_F(JournalTest, AReplicaThatWasRemovedIsGoneAndAnotherOneTakesItsPlace) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    sim::SimDisk disk(seed);
    base::Random random(seed);
    std::map<GroupId, RecordMaker> here;
    std::uint64_t made = 0;
    for (int life = 0; life < 5; ++life) {
      auto journal = open(disk);
      ASSERT_TRUE(journal) << journal.error().message() << " with seed " << seed;
      const auto found = (*journal)->take_recovered();
      ASSERT_EQ(found.size(), here.size()) << "seed " << seed;
      for (const auto& [group, hosted] : found) {
        ASSERT_TRUE(here.contains(group));
        EXPECT_EQ(hosted.self, here.at(group).hosted().self);
        EXPECT_TRUE(means(hosted.state, here.at(group).hosted().state)) << "seed " << seed;
      }
      const auto all = [&] {
        std::map<GroupId, Hosted> replicas;
        for (const auto& [group, maker] : here) replicas.emplace(group, maker.hosted());
        return replicas;
      };
      for (int step = 0; step < 30; ++step) {
        const GroupId group{5, 1 + random.below(4)};
        const auto there = here.find(group);
        if (there == here.end()) {
          ++made;
          RecordMaker maker(log::ReplicaId{made}, seed + made);
          ASSERT_TRUE((*journal)->add(group, maker.hosted().self, maker.hosted().first));
          here.emplace(group, std::move(maker));
        } else if (random.below(6) == 0) {
          ASSERT_TRUE((*journal)->remove(group));
          here.erase(there);
        } else {
          ASSERT_TRUE((*journal)->append(group, there->second.next()));
        }
        if (random.below(8) != 0 && !(*journal)->checkpoint_due()) continue;
        for (auto& [id, maker] : here) maker.compact();
        const auto checkpoint = (*journal)->start_checkpoint(all());
        // Meanwhile one of them goes.
        if (!here.empty() && random.below(3) == 0) {
          ASSERT_TRUE((*journal)->remove(here.begin()->first));
          here.erase(here.begin());
        }
        const auto written = (*journal)->write_checkpoint(checkpoint);
        ASSERT_TRUE(written) << written.error().message() << " with seed " << seed;
      }
      ASSERT_TRUE((*journal)->sync());
    }
  }
}

TEST_F(JournalTest, ASpaceIsNoJournalAndAJournalNoSpace) {
  sim::SimDisk space(1);
  ASSERT_TRUE(store::Store::create(env_.env(), std::make_unique<sys::BorrowedDisk>(space), {}));
  const auto journal = open(space);
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().code(), Errc::not_a_space);
  sim::SimDisk disk(2);
  ASSERT_TRUE(open(disk));
  const auto store = store::Store::open(env_.env(), std::make_unique<sys::BorrowedDisk>(disk));
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code(), Errc::not_a_space);
}

TEST_F(JournalTest, OneProcessRunsTheReplicasOfAJournal) {
  sim::SimDisk disk(1);
  const auto first = open(disk);
  ASSERT_TRUE(first);
  const auto second = open(disk);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Errc::held);
  JournalOptions read_only = kSmall;
  read_only.read_only = true;
  EXPECT_TRUE(open(disk, read_only));  // who only looks is not in the way
}

TEST_F(JournalTest, AFailedSyncIsTheEnd) {
  sim::SimDisk disk(1);
  auto journal = open(disk);
  RecordMaker maker(log::ReplicaId{11}, 1);
  ASSERT_TRUE((*journal)->add(kGroups[0], maker.hosted().self, maker.hosted().first));
  ASSERT_TRUE((*journal)->append(kGroups[0], maker.next()));
  disk.inject({.on = sim::FaultOn::sync});
  EXPECT_EQ((*journal)->sync().error().code(), Errc::store_failed);
  EXPECT_TRUE((*journal)->failed());
  EXPECT_EQ((*journal)->append(kGroups[0], maker.next()).error().code(), Errc::store_failed);
  EXPECT_EQ((*journal)->sync().error().code(), Errc::store_failed);
}

TEST_F(JournalTest, AFullDiskIsSaidBeforeAnythingIsAppended) {
  sim::SimDisk disk(1);
  auto journal = open(disk);
  RecordMaker maker(log::ReplicaId{11}, 1);
  ASSERT_TRUE((*journal)->add(kGroups[0], maker.hosted().self, maker.hosted().first));
  disk.set_capacity_bytes(disk.used_bytes());
  Result<void> appended;
  Hosted before;
  do {
    before = maker.hosted();
    appended = (*journal)->append(kGroups[0], maker.next());
  } while (appended);
  EXPECT_EQ(appended.error().code(), Errc::no_space);
  EXPECT_FALSE((*journal)->failed());
  ASSERT_TRUE((*journal)->sync());
  journal->reset();
  disk.set_capacity_bytes(~std::uint64_t{0});
  journal = open(disk);
  ASSERT_TRUE(journal) << journal.error().message();
  EXPECT_TRUE(means((*journal)->take_recovered()[kGroups[0]].state, before.state));
}

/// What hooks call a full disk is over at the next try.
template <class Call>
auto again(const Call& call) {
  auto result = call();
  while (!result && result.error().code() == Errc::no_space) result = call();
  return result;
}

// What lies in the disk's cache at a crash is there in part, torn, or not at all.
TEST_F(JournalTest, ACrashLeavesWhatWasSyncedAndAPrefixOfTheRestCrash) {
  const std::uint64_t seeds = base::budget("journal_crashes");
  std::uint64_t more_than_synced = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const sim::SimHooks hooks({.seed = seed});
    base::Random random(seed);
    auto disk = std::make_unique<sim::SimDisk>(seed);
    RecordMaker makers[] = {{log::ReplicaId{11}, seed}, {log::ReplicaId{12}, seed + 1}};
    // What a replay may give: the last one that was synced, and those appended since.
    std::vector<std::array<Hosted, 2>> possible;
    for (int life = 0; life < 3; ++life) {
      auto journal = again([&] { return open(*disk); });
      ASSERT_TRUE(journal) << journal.error().message() << " with seed " << seed;
      if (life == 0) {
        for (std::size_t g = 0; g < 2; ++g) {
          ASSERT_TRUE(again([&] {
            return (*journal)->add(kGroups[g], makers[g].hosted().self, makers[g].hosted().first);
          }));
        }
      } else {
        auto found = (*journal)->take_recovered();
        const auto is = [&](const std::array<Hosted, 2>& hosted) {
          return means(found[kGroups[0]].state, hosted[0].state) &&
                 means(found[kGroups[1]].state, hosted[1].state);
        };
        const auto match = std::ranges::find_if(possible, is);
        ASSERT_NE(match, possible.end()) << "seed " << seed << ", life " << life;
        if (match != possible.begin()) ++more_than_synced;
        for (std::size_t g = 0; g < 2; ++g) makers[g].restart((*match)[g], found[kGroups[g]]);
      }
      possible = {{makers[0].hosted(), makers[1].hosted()}};
      for (std::uint64_t step = 0, steps = random.below(60); step < steps; ++step) {
        const std::size_t g = random.below(2);
        const auto records = makers[g].next();
        ASSERT_TRUE(again([&] { return (*journal)->append(kGroups[g], records); }));
        possible.push_back({makers[0].hosted(), makers[1].hosted()});
        if (random.below(8) == 0) {
          ASSERT_TRUE((*journal)->sync());
          possible = {possible.back()};
        }
        if (random.below(20) == 0 || (*journal)->checkpoint_due()) {
          if (random.below(2) == 0) makers[g].compact();
          const auto checkpoint = (*journal)->start_checkpoint(
              {{kGroups[0], makers[0].hosted()}, {kGroups[1], makers[1].hosted()}});
          ASSERT_TRUE(again([&] { return (*journal)->write_checkpoint(checkpoint); }));
          possible = {{makers[0].hosted(), makers[1].hosted()}};
        }
      }
      const std::uint64_t units = disk->model().pending_units();
      using Kind = sim::CrashPlan::Kind;
      constexpr Kind kKinds[] = {Kind::none, Kind::all, Kind::prefix, Kind::all_but, Kind::random};
      sim::CrashPlan plan{.kind = kKinds[random.below(std::size(kKinds))], .argument = random()};
      if (plan.kind == Kind::prefix || plan.kind == Kind::all_but) {
        if (units == 0) plan.kind = Kind::none;
        plan.argument %= std::max<std::uint64_t>(units, 1);
        plan.torn_bytes = static_cast<std::uint32_t>(random.below(512));
      }
      auto next = disk->crash(plan, seed);
      disk->power_off();
      journal->reset();
      disk = std::move(next);
    }
  }
  EXPECT_GT(more_than_synced, seeds / 100);
}

}  // namespace
}  // namespace dolmen::replication
