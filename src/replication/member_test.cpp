// SPDX-License-Identifier: Apache-2.0
#include "replication/member.hpp"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "replication/member_fixture.hpp"
#include "sim/sim_hooks.hpp"

namespace dolmen::replication {
namespace {

using Outcome = Executor::Outcome;

/// A command from within the member's process.
std::shared_ptr<std::optional<Outcome>> submit(MemberWorld& world, std::size_t member,
                                               base::Bytes command) {
  auto told = std::make_shared<std::optional<Outcome>>();
  world.member(member).submit(kTestGroup, command,
                              [told](const Outcome& outcome) { *told = outcome; });
  return told;
}
/// … and its result.
std::optional<std::uint64_t> add(MemberWorld& world, std::size_t member, std::uint64_t amount,
                                 std::size_t padding = 0) {
  const auto told = submit(world, member, Tally::add(amount, padding));
  EXPECT_TRUE(world.run([&] { return told->has_value(); }));
  if (!*told || (*told)->status != ReplyStatus::done) return std::nullopt;
  return Tally::value_of((*told)->result);
}
/// A client's request at a member, and what came of it.
MemberClient::Told ask(MemberWorld& world, MemberClient& client, std::size_t member,
                       std::uint64_t session, std::uint64_t sequence, base::Bytes command) {
  std::optional<std::uint64_t> number;
  std::optional<MemberClient::Told> told;
  EXPECT_TRUE(world.run([&] {
    if (!number) number = client.ask(member, session, sequence, command);
    if (number) told = client.answer_to(*number);
    return told.has_value();
  }));
  return told.value_or(MemberClient::Told{.status = ReplyStatus::lost});
}
void expect_same_values(MemberWorld& world, std::uint64_t value) {
  ASSERT_TRUE(world.run([&] { return world.agrees(); }));
  for (std::size_t i = 0; i < world.size(); ++i) {
    if (!world.is_up(i)) continue;
    EXPECT_EQ(world.machine(i).value(), value) << "member " << i;
  }
}

TEST(Member, ACommandAtTheLeaderIsExecutedOnAll) {
  MemberWorld world({});
  const std::size_t leader = world.lead(1'000'000'000);
  EXPECT_EQ(add(world, leader, 5), 5u);
  EXPECT_EQ(add(world, leader, 6), 11u);
  expect_same_values(world, 11);
  const std::size_t other = (leader + 1) % 3;
  const auto told = submit(world, other, Tally::add(1));
  ASSERT_TRUE(told->has_value()) << "at once";
  EXPECT_EQ((*told)->status, ReplyStatus::not_leader);
  EXPECT_EQ((*told)->value, static_cast<std::uint64_t>(MemberWorld::id(leader)));
}

TEST(Member, AClientIsServedOverTheFabric) {
  MemberWorld world({});
  MemberClient client(world, fabric::NodeId{50});
  const std::size_t leader = world.lead();
  const auto elsewhere = ask(world, client, (leader + 1) % 3, 0, 0, {});
  EXPECT_EQ(elsewhere.status, ReplyStatus::not_leader);
  EXPECT_EQ(elsewhere.value, static_cast<std::uint64_t>(MemberWorld::id(leader)));
  const auto opened = ask(world, client, leader, 0, 0, {});
  ASSERT_EQ(opened.status, ReplyStatus::done);
  ASSERT_NE(opened.value, 0u);
  for (int i = 0; i < 3; ++i) {
    const auto told = ask(world, client, leader, opened.value, 1, Tally::add(7));
    EXPECT_EQ(told.status, ReplyStatus::done);
    EXPECT_EQ(Tally::value_of(told.result), 7u) << "executed once";
  }
  EXPECT_EQ(ask(world, client, leader, opened.value, 2, Tally::add(1)).result, Tally::add(8));
  EXPECT_EQ(ask(world, client, leader, opened.value, 1, Tally::add(7)).status,
            ReplyStatus::expired);
  EXPECT_EQ(ask(world, client, leader, 12'345, 1, Tally::add(7)).status, ReplyStatus::expired);
  EXPECT_EQ(ask(world, client, leader, opened.value, 3, base::as_bytes("?")).status,
            ReplyStatus::refused);
  expect_same_values(world, 8);

  ASSERT_TRUE(client.send(leader, EnvelopeKind::ask_status, {}));
  ASSERT_TRUE(world.run([&] { return client.status().has_value(); }));
  EXPECT_EQ(client.status()->self, MemberWorld::replica(leader));
  EXPECT_EQ(client.status()->role, log::Role::leader);
  EXPECT_EQ(client.status()->configuration.voters.size(), 3u);
  EXPECT_EQ(client.status()->followers.size(), 3u);
}

TEST(Member, ARetryIsAnsweredAsTheFirstAttemptThoughItWouldBeRefusedNow) {
  for (const bool is_ahead : {false, true}) {
    MemberWorld world({.is_ahead = is_ahead});
    MemberClient client(world, fabric::NodeId{50});
    const std::size_t leader = world.lead();
    const std::uint64_t session = ask(world, client, leader, 0, 0, {}).value;
    ASSERT_EQ(ask(world, client, leader, session, 1, Tally::add(7)).status, ReplyStatus::done);
    world.machine(leader).refuse_more_than(3);
    const auto again = ask(world, client, leader, session, 1, Tally::add(7));
    EXPECT_EQ(again.status, ReplyStatus::done);
    EXPECT_EQ(again.result, Tally::add(7));
    EXPECT_EQ(ask(world, client, leader, session, 2, Tally::add(7)).status, ReplyStatus::refused);
    // And while the first attempt is under way.
    const auto first = client.ask(leader, session, 2, Tally::add(2));
    ASSERT_TRUE(first);
    ASSERT_TRUE(
        world.run([&] { return world.status(leader).end.index > world.status(leader).stable; }));
    world.machine(leader).refuse_more_than(1);
    const auto told = ask(world, client, leader, session, 2, Tally::add(2));
    EXPECT_EQ(told.status, ReplyStatus::done);
    EXPECT_EQ(told.result, Tally::add(9));
    expect_same_values(world, 9);
  }
}

MemberClient::Told ask_outcome(MemberWorld& world, MemberClient& client, std::size_t member,
                               std::uint64_t session, std::uint64_t sequence) {
  std::optional<std::uint64_t> number;
  std::optional<MemberClient::Told> told;
  EXPECT_TRUE(world.run([&] {
    if (!number) number = client.ask_outcome(member, session, sequence);
    if (number) told = client.answer_to(*number);
    return told.has_value();
  }));
  return told.value_or(MemberClient::Told{.status = ReplyStatus::lost});
}

TEST(Member, WhatBecameOfACommandIsAskedAlsoAtTheNextLeader) {
  for (const bool is_ahead : {false, true}) {
    MemberWorld world({.is_ahead = is_ahead});
    MemberClient client(world, fabric::NodeId{50});
    const std::size_t leader = world.lead();
    const std::uint64_t session = ask(world, client, leader, 0, 0, {}).value;
    const auto done = ask(world, client, leader, session, 1, Tally::add(5));
    ASSERT_EQ(done.status, ReplyStatus::done);
    EXPECT_EQ(ask_outcome(world, client, (leader + 1) % 3, session, 1).status,
              ReplyStatus::not_leader);
    // One that a leader which is cut off has in its hand, and its log.
    world.cut_off(leader, 10'000'000'000);
    (void)client.ask(leader, session, 2, Tally::add(70));
    ASSERT_TRUE(world.run([&] { return world.leader() && *world.leader() != leader; }));
    const std::size_t next = *world.leader();
    const auto told = ask_outcome(world, client, next, session, 2);
    EXPECT_EQ(told.status, ReplyStatus::aborted);
    EXPECT_EQ(told.index, 0u);
    const auto again = ask(world, client, next, session, 2, Tally::add(70));
    EXPECT_EQ(again.status, ReplyStatus::aborted) << "for ever";
    const auto known = ask(world, client, next, session, 3, Tally::add(6));
    EXPECT_EQ(Tally::value_of(known.result), 11u);
    const auto committed = ask_outcome(world, client, next, session, 3);
    EXPECT_EQ(committed.status, ReplyStatus::done);
    EXPECT_EQ(committed.result, known.result);
    EXPECT_GE(committed.index, known.index);
    EXPECT_EQ(committed.level, Level::durable);
    EXPECT_EQ(ask_outcome(world, client, next, session, 1).status, ReplyStatus::expired);
    EXPECT_EQ(ask_outcome(world, client, next, 4711, 1).status, ReplyStatus::expired);
    world.network().streams().heal();
    expect_same_values(world, 11);
    EXPECT_EQ(world.violation(), "");
  }
}

TEST(Member, TooMuchAtOnceIsBusy) {
  MemberWorldOptions options;
  options.member.requests.most = 3;
  MemberWorld world(options);
  const std::size_t leader = world.lead();
  std::vector<std::shared_ptr<std::optional<Outcome>>> all;
  for (int i = 0; i < 5; ++i) all.push_back(submit(world, leader, Tally::add(1)));
  EXPECT_FALSE(all[2]->has_value());
  ASSERT_TRUE(all[3]->has_value() && all[4]->has_value());
  EXPECT_EQ((*all[3])->status, ReplyStatus::busy);
  ASSERT_TRUE(world.run([&] { return all[0]->has_value() && all[2]->has_value(); }));
  expect_same_values(world, 3);
}

TEST(Member, NothingAcknowledgedIsLostWhenTheLeaderIsAndAnotherLeadsSoon) {
  int changes = 0;
  int soon = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    MemberWorld world({.seed = seed});
    std::uint64_t sum = 0;
    for (std::uint64_t round = 1; round <= 4; ++round) {
      const std::size_t leader = world.lead();
      for (std::uint64_t i = 1; i <= 5; ++i) {
        sum += i * round;
        ASSERT_EQ(add(world, leader, i * round), sum) << "seed " << seed;
      }
      world.crash(leader, {.kind = sim::CrashPlan::Kind::random, .argument = seed});
      const std::uint64_t killed_ns = world.now_ns();
      const std::size_t next = world.lead();
      EXPECT_NE(next, leader);
      ++changes;
      soon += world.now_ns() - killed_ns < MemberOptions{}.replica.silence_ns / 4 ? 1 : 0;
      ASSERT_EQ(add(world, next, 0), sum) << "seed " << seed;
      world.start(leader);
      expect_same_values(world, sum);
    }
  }
  // The lost connection tells; and where both of the others stand for election within the time that
  // a message takes, one of them wins all the same.
  EXPECT_EQ(soon, changes);
}

TEST(Member, AllOfThemComeBackFromTheirJournals) {
  MemberWorld world({});
  std::uint64_t sum = 0;
  for (std::uint64_t round = 0; round < 5; ++round) {
    const std::size_t leader = world.lead();
    for (std::uint64_t i = 1; i <= 40; ++i) ASSERT_EQ(add(world, leader, i, 100), sum += i);
    for (std::size_t i = 0; i < 3; ++i) world.crash(i);
    for (std::size_t i = 0; i < 3; ++i) world.start(i);
    expect_same_values(world, sum);
  }
  EXPECT_GT(world.status(world.lead()).base, 0u) << "checkpoints were written";
}

TEST(Member, WhoWasAwayForLongGetsASnapshot) {
  const sim::SimHooks hooks({.seed = 1});
  MemberWorld world({});
  const std::size_t leader = world.lead();
  const std::size_t away = (leader + 1) % 3;
  world.crash(away);
  std::uint64_t sum = 0;
  for (std::uint64_t i = 1; i <= 300; ++i) ASSERT_EQ(add(world, leader, i, 200), sum += i);
  ASSERT_GT(world.status(leader).base, 100u);
  world.start(away);
  expect_same_values(world, sum);
  EXPECT_GE(world.status(away).base, 100u);
  // It knows the sessions too, and keeps what it got.
  world.crash(away);
  world.start(away);
  expect_same_values(world, sum);
}

TEST(Member, WhatALeaderThatIsCutOffExecutedAheadIsUndone) {
  for (std::uint64_t seed = 1; seed <= (base::kSanitized ? 3 : 10); ++seed) {
    MemberWorld world({.seed = seed, .is_ahead = true});
    const std::size_t old = world.lead();
    ASSERT_EQ(add(world, old, 5), 5u);
    world.cut_off(old, 2'000'000'000);
    const auto never = submit(world, old, Tally::add(100));
    ASSERT_TRUE(world.run([&] { return world.machine(old).value() == 105; }));
    ASSERT_TRUE(world.run([&] { return world.leader() && *world.leader() != old; }));
    const std::size_t next = *world.leader();
    EXPECT_EQ(add(world, next, 1), 6u);
    EXPECT_EQ(world.machine(old).value(), 105u);
    EXPECT_FALSE(never->has_value()) << "it is not decided, and may be yet for all it knows";
    ASSERT_TRUE(world.run([&] { return never->has_value(); }));
    EXPECT_EQ((*never)->status, ReplyStatus::lost);
    expect_same_values(world, 6);
    EXPECT_EQ(add(world, world.lead(), 1), 7u);
  }
}

// Who takes over another's log as a candidate leads at once: what it executed of its own has to be
// undone before effect_of() is asked. (Seen with 25, 31 and 43 when it was not.)
TEST(Member, ALeaderUndoesWhatItHadExecutedBeforeItTakesRequests) {
  const sim::SimHooks hooks({.seed = 1, .buggify = false});
  for (std::uint64_t seed = 24; seed <= (base::kSanitized ? 26 : 44); ++seed) {
    MemberWorld world({.seed = seed, .is_ahead = true});
    MemberClient client(world, fabric::NodeId{50});
    const std::size_t old = world.lead();
    const std::uint64_t session = ask(world, client, old, 0, 0, {}).value;
    ASSERT_EQ(add(world, old, 5), 5u);
    world.cut_off(old, 2'000'000'000);
    (void)submit(world, old, Tally::add(100));
    ASSERT_TRUE(world.run([&] { return world.machine(old).value() == 105; }));
    ASSERT_TRUE(world.run([&] { return world.leader() && *world.leader() != old; }));
    const std::size_t next = *world.leader();
    EXPECT_EQ(add(world, next, 1), 6u);
    // Whoever is left has the later log, and has just started: it may be the slower one.
    const std::size_t third = 3 - old - next;
    world.crash(next);
    world.crash(third);
    world.network().streams().heal();
    world.start(third);
    world.run_for(20'000'000);
    MemberClient later(world, fabric::NodeId{51});  // it is read after the others
    std::uint64_t sequence = 0;
    std::uint64_t asked_ns = 0;
    ASSERT_TRUE(world.run([&] {
      if (std::exchange(asked_ns, world.now_ns()) != world.now_ns()) {
        (void)later.ask(old, session, ++sequence, Tally::add(0));
      }
      return world.leader().has_value();
    }));
    world.start(next);
    SCOPED_TRACE(seed);
    expect_same_values(world, 6);
  }
  auto probes = hooks.probes();
  if (!base::kSanitized) {
    EXPECT_GT(probes["log.fetched"], 2u);
  }
}

TEST(Member, CheckpointsOfAMachineThatIsAheadWaitUntilItIsNot) {
  MemberWorld world({.is_ahead = true});
  const std::size_t leader = world.lead();
  std::vector<std::shared_ptr<std::optional<Outcome>>> all;
  for (int i = 0; i < 2000; ++i) {
    all.push_back(submit(world, leader, Tally::add(1, 100)));
    if (i % 3 == 0) world.step();
  }
  ASSERT_TRUE(world.run([&] {
    return std::ranges::all_of(all, [](const auto& told) { return told->has_value(); });
  }));
  for (std::size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ((*all[i])->status, ReplyStatus::done);
    ASSERT_EQ((*all[i])->result, Tally::add(i + 1));
  }
  expect_same_values(world, 2000);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_GT(world.status(i).base, 1000u);
}

TEST(Member, AFailedSyncEndsAMemberAndTheOthersGoOn) {
  MemberWorld world({});
  const std::size_t leader = world.lead();
  ASSERT_EQ(add(world, leader, 1), 1u);
  world.disk(leader).inject({.on = sim::FaultOn::sync});
  const auto told = submit(world, leader, Tally::add(1));
  ASSERT_TRUE(world.run([&] { return !world.is_up(leader); }));
  ASSERT_TRUE(world.why(leader));
  EXPECT_EQ(world.why(leader)->code(), Errc::store_failed);
  EXPECT_FALSE(told->has_value());
  const std::size_t next = world.lead();
  const auto value = add(world, next, 0);
  EXPECT_TRUE(value == 1u || value == 2u) << "nobody knows whether it was decided";
  world.disk(leader).clear_faults();
  world.crash(leader);
  world.start(leader);
  expect_same_values(world, *value);
}

TEST(Member, AFullDiskEndsAMember) {
  MemberWorld world({});
  const std::size_t leader = world.lead();
  const std::size_t full = (leader + 1) % 3;
  world.disk(full).set_capacity_bytes(world.disk(full).used_bytes() + 4096);
  std::uint64_t sum = 0;
  for (std::uint64_t i = 1; i <= 400; ++i) ASSERT_EQ(add(world, leader, i, 200), sum += i);
  ASSERT_FALSE(world.is_up(full));
  ASSERT_TRUE(world.why(full));
  EXPECT_TRUE(world.why(full)->code() == Errc::no_space ||
              world.why(full)->code() == Errc::store_failed)
      << world.why(full)->message();
  world.disk(full).set_capacity_bytes(~std::uint64_t{0} >> 1);
  world.start(full);
  expect_same_values(world, sum);
}

}  // namespace
}  // namespace dolmen::replication
