// SPDX-License-Identifier: Apache-2.0
//
// One who has a state and one who lacks it, with a wire between them that loses, and machines that
// keep bytes.
#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "replication/envelope.hpp"
#include "replication/state_fetch.hpp"
#include "replication/state_server.hpp"
#include "sim/sim_env.hpp"
#include "store/golden_file.hpp"

namespace dolmen::replication {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kMs = 1'000'000;
constexpr log::ReplicaId kSource{1};
constexpr log::ReplicaId kOther{2};
constexpr log::ReplicaId kAsker{3};

Bytes bytes_of(std::string_view text) {
  const base::Bytes all = base::as_bytes(text);
  return {all.begin(), all.end()};
}

/// Keeps a number of bytes; a reference is how many it needs at least.
class ByteMachine final : public StateMachine {
 public:
  std::vector<std::byte> apply(Bytes) override { return {}; }
  std::vector<std::byte> snapshot() const override { return {}; }
  Result<void> restore(Bytes) override { return {}; }
  void reset() override {}
  bool keeps_state() const override { return true; }
  bool has_state(Bytes reference) const override { return state.size() >= reference.size(); }

  class Source final : public StateSource {
   public:
    Source(ByteMachine& machine, std::size_t part_bytes)
        : machine_(machine), state_(machine.state), part_bytes_(part_bytes) {}
    /// A question is the number of the part that is meant; behind the last one is the end.
    Result<std::optional<std::vector<std::byte>>> answer(
        std::uint64_t number, std::span<const std::byte> question) override {
      if (question.empty()) return part(number);
      if (question.size() != 8) return fail(Errc::corrupt, "test");
      return part(base::load<std::uint64_t>(question));
    }
    Result<std::optional<std::vector<std::byte>>> part(std::uint64_t number) override {
      ++machine_.parts_read;
      if (machine_.is_lost) return fail(Errc::closed, "test");
      if (machine_.is_slow && ++reads_ % 3 != 0) return std::optional<std::vector<std::byte>>();
      const std::size_t at = std::min(number * part_bytes_, state_.size());
      const std::size_t count = std::min(part_bytes_, state_.size() - at);
      const auto begin = state_.begin() + static_cast<std::ptrdiff_t>(at);
      return std::optional(
          std::vector<std::byte>(begin, begin + static_cast<std::ptrdiff_t>(count)));
    }

   private:
    ByteMachine& machine_;
    const std::vector<std::byte> state_;
    const std::size_t part_bytes_;
    std::uint64_t reads_ = 0;
  };
  Result<std::unique_ptr<StateSource>> send_state(Bytes reference,
                                                  std::size_t part_bytes) override {
    if (state.size() < reference.size()) return fail(Errc::not_found, "test");
    ++sources_made;
    return std::make_unique<Source>(*this, part_bytes);
  }

  class Sink final : public StateSink {
   public:
    explicit Sink(ByteMachine& machine) : machine_(machine) {}
    Result<bool> take(Bytes part) override {
      if (machine_.refuses) return fail(Errc::corrupt, "test");
      if (machine_.is_full) return fail(Errc::no_space, "test");
      if (machine_.is_slow && ++takes_ % 3 != 0) return false;
      if (part.empty()) has_end_ = true;
      taken_.insert(taken_.end(), part.begin(), part.end());
      return true;
    }
    /// Backwards and one of two, for who asks by itself: what it has is what it did not ask for.
    Result<std::optional<std::vector<std::byte>>> question(std::uint64_t number) override {
      if (machine_.asks_for == 0) return std::optional(std::vector<std::byte>());
      EXPECT_EQ(number, questions_) << "each once, in order";
      if (machine_.is_slow && ++takes_ % 3 != 0) return std::nullopt;
      ++questions_;
      std::vector<std::byte> question(8);
      const std::uint64_t wanted =
          number < machine_.asks_for ? 2 * (machine_.asks_for - number) : std::uint64_t{1} << 40;
      base::store(base::MutableBytes(question), 0, wanted);
      return std::optional(std::move(question));
    }
    Result<bool> is_done() override {
      if (!has_end_ || (machine_.is_slow && ++takes_ % 3 != 0)) return false;
      machine_.state = taken_;
      return true;
    }

   private:
    ByteMachine& machine_;
    std::vector<std::byte> taken_;
    bool has_end_ = false;
    std::uint64_t takes_ = 0;
    std::uint64_t questions_ = 0;
  };
  Result<std::unique_ptr<StateSink>> receive_state(Bytes) override {
    ++sinks_made;
    return std::make_unique<Sink>(*this);
  }

  std::vector<std::byte> state;
  std::uint64_t asks_for = 0;  ///< so many parts, by questions; 0: for all, without
  bool is_slow = false;
  bool is_lost = false;
  bool is_full = false;
  bool refuses = false;
  int sources_made = 0;
  int sinks_made = 0;
  int parts_read = 0;
};

log::SnapshotPtr snapshot_at(log::Index index) {
  log::SnapshotPlace place;
  place.last = {1, index};
  place.configuration.voters = {kSource, kOther, kAsker};
  return log::Snapshot::make(place, {}).value();
}

class StateTransferTest : public testing::Test {
 protected:
  StateTransferTest() {
    source_.state.resize(100 * 64 + 17);
    for (std::byte& byte : source_.state) byte = static_cast<std::byte>(random_());
    servers_.try_emplace(kSource, &source_, options_);
    servers_.try_emplace(kOther, &other_, options_);
    fetch_ = std::make_unique<StateFetch>(lacking_, options_, entropy_, snapshot_at(9),
                                          bytes_of("reference"));
  }
  /// One turn of everybody; `leader` is whom the asker takes for it.
  Result<bool> turn(log::ReplicaId leader = kSource) {
    now_ns_ += kMs;
    auto moved = fetch_->go_on(now_ns_, leader, [&](log::ReplicaId to, const AskState& ask) {
      ++asked_;
      const Bytes body = encode(ask);
      if (random_.chance(losses_, 100)) return;
      const auto decoded = decode_ask_state(body).value();
      if (dead_ != to) servers_.at(to).take(now_ns_, kAsker, {}, decoded);
    });
    for (auto& [id, server] : servers_) {
      server.serve(now_ns_,
                   [&](const fabric::NodeName&, log::ReplicaId asker, const StatePart& part) {
                     if (asker != kAsker) return;
                     const Bytes body = encode(part);
                     if (random_.chance(losses_, 100)) return;
                     fetch_->take(now_ns_, id, decode_state_part(body).value());
                     if (random_.chance(losses_, 100))
                       fetch_->take(now_ns_, id, decode_state_part(body).value());
                   });
    }
    return moved;
  }
  bool run(int turns = 5000, log::ReplicaId leader = kSource) {
    for (int i = 0; i < turns && fetch_->arrived() == nullptr; ++i) {
      if (!turn(leader)) return false;
    }
    return fetch_->arrived() != nullptr;
  }

  const StateTransferOptions options_{.part_bytes = 64,
                                      .window = 8,
                                      .resend_ns = 20 * kMs,
                                      .silence_ns = 300 * kMs,
                                      .senders_max = 1};
  base::Random random_{7};
  sim::SimEntropy entropy_{7};
  ByteMachine source_;
  ByteMachine other_;
  ByteMachine lacking_;
  std::map<log::ReplicaId, StateServer> servers_;
  std::unique_ptr<StateFetch> fetch_;
  log::ReplicaId dead_{};
  std::uint64_t losses_ = 0;
  std::uint64_t now_ns_ = kMs;
  int asked_ = 0;
};

TEST_F(StateTransferTest, AllPartsArriveAndNoneIsAskedForTwice) {
  ASSERT_TRUE(run());
  EXPECT_EQ(lacking_.state, source_.state);
  EXPECT_EQ(source_.sources_made, 1);
  EXPECT_LE(asked_, 102 + 8);  // a few behind the end
}

TEST_F(StateTransferTest, LossesAndSlowDisksOnlyCostTime) {
  losses_ = 20;
  source_.is_slow = true;
  lacking_.is_slow = true;
  ASSERT_TRUE(run(50'000));
  EXPECT_EQ(lacking_.state, source_.state);
  EXPECT_EQ(lacking_.sinks_made, 1);
}

// Whatever gets lost, and however long it takes to make the next one.
TEST_F(StateTransferTest, QuestionsAreAskedOnceAndAnsweredInTheirOrder) {
  for (const bool is_slow : {false, true}) {
    lacking_.asks_for = 40;
    lacking_.state.clear();
    lacking_.is_slow = is_slow;
    source_.is_slow = is_slow;
    losses_ = is_slow ? 20 : 0;
    fetch_->begin_again();
    asked_ = 0;
    ASSERT_TRUE(run(50'000));
    Bytes expected;
    for (std::ptrdiff_t part = 80; part >= 2; part -= 2) {
      const auto begin = source_.state.begin() + 64 * part;
      expected.insert(expected.end(), begin, begin + 64);
    }
    EXPECT_EQ(lacking_.state, expected);
    EXPECT_TRUE(is_slow || asked_ <= 41 + 8) << asked_;
  }
}

TEST_F(StateTransferTest, AnotherLeaderDoesNotEndIt) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(turn());
  ASSERT_TRUE(run(5000, kOther));
  EXPECT_EQ(lacking_.state, source_.state);
  EXPECT_EQ(other_.sources_made, 0);
}

TEST_F(StateTransferTest, WhenWhoIsAskedDiesItBeginsAnewElsewhere) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(turn());
  dead_ = kSource;
  other_.state = source_.state;
  other_.state.push_back(std::byte{1});
  ASSERT_TRUE(run(5000, kOther));
  EXPECT_EQ(lacking_.state, other_.state);
  EXPECT_EQ(lacking_.sinks_made, 2);
}

TEST_F(StateTransferTest, AStateThatIsGoneIsBegunAnew) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(turn());
  source_.is_lost = true;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(turn());
  source_.is_lost = false;
  ASSERT_TRUE(run());
  EXPECT_EQ(lacking_.state, source_.state);
  EXPECT_GT(source_.sources_made, 1);
}

TEST_F(StateTransferTest, WhoHasAnOlderOneSaysSo) {
  source_.state.resize(3);
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(turn());
  EXPECT_EQ(fetch_->arrived(), nullptr);
  EXPECT_LT(asked_, 30) << "not with every turn";
  EXPECT_EQ(source_.sources_made, 0);
}

TEST_F(StateTransferTest, OnlySoManyAreServed) {
  servers_.at(kSource).take(now_ns_, log::ReplicaId{77}, {},
                            {.transfer = 5, .part = 0, .reference = {}});
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(turn());
  EXPECT_EQ(source_.sources_made, 1);
  // Nobody asks for that one any more.
  ASSERT_TRUE(run());
  EXPECT_EQ(lacking_.state, source_.state);
}

// A client's copy takes no member's place, and gives its own away when it has the end.
TEST_F(StateTransferTest, OneClientAtATimeWhereAMemberMayCome) {
  StateTransferOptions options = options_;
  options.senders_max = 2;
  StateServer server(&source_, options);
  constexpr log::ReplicaId kFirst{std::uint64_t{1} << 63};
  constexpr log::ReplicaId kSecond{std::uint64_t{1} << 63 | 1};
  const Bytes reference = bytes_of("reference");
  std::map<log::ReplicaId, StateStatus> told;
  const auto ask = [&](log::ReplicaId asker, std::uint64_t part, StateServer::Asker kind) {
    server.take(now_ns_, asker, {}, {.transfer = 7, .part = part, .reference = reference}, kind);
    server.serve(now_ns_, [&](const fabric::NodeName&, log::ReplicaId to, const StatePart& its) {
      told[to] = its.status;
    });
    return told.at(asker);
  };
  EXPECT_EQ(ask(kFirst, 0, StateServer::Asker::client), StateStatus::part);
  for (std::uint64_t part = 1; part <= 100; ++part) {
    EXPECT_EQ(ask(kFirst, part, StateServer::Asker::client), StateStatus::part);
  }
  EXPECT_EQ(ask(kSecond, 0, StateServer::Asker::client), StateStatus::busy) << "the end is left";
  (void)ask(kFirst, 101, StateServer::Asker::client);
  EXPECT_EQ(ask(kFirst, 102, StateServer::Asker::client), StateStatus::gone);
  EXPECT_EQ(ask(kSecond, 0, StateServer::Asker::client), StateStatus::part);
  EXPECT_EQ(ask(kAsker, 0, StateServer::Asker::member), StateStatus::part);
  EXPECT_EQ(ask(kFirst, 0, StateServer::Asker::client), StateStatus::busy);
}

TEST_F(StateTransferTest, ALaterSnapshotIsTakenOnceItsStateIsThere) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(turn());
  fetch_->want(snapshot_at(20), bytes_of("a longer reference"));
  ASSERT_TRUE(run());
  EXPECT_EQ(fetch_->arrived()->last().index, 20u);
  fetch_->want(snapshot_at(30), Bytes(source_.state.size() + 1));
  EXPECT_EQ(fetch_->arrived()->last().index, 9u) << "what is there is of no use for that one";
  fetch_->want(snapshot_at(25), {});
  EXPECT_EQ(fetch_->wanted()->last().index, 30u) << "late";
}

TEST_F(StateTransferTest, PartsThatTheMachineRefusesBeginItAnew) {
  lacking_.refuses = true;
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(turn());
  lacking_.refuses = false;
  ASSERT_TRUE(run());
  EXPECT_EQ(lacking_.state, source_.state);
  lacking_.state.clear();
  lacking_.is_full = true;
  fetch_->begin_again();
  Result<bool> moved = true;
  for (int i = 0; i < 50 && moved; ++i) moved = turn();
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().code(), Errc::no_space);
}

TEST_F(StateTransferTest, StrangersSayNothing) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(turn());
  const Bytes rubbish(64, std::byte{0xEE});
  for (std::uint64_t part = 0; part < 20; ++part) {
    fetch_->take(now_ns_, kOther, {.transfer = 1, .part = part, .bytes = rubbish});
    fetch_->take(now_ns_, kSource, {.transfer = 1, .part = part, .bytes = rubbish});
  }
  ASSERT_TRUE(run());
  EXPECT_EQ(lacking_.state, source_.state);
}

TEST(StateMessage, TheBytesAreThoseThatWereAgreedOn) {
  const Bytes content = bytes_of("some pages");
  EXPECT_EQ(encode(AskState{.transfer = 3,
                            .part = 4,
                            .reference = bytes_of("which state"),
                            .question = bytes_of("which part")}),
            store::read_golden("member_ask_state_v2.bin"));
  EXPECT_EQ(encode(StatePart{.transfer = 3, .part = 4, .bytes = content}),
            store::read_golden("member_state_v1.bin"));
  EXPECT_EQ(decode_envelope(encode(Envelope{.kind = EnvelopeKind::state, .group = {1, 2}}))
                .value()
                .envelope.kind,
            EnvelopeKind::state);
  EXPECT_FALSE(decode_envelope(encode(Envelope{.kind = EnvelopeKind{16}, .group = {1, 2}})));
}

TEST(StateMessage, WhatIsDamagedIsRefused) {
  const Bytes content = bytes_of("some pages");
  const Bytes part = encode(StatePart{.transfer = 3, .part = 4, .bytes = content});
  ASSERT_TRUE(decode_state_part(part));
  for (std::size_t i = 8; i < part.size(); ++i) {
    Bytes damaged = part;
    damaged[i] ^= std::byte{1};
    EXPECT_FALSE(decode_state_part(damaged)) << i;
  }
  EXPECT_FALSE(decode_state_part(base::Bytes(part).first(31)));
  EXPECT_FALSE(decode_state_part(
      encode(StatePart{.transfer = 3, .status = StateStatus::gone, .bytes = content})));
  EXPECT_FALSE(decode_state_part(encode(StatePart{.transfer = 0})));
  EXPECT_FALSE(
      decode_state_part(encode(StatePart{.transfer = 1, .bytes = Bytes(kStatePartBytesMax + 1)})));
  const Bytes ask =
      encode(AskState{.transfer = 3, .part = 4, .reference = content, .question = content});
  EXPECT_EQ(decode_ask_state(ask).value().part, 4u);
  EXPECT_TRUE(std::ranges::equal(decode_ask_state(ask).value().reference, content));
  EXPECT_TRUE(std::ranges::equal(decode_ask_state(ask).value().question, content));
  EXPECT_FALSE(decode_ask_state(base::Bytes(ask).first(23)));
  EXPECT_FALSE(decode_ask_state(base::Bytes(ask).first(24 + content.size() - 1)));
  EXPECT_FALSE(
      decode_ask_state(encode(AskState{.transfer = 1, .question = Bytes(kQuestionBytesMax + 1)})));
  EXPECT_FALSE(decode_ask_state(encode(AskState{.transfer = 0, .part = 4})));
  EXPECT_FALSE(decode_ask_state(
      encode(AskState{.transfer = 1, .reference = Bytes(kReferenceBytesMax + 1)})));
}

}  // namespace
}  // namespace dolmen::replication
