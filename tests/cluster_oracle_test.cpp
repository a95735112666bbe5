// SPDX-License-Identifier: Apache-2.0
//
// The judge of tests/cluster_process_test.cpp: right books are right, and one thing changed in them
// is seen.
#include "tests/cluster_oracle.hpp"

#include <string>

#include <gtest/gtest.h>

namespace {

using namespace dolmen::processes;

constexpr std::uint64_t kOne = (std::uint64_t{1} << 32) | 1;
constexpr std::uint64_t kSent = (std::uint64_t{1} << 32) | 2;
constexpr std::uint64_t kReturned = (std::uint64_t{2} << 32) | 7;
constexpr std::uint64_t kKilled = (std::uint64_t{3} << 32) | 1;

/// A move, a look, two that send, of which one comes back, and one that nobody saw the answer of.
struct History {
  std::vector<Operation> operations{
      {.key = kOne,
       .what = What::move,
       .outcome = Outcome::answered,
       .begin_ns = 1,
       .end_ns = 3,
       .value = 1},
      {.key = 5,
       .what = What::look,
       .outcome = Outcome::answered,
       .begin_ns = 4,
       .end_ns = 6,
       .value = 1},
      {.key = kSent,
       .what = What::send,
       .outcome = Outcome::answered,
       .begin_ns = 5,
       .end_ns = 8,
       .value = 2},
      {.key = kKilled, .what = What::move, .begin_ns = 5},
      {.key = kReturned,
       .what = What::send,
       .outcome = Outcome::answered,
       .begin_ns = 9,
       .end_ns = 10,
       .value = 4},
  };
  std::array<Books, 2> books{
      Books{.booked = {{kOne, 0}, {kSent, 1}, {kKilled, 0}, {kReturned, 1}},
            .told = {{kSent, 1}, {kReturned, 0}},
            .money = -3},
      Books{.received = {{kSent, 0}}, .money = 3},
  };
  [[nodiscard]] std::string judged() const { return judge(operations, books); }
};

TEST(ClusterOracle, FindsNothingInWhatIsRight) {
  History history;
  EXPECT_EQ(history.judged(), "");
  // What nobody saw the answer of may not have happened.
  auto& booked = history.books[0].booked;
  booked.erase(booked.begin() + 2);
  history.operations.back().value = 3;
  EXPECT_EQ(history.judged(), "");
}

void expect_seen(const char* what, const auto& change) {
  History history;
  change(history);
  EXPECT_NE(history.judged().find(what), std::string::npos) << history.judged();
}

TEST(ClusterOracle, SeesWhatIsLostAndWhatIsThereTwice) {
  expect_seen("is lost", [](History& h) { h.books[0].booked.pop_back(); });
  expect_seen("is booked twice", [](History& h) { h.books[0].booked.push_back({kKilled, 0}); });
  expect_seen("nobody asked for it", [](History& h) { h.books[0].booked.push_back({77, 0}); });
  expect_seen("as something else", [](History& h) { h.books[0].booked[0].what = 1; });
  expect_seen("was refused, and is booked",
              [](History& h) { h.operations[3].outcome = Outcome::refused; });
  expect_seen("elsewhere",
              [](History& h) { std::swap(h.books[0].booked[0], h.books[0].booked[1]); });
  expect_seen("money", [](History& h) { h.books[1].money = 4; });
}

TEST(ClusterOracle, SeesAnswersFromThePast) {
  expect_seen("longer than the last one", [](History& h) { h.operations[1].value = 9; });
  expect_seen("from the past", [](History& h) { h.operations[1].value = 0; });
  expect_seen("from the past", [](History& h) {
    h.operations.push_back({.key = 6,
                            .what = What::look,
                            .outcome = Outcome::answered,
                            .begin_ns = 11,
                            .end_ns = 12,
                            .value = 3});
  });
  // It saw what began only after it had ended.
  expect_seen("from the past", [](History& h) {
    h.operations.push_back({.key = 6,
                            .what = What::look,
                            .outcome = Outcome::answered,
                            .begin_ns = 7,
                            .end_ns = 8,
                            .value = 4});
  });
  // Also where only the book tells the place.
  expect_seen("from the past", [](History& h) { h.operations[3].begin_ns = 11; });
}

TEST(ClusterOracle, SeesMailThatIsNotExactlyOnceInOrder) {
  constexpr const char* kWrong = "is not what was sent";
  expect_seen(kWrong, [](History& h) { h.books[1].received.clear(); });
  expect_seen(kWrong, [](History& h) { h.books[1].received.push_back({kSent, 0}); });
  expect_seen(kWrong, [](History& h) { h.books[1].received.push_back({kReturned, 0}); });
  constexpr const char* kToldWrong = "something else than what came of its mail";
  expect_seen(kToldWrong, [](History& h) { h.books[0].told[0].what = 0; });
  expect_seen(kToldWrong, [](History& h) { h.books[0].told.pop_back(); });
  expect_seen(kToldWrong, [](History& h) { std::swap(h.books[0].told[0], h.books[0].told[1]); });
  expect_seen("under way", [](History& h) { h.books[0].out = 1; });
}

}  // namespace
