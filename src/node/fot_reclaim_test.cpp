// SPDX-License-Identifier: Apache-2.0
//
// Indices of the foreign object table that no pointer uses are given out again: what views, aborts,
// reopening and crashes see of that.
#include <stdexcept>

#include <dolmen/vector.hpp>

#include "node/inspect.hpp"
#include "node/open_space.hpp"
#include "node/space_fixture.hpp"
#include "sim/crash_walk.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

struct Leaf {
  std::uint64_t value;
};
/// pointers[i] leads to the leaf with the value values[i].
struct Hub {
  vector<ptr<Leaf>> pointers;
  vector<std::uint64_t> values;
};

constexpr std::uint64_t kLeaves = 700;
// The table is looked through when an entry beyond these is wanted.
constexpr std::uint64_t kFull = 256;

std::vector<Object<Leaf>> make_leaves(Space& space) {
  std::vector<Object<Leaf>> leaves;
  space
      .transact(any,
                [&] {
                  for (std::uint64_t i = 0; i < kLeaves; ++i) {
                    leaves.push_back(space.create<Leaf>({.capacity = 512}).value());
                    space.edit(leaves.back())->value = i;
                  }
                })
      .value();
  return leaves;
}

/// Makes the hub point to these leaves and to no others. Gives what the body gave.
Result<void> point_at(Space& space, const Object<Hub>& hub, const std::vector<Object<Leaf>>& leaves,
                      std::uint64_t first, std::uint64_t last,
                      const std::function<void()>& then = {}) {
  return space.transact(any, [&] {
    const mut<Hub> h = space.edit(hub);
    h->pointers.clear();
    h->values.clear();
    for (std::uint64_t i = first; i < last; ++i) {
      h->pointers.push_back(space.root(leaves[i]));
      h->values.push_back(i);
    }
    if (then) then();
  });
}

/// How many of the hub's pointers lead elsewhere than they should.
std::uint64_t wrong_pointers(const Hub& hub, std::uint64_t from = 0, std::uint64_t step = 1) {
  std::uint64_t wrong = hub.pointers.size() == hub.values.size() ? 0 : 1;
  for (std::uint64_t i = from; i < hub.pointers.size(); i += step) {
    wrong += hub.pointers[i]->value == hub.values[i] ? 0 : 1;
  }
  return wrong;
}

std::uint64_t indices_used(Space& space, const Object<Hub>& hub) {
  return Explorer::make(space).value().references(hub.id()).value().size();
}

class FotReclaim : public testing::Test {
 protected:
  FotReclaim() { point_at(space, hub, leaves, 0, kFull).value(); }
  void expect_sound(std::uint64_t first) {
    const auto look = [&](const Hub& h) {
      EXPECT_EQ(h.values[0], first);
      EXPECT_EQ(wrong_pointers(h), 0u);
    };
    space.read(everything, [&] { look(*space.root(hub)); }).value();
    const View view = space.view().value();
    look(*view[hub]);
  }
  void reopen() {
    ASSERT_TRUE(space.close());
    space = open_test_space(directory, {.background = false});
  }

  TestDirectory directory;
  Space space = open_test_space(directory, {.background = false});
  std::vector<Object<Leaf>> leaves = make_leaves(space);
  Object<Hub> hub = space.create<Hub>({.capacity = 1u << 20}).value();
};

TEST_F(FotReclaim, GivesBackWhatNoPointerUses) {
  EXPECT_EQ(indices_used(space, hub), kFull);
  // The pointers to the first leaves are gone when the table is about to grow.
  ASSERT_TRUE(point_at(space, hub, leaves, kFull, kFull + 100));
  EXPECT_EQ(indices_used(space, hub), 100u);
  expect_sound(kFull);
  // Their indices now mean others.
  ASSERT_TRUE(point_at(space, hub, leaves, 400, 400 + kFull));
  EXPECT_LE(indices_used(space, hub), kFull + 100);
  expect_sound(400);
  reopen();
  expect_sound(400);
}

TEST_F(FotReclaim, AViewHeldAcrossItFollowsWhatItSaw) {
  const View old_view = space.view().value();
  EXPECT_EQ(wrong_pointers(*old_view[hub], 0, 2), 0u);
  const View untouched = space.view().value();
  ASSERT_TRUE(point_at(space, hub, leaves, kFull, kFull + 100));
  const View between = space.view().value();
  ASSERT_TRUE(point_at(space, hub, leaves, 400, 400 + kFull));
  ASSERT_TRUE(space.checkpoint());
  ASSERT_TRUE(point_at(space, hub, leaves, 100, 100 + kFull));
  for (const auto& [view, first] :
       {std::pair<const View&, std::uint64_t>{old_view, 0}, {untouched, 0}, {between, kFull}}) {
    EXPECT_EQ(view[hub]->values[0], first);
    EXPECT_EQ(wrong_pointers(*view[hub], 1, 2), 0u) << "not followed before";
    EXPECT_EQ(wrong_pointers(*view[hub]), 0u);
  }
  expect_sound(100);
}

TEST_F(FotReclaim, AViewHeldAcrossItFollowsToLeavesErasedSince) {
  const View view = space.view().value();
  ASSERT_TRUE(point_at(space, hub, leaves, kFull, kFull + 100));
  for (std::uint64_t i = 0; i < kFull; i += 3) ASSERT_TRUE(space.erase(leaves[i]));
  ASSERT_TRUE(point_at(space, hub, leaves, 400, 400 + kFull));
  EXPECT_EQ(wrong_pointers(*view[hub]), 0u);
  expect_sound(400);
}

TEST_F(FotReclaim, AnAbortTakesItBack) {
  {
    const View view = space.view().value();
    EXPECT_THROW((void)point_at(space, hub, leaves, kFull, kFull + 200,
                                [] { throw std::runtime_error("changed its mind"); }),
                 std::runtime_error);
    EXPECT_EQ(indices_used(space, hub), kFull);
    expect_sound(0);
    EXPECT_EQ(wrong_pointers(*view[hub]), 0u);
  }
  ASSERT_TRUE(point_at(space, hub, leaves, kFull, kFull + 200));
  EXPECT_EQ(indices_used(space, hub), 200u);
  expect_sound(kFull);
  reopen();
  expect_sound(kFull);
}

TEST_F(FotReclaim, PointersOnTheStackOutliveItInTheirTransaction) {
  space
      .transact(any,
                [&] {
                  const mut<Hub> h = space.edit(hub);
                  const ptr<Leaf> kept = h->pointers[17];
                  h->pointers.clear();
                  h->values.clear();
                  for (std::uint64_t i = 300; i < 600; ++i) {
                    h->pointers.push_back(space.root(leaves[i]));
                    h->values.push_back(i);
                  }
                  EXPECT_EQ(kept->value, 17u);
                  h->pointers.push_back(kept);
                  h->values.push_back(17);
                })
      .value();
  expect_sound(300);
  EXPECT_EQ(indices_used(space, hub), 301u);
}

Result<Space> open_on(const sim::SimEnv& world, sys::Disk& disk) {
  sys::Memory& memory = *sys::linux_env().memory;
  return open_space(world.env(), std::make_unique<sys::BorrowedDisk>(disk),
                    {.background = false, .log_segment_bytes = 256u << 10}, memory.best_driver());
}

TEST(FotReclaimCrash, LeavesEveryPointerLeadingWhereItsCommitSaid) {
  const sim::SimEnv world(1, *sys::linux_env().memory);
  sim::SimDisk disk(1);
  ObjectId hub_id;
  {
    Space space = open_on(world, disk).value();
    const auto leaves = make_leaves(space);
    const auto hub = space.create<Hub>({.capacity = 256u << 10}).value();
    hub_id = hub.id();
    ASSERT_TRUE(point_at(space, hub, leaves, 0, kFull));
    disk.record();
    ASSERT_TRUE(point_at(space, hub, leaves, kFull, kFull + 100));
    EXPECT_EQ(indices_used(space, hub), 100u);
    ASSERT_TRUE(point_at(space, hub, leaves, 400, 400 + kFull));
    ASSERT_TRUE(space.checkpoint());
    ASSERT_TRUE(point_at(space, hub, leaves, 0, 300));
    ASSERT_TRUE(space.close());
  }
  std::set<std::uint64_t> found;
  const sim::CrashCounts counts = sim::for_each_crash_state(
      disk.history(), {.random_subsets = 4, .units_max = 4, .seed = 1},
      [&](const sim::CrashState& state) {
        const auto crashed = state.disk();
        auto space = open_on(world, *crashed);
        EXPECT_TRUE(space) << state.to_string() << ": " << space.error().message();
        if (!space) return false;
        const View view = space->view().value();
        const Hub& hub = *view[Object<Hub>(hub_id)];
        EXPECT_EQ(wrong_pointers(hub), 0u) << state.to_string();
        found.insert(hub.values[0] * 1000 + hub.values.size());
        // And it can go on from there: the same reclamation again.
        return !testing::Test::HasFailure();
      });
  EXPECT_GT(counts.states(), 50u);
  EXPECT_EQ(found, (std::set<std::uint64_t>{kFull, kFull * 1000 + 100, 400 * 1000 + kFull, 300}));
}

}  // namespace
}  // namespace dolmen::node
