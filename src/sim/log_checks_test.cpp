// SPDX-License-Identifier: Apache-2.0
//
// The judge is judged: histories made by hand, each wrong in one way.
#include "sim/log_checks.hpp"

#include <gtest/gtest.h>

#include "sim/log_machine.hpp"

namespace dolmen::sim {
namespace {

log::Entry entry(log::Index index, log::Epoch origin, std::uint64_t command) {
  std::vector<std::byte> payload(sizeof command);
  base::store(base::MutableBytes(payload), 0, command);
  return {.origin = origin, .index = index, .payload = payload};
}

TEST(LogChecks, ARightHistoryIsRight) {
  LogChecks checks;
  checks.leads(0, 1);
  checks.learned_stable(0, entry(1, 1, 11));
  checks.acknowledged(11, {1, 1}, 0, true);
  checks.learned_stable(1, entry(1, 1, 11));
  checks.leads(1, 2);
  checks.learned_stable(1, entry(2, 2, 12));
  checks.acknowledged(12, {2, 2}, 1, true);
  checks.finished(2);
  EXPECT_EQ(checks.violation(), "");
}

TEST(LogChecks, TwoEntriesInOnePlaceAreSeen) {
  LogChecks checks;
  checks.learned_stable(0, entry(1, 1, 11));
  checks.learned_stable(1, entry(1, 2, 12));
  EXPECT_NE(checks.violation(), "");
}

TEST(LogChecks, OneCommandInTwoPlacesIsSeen) {
  LogChecks checks;
  checks.learned_stable(0, entry(1, 1, 11));
  checks.learned_stable(0, entry(2, 1, 11));
  EXPECT_NE(checks.violation(), "");
}

TEST(LogChecks, AGapIsSeen) {
  LogChecks checks;
  checks.learned_stable(0, entry(2, 1, 11));
  EXPECT_NE(checks.violation(), "");
}

TEST(LogChecks, ASnapshotOfWhatNobodyDecidedIsSeen) {
  LogChecks checks;
  checks.learned_stable(0, entry(1, 1, 11));
  checks.installed(1, hash_behind(0, entry(1, 1, 11)));
  EXPECT_EQ(checks.violation(), "");
  checks.installed(2, hash_behind(0, entry(1, 1, 11)));
  EXPECT_NE(checks.violation(), "");
}

TEST(LogChecks, ASnapshotOfAnotherStateIsSeen) {
  LogChecks checks;
  checks.learned_stable(0, entry(1, 1, 11));
  checks.installed(1, hash_behind(0, entry(1, 1, 12)));
  EXPECT_NE(checks.violation(), "");
}

TEST(LogChecks, TwoLeadersOfOneEpochAreSeen) {
  LogChecks checks;
  checks.leads(0, 1);
  checks.leads(2, 1);
  EXPECT_NE(checks.violation(), "");
}

TEST(LogChecks, AnAcknowledgementThatFewDisksBackIsSeen) {
  LogChecks checks;
  checks.learned_stable(0, entry(1, 1, 11));
  checks.acknowledged(11, {1, 1}, 0, false);
  EXPECT_NE(checks.violation(), "");
}

TEST(LogChecks, AnAcknowledgementOfWhatWasNotDecidedIsSeen) {
  LogChecks checks;
  checks.learned_stable(0, entry(1, 1, 11));
  checks.acknowledged(12, {1, 1}, 0, true);
  EXPECT_NE(checks.violation(), "");
}

TEST(LogChecks, APlaceBeforeWhatWasAcknowledgedEarlierIsSeen) {
  LogChecks checks;
  checks.learned_stable(0, entry(1, 1, 11));
  checks.learned_stable(0, entry(2, 1, 12));
  checks.acknowledged(12, {1, 2}, 0, true);
  checks.acknowledged(11, {1, 1}, 2, true);  // sent when 12 had been acknowledged
  EXPECT_NE(checks.violation(), "");
}

TEST(LogChecks, WhatIsMissingInTheEndIsSeen) {
  LogChecks checks;
  checks.learned_stable(0, entry(1, 1, 11));
  checks.acknowledged(11, {1, 1}, 0, true);
  checks.finished(0);
  EXPECT_NE(checks.violation(), "");
}

}  // namespace
}  // namespace dolmen::sim
