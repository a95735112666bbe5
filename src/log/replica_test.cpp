// SPDX-License-Identifier: Apache-2.0
#include "log/replica.hpp"

#include <map>
#include <string_view>

#include <gtest/gtest.h>

namespace dolmen::log {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

std::vector<std::byte> bytes(std::string_view text) {
  const base::Bytes all = base::as_bytes(text);
  return {all.begin(), all.end()};
}

/// Three replicas, whose messages and syncs happen when a test says so.
class ReplicaTest : public testing::Test {
 protected:
  struct Node {
    std::unique_ptr<Replica> replica;
    DurableState disk;
    std::vector<Record> unsynced;
    RecordCount synced = 0;
    std::vector<Output::Letter> outbox;
    std::optional<Index> undo_from;
  };

  void SetUp() override {
    for (std::uint64_t i = 1; i <= 3; ++i) start(i);
  }

  static ReplicaId id(std::uint64_t number) { return ReplicaId{number}; }
  Replica& at(std::uint64_t number) { return *nodes_[number].replica; }

  /// From its disk.
  void start(std::uint64_t number) {
    Node& node = nodes_[number];
    node.unsynced.clear();
    node.outbox.clear();
    node.synced = 0;
    node.replica = std::make_unique<Replica>(id(number), std::vector{id(1), id(2), id(3)},
                                             ReplicaOptions{}, node.disk, number, now_ns_);
  }
  void collect(std::uint64_t number) {
    Node& node = nodes_[number];
    Output output = node.replica->take_output();
    for (Record& record : output.records) node.unsynced.push_back(std::move(record));
    for (auto& letter : output.letters) node.outbox.push_back(std::move(letter));
    if (output.undo_from) node.undo_from = output.undo_from;
  }
  void sync(std::uint64_t number) {
    collect(number);
    Node& node = nodes_[number];
    for (const Record& record : node.unsynced) node.disk.apply(record);
    node.synced += node.unsynced.size();
    node.unsynced.clear();
    node.replica->persisted(now_ns_, node.synced);
    collect(number);
  }
  /// Delivers what `from` has for `to`; whether there was anything.
  bool carry(std::uint64_t from, std::uint64_t to) {
    collect(from);
    std::vector<Output::Letter> letters;
    std::erase_if(nodes_[from].outbox, [&](const Output::Letter& letter) {
      if (letter.to != id(to)) return false;
      letters.push_back(letter);
      return true;
    });
    for (const auto& letter : letters) {
      at(to).receive(now_ns_, id(from), letter.message);
      collect(to);
    }
    return !letters.empty();
  }
  /// Everything among these, until nothing moves any more.
  void settle(std::initializer_list<std::uint64_t> numbers) {
    for (bool moved = true; moved;) {
      moved = false;
      for (const std::uint64_t number : numbers) sync(number);
      for (const std::uint64_t from : numbers) {
        for (const std::uint64_t to : numbers) moved |= from != to && carry(from, to);
      }
    }
  }
  void lose_mail() {
    for (auto& [number, node] : nodes_) {
      collect(number);
      node.outbox.clear();
    }
  }
  /// Makes `number` lead with the help of `helper`, everybody else being deaf.
  void elect(std::uint64_t number, std::uint64_t helper) {
    // The first attempt may only teach it how far epochs have come.
    for (int attempt = 0; attempt < 2 && at(number).role() != Role::leader; ++attempt) {
      now_ns_ += 1000 * kMs;
      at(number).tick(now_ns_);
      settle({number, helper});
    }
    ASSERT_EQ(at(number).role(), Role::leader);
    lose_mail();
  }

  std::uint64_t now_ns_ = 1;
  std::map<std::uint64_t, Node> nodes_;
};

TEST_F(ReplicaTest, AGroupOfOneDecidesWhatIsDurable) {
  Replica alone(id(1), {id(1)}, {}, {}, 1, 0);
  alone.tick(1000 * kMs);
  EXPECT_EQ(alone.role(), Role::candidate);
  alone.persisted(1000 * kMs, alone.take_output().records.size());
  EXPECT_EQ(alone.role(), Role::leader);
  const auto where = alone.propose(1000 * kMs, bytes("x"));
  ASSERT_TRUE(where);
  EXPECT_LT(alone.stable(), where->index);
  alone.persisted(1001 * kMs, 1 + alone.take_output().records.size());
  EXPECT_EQ(alone.stable(), where->index);
}

TEST_F(ReplicaTest, ACommandIsDecidedWhenAMajorityHasItDurably) {
  elect(1, 2);
  const auto where = at(1).propose(now_ns_, bytes("x"));
  ASSERT_TRUE(where);
  carry(1, 2);
  carry(2, 1);
  EXPECT_LT(at(1).stable(), where->index);  // both have it, no disk has
  sync(2);
  carry(2, 1);
  EXPECT_LT(at(1).stable(), where->index);  // one disk has
  sync(1);
  EXPECT_EQ(at(1).stable(), where->index);
}

TEST_F(ReplicaTest, OnlyALeaderTakesProposals) {
  EXPECT_FALSE(at(2).propose(now_ns_, bytes("x")));
  elect(1, 2);
  EXPECT_FALSE(at(2).propose(now_ns_, bytes("x")));
  EXPECT_EQ(at(2).leader(), id(1));
}

TEST_F(ReplicaTest, AnEpochIsGrantedToOneCandidate) {
  at(3).receive(now_ns_, id(1), {.kind = MessageKind::ask, .epoch = 5});
  sync(3);
  ASSERT_EQ(nodes_[3].outbox.size(), 1u);
  EXPECT_EQ(nodes_[3].outbox[0].message.kind, MessageKind::grant);
  at(3).receive(now_ns_, id(2), {.kind = MessageKind::ask, .epoch = 5});
  sync(3);
  EXPECT_EQ(nodes_[3].outbox[1].message.kind, MessageKind::refuse);
  start(3);  // also after a crash
  at(3).receive(now_ns_, id(2), {.kind = MessageKind::ask, .epoch = 5});
  sync(3);
  EXPECT_EQ(nodes_[3].outbox[0].message.kind, MessageKind::refuse);
  at(3).receive(now_ns_, id(1), {.kind = MessageKind::ask, .epoch = 5});
  sync(3);
  EXPECT_EQ(nodes_[3].outbox[1].message.kind, MessageKind::grant);  // to the same one, again
}

TEST_F(ReplicaTest, AGrantWaitsForTheDisk) {
  at(3).receive(now_ns_, id(1), {.kind = MessageKind::ask, .epoch = 5});
  collect(3);
  EXPECT_TRUE(nodes_[3].outbox.empty());
  sync(3);
  EXPECT_EQ(nodes_[3].outbox.size(), 1u);
}

TEST_F(ReplicaTest, ANewLeaderTakesTheLatestLogOfThoseThatGranted) {
  elect(1, 2);
  for (int i = 0; i < 5; ++i) (void)at(1).propose(now_ns_, bytes("decided"));
  settle({1, 2});
  const Index decided = at(1).stable();
  lose_mail();
  elect(3, 2);  // 1 is gone; 3 has nothing
  EXPECT_EQ(at(3).end().index, decided + 1);
  EXPECT_EQ(at(3).at(decided).payload, bytes("decided"));
  EXPECT_EQ(at(3).stable(), decided + 1);
}

TEST_F(ReplicaTest, ADeposedLeaderGivesUpWhatWasNeverDecided) {
  elect(1, 2);
  settle({1, 2});
  const Index decided = at(1).stable();
  (void)at(1).propose(now_ns_, bytes("never"));
  (void)at(1).propose(now_ns_, bytes("decided"));
  lose_mail();
  elect(3, 2);
  (void)at(3).propose(now_ns_, bytes("instead"));
  settle({1, 2, 3});
  now_ns_ += 50 * kMs;
  at(3).tick(now_ns_);
  settle({1, 2, 3});
  EXPECT_EQ(at(1).role(), Role::follower);
  EXPECT_EQ(nodes_[1].undo_from, decided + 1);
  EXPECT_EQ(at(1).at(decided + 2).payload, bytes("instead"));
  EXPECT_EQ(at(1).stable(), at(3).stable());
}

TEST_F(ReplicaTest, WhoHearsALeaderDoesNotHelpToDeposeIt) {
  elect(1, 2);
  at(2).receive(now_ns_ + 50 * kMs, id(3), {.kind = MessageKind::probe, .epoch = 9});
  collect(2);
  EXPECT_TRUE(nodes_[2].outbox.empty());
  at(2).receive(now_ns_ + 5000 * kMs, id(3), {.kind = MessageKind::probe, .epoch = 9});
  collect(2);
  ASSERT_EQ(nodes_[2].outbox.size(), 1u);
  EXPECT_EQ(nodes_[2].outbox[0].message.kind, MessageKind::probe_yes);
  EXPECT_NE(at(2).epoch(), 9u);
}

TEST_F(ReplicaTest, ALeaderThatNoMajorityAnswersStepsDown) {
  elect(1, 2);
  now_ns_ += 1000 * kMs;
  at(1).tick(now_ns_);
  EXPECT_EQ(at(1).role(), Role::follower);
  EXPECT_FALSE(at(1).propose(now_ns_, bytes("x")));
}

TEST_F(ReplicaTest, AFollowerThatMissedMuchIsBroughtUpInPieces) {
  elect(1, 2);
  for (int i = 0; i < 3000; ++i) {
    (void)at(1).propose(now_ns_, std::vector<std::byte>(100));
    if (i % 500 == 0) settle({1, 2});
  }
  settle({1, 2});
  now_ns_ += 50 * kMs;
  at(1).tick(now_ns_);
  settle({1, 2, 3});
  EXPECT_EQ(at(3).end(), at(1).end());
}

TEST_F(ReplicaTest, StrangersAreNotHeard) {
  at(1).receive(now_ns_, id(7), {.kind = MessageKind::ask, .epoch = 9});
  collect(1);
  EXPECT_TRUE(nodes_[1].outbox.empty());
  EXPECT_EQ(at(1).epoch(), 0u);
}

}  // namespace
}  // namespace dolmen::log
