// SPDX-License-Identifier: Apache-2.0
#include "replication/meters.hpp"

#include <optional>

#include <gtest/gtest.h>

#include "replication/member_fixture.hpp"

namespace dolmen::replication {
namespace {

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

const GroupMeter& meter(MemberWorld& world, std::size_t member) {
  return *world.member(member).inside(kTestGroup)->meter;
}

TEST(Meters, CountWhatClientsWereAnsweredAndWhatItTook) {
  MemberWorld world({});
  MemberClient client(world, fabric::NodeId{50});
  const std::size_t leader = world.lead();
  const std::size_t other = (leader + 1) % 3;
  EXPECT_EQ(ask(world, client, other, 0, 0, {}).status, ReplyStatus::not_leader);
  const std::uint64_t session = ask(world, client, leader, 0, 0, {}).value;
  for (std::uint64_t sequence = 1; sequence <= 5; ++sequence) {
    EXPECT_EQ(ask(world, client, leader, session, sequence, Tally::add(1)).status,
              ReplyStatus::done);
  }
  EXPECT_EQ(ask(world, client, leader, 4711, 1, Tally::add(1)).status, ReplyStatus::expired);
  std::optional<std::uint64_t> query;
  ASSERT_TRUE(world.run([&] {
    if (!query) query = client.read(leader);
    return query && client.answer_to(*query).has_value();
  }));
  // What comes from within the process is no client's.
  bool is_told = false;
  world.member(leader).submit(kTestGroup, Tally::add(1),
                              [&](const Executor::Outcome&) { is_told = true; });
  ASSERT_TRUE(world.run([&] { return is_told && world.agrees(); }));

  const AnswerMeter& calls = meter(world, leader).calls;
  EXPECT_EQ(calls.of(ReplyStatus::done), 6u) << "a session and five";
  EXPECT_EQ(calls.of(ReplyStatus::expired), 1u);
  EXPECT_EQ(calls.of(ReplyStatus::not_leader), 0u);
  EXPECT_EQ(meter(world, leader).reads.of(ReplyStatus::done), 1u);
  EXPECT_EQ(meter(world, other).calls.of(ReplyStatus::not_leader), 1u);
  const MemberMeter& its = world.member(leader).meter();
  EXPECT_EQ(its.calls.count(), 6u);
  EXPECT_EQ(its.reads.count(), 1u);
  EXPECT_GT(its.calls.sum_ns(), 6 * 10'000u) << "each went to another member and back";
  EXPECT_EQ(world.member(other).meter().calls.count(), 0u);
}

TEST(Meters, CountEntriesAndWhoLeads) {
  MemberWorld world({});
  const std::size_t leader = world.lead();
  ASSERT_TRUE(world.run([&] { return world.agrees(); }));
  std::array<GroupMeter, 3> before;
  for (std::size_t i = 0; i < 3; ++i) before[i] = meter(world, i);
  EXPECT_GE(before[leader].elections, 1u);
  EXPECT_EQ(before[leader].led, 1u);
  int told = 0;
  for (int i = 0; i < 10; ++i) {
    world.member(leader).submit(kTestGroup, Tally::add(1, 100),
                                [&](const Executor::Outcome&) { ++told; });
  }
  ASSERT_TRUE(world.run([&] { return told == 10 && world.agrees(); }));
  for (std::size_t i = 0; i < 3; ++i) {
    const GroupMeter& now = meter(world, i);
    EXPECT_EQ(now.decided - before[i].decided, 10u) << i;
    EXPECT_EQ(now.written - before[i].written, 10u) << i;
    EXPECT_GE(now.written_bytes - before[i].written_bytes, 1000u) << i;
    EXPECT_GE(now.leaders, 1u);
    EXPECT_GT(world.member(i).meter().syncs.count(), 0u);
    if (i != leader) {
      EXPECT_EQ(now.led, 0u);
    }
  }
  // Another one leads: who was cut off hears of it, and the new one has led once.
  world.cut_off(leader, 1'000'000'000);
  ASSERT_TRUE(world.run([&] {
    const auto now = world.leader();
    return now && *now != leader && world.agrees();
  }));
  const std::size_t next = *world.leader();
  EXPECT_EQ(meter(world, next).led, 1u);
  EXPECT_GE(meter(world, next).elections, 1u);
  EXPECT_GE(meter(world, leader).leaders, 2u);
  EXPECT_EQ(meter(world, leader).led, 1u);
}

// A replica that begins again has counted nothing, however long its log is.
TEST(Meters, BeginWithTheProcess) {
  MemberWorld world({});
  const std::size_t leader = world.lead();
  int told = 0;
  for (int i = 0; i < 10; ++i) {
    world.member(leader).submit(kTestGroup, Tally::add(1),
                                [&](const Executor::Outcome&) { ++told; });
  }
  ASSERT_TRUE(world.run([&] { return told == 10 && world.agrees(); }));
  const std::size_t other = (leader + 1) % 3;
  world.end(other);
  world.start(other);
  EXPECT_EQ(meter(world, other).decided, 0u);
  EXPECT_EQ(meter(world, other).written, 0u);
  EXPECT_EQ(world.member(other).meter().syncs.count(), 0u);
}

}  // namespace
}  // namespace dolmen::replication
