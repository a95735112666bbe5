// SPDX-License-Identifier: Apache-2.0
//
// What members answer by their leases, and what they lend to who reads their memory.
#include <memory>
#include <optional>
#include <utility>

#include <gtest/gtest.h>

#include "replication/lease_message.hpp"
#include "replication/member_fixture.hpp"
#include "sim/sim_hooks.hpp"

namespace dolmen::replication {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kLeaseNs = 60 * kMs;

MemberWorldOptions with_leases(std::uint64_t seed = 1) {
  MemberWorldOptions options{.seed = seed, .is_read = true};
  options.member.replica.lease_ns = kLeaseNs;
  return options;
}

class Leased {
 public:
  explicit Leased(const MemberWorldOptions& options = with_leases()) : world(options) {
    leader = world.lead();
    EXPECT_EQ(add(5), ReplyStatus::done);
    world.run_for(50 * kMs);
  }
  ReplyStatus add(std::uint64_t amount) {
    std::optional<ReplyStatus> status;
    world.member(leader).submit(kTestGroup, Tally::add(amount),
                                [&](const Executor::Outcome& outcome) { status = outcome.status; });
    EXPECT_TRUE(world.run([&] { return status.has_value(); }));
    return status.value_or(ReplyStatus::lost);
  }
  /// A query from within the leader's process.
  std::shared_ptr<std::optional<Executor::Outcome>> query(ReadLevel level) {
    auto told = std::make_shared<std::optional<Executor::Outcome>>();
    world.member(leader).query(kTestGroup, {}, level,
                               [told](const Executor::Outcome& outcome) { *told = outcome; });
    return told;
  }
  std::uint64_t by_lease() {
    return world.member(leader).inside(kTestGroup)->meter->reads_by_lease;
  }
  std::optional<LeaseTold> ask_for_lease(std::size_t member, log::Epoch epoch) {
    const AskLease ask{.number = ++asked, .epoch = epoch};
    client.lease().reset();
    bool is_sent = false;
    EXPECT_TRUE(world.run([&] {
      if (!is_sent) is_sent = client.send(member, EnvelopeKind::ask_lease, encode(ask));
      return client.lease().has_value();
    }));
    EXPECT_EQ(client.lease().value_or(LeaseTold{}).number, asked);
    return client.lease();
  }

  MemberWorld world;
  MemberClient client{world, fabric::NodeId{50}};
  std::size_t leader = 0;
  std::uint64_t asked = 0;
};

TEST(MemberLease, ALeaderAnswersByItsLeaseThoughNobodyIsHeardMeanwhile) {
  Leased all;
  all.world.cut_off(all.leader, 1'000 * kMs);
  const auto rounds = all.query(ReadLevel::linearizable);
  const auto leased = all.query(ReadLevel::lease);
  all.world.run_for(10 * kMs);
  EXPECT_FALSE(rounds->has_value()) << "nobody is there to say that it leads";
  ASSERT_TRUE(leased->has_value());
  EXPECT_EQ((*leased)->status, ReplyStatus::done);
  EXPECT_EQ(Tally::value_of((*leased)->result), 5u);
  EXPECT_EQ(all.by_lease(), 1u);
}

TEST(MemberLease, WhenItIsOverOthersAreAsked) {
  Leased all;
  all.world.cut_off(all.leader, 10'000 * kMs);
  all.world.run_for(kLeaseNs);
  const auto late = all.query(ReadLevel::lease);
  EXPECT_TRUE(all.world.run([&] { return late->has_value(); }));
  EXPECT_EQ((*late)->status, ReplyStatus::not_leader);
  EXPECT_EQ(all.by_lease(), 0u);
}

TEST(MemberLease, WhoStoodStillAnswersNothingByIt) {
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    Leased all(with_leases(seed));
    // It stands still for longer than its lease, and another one leads meanwhile.
    const auto asked = all.query(ReadLevel::lease);
    all.world.pause(all.leader, 900 * kMs);
    std::optional<std::size_t> other;
    ASSERT_TRUE(all.world.run([&] {
      for (std::size_t i = 0; i < all.world.size(); ++i) {
        if (i != all.leader && all.world.member(i).leads(kTestGroup)) other = i;
      }
      return other.has_value();
    }));
    const std::size_t former = std::exchange(all.leader, *other);
    EXPECT_EQ(all.add(6), ReplyStatus::done);
    all.leader = former;
    const auto later = all.query(ReadLevel::lease);
    EXPECT_TRUE(all.world.run([&] { return asked->has_value() && later->has_value(); }));
    EXPECT_EQ((*asked)->status, ReplyStatus::not_leader);
    EXPECT_EQ((*later)->status, ReplyStatus::not_leader) << "seed " << seed;
  }
}

TEST(MemberLease, ItsClockIsLookedAtOrItIsSeen) {
  const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = "log.lease_never_ends"});
  Leased all;
  all.world.cut_off(all.leader, 10'000 * kMs);
  all.world.run_for(kLeaseNs);
  const auto late = all.query(ReadLevel::lease);
  EXPECT_TRUE(all.world.run([&] { return late->has_value(); }));
  EXPECT_EQ((*late)->status, ReplyStatus::done) << "a test above does not see it";
}

TEST(MemberLease, WhoLeadsLendsWhatIsLeftOfItForItsEpochAlone) {
  Leased all;
  const log::Epoch epoch = all.world.status(all.leader).epoch;
  const auto told = all.ask_for_lease(all.leader, epoch);
  ASSERT_TRUE(told);
  EXPECT_GT(told->left_ns, kLeaseNs / 2);
  EXPECT_LE(told->left_ns, kLeaseNs);
  EXPECT_EQ(told->drift_ppm, 1000u);
  const auto of_another = all.ask_for_lease(all.leader, epoch + 1);
  ASSERT_TRUE(of_another);
  EXPECT_EQ(of_another->left_ns, 0u);
  const auto of_a_follower = all.ask_for_lease((all.leader + 1) % 3, epoch);
  ASSERT_TRUE(of_a_follower);
  EXPECT_EQ(of_a_follower->left_ns, 0u);
}

TEST(MemberLease, WithoutLeasesNothingIsLentAndTheOthersAreAsked) {
  Leased all({.is_read = true});
  const auto told = all.ask_for_lease(all.leader, all.world.status(all.leader).epoch);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->left_ns, 0u);
  const auto read = all.query(ReadLevel::lease);
  ASSERT_TRUE(all.world.run([&] { return read->has_value(); }));
  EXPECT_EQ((*read)->status, ReplyStatus::done);
  EXPECT_EQ(all.by_lease(), 0u);
}

// A leader's end that is noticed at once: others stand when what they promised is over.
TEST(MemberLease, NobodyLeadsBeforeTheLeaseOfWhoDiedIsOver) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Leased all(with_leases(seed));
    const auto told = all.ask_for_lease(all.leader, all.world.status(all.leader).epoch);
    ASSERT_TRUE(told);
    const std::uint64_t until_ns = all.world.now_ns() + told->left_ns - 5 * kMs;
    all.world.end(all.leader);
    ASSERT_TRUE(all.world.run([&] {
      for (std::size_t i = 0; i < all.world.size(); ++i) {
        if (all.world.is_up(i) && all.world.member(i).leads(kTestGroup)) return true;
      }
      return false;
    }));
    EXPECT_GT(all.world.now_ns(), until_ns) << "seed " << seed;
  }
}

/// When somebody else leads, counted from when who led is asked to give it to others.
std::uint64_t handed_over_after_ns(Leased& all) {
  const std::uint64_t begin_ns = all.world.now_ns();
  bool is_over = false;
  EXPECT_TRUE(all.world.run([&] {
    is_over = is_over || all.world.member(all.leader).hand_over();
    for (std::size_t i = 0; i < all.world.size(); ++i) {
      if (i != all.leader && all.world.member(i).leads(kTestGroup)) return true;
    }
    return false;
  }));
  const std::uint64_t took_ns = all.world.now_ns() - begin_ns;
  EXPECT_TRUE(all.world.run([&] { return all.world.member(all.leader).hand_over(); }));
  return took_ns;
}

// Virtual time: what others promised would keep them for longer than their lease.
TEST(MemberLease, WhoEndsInOrderGivesItsLeaseUp) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    Leased all(with_leases(seed));
    EXPECT_LT(handed_over_after_ns(all), kLeaseNs / 2) << "seed " << seed;
  }
}

TEST(MemberLease, WhatItLentIsOverFirst) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    Leased all(with_leases(seed));
    const auto told = all.ask_for_lease(all.leader, all.world.status(all.leader).epoch);
    ASSERT_TRUE(told);
    const std::uint64_t until_ns = all.world.now_ns() + told->left_ns - 5 * kMs;
    const std::uint64_t begin_ns = all.world.now_ns();
    EXPECT_GT(begin_ns + handed_over_after_ns(all), until_ns) << "seed " << seed;
  }
}

TEST(MemberLease, WhoCannotGiveItToAnybodyWaitsNoLongerThanForASilence) {
  Leased all;
  all.world.cut_off(all.leader, 100'000 * kMs);
  const std::uint64_t begin_ns = all.world.now_ns();
  ASSERT_TRUE(all.world.run([&] { return all.world.member(all.leader).hand_over(); }));
  EXPECT_LT(all.world.now_ns(), begin_ns + kLeaseNs + 500 * kMs);
}

TEST(MemberLease, WithoutLeasesThereIsNothingToGiveUp) {
  Leased all({.is_read = true});
  EXPECT_TRUE(all.world.member(all.leader).hand_over());
  EXPECT_TRUE(all.world.member(all.leader).leads(kTestGroup));
}

}  // namespace
}  // namespace dolmen::replication
