// SPDX-License-Identifier: Apache-2.0
#include "node/calls.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dolmen::node {
namespace {

using fabric::NodeId;
using replication::EnvelopeKind;
using replication::ReadLevel;
using replication::Reply;
using replication::ReplyStatus;

constexpr std::uint64_t kAttemptNs = 1'000;
constexpr std::uint64_t kPauseNs = 10;
constexpr std::uint64_t kPatienceNs = 100'000;

std::vector<std::byte> command_of(std::string_view text) {
  return {base::as_bytes(text).begin(), base::as_bytes(text).end()};
}
std::string text_of(base::Bytes bytes) {
  std::string result;
  for (const std::byte byte : bytes) result.push_back(static_cast<char>(byte));
  return result;
}

/// Two members, 1 and 2, that answer as a test says.
class CallsTest : public testing::Test, private Calls::Line {
 protected:
  struct Sent {
    NodeId to;
    EnvelopeKind kind;
    std::uint64_t number;
    std::uint64_t session;
    std::uint64_t sequence;
    std::string command;
  };

  void begin(const std::string& command) {
    ASSERT_TRUE(calls_.begin_call(command_of(command), now_ns_ + kPatienceNs, told(command)));
  }
  void ask(const std::string& query) {
    ASSERT_TRUE(calls_.begin_read(command_of(query), ReadLevel::linearizable, now_ns_ + kPatienceNs,
                                  told(query)));
  }
  Calls::Told told(const std::string& name) {
    return [this, name](Result<Calls::Outcome> outcome) {
      EXPECT_FALSE(told_.contains(name)) << "told twice";
      told_[name] = outcome ? text_of(outcome->result) : outcome.error().message();
      if (!outcome) codes_[name] = outcome.error().code();
      if (!outcome) details_[name] = outcome.error().detail();
    };
  }
  /// What is sent now.
  std::vector<Sent> advance() {
    sent_.clear();
    calls_.advance(now_ns_);
    return sent_;
  }
  void answer(const Sent& request, ReplyStatus status, std::string_view result,
              std::uint64_t value = 0) {
    calls_.on_reply(request.to,
                    Reply{.number = request.number,
                          .status = status,
                          .value = value,
                          .result = base::as_bytes(result)},
                    now_ns_);
  }
  /// Opens sessions 7, 8, … for all that ask for one.
  std::vector<Sent> advance_with_sessions() {
    std::vector<Sent> all;
    for (const Sent& one : advance()) {
      if (one.kind == EnvelopeKind::request && one.session == 0) {
        answer(one, ReplyStatus::done, "", next_session_++);
      } else {
        all.push_back(one);
      }
    }
    for (const Sent& one : advance()) all.push_back(one);
    return all;
  }

  std::uint64_t now_ns_ = 1'000;
  std::map<std::string, std::string> told_;
  std::map<std::string, Errc> codes_;
  std::map<std::string, std::uint64_t> details_;
  bool is_connected_ = true;
  base::Random random_{1};
  Calls calls_{*this, random_, kAttemptNs, kPauseNs};
  NodeId target_{1};
  int looked_for_right_ = 0;

 private:
  NodeId asked_now() const override { return target_; }
  bool ask_another(std::uint64_t leader) override {
    if (leader == 1 || leader == 2) {
      if (NodeId{leader} == target_) return other();
      target_ = NodeId{leader};
      return true;
    }
    return other();
  }
  bool other() {
    target_ = target_ == NodeId{1} ? NodeId{2} : NodeId{1};
    return false;
  }
  std::uint64_t next_number() override { return ++number_; }
  Result<bool> send_to(NodeId to, EnvelopeKind kind, base::Bytes head,
                       base::Bytes payload) override {
    if (!is_connected_) return false;
    std::vector<std::byte> body(head.begin(), head.end());
    body.insert(body.end(), payload.begin(), payload.end());
    if (kind == EnvelopeKind::read_request) {
      const auto read = replication::decode_read_request(body).value();
      sent_.push_back({to, kind, read.number, 0, 0, text_of(read.query)});
      return true;
    }
    const auto request = replication::decode_request(body).value();
    if (request.command.size() > 100) return fail(Errc::invalid_argument, "a command");
    sent_.push_back(
        {to, kind, request.number, request.session, request.sequence, text_of(request.command)});
    return true;
  }
  void look_for_right() override { ++looked_for_right_; }
  std::optional<Error> refused() const override { return std::nullopt; }

  std::uint64_t number_ = 0;
  std::uint64_t next_session_ = 7;
  std::vector<Sent> sent_;
};

TEST_F(CallsTest, EachHasASessionOfItsOwnWhileItIsUnderWay) {
  begin("a");
  begin("b");
  const auto sent = advance_with_sessions();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].session, 7u);
  EXPECT_EQ(sent[1].session, 8u);
  EXPECT_EQ(sent[0].sequence, 1u);
  answer(sent[1], ReplyStatus::done, "B");
  EXPECT_TRUE(told_.empty()) << "told from within";
  EXPECT_EQ(calls_.tell(), 1u);
  EXPECT_EQ(told_["b"], "B");
  EXPECT_EQ(calls_.under_way(), 1u);
  begin("c");
  const auto next = advance();
  ASSERT_EQ(next.size(), 1u);
  EXPECT_EQ(next[0].session, 8u) << "used again";
  EXPECT_EQ(next[0].sequence, 2u);
}

TEST_F(CallsTest, AReadNeedsNoSession) {
  ask("q");
  const auto sent = advance();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].kind, EnvelopeKind::read_request);
  answer(sent[0], ReplyStatus::done, "Q");
  calls_.tell();
  EXPECT_EQ(told_["q"], "Q");
}

TEST_F(CallsTest, ARetryIsTheSameCommandOfTheSameSession) {
  begin("a");
  const auto first = advance_with_sessions();
  ASSERT_EQ(first.size(), 1u);
  now_ns_ += kAttemptNs;
  const auto again = advance();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].session, first[0].session);
  EXPECT_EQ(again[0].sequence, first[0].sequence);
  EXPECT_NE(again[0].to, first[0].to) << "who was asked may be cut off";
  answer(first[0], ReplyStatus::done, "late");
  EXPECT_EQ(calls_.tell(), 0u) << "it is of an attempt before";
  answer(again[0], ReplyStatus::done, "A");
  calls_.tell();
  EXPECT_EQ(told_["a"], "A");
}

TEST_F(CallsTest, ManyThatHearOfTheLeaderAskItAtOnce) {
  for (const char* name : {"a", "b", "c"}) ask(name);
  const auto sent = advance();
  ASSERT_EQ(sent.size(), 3u);
  for (const Sent& one : sent) answer(one, ReplyStatus::not_leader, "", 2);
  const auto again = advance();
  ASSERT_EQ(again.size(), 3u);
  for (const Sent& one : again) EXPECT_EQ(one.to, NodeId{2});
}

TEST_F(CallsTest, WhileNobodyLeadsThereArePauses) {
  ask("a");
  answer(advance()[0], ReplyStatus::not_leader, "");
  EXPECT_TRUE(advance().empty());
  EXPECT_LE(calls_.wakeup_ns(), now_ns_ + kPauseNs);
  now_ns_ += kPauseNs;
  EXPECT_EQ(advance().size(), 1u);
}

TEST_F(CallsTest, WhoIsLostIsNotWaitedFor) {
  begin("a");
  const auto first = advance_with_sessions();
  calls_.on_lost(NodeId{1});
  const auto again = advance();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].to, NodeId{2});
  answer(again[0], ReplyStatus::refused, "");
  calls_.tell();
  EXPECT_EQ(codes_["a"], Errc::connection_lost) << "the attempt before may yet be executed";
}

TEST_F(CallsTest, WhatIsRefusedAtOnceDidNotHappen) {
  begin("a");
  answer(advance_with_sessions()[0], ReplyStatus::refused, "");
  calls_.tell();
  EXPECT_EQ(codes_["a"], Errc::invalid_argument);
}

TEST_F(CallsTest, ABusyMemberIsAskedLater) {
  begin("a");
  answer(advance_with_sessions()[0], ReplyStatus::busy, "", 1);
  EXPECT_TRUE(advance().empty());
  now_ns_ += 1'500;
  EXPECT_EQ(advance().size(), 1u);
}

TEST_F(CallsTest, PatienceEnds) {
  begin("unanswered");
  advance_with_sessions();
  begin("busy");
  answer(advance_with_sessions()[0], ReplyStatus::busy, "", 36'001);
  now_ns_ += kPatienceNs;
  advance();
  calls_.tell();
  EXPECT_EQ(codes_["unanswered"], Errc::timed_out);
  EXPECT_EQ(codes_["busy"], Errc::busy) << "nothing happened";
  EXPECT_EQ(details_["busy"], 37u) << "milliseconds";
  EXPECT_EQ(calls_.under_way(), 0u);
}

// "Busy" says that nothing happened; of who came again, and was not answered, that is not known.
TEST_F(CallsTest, PatienceThatEndsWhileAnAttemptIsUnderWayDoesNotSayBusy) {
  begin("a");
  now_ns_ += kPatienceNs - 2 * kAttemptNs;
  answer(advance_with_sessions()[0], ReplyStatus::busy, "", 1'000'000);
  now_ns_ += 2 * kAttemptNs - 1;
  ASSERT_EQ(advance().size(), 1u);
  now_ns_ += 1;
  advance();
  calls_.tell();
  EXPECT_EQ(codes_["a"], Errc::timed_out);
}

TEST_F(CallsTest, AForgottenSessionIsOpenedAnew) {
  begin("a");
  answer(advance_with_sessions()[0], ReplyStatus::expired, "");
  calls_.tell();
  EXPECT_EQ(codes_["a"], Errc::connection_lost);
  begin("b");
  const auto sent = advance();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].session, 0u);
}

TEST_F(CallsTest, WhoHasNoRightIsToldAfterAMoment) {
  ask("none");
  answer(advance()[0], ReplyStatus::no_right, "");
  EXPECT_EQ(looked_for_right_, 1) << "it may have been given since";
  now_ns_ += kPauseNs * 4;
  answer(advance()[0], ReplyStatus::no_right, "");
  calls_.tell();
  EXPECT_TRUE(told_.empty());
  const std::uint64_t deadline_ns = now_ns_ + 1'000'000'000;
  ASSERT_TRUE(
      calls_.begin_read(command_of("later"), ReadLevel::linearizable, deadline_ns, told("later")));
  answer(advance()[0], ReplyStatus::no_right, "");
  now_ns_ += 300'000'000;
  answer(advance()[0], ReplyStatus::no_right, "");
  calls_.tell();
  EXPECT_EQ(codes_["later"], Errc::no_right);
}

// A node that is cut off from the others since it began has no map, and says so for ever.
TEST_F(CallsTest, WhoKnowsNobodyIsNotAskedAloneForAllOfThePatience) {
  ask("a");
  ask("b");
  const auto first = advance();
  ASSERT_EQ(first.size(), 2u);
  for (const Sent& one : first) answer(one, ReplyStatus::stale, "");
  EXPECT_EQ(looked_for_right_, 2);
  now_ns_ += kPauseNs * 4;
  const auto second = advance();
  ASSERT_EQ(second.size(), 2u);
  for (const Sent& one : second) {
    EXPECT_NE(one.to, first[0].to);
    answer(one, ReplyStatus::done, "here");
  }
  calls_.tell();
  EXPECT_EQ(told_["a"], "here");
  EXPECT_EQ(told_["b"], "here");
}

TEST_F(CallsTest, ASessionThatNobodySaidIsOpenLeavesNothingUnknown) {
  ASSERT_TRUE(calls_.begin_call(command_of("a"), now_ns_ + 1'000'000'000, told("a")));
  ASSERT_EQ(advance().size(), 1u);
  now_ns_ += kAttemptNs;
  answer(advance()[0], ReplyStatus::no_right, "");
  now_ns_ += 300'000'000;
  answer(advance()[0], ReplyStatus::no_right, "");
  calls_.tell();
  EXPECT_EQ(codes_["a"], Errc::no_right) << "the command was never sent";
  EXPECT_EQ(calls_.told_now().session, 0u);
}

TEST_F(CallsTest, WhoIsNotConnectedIsWaitedForAndThenAnother) {
  is_connected_ = false;
  ask("a");
  EXPECT_TRUE(advance().empty());
  is_connected_ = true;
  now_ns_ += kPauseNs;
  EXPECT_EQ(advance().size(), 1u);
}

TEST_F(CallsTest, TooMuchIsRefusedAndTooLargeIsTold) {
  begin(std::string(101, 'x'));
  advance_with_sessions();
  calls_.tell();
  EXPECT_EQ(codes_[std::string(101, 'x')], Errc::invalid_argument);
  for (std::size_t i = 0; i < Calls::kCallsMax; ++i) ask(std::to_string(i));
  const auto more = calls_.begin_read(command_of("more"), ReadLevel::linearizable,
                                      now_ns_ + kPatienceNs, told("more"));
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code(), Errc::busy);
  EXPECT_EQ(more.error().detail(), 0u) << "no time would help";
  EXPECT_EQ(advance().size(), Calls::kCallsMax);
}

TEST_F(CallsTest, WhatIsToldMayBeginAnother) {
  ASSERT_TRUE(calls_.begin_read(command_of("a"), ReadLevel::stale, now_ns_ + kPatienceNs,
                                [this](const Result<Calls::Outcome>&) { ask("b"); }));
  answer(advance()[0], ReplyStatus::done, "A");
  EXPECT_EQ(calls_.tell(), 1u);
  answer(advance()[0], ReplyStatus::done, "B");
  calls_.tell();
  EXPECT_EQ(told_["b"], "B");
}

TEST_F(CallsTest, WhatIsToldMayTellTheOthers) {
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_TRUE(calls_.begin_read(command_of(name), ReadLevel::stale, now_ns_ + kPatienceNs,
                                  [this, name](const Result<Calls::Outcome>&) {
                                    told_[name] = "told";
                                    calls_.tell();
                                  }));
  }
  for (const Sent& one : advance()) answer(one, ReplyStatus::done, "");
  EXPECT_EQ(calls_.tell(), 1u) << "the others were told within";
  EXPECT_EQ(told_.size(), 3u);
  EXPECT_EQ(calls_.under_way(), 0u);
}

TEST_F(CallsTest, WhileNobodyLeadsManyWaitAsOneDoes) {
  for (int i = 0; i < 100; ++i) ask(std::to_string(i));
  for (int round = 0; round < 3; ++round) {
    const auto sent = advance();
    EXPECT_EQ(sent.size(), 100u);
    for (const Sent& one : sent) answer(one, ReplyStatus::not_leader, "");
    EXPECT_TRUE(advance().empty()) << "in each other's way: " << round;
    now_ns_ += kPauseNs;
  }
}

TEST_F(CallsTest, ASessionIsUsedAgainBehindWhatWasAnswered) {
  begin("a");
  const auto first = advance_with_sessions();
  answer(first[0], ReplyStatus::done, "A");
  calls_.tell();
  EXPECT_EQ(calls_.told_now().session, first[0].session);
  EXPECT_EQ(calls_.told_now().sequence, first[0].sequence);
  begin("b");
  const auto next = advance();
  ASSERT_EQ(next.size(), 1u);
  EXPECT_EQ(next[0].session, first[0].session);
  EXPECT_GT(next[0].sequence, first[0].sequence);
  answer(next[0], ReplyStatus::aborted, "");
  calls_.tell();
  EXPECT_EQ(codes_["b"], Errc::aborted) << "somebody asked what became of it";
}

// With another command of it nobody could be told what became of the first one.
TEST_F(CallsTest, ASessionOfWhichNobodyKnowsWhatItDidIsLeftToBeAsked) {
  begin("a");
  const auto first = advance_with_sessions();
  ASSERT_EQ(first.size(), 1u);
  now_ns_ += kPatienceNs;
  advance();
  calls_.tell();
  EXPECT_EQ(codes_["a"], Errc::timed_out);
  EXPECT_EQ(calls_.told_now().session, first[0].session);
  EXPECT_EQ(calls_.told_now().sequence, first[0].sequence);
  begin("b");
  const auto next = advance_with_sessions();
  ASSERT_EQ(next.size(), 1u);
  EXPECT_NE(next[0].session, first[0].session);
  answer(first[0], ReplyStatus::done, "late");
  EXPECT_EQ(calls_.tell(), 0u) << "it is of the call before";
  answer(next[0], ReplyStatus::done, "B");
  calls_.tell();
  EXPECT_EQ(told_["b"], "B");
}

}  // namespace
}  // namespace dolmen::node
