// SPDX-License-Identifier: Apache-2.0
//
// Crashes at every operation of small scenarios, with what the disk may keep of unsynced writes
// chosen in many ways; recovery twice, and crashes again while the recovered store does its first
// work.
#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "sim/crash_plan.hpp"
#include "sim/sim_hooks.hpp"
#include "store/store_sim_world.hpp"

namespace dolmen::store {
namespace {

using sim::CrashPlan;

constexpr ObjectId kA{10, 1};
constexpr ObjectId kB{20, 2};
constexpr ObjectId kC{30, 3};

/// Some of all plans, more where less is pending.
std::vector<CrashPlan> plans(std::uint64_t units, std::uint64_t seed) {
  std::vector<CrashPlan> plans{{.kind = CrashPlan::Kind::none}, {.kind = CrashPlan::Kind::all}};
  if (units == 0) return plans;
  base::Random random(seed);
  for (unsigned k = 0; k < 4; ++k) {
    plans.push_back({.kind = CrashPlan::Kind::prefix,
                     .argument = units <= 4 ? k % units : random.below(units),
                     .torn_bytes = static_cast<std::uint32_t>(random.below(512))});
    plans.push_back({.kind = CrashPlan::Kind::all_but,
                     .argument = units <= 4 ? k % units : random.below(units),
                     .torn_bytes = static_cast<std::uint32_t>(random.below(512))});
    plans.push_back({.kind = CrashPlan::Kind::random, .argument = random()});
  }
  return plans;
}

class CrashChecker {
 public:
  explicit CrashChecker(StoreDriver& driver) : driver_(driver) {}

  /// The first thing wrong at any moment, or every so many, of the driver's history; empty if
  /// nothing is.
  [[nodiscard]] std::string first_problem(std::uint64_t stride = 1) {
    const sim::DiskHistory history = driver_.disk().history();
    sim::DiskModel model = history.start;
    for (std::uint64_t op = 0; op <= history.ops.size(); ++op) {
      if (op > 0) model.apply(history.ops[op - 1]);
      if (op % stride != 0 && op != history.ops.size()) continue;
      for (const CrashPlan& plan : plans(model.pending_units(), op)) {
        const std::string problem = check(model, op, plan);
        if (problem.empty()) continue;
        return problem + " - crash after operation " + std::to_string(op) + " (" +
               (op > 0 ? history.ops[op - 1]->to_string() : "start") + "), plan " +
               plan.to_string();
      }
    }
    return {};
  }
  [[nodiscard]] std::uint64_t states() const noexcept { return states_; }

 private:
  [[nodiscard]] std::string check(const sim::DiskModel& model, std::uint64_t op,
                                  const CrashPlan& plan) {
    ++states_;
    sim::SimDisk disk(model.crash(plan), op);
    Index end = 0;
    {
      auto store = driver_.open_on(disk);
      if (!store) {
        const bool unfinished =
            op < driver_.created_at() && store.error().code() == Errc::not_a_space;
        return unfinished ? "" : "recovery: " + store.error().message();
      }
      end = (*store)->last_index();
      if (end < driver_.acknowledged_by(op)) return "an acknowledged commit is lost";
      if (end > driver_.appended_by(op)) return "a commit from the future";
      if (!driver_.model().ends_transaction(end)) return "half a transaction";
      if (!holds(**store, driver_.model().at(end))) return "other contents";
    }
    auto again = driver_.open_on(disk);
    if (!again) return "second recovery: " + again.error().message();
    if ((*again)->last_index() != end) return "the second recovery ends elsewhere";
    if (!holds(**again, driver_.model().at(end))) return "the second recovery has other contents";
    return states_ % 20 == 0 ? go_on_and_crash_again(disk, std::move(*again), end) : "";
  }

  [[nodiscard]] std::string go_on_and_crash_again(sim::SimDisk& disk, std::unique_ptr<Store> store,
                                                  Index end) {
    disk.record();
    const SpaceImage image = driver_.model().at(end);
    Change change;
    change.create({99, 9}, 9).write({99, 9}, 7, "after");
    SpaceImage later = image;
    later.apply(change);
    const auto index = store->append(change);
    if (!index) return "append after recovery: " + index.error().message();
    if (!store->wait_durable(*index)) return "sync after recovery";
    const sim::DiskHistory history = disk.history();
    sim::DiskModel model = history.start;
    for (std::uint64_t op = 0; op <= history.ops.size(); ++op) {
      if (op > 0) model.apply(history.ops[op - 1]);
      for (const auto kind :
           {CrashPlan::Kind::none, CrashPlan::Kind::all, CrashPlan::Kind::random}) {
        ++states_;
        sim::SimDisk crashed(model.crash({.kind = kind, .argument = op}), op);
        auto opened = driver_.open_on(crashed);
        if (!opened) return "recovery after a second crash: " + opened.error().message();
        const Index reached = (*opened)->last_index();
        if (reached != *index && (reached != end || op == history.ops.size())) {
          return "a commit is lost in a second crash";
        }
        if (!holds(**opened, reached == end ? image : later)) {
          return "other contents after a second crash";
        }
      }
    }
    return {};
  }

  StoreDriver& driver_;
  std::uint64_t states_ = 0;
};

using Scenario = void (*)(StoreDriver&);

/// Runs the scenario and crashes it everywhere; with a bug planted, that has to be noticed.
void check_crashes(Scenario scenario, std::uint64_t states_min,
                   std::initializer_list<const char*> bugs) {
  constexpr std::uint64_t kStride = base::kSanitized ? 13 : 1;
  {
    StoreDriver driver;
    scenario(driver);
    CrashChecker checker(driver);
    EXPECT_EQ(checker.first_problem(kStride), "");
    EXPECT_GE(checker.states(), states_min / kStride) << "the enumeration shrank";
  }
#if DOLMEN_SIM_HOOKS
  for (const char* const bug : bugs) {
    if (base::kSanitized) break;  // the release build looks for planted bugs
    sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = bug});
    StoreDriver driver;
    scenario(driver);
    EXPECT_NE(CrashChecker(driver).first_problem(), "") << bug << " was not noticed";
    EXPECT_GT(hooks.planted_reached(), 0u) << bug;
  }
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    sim::SimHooks hooks({.seed = seed, .buggify = true});
    StoreDriver driver(seed);
    scenario(driver);
    EXPECT_EQ(CrashChecker(driver).first_problem(kStride), "") << "rare paths of seed " << seed;
  }
#endif
}

std::string text(std::size_t bytes, char fill) { return std::string(bytes, fill); }

void mixed_commits(StoreDriver& driver) {
  driver.create();
  driver.commit(Change().create(kA, 13).write(kA, 10, "one"));
  driver.commit(Change().create(kB, 9).write(kA, 4090, "across pages").write(kB, 0, "two"));
  driver.append(Change().write(kA, 10, "deferred"));
  driver.commit(Change().write(kB, 3, text(300, 'x')).erase(kA).create(kC, 12));
}

TEST(StoreCrash, KeepsAcknowledgedCommitsAndWholeTransactionsOnly) {
  check_crashes(mixed_commits, 600,
                {"store.skip_log_sync", "store.skip_root_sync", "store.ack_before_sync"});
}

void many_segments(StoreDriver& driver) {
  driver.create();
  driver.commit(Change().create(kA, 14));
  for (unsigned k = 0; k < 12; ++k) {
    const Change change =
        Change().write(kA, k * 1000, text(900 + k * 37, static_cast<char>('a' + k)));
    k % 3 == 1 ? driver.append(change) : driver.commit(change);
  }
}

TEST(StoreCrash, SurvivesCrashesWhileTheLogChangesSegments) {
  check_crashes(many_segments, 2000, {"store.skip_log_sync", "store.skip_root_sync"});
}

void large_transactions(StoreDriver& driver) {
  driver.create();
  driver.commit(Change().create(kA, 14).write(kA, 0, "before"));
  driver.commit(Change().write(kA, 100, text(9000, 'p')).create(kB, 9).write(kB, 5, "q"));
  driver.commit(Change().write(kA, 3, "after"));
  driver.append(Change().write(kA, 2000, text(14000, 'r')));
  driver.commit(Change().write(kB, 9, "end"));
}

TEST(StoreCrash, TransactionsInPartsAreWhollyThereOrNotAtAll) {
  check_crashes(large_transactions, 2000, {"store.tail_without_trailer_applied"});
}

void checkpoints(StoreDriver& driver) {
  driver.create();
  driver.commit(Change().create(kA, 14).create(kB, 10).write(kB, 1, "b"));
  for (unsigned round = 0; round < 3; ++round) {
    for (unsigned k = 0; k < 4; ++k) {
      driver.commit(
          Change().write(kA, (round * 4 + k) * 777, text(1500, static_cast<char>('A' + k))));
    }
    driver.checkpoint();
  }
  driver.commit(Change().erase(kB).write(kA, 0, "last"));
  driver.checkpoint();
  driver.commit(Change().create(kB, 9));
}

TEST(StoreCrash, CheckpointsAndRecycledSegmentsLoseNothing) {
  check_crashes(checkpoints, 3000, {"store.reuse_segment_early", "store.skip_root_sync"});
}

void restarts(StoreDriver& driver) {
  driver.create();
  driver.commit(Change().create(kA, 13).write(kA, 0, "first"));
  driver.restart();
  driver.commit(Change().write(kA, 100, "second"));
  driver.append(Change().write(kA, 200, "never synced by its writer"));
  driver.restart();
  driver.commit(Change().write(kA, 300, "third"));
  driver.checkpoint();
  driver.restart();
  driver.commit(Change().write(kA, 50, text(3000, 'z')).resize(kA, 12));
  driver.restart();
  driver.commit(Change().resize(kA, 14).write(kA, 9000, "grown"));
  driver.checkpoint();
  driver.close();
  driver.restart();
  driver.commit(Change().write(kA, 1, "end"));
}

TEST(StoreCrash, RestartsInBetweenChangeNothing) {
  check_crashes(restarts, 3000, {"store.skip_log_sync"});
}

/// The recorded disk right after the first records of a segment were written, before their sync.
sim::DiskModel after_first_records(const sim::SimDisk& disk) {
  const sim::DiskHistory history = disk.history();
  sim::DiskModel model = history.start;
  for (const sim::DiskOpPtr& op : history.ops) {
    model.apply(op);
    if (op->kind == sim::OpKind::write && op->name.starts_with("log/") && op->offset == 4096) break;
  }
  return model;
}

/// Two crashes leave a valid record of another life exactly behind the only record of a segment.
/// Gives the recovered end, which is 1.
Index end_beside_stale_record() {
  StoreDriver driver;
  driver.create();
  const Change first = Change().create(kA, 12).write(kA, 0, text(900, 'f'));
  (void)driver.store().append(first);
  (void)driver.store().append(Change().write(kA, 0, "stale"));
  EXPECT_TRUE(driver.store().wait_durable(2));
  // The first sector of record 1 is lost, record 2 is there.
  const sim::DiskModel written = after_first_records(driver.disk());
  const CrashPlan lose_one{.kind = CrashPlan::Kind::all_but,
                           .argument = written.pending().back().first};
  sim::SimDisk torn(written.crash(lose_one), 1);
  torn.record();
  // A second segment takes over, and loses its record too: the first one is free again.
  auto store = driver.open_on(torn);
  if (!store) return ~Index{0};
  EXPECT_EQ((*store)->last_index(), 0u);
  (void)(*store)->append(first);
  EXPECT_TRUE((*store)->wait_durable(1));
  sim::SimDisk empty(after_first_records(torn).crash({.kind = CrashPlan::Kind::none}), 2);
  store = driver.open_on(empty);
  if (!store) return ~Index{0};
  EXPECT_EQ((*store)->last_index(), 0u);
  (void)(*store)->append(first);
  EXPECT_TRUE((*store)->wait_durable(1));
  store->reset();
  store = driver.open_on(empty);
  return store ? (*store)->last_index() : ~Index{0};
}

TEST(StoreCrash, ARecordOfAnEarlierLifeOfItsSegmentIsNotTakenForANewOne) {
  EXPECT_EQ(end_beside_stale_record(), 1u);
#if DOLMEN_SIM_HOOKS
  for (const char* const bug : {"store.unseeded_checksum", "store.no_new_incarnation"}) {
    sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = bug});
    EXPECT_EQ(end_beside_stale_record(), 2u) << bug << " was not noticed";
  }
#endif
}

}  // namespace
}  // namespace dolmen::store
