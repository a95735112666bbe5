// SPDX-License-Identifier: Apache-2.0
//
// What clients show, and whose sessions they use, at members of a group.
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include <gtest/gtest.h>

#include "replication/member_fixture.hpp"
#include "sim/sim_hooks.hpp"

namespace dolmen::replication {
namespace {

constexpr Capability kFirst{.index = kWholeCluster, .generation = 1};
constexpr Capability kSecond{.index = kWholeCluster, .generation = 2};
constexpr fabric::NodeId kOwner{100};
constexpr fabric::NodeId kOther{101};
constexpr fabric::NodeId kStranger{102};

/// Who has what, as a map would say it.
struct Rights {
  std::map<fabric::NodeId, Capability> held{{kOwner, kFirst}, {kOther, kFirst}, {kStranger, {}}};

  [[nodiscard]] MemberWorldOptions options(bool is_read = false) const {
    MemberWorldOptions options{.is_read = is_read};
    options.member.right_of = [this](const fabric::NodeName& from, const Capability& shown) {
      const auto found = held.find(from.node);
      if (found == held.end()) return Right::held;  // a member
      if (shown.index == 0 || found->second.index == 0) return Right::none;
      return shown == found->second ? Right::held : Right::stale;
    };
    options.member.holder_of = [](const fabric::NodeName& from) {
      return from.node >= kOwner ? static_cast<Holder>(from.node) : 0;
    };
    return options;
  }
};

MemberClient::Told wait_for(MemberWorld& world, MemberClient& client,
                            const std::function<std::optional<std::uint64_t>()>& ask) {
  std::optional<std::uint64_t> number;
  std::optional<MemberClient::Told> told;
  EXPECT_TRUE(world.run([&] {
    if (!number) number = ask();
    if (number) told = client.answer_to(*number);
    return told.has_value();
  }));
  return told.value_or(MemberClient::Told{.status = ReplyStatus::lost});
}
MemberClient::Told ask(MemberWorld& world, MemberClient& client, std::size_t member,
                       std::uint64_t session, std::uint64_t sequence, base::Bytes command = {}) {
  return wait_for(world, client, [&] { return client.ask(member, session, sequence, command); });
}
MemberClient::Told ask_outcome(MemberWorld& world, MemberClient& client, std::size_t member,
                               std::uint64_t session, std::uint64_t sequence) {
  return wait_for(world, client, [&] { return client.ask_outcome(member, session, sequence); });
}
MemberClient::Told read(MemberWorld& world, MemberClient& client, std::size_t member,
                        ReadLevel level) {
  return wait_for(world, client, [&] { return client.read(member, level); });
}
std::optional<Denied> denied(MemberWorld& world, MemberClient& client, std::size_t member,
                             EnvelopeKind kind) {
  client.denied().reset();
  bool is_sent = false;
  EXPECT_TRUE(world.run([&] {
    if (!is_sent) is_sent = client.send(member, kind, {});
    return client.denied().has_value();
  }));
  return client.denied();
}

TEST(MemberRights, WhatIsShownIsComparedWithWhatIsHeld) {
  Rights rights;
  MemberWorld world(rights.options(true));
  MemberClient owner(world, kOwner);
  MemberClient stranger(world, kStranger);
  const std::size_t leader = world.lead();
  for (const Capability shown : {Capability{}, kFirst, kSecond}) {
    stranger.show(shown);
    EXPECT_EQ(ask(world, stranger, leader, 0, 0).status, ReplyStatus::no_right);
    EXPECT_EQ(ask(world, stranger, leader, 1, 1, Tally::add(5)).status, ReplyStatus::no_right);
    EXPECT_EQ(ask_outcome(world, stranger, leader, 1, 1).status, ReplyStatus::no_right);
    for (const ReadLevel level : {ReadLevel::linearizable, ReadLevel::stale}) {
      EXPECT_EQ(read(world, stranger, leader, level).status, ReplyStatus::no_right);
    }
    for (const EnvelopeKind kind : {EnvelopeKind::ask_memory, EnvelopeKind::ask_copy,
                                    EnvelopeKind::ask_entries, EnvelopeKind::change}) {
      EXPECT_EQ(denied(world, stranger, leader, kind), (Denied{.what = kind, .why = Right::none}));
    }
  }
  EXPECT_FALSE(stranger.memory());
  // How members are, and who they are, is nobody's secret.
  ASSERT_TRUE(stranger.send(leader, EnvelopeKind::ask_status, {}));
  ASSERT_TRUE(stranger.send(leader, EnvelopeKind::ask_roster, {}));
  EXPECT_TRUE(world.run([&] { return stranger.status() && stranger.roster(); }));

  // Who has it and does not say so has nothing: it is not taken from the connection.
  EXPECT_EQ(ask(world, owner, leader, 0, 0).status, ReplyStatus::no_right);
  owner.show(kSecond);
  EXPECT_EQ(ask(world, owner, leader, 0, 0).status, ReplyStatus::stale);
  owner.show(kFirst);
  const auto opened = ask(world, owner, leader, 0, 0);
  ASSERT_EQ(opened.status, ReplyStatus::done);
  EXPECT_EQ(ask(world, owner, leader, opened.value, 1, Tally::add(7)).status, ReplyStatus::done);
  EXPECT_EQ(read(world, owner, leader, ReadLevel::linearizable).status, ReplyStatus::done);
  ASSERT_TRUE(owner.send(leader, EnvelopeKind::ask_memory, {}));
  EXPECT_TRUE(world.run([&] { return owner.memory().has_value(); }));
  EXPECT_EQ(world.machine(leader).value(), 7u);
}

// Between being taken in and being begun.
TEST(MemberRights, WhatWaitsWhenTheRightIsRevokedIsNotDone) {
  Rights rights;
  int looks = 0;
  MemberWorldOptions options = rights.options();
  const auto plain = options.member.right_of;
  options.member.right_of = [&](const fabric::NodeName& from, const Capability& shown) {
    if (from.node == kOwner && ++looks > 1) rights.held[kOwner] = kSecond;
    return plain(from, shown);
  };
  MemberWorld world(options);
  MemberClient client(world, kOwner);
  client.show(kFirst);
  const std::size_t leader = world.lead();
  EXPECT_EQ(ask(world, client, leader, 0, 0).status, ReplyStatus::stale);
  EXPECT_EQ(looks, 2);
  looks = 0;
  rights.held[kOwner] = kFirst;
  EXPECT_EQ(read(world, client, leader, ReadLevel::linearizable).status, ReplyStatus::stale);
  looks = 0;
  rights.held[kOwner] = kFirst;
  EXPECT_EQ(read(world, client, leader, ReadLevel::stale).status, ReplyStatus::stale);
  // What was shown before is nothing now, and says so; what is shown anew is.
  EXPECT_EQ(ask(world, client, leader, 0, 0).status, ReplyStatus::stale);
  client.show(kSecond);
  EXPECT_EQ(ask(world, client, leader, 0, 0).status, ReplyStatus::done);
}

TEST(MemberRights, MemoryIsReadNoMoreWhenTheRightIsRevoked) {
  Rights rights;
  MemberWorld world(rights.options(true));
  MemberClient owner(world, kOwner);
  MemberClient other(world, kOther);
  const std::size_t leader = world.lead();
  for (MemberClient* const client : {&owner, &other}) {
    client->show(kFirst);
    bool is_sent = false;
    ASSERT_TRUE(world.run([&] {
      if (!is_sent) is_sent = client->send(leader, EnvelopeKind::ask_memory, {});
      return client->memory().has_value();
    }));
  }
  const auto region = fabric::RegionId{owner.memory()->region};
  const auto can_read = [&](MemberClient& client) { return client.can_read(leader, region); };
  EXPECT_TRUE(can_read(owner));
  rights.held[kOwner] = kSecond;
  world.member(leader).rights_changed();
  EXPECT_FALSE(can_read(owner));
  EXPECT_TRUE(can_read(other)) << "who was not meant";
}

// A session is its client's also where leaders change, states are snapshots, and nodes start again.
TEST(MemberRights, ASessionIsUsedByNobodyElse) {
  Rights rights;
  MemberWorld world(rights.options());
  MemberClient owner(world, kOwner);
  MemberClient thief(world, kOther);
  owner.show(kFirst);
  thief.show(kFirst);
  std::size_t leader = world.lead();
  const auto opened = ask(world, owner, leader, 0, 0);
  const auto own = ask(world, thief, leader, 0, 0);
  ASSERT_EQ(opened.status, ReplyStatus::done);
  ASSERT_EQ(own.status, ReplyStatus::done);
  EXPECT_NE(own.value, opened.value);
  std::uint64_t value = 0;
  for (std::uint64_t sequence = 1; sequence <= 3; ++sequence) {
    for (const std::uint64_t its : {sequence - 1, sequence, sequence + 100}) {
      if (its == 0) continue;
      EXPECT_EQ(ask(world, thief, leader, opened.value, its, Tally::add(1000)).status,
                ReplyStatus::no_right)
          << its;
      EXPECT_EQ(ask_outcome(world, thief, leader, opened.value, its).status, ReplyStatus::no_right)
          << its;
    }
    value += 7;
    const auto told = ask(world, owner, leader, opened.value, sequence, Tally::add(7));
    ASSERT_EQ(told.status, ReplyStatus::done);
    EXPECT_EQ(Tally::value_of(told.result), value);
    const auto known = ask_outcome(world, owner, leader, opened.value, sequence);
    EXPECT_EQ(known.status, ReplyStatus::done);
    EXPECT_EQ(known.result, told.result);
    // Everybody starts again, and somebody else leads.
    for (std::size_t i = 0; i < world.size(); ++i) world.end(i);
    for (std::size_t i = 0; i < world.size(); ++i) world.start(i);
    leader = world.lead();
  }
  EXPECT_EQ(ask(world, thief, leader, own.value, 1, Tally::add(1)).status, ReplyStatus::done);
  ASSERT_TRUE(world.run([&] { return world.agrees(); }));
  EXPECT_EQ(world.machine(leader).value(), value + 1);
  EXPECT_EQ(world.violation(), "");
}

TEST(MemberRights, PlantedBugsAreSeen) {
  for (const char* const bug :
       {"replication.handle_not_checked", "replication.session_of_anybody"}) {
    const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = bug});
    Rights rights;
    MemberWorld world(rights.options());
    MemberClient owner(world, kOwner);
    MemberClient thief(world, kOther);
    MemberClient stranger(world, kStranger);
    owner.show(kFirst);
    thief.show(kFirst);
    stranger.show(kFirst);
    const std::size_t leader = world.lead();
    const auto opened = ask(world, owner, leader, 0, 0);
    const bool is_let_in = ask(world, stranger, leader, 0, 0).status == ReplyStatus::done;
    const bool is_taken =
        ask(world, thief, leader, opened.value, 1, Tally::add(1)).status == ReplyStatus::done;
    EXPECT_NE(is_let_in, is_taken) << bug;
  }
}

}  // namespace
}  // namespace dolmen::replication
