// SPDX-License-Identifier: Apache-2.0
//
// Three real members, each a process of its own, killed, stopped and cut off while clients count.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#ifdef DOLMEN_MEMBER_PROGRAM  // builds with examples
#include "tests/network_namespaces.hpp"
#include "tests/replicated_members.hpp"

namespace {

using namespace dolmen::members;

TEST(ReplicatedProcess, NothingAcknowledgedIsLostWhenMembersAreKilled) {
  const auto kills = static_cast<int>(dolmen::base::budget("process_kills"));
  Members members(loopback(), {});
  Clients clients(members.group(), 4);
  dolmen::base::Random random(1);
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  for (int kill = 0; kill < kills; ++kill) {
    const auto member = static_cast<std::uint32_t>(1 + random.below(kMembers));
    members.end(member, SIGKILL);
    // Sometimes a second one: then nobody goes on until one is back.
    const auto other = static_cast<std::uint32_t>(1 + random.below(kMembers));
    if (random.below(4) == 0) members.end(other, SIGKILL);
    std::this_thread::sleep_for(milliseconds(random.below(150)));
    for (const std::uint32_t ended : {member, other}) {
      members.end(ended, SIGKILL);
      members.start(ended);
    }
    ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, random.below(40)));
  }
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  std::printf("%d kills, %lu answers\n", kills, clients.answered());
  dolmen::base::say_bound("process_kills", static_cast<std::uint64_t>(kills));
}

// Each of two servers and a witness in turn; and each server while the other one is behind, so that
// only the witness has what was acknowledged last.
TEST(ReplicatedProcess, TwoServersAndAWitnessSurviveAnyOneFailure) {
  if (kWitnessProgram == nullptr) GTEST_SKIP() << "builds without the command dolmen";
  const auto rounds = static_cast<std::uint32_t>(dolmen::base::budget("witness_rounds"));
  constexpr std::uint32_t kWitness = 3;
  Members members(loopback(), {}, dolmen::ReplicatedLevel::durable, kWitness);
  Clients clients(members.group(), 4);
  dolmen::base::Random random(4);
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  for (std::uint32_t round = 0; round < rounds; ++round) {
    for (std::uint32_t gone = 1; gone <= kMembers; ++gone) {
      members.end(gone, SIGKILL);
      ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 1 + random.below(40)));
      const std::uint32_t other = 3 - gone;
      if (gone != kWitness && random.below(2) == 0) {
        members.end(other, SIGKILL);  // and `gone` has nothing of what was just answered
        members.start(gone);
        ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 1 + random.below(20)));
        members.start(other);
      } else {
        members.start(gone);
      }
      ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, random.below(20)));
    }
  }
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  const std::vector<dolmen::ReplicatedStatus> statuses = client.status().value();
  for (const dolmen::ReplicatedStatus& status : statuses) {
    if (!status.is_reached) continue;
    EXPECT_EQ(status.witnesses, std::vector{kWitness});
    EXPECT_NE(status.leader, kWitness);
  }
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  std::printf("%u kills, %lu answers\n", rounds * 3, clients.answered());
}

// Who was not told asks, and so does who comes after it, with what it wrote down.
TEST(ReplicatedProcess, WhatBecameOfACallIsAskedByTheNextClient) {
  using dolmen::CallFate;
  using dolmen::Errc;
  Members members(loopback(), {});
  const auto bytes_of = [](const std::uint64_t& number) {
    return std::as_bytes(std::span(&number, 1));
  };
  const auto number_in = [](const std::vector<std::byte>& bytes) {
    return dolmen::base::load<std::uint64_t>(bytes);
  };
  constexpr auto kLong = std::chrono::seconds(60);
  std::string noted;
  std::uint64_t value = 5;
  {
    auto client = dolmen::ReplicatedClient::make(members.group()).value();
    EXPECT_EQ(client.last_call().session, 0u);
    ASSERT_TRUE(client.call(bytes_of(5), kLong));
    const dolmen::CallOutcome done = client.outcome(client.last_call(), kLong).value();
    EXPECT_EQ(done.fate, CallFate::committed);
    EXPECT_EQ(number_in(done.result), 5u);
    EXPECT_GE(done.commit.index, client.last_commit().index);
    const dolmen::CallId next = client.next_call(kLong).value();
    noted = next.text();
    EXPECT_EQ(dolmen::CallId::parse(noted).value(), next);
    for (std::uint32_t i = 1; i <= kMembers; ++i) members.signal(i, SIGSTOP);
    const auto told = client.call(bytes_of(70), milliseconds(100));
    ASSERT_FALSE(told);
    EXPECT_EQ(told.error().code(), Errc::timed_out);
    EXPECT_EQ(client.last_call(), next);
    for (std::uint32_t i = 1; i <= kMembers; ++i) members.signal(i, SIGCONT);
  }
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  const dolmen::CallId call = dolmen::CallId::parse(noted).value();
  const CallFate fate = client.outcome(call, kLong).value().fate;
  EXPECT_NE(fate, CallFate::expired);
  if (fate == CallFate::committed) value += 70;
  EXPECT_EQ(number_in(client.read({}, dolmen::ReadLevel::linearizable, kLong).value().result),
            value);
  EXPECT_EQ(client.outcome(call, kLong).value().fate, fate) << "for ever";

  // Asked about before it comes it never will.
  EXPECT_EQ(client.outcome(client.next_call(kLong).value(), kLong).value().fate, CallFate::aborted);
  const auto late = client.call(bytes_of(100), kLong);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), Errc::aborted);
  EXPECT_EQ(number_in(client.call(bytes_of(1), kLong).value()), value + 1);

  // Of many at once each has its own.
  std::vector<std::pair<dolmen::CallId, std::uint64_t>> many;
  const std::uint64_t one = 1;
  for (int i = 0; i < 10; ++i) {
    const auto bytes = bytes_of(one);
    ASSERT_TRUE(client.begin_call(
        {bytes.begin(), bytes.end()},
        [&](const dolmen::Result<dolmen::ReplicatedAnswer>& answer) {
          many.emplace_back(client.last_call(), number_in(answer.value().result));
        },
        kLong));
  }
  while (client.under_way() > 0) ASSERT_TRUE(client.go_on(kLong));
  for (const auto& [id, result] : many) {
    EXPECT_EQ(number_in(client.outcome(id, kLong).value().result), result);
  }

  EXPECT_EQ(client.outcome({.group = 1, .session = 1u << 30, .sequence = 1}, kLong).value().fate,
            CallFate::expired);
  EXPECT_EQ(client.outcome({}).value().fate, CallFate::aborted) << "it was never sent";
  EXPECT_EQ(client.outcome({.group = 2, .session = 1, .sequence = 1}).error().code(),
            Errc::invalid_argument);
  for (const char* const text : {"", "1", "1.2", "1.2.", "1.2.3.", "01.2.3", "1.2.x", ".1.2.3",
                                 "1.2.18446744073709551616", "1.2.-3"}) {
    EXPECT_FALSE(dolmen::CallId::parse(text)) << text;
  }
}

TEST(ReplicatedProcess, AMemberThatStoodStillDoesNotAnswerFromThePast) {
  const auto pauses = static_cast<int>(dolmen::base::budget("process_pauses"));
  Members members(loopback(), {});
  Clients clients(members.group(), 4);
  dolmen::base::Random random(2);
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  for (int pause = 0; pause < pauses; ++pause) {
    const auto member = static_cast<std::uint32_t>(1 + random.below(kMembers));
    members.signal(member, SIGSTOP);
    std::this_thread::sleep_for(milliseconds(300 + random.below(400)));  // above any patience
    members.signal(member, SIGCONT);
    ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, random.below(100)));
  }
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
}

// What went to who ended is asked again, of who is there in its place.
TEST(ReplicatedProcess, AStatusIsNotWaitedForOfWhoEndedMeanwhile) {
  Members members(loopback(), {});
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  constexpr milliseconds kPatience = std::chrono::minutes(2);
  const auto are_all_reached = [](const auto& told) {
    return told && told->size() == kMembers &&
           std::ranges::all_of(*told, &dolmen::ReplicatedStatus::is_reached);
  };
  ASSERT_TRUE(are_all_reached(client.status(kPatience)));
  members.signal(3, SIGSTOP);
  std::jthread restarting([&] {
    std::this_thread::sleep_for(milliseconds(50));  // so that it has been asked, most likely
    members.signal(3, SIGKILL);
    members.end(3, SIGKILL);
    members.start(3);
  });
  EXPECT_TRUE(are_all_reached(client.status(kPatience)));
}

TEST(ReplicatedProcess, NothingAcknowledgedIsLostWhenLinksAreCut) {
  const Namespaces network(kMembers);
  if (!network.is_made()) {
    GTEST_SKIP() << "no network name spaces here: that takes root and the package iproute2";
  }
  const auto partitions = static_cast<int>(dolmen::base::budget("process_partitions"));
  std::vector<std::string> addresses;
  std::vector<std::string> names;
  for (std::uint32_t i = 1; i <= kMembers; ++i) {
    addresses.push_back(Namespaces::host(i) + ":7400");
    names.push_back(network.name(i));
  }
  Members members(addresses, names);
  Clients clients(members.group(), 4);
  dolmen::base::Random random(3);
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  for (int partition = 0; partition < partitions; ++partition) {
    const auto one = static_cast<std::uint32_t>(1 + random.below(kMembers));
    const std::uint32_t second = one % kMembers + 1;
    const std::uint32_t third = second % kMembers + 1;
    const auto length = milliseconds(300 + random.below(700));
    switch (partition % 5) {
      case 0:  // one is alone
        for (const std::uint32_t other : {second, third}) {
          network.cut(one, other, true);
          network.cut(other, one, true);
        }
        break;
      case 1:  // one is not heard
        network.cut(one, second, true);
        network.cut(one, third, true);
        break;
      case 2:  // two do not hear each other, and both the third
        network.cut(one, second, true);
        network.cut(second, one, true);
        break;
      case 3:  // on and off
        for (int i = 0; i < 4; ++i) {
          network.cut(one, second, true);
          std::this_thread::sleep_for(milliseconds(80));
          network.cut(one, second, false);
          std::this_thread::sleep_for(milliseconds(40));
        }
        break;
      default:  // during a take-over
        members.end(second, SIGKILL);
        network.cut(one, third, true);
        members.start(second);
        break;
    }
    std::this_thread::sleep_for(length);
    network.heal();
    ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 1 + random.below(50)));
  }
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  std::printf("%d partitions, %lu answers\n", partitions, clients.answered());
}

}  // namespace
#endif
