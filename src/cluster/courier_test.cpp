// SPDX-License-Identifier: Apache-2.0
#include "cluster/courier.hpp"

#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/mail_fixture.hpp"

namespace dolmen::cluster {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

/// Group 1 and its courier; the others are what the test says.
class CourierTest : public testing::Test {
 protected:
  void lead() {
    courier_.emplace(mailbox_, options_, now_ns_);
    take();
  }
  void take() {
    CourierOutput output = courier_->take_output();
    for (auto& message : output.messages) sent_.push_back(std::move(message));
    for (auto& change : output.proposals) proposed_.push_back(std::move(change));
  }
  void post(std::uint64_t to, std::string_view text) {
    ASSERT_EQ(mailbox_.apply(++index_, {.posted = {{group(to), bytes(text)}}}),
              MailVerdict::applied);
    changed();
  }
  void settle() {
    mailbox_.settle(index_);
    changed();
  }
  void changed() {
    courier_->changed(now_ns_);
    take();
  }
  void wait(std::uint64_t ns) {
    now_ns_ += ns;
    courier_->tick(now_ns_);
    take();
  }
  void hear(std::uint64_t from, MailSequence consumed, MailSequence first = 0,
            std::vector<std::string> mails = {}) {
    MailMessage message{.from = group(from), .to = group(1), .consumed = consumed, .first = first};
    for (const std::string& mail : mails) message.mails.push_back(bytes(mail));
    courier_->receive(now_ns_, message);
    take();
  }
  /// What was sent since the last call; the number of mails in each.
  std::vector<std::size_t> mails() {
    std::vector<std::size_t> counts;
    for (const auto& message : sent_) counts.push_back(message.mails.size());
    sent_.clear();
    return counts;
  }
  /// Applies what was proposed; the verdicts.
  std::vector<MailVerdict> apply() {
    std::vector<MailVerdict> verdicts;
    for (auto& change : std::exchange(proposed_, {})) {
      verdicts.push_back(mailbox_.apply(++index_, std::move(change)));
    }
    changed();
    return verdicts;
  }

  using Counts = std::vector<std::size_t>;
  const MailVerdict kApplied = MailVerdict::applied;
  CourierOptions options_{};
  Mailbox mailbox_{group(1)};
  log::Index index_ = 0;
  std::uint64_t now_ns_ = 1;
  std::optional<Courier> courier_;
  std::vector<MailMessage> sent_;
  std::vector<MailChange> proposed_;
};

TEST_F(CourierTest, SendsWhatIsStableAndNothingElse) {
  lead();
  post(2, "one");
  post(2, "two");
  EXPECT_EQ(mails(), Counts{});
  settle();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(
      sent_[0],
      (MailMessage{
          .from = group(1), .to = group(2), .first = 1, .mails = {bytes("one"), bytes("two")}}));
  changed();
  EXPECT_EQ(mails(), Counts{2}) << "and once";
}

TEST_F(CourierTest, SendsAgainLessAndLessOftenUntilItIsAcknowledged) {
  lead();
  EXPECT_EQ(courier_->next_wakeup_ns(), Courier::kNever);
  post(2, "one");
  settle();
  EXPECT_EQ(mails(), Counts{1});
  std::uint64_t wait_ns = options_.resend_ns;
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(courier_->next_wakeup_ns(), now_ns_ + wait_ns);
    wait(wait_ns - 1);
    EXPECT_EQ(mails(), Counts{});
    wait(1);
    EXPECT_EQ(mails(), Counts{1});
    wait_ns = std::min(2 * wait_ns, options_.resend_max_ns);
  }
  EXPECT_EQ(wait_ns, options_.resend_max_ns);
  hear(2, 1);
  wait(options_.resend_max_ns);
  EXPECT_EQ(mails(), Counts{});
}

TEST_F(CourierTest, AnAcknowledgementOfAPartGivesTheRestItsTimeAnew) {
  options_.trim_ns = 3'600'000 * kMs;
  lead();
  post(2, "one");
  post(2, "two");
  settle();
  wait(options_.resend_ns);
  wait(options_.resend_ns);
  EXPECT_EQ(mails(), (Counts{2, 2})) << "the second pause is longer";
  hear(2, 1);
  EXPECT_EQ(courier_->next_wakeup_ns(), now_ns_ + options_.resend_ns);
  wait(options_.resend_ns);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].first, 2u);
}

TEST_F(CourierTest, HasTheLogForgetWhatIsAcknowledgedALittleLaterAndTogether) {
  lead();
  post(2, "one");
  post(2, "two");
  post(3, "three");
  settle();
  hear(2, 1);
  hear(2, 2);
  hear(3, 1);
  EXPECT_TRUE(proposed_.empty());
  EXPECT_EQ(courier_->next_wakeup_ns(), now_ns_ + options_.trim_ns);
  wait(options_.trim_ns);
  ASSERT_EQ(proposed_.size(), 1u);
  EXPECT_EQ(proposed_[0], (MailChange{.acknowledged = {{group(2), 2}, {group(3), 1}}}));
  wait(options_.trim_ns);
  EXPECT_EQ(proposed_.size(), 1u) << "it is under way";
  const MailChange first = proposed_[0];
  proposed_.clear();
  courier_->declined(now_ns_, first);
  wait(options_.trim_ns);
  ASSERT_EQ(proposed_.size(), 1u) << "and again when it came to nothing";
  EXPECT_EQ(proposed_[0], first);
  EXPECT_EQ(apply(), std::vector{kApplied});
  EXPECT_EQ(mailbox_.bytes(), 0u);
  EXPECT_EQ(courier_->next_wakeup_ns(), Courier::kNever);
}

TEST_F(CourierTest, AnAcknowledgementOfWhatIsNotPostedIsNotBelieved) {
  lead();
  post(2, "one");
  settle();
  hear(2, 2);
  hear(3, 1);
  wait(options_.trim_ns);
  EXPECT_TRUE(proposed_.empty());
  wait(options_.resend_ns);
  EXPECT_EQ(mails(), (Counts{1, 1}));
}

TEST_F(CourierTest, WhatArrivesIsProposedOnceAndInOrder) {
  lead();
  hear(2, 0, 2, {"two"});
  EXPECT_TRUE(proposed_.empty()) << "the one before is missing";
  hear(2, 0, 1, {"one"});
  hear(2, 0, 1, {"one", "two"});
  hear(2, 0, 1, {"one", "two"});
  ASSERT_EQ(proposed_.size(), 2u);
  EXPECT_EQ(proposed_[1].received->bytes, bytes("two"));
  EXPECT_EQ(apply(), (std::vector{kApplied, kApplied}));
  hear(2, 0, 2, {"two", "three"});
  ASSERT_EQ(proposed_.size(), 1u);
  EXPECT_EQ(proposed_[0].received->sequence, 3u);
}

TEST_F(CourierTest, AcknowledgesWhatIsStableAndAgainWhenItIsAskedAgain) {
  lead();
  hear(2, 0, 1, {"one"});
  apply();
  hear(2, 0, 1, {"one"});
  EXPECT_TRUE(sent_.empty());
  settle();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0], (MailMessage{.from = group(1), .to = group(2), .consumed = 1}));
  changed();
  EXPECT_EQ(mails(), Counts{0});
  hear(2, 0, 1, {"one"});
  hear(2, 0, 1, {"one"});
  EXPECT_EQ(mails(), (Counts{0, 0}));
}

TEST_F(CourierTest, AMailBringsAnAcknowledgementAlong) {
  lead();
  hear(2, 0, 1, {"question"});
  apply();
  post(2, "answer");
  settle();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].consumed, 1u);
  EXPECT_EQ(sent_[0].mails.size(), 1u);
}

TEST_F(CourierTest, WhatIsDeclinedIsProposedWhenItArrivesAgain) {
  lead();
  hear(2, 0, 1, {"one", "two", "three"});
  ASSERT_EQ(proposed_.size(), 3u);
  const MailChange second = proposed_[1];
  proposed_.resize(1);
  courier_->declined(now_ns_, second);
  EXPECT_EQ(apply(), std::vector{kApplied});
  hear(2, 0, 1, {"one", "two", "three"});
  ASSERT_EQ(proposed_.size(), 2u);
  EXPECT_EQ(proposed_[0], second);
}

TEST_F(CourierTest, NoMoreIsUnderWayThanIsAllowed) {
  options_.message_bytes = 30;
  options_.window_bytes = 50;
  options_.proposed_bytes = 20;
  lead();
  for (int i = 0; i < 7; ++i) post(2, "ten bytes.");
  settle();
  EXPECT_EQ(mails(), (Counts{2, 2, 1}));
  hear(2, 1);
  EXPECT_EQ(mails(), Counts{1});
  hear(2, 6);
  EXPECT_EQ(mails(), Counts{1});
  post(3, std::string(200, 'x'));
  settle();
  EXPECT_EQ(mails(), Counts{1}) << "a single one travels, however large";

  hear(2, 0, 1, {"ten bytes.", "ten bytes.", "ten bytes."});
  EXPECT_EQ(proposed_.size(), 2u);
  apply();
  hear(2, 0, 3, {"ten bytes."});
  EXPECT_EQ(proposed_.size(), 1u);
}

TEST_F(CourierTest, WhoBeginsToLeadSendsAndTellsEverythingAgain) {
  lead();
  post(2, "one");
  settle();
  hear(2, 0, 1, {"theirs"});
  apply();
  settle();
  hear(2, 0, 2, {"more"});
  sent_.clear();
  proposed_.clear();
  lead();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].mails.size(), 1u);
  EXPECT_EQ(sent_[0].consumed, 1u);
  hear(2, 0, 2, {"more"});
  EXPECT_EQ(proposed_.size(), 1u) << "the former leader's proposal was lost";
}

TEST_F(CourierTest, MailInTheOwnLogIsNotProposedByTheNextLeaderEither) {
  lead();
  hear(2, 0, 1, {"one"});
  apply();
  lead();
  hear(2, 0, 1, {"one"});
  EXPECT_TRUE(proposed_.empty());
  EXPECT_TRUE(sent_.empty()) << "it is not stable";
}

TEST_F(CourierTest, WhatIsForOthersIsDropped) {
  lead();
  courier_->receive(now_ns_, {.from = group(2), .to = group(3), .first = 1, .mails = {bytes("x")}});
  courier_->receive(now_ns_, {.from = group(1), .to = group(1), .first = 1, .mails = {bytes("x")}});
  take();
  EXPECT_TRUE(proposed_.empty());
  EXPECT_EQ(courier_->next_wakeup_ns(), Courier::kNever);
}

}  // namespace
}  // namespace dolmen::cluster
