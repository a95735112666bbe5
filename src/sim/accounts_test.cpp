// SPDX-License-Identifier: Apache-2.0
//
// Histories made by hand, each wrong in one way.
#include "sim/accounts.hpp"

#include <gtest/gtest.h>

namespace dolmen::sim {
namespace {

AccountCall move_of(std::uint64_t key, std::uint8_t from, std::uint8_t to, std::int64_t amount) {
  const std::uint8_t other = from + to == 1 ? 2 : from + to == 2 ? 3 : 0;
  return {.key = key, .work = AccountWork::move, .at = {from, to, other}, .amount = amount};
}

/// Two moves at entries 10 and 20, one after the other, and a read behind them as of 25.
class AccountsJudgeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    judge_.begins(first_, false, 100);
    given_.push_back(plain_.run(first_));
    judge_.decided(10, given_[0]);
    judge_.answered(given_[0], 10, 200);
    judge_.begins(second_, false, 300);
    given_.push_back(plain_.run(second_));
  }
  void finish_second() {
    judge_.decided(20, given_[1]);
    judge_.answered(given_[1], 20, 400);
  }
  void read(std::vector<std::int64_t> balances, std::uint64_t index) {
    judge_.begins({.key = 9, .mask = 7}, true, 500);
    judge_.answered({.key = 9, .is_done = true, .balances = std::move(balances)}, index, 600);
  }
  [[nodiscard]] std::string verdict() const { return judge_.verdict(plain_.balances()); }

  const AccountCall first_ = move_of(1, 0, 1, 30);
  const AccountCall second_ = move_of(2, 1, 2, 110);
  PlainAccounts plain_;
  AccountsJudge judge_;
  std::vector<AccountAnswer> given_;
};

TEST_F(AccountsJudgeTest, WhatOneMachineWouldHaveSaidIsRight) {
  finish_second();
  judge_.decided(20, given_[1]);  // of another member
  read({70, 20, 210}, 25);
  EXPECT_EQ(verdict(), "");
  EXPECT_EQ(judge_.counts().done, 2u);
  EXPECT_EQ(judge_.counts().queries, 1u);
}

TEST_F(AccountsJudgeTest, WhatNobodyWasToldOfMayHaveHappenedOrNot) {
  EXPECT_NE(verdict(), "");  // it is in the end, and not decided
  judge_.decided(20, given_[1]);
  EXPECT_EQ(verdict(), "");
  EXPECT_EQ(judge_.counts().unknown, 1u);
}

TEST_F(AccountsJudgeTest, AReadOfThePastIsSeen) {
  finish_second();
  read({70, 130, 100}, 15);
  EXPECT_NE(verdict().find("from the past"), std::string::npos) << verdict();
}

TEST_F(AccountsJudgeTest, AReadOfHalfATransactionIsSeen) {
  finish_second();
  read({70, 20, 100}, 25);
  EXPECT_NE(verdict().find("where there was"), std::string::npos) << verdict();
}

TEST_F(AccountsJudgeTest, ACommandThatRanTwiceIsSeen) {
  finish_second();
  judge_.decided(30, given_[0]);
  EXPECT_NE(verdict().find("executed twice"), std::string::npos) << verdict();
}

TEST_F(AccountsJudgeTest, WhatWasAcknowledgedAndIsLostIsSeen) {
  judge_.answered(given_[1], 20, 400);
  EXPECT_NE(verdict().find("is lost"), std::string::npos) << verdict();
}

TEST_F(AccountsJudgeTest, AnotherOrderThanThatOfTimeIsSeen) {
  AccountsJudge judge;
  PlainAccounts plain;
  const AccountCall later = move_of(2, 3, 4, 5);  // they do not even touch the same accounts
  judge.begins(first_, false, 100);
  judge.begins(later, false, 300);
  const AccountAnswer its = plain.run(later);
  judge.decided(10, its);
  judge.answered(its, 10, 400);
  const AccountAnswer earlier = plain.run(first_);
  judge.decided(11, earlier);
  judge.answered(earlier, 11, 200);
  EXPECT_NE(judge.verdict(plain.balances()).find("from the past"), std::string::npos);
}

TEST_F(AccountsJudgeTest, AnotherAnswerThanTheLogsIsSeen) {
  judge_.decided(20, given_[1]);
  AccountAnswer other = given_[1];
  other.is_done = false;
  judge_.answered(other, 20, 400);
  EXPECT_NE(verdict().find("the log says"), std::string::npos) << verdict();
}

TEST_F(AccountsJudgeTest, AMemberThatExecutedItDifferentlyIsSeen) {
  finish_second();
  AccountAnswer other = given_[1];
  ++other.balances[0];
  judge_.decided(20, other);
  EXPECT_NE(verdict().find("two members"), std::string::npos) << verdict();
}

TEST_F(AccountsJudgeTest, MoneyThatIsElsewhereInTheEndIsSeen) {
  finish_second();
  Balances last = plain_.balances();
  --last[5];
  EXPECT_NE(judge_.verdict(last), "");
}

TEST(PlainAccounts, MoveWhatThereIsAndNothingElse) {
  PlainAccounts accounts;
  EXPECT_FALSE(accounts.run(move_of(1, 0, 1, 101)).is_done);
  EXPECT_TRUE(
      accounts.run({.key = 2, .work = AccountWork::split, .at = {0, 1, 2}, .amount = 5}).is_done);
  EXPECT_FALSE(
      accounts.run({.key = 3, .work = AccountWork::spoil, .at = {0, 1, 2}, .amount = 5}).is_done);
  EXPECT_EQ(accounts.run({.key = 4, .mask = 7}).balances,
            (std::vector<std::int64_t>{95, 102, 103}));
}

TEST(PlainAccounts, CallsNameDifferentAccounts) {
  base::Random random(1);
  for (int i = 0; i < 1'000; ++i) {
    const AccountCall call = draw_account_call(random, i % 2 == 0);
    EXPECT_NE(call.at[0], call.at[1]);
    EXPECT_NE(call.at[1], call.at[2]);
    EXPECT_NE(call.at[0], call.at[2]);
    EXPECT_NE(call.mask, 0);
    EXPECT_GT(call.amount, 0);
  }
}

}  // namespace
}  // namespace dolmen::sim
