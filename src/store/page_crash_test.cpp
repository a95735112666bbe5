// SPDX-License-Identifier: Apache-2.0
//
// Power cut at every write of a chain of checkpoints, with every kind of loss: the root that is in
// force then must be whole, and the store must go on from it.
#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sim/sim_hooks.hpp"
#include "store/page_model.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::store {
namespace {

constexpr ObjectId kSpace{1, 2};

// One root and what it must hold, in force from one change of the disk to the next root's.
struct Epoch {
  std::uint64_t first_op = 0;
  TreeRoot root;
  PageModel model;
};

class Campaign {
 public:
  Campaign(std::uint64_t seed, const std::string& planted)
      : seed_(seed),
        hooks_({.seed = seed, .planted = planted}),
        env_(seed, *sys::linux_env().memory),
        disk_(seed) {}

  // Runs the chain; then breaks it everywhere. Gives the number of broken crash states.
  std::uint64_t run(int checkpoints, int steps) {
    PageModel model(seed_);
    auto store = open(disk_, {});
    disk_.record();
    epochs_.push_back({0, {}, model});
    for (int i = 0; i < checkpoints; ++i) {
      const std::uint64_t count = 1 + model.random().below(static_cast<std::uint64_t>(steps));
      for (std::uint64_t step = 0; step < count; ++step) model.step();
      CheckpointStats stats;
      const auto root = store->write_checkpoint(model.request(), stats);
      EXPECT_TRUE(root) << root.error().message();
      if (!root) return 1;
      if (i % 4 == 3) {
        store->discard();
        continue;
      }
      model.accept();
      // Here the caller makes the root durable elsewhere.
      epochs_.push_back({disk_.op_count(), *root, model});
      store->publish(*root);
      store->recycle();
    }
    return break_everywhere();
  }
  std::uint64_t states() const { return states_; }
  const std::string& first_failure() const { return first_failure_; }
  sim::SimHooks::Counts probes() const { return hooks_.probes(); }

 private:
  std::unique_ptr<PageStore> open(sim::SimDisk& disk, const TreeRoot& root) {
    auto opened = PageStore::open(env_.env(), disk, kSpace, root, false);
    EXPECT_TRUE(opened) << opened.error().message();
    return std::move(*opened);
  }

  std::uint64_t break_everywhere() {
    const sim::DiskHistory history = disk_.history();
    sim::DiskModel now = history.start;
    std::uint64_t broken = 0;
    for (std::size_t done = 0; done <= history.ops.size(); ++done) {
      if (done > 0) now.apply(history.ops[done - 1]);
      const std::uint64_t op = history.first_op + done;
      for (std::size_t i = 0; i < epochs_.size(); ++i) {
        // At the change that the switch falls on, the crash may find either root.
        const bool begun = epochs_[i].first_op <= op;
        const bool over = i + 1 < epochs_.size() && epochs_[i + 1].first_op < op;
        if (!begun || over) continue;
        for (const sim::CrashPlan& plan : plans(now.pending_units(), op)) {
          const std::string failure = failure_of(now, plan, epochs_[i]);
          ++states_;
          if (failure.empty()) continue;
          if (broken++ == 0) {
            first_failure_ = "seed " + std::to_string(seed_) + ", change " + std::to_string(op) +
                             ", " + plan.to_string() + ": " + failure;
          }
        }
      }
    }
    return broken;
  }

  static std::vector<sim::CrashPlan> plans(std::uint64_t units, std::uint64_t op) {
    using Kind = sim::CrashPlan::Kind;
    base::Random random(op);
    std::vector<sim::CrashPlan> plans = {{Kind::none, 0, 0}, {Kind::all, 0, 0}};
    if (units == 0) plans.pop_back();
    if (units == 0) return plans;
    const auto torn = [&] { return static_cast<std::uint32_t>(random.below(512)); };
    for (int i = 0; i < 3; ++i) {
      plans.push_back({Kind::prefix, random.below(units), torn()});
      plans.push_back({Kind::all_but, random.below(units), torn()});
      plans.push_back({Kind::random, random(), 0});
    }
    return plans;
  }

  std::string failure_of(const sim::DiskModel& disk, const sim::CrashPlan& plan,
                         const Epoch& epoch) {
    // The name of a file that nothing refers to yet may be missing: opening makes it again.
    sim::SimDisk after(disk.crash(plan), seed_);
    auto store = open(after, epoch.root);
    if (std::string text = epoch.model.difference(*store); !text.empty()) return text;
    ScrubReport report;
    if (!store->scrub(report) || !report.damage.empty()) return "scrub found damage";
    if (states_ % 16 != 0) return {};
    // The store goes on where the crash left it, among the rubbish of unpublished blocks.
    PageModel model = epoch.model;
    for (int i = 0; i < 20; ++i) model.step();
    CheckpointStats stats;
    const auto root = store->write_checkpoint(model.request(), stats);
    if (!root) return root.error().message();
    store->publish(*root);
    store->recycle();
    return model.difference(*store);
  }

  const std::uint64_t seed_;
  sim::SimHooks hooks_;
  sim::SimEnv env_;
  sim::SimDisk disk_;
  std::vector<Epoch> epochs_;
  std::uint64_t states_ = 0;
  std::string first_failure_;
};

TEST(PageCrash, EveryCrashStateHoldsTheRootThatIsInForce) {
  constexpr std::uint64_t kSeeds = base::kSanitized ? 1 : 12;
  std::uint64_t states = 0;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Campaign campaign(seed, "");
    ASSERT_EQ(campaign.run(8, 24), 0u) << campaign.first_failure();
    states += campaign.states();
  }
  RecordProperty("crash_states", static_cast<int>(states));
  EXPECT_GT(states, kSeeds * 125);
}

TEST(PageCrash, PlantedBugsAreFound) {
  if (base::kSanitized) GTEST_SKIP() << "the release build looks for planted bugs";
  for (const char* bug : {"store.recycle_live_block", "store.skip_pages_sync"}) {
    std::string found;
    for (std::uint64_t seed = 1; seed <= 20 && found.empty(); ++seed) {
      Campaign campaign(seed, bug);
      campaign.run(8, 24);
      found = campaign.first_failure();
    }
    EXPECT_NE(found, "") << bug;
  }
}

}  // namespace
}  // namespace dolmen::store
