// SPDX-License-Identifier: Apache-2.0
//
// The judge is judged: histories made by hand, each wrong in one way or only looking wrong; then
// random ones, against a search through every order.
#include "sim/linearizability.hpp"

#include <algorithm>
#include <chrono>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "base/sanitizers.hpp"
#include "base/test_length.hpp"
#include "sim/linearizability_models.hpp"

namespace dolmen::sim {
namespace {

using R = RegisterModel;
using Registers = std::vector<Timed<R::Operation>>;
using Counts = std::vector<Timed<CounterModel::Operation>>;
using Logs = std::vector<Timed<LogModel::Operation>>;
using Maps = std::vector<Timed<MapModel::Operation>>;

template <class M>
Linearizability judge(const std::vector<Timed<typename M::Operation>>& history, M model = M()) {
  return check_linearizability(model, history);
}

/// Not linearizable, and this operation is the one that cannot be placed.
template <class M>
void expect_violation(const std::vector<Timed<typename M::Operation>>& history, std::size_t place) {
  const Linearizability result = judge<M>(history);
  EXPECT_EQ(result.verdict, Verdict::violation);
  EXPECT_EQ(result.unplaced, place) << result.text;
  EXPECT_NE(result.text.find("cannot be placed:\n  [" + std::to_string(place) + "]"),
            std::string::npos)
      << result.text;
}

template <class M>
void expect_good(const std::vector<Timed<typename M::Operation>>& history) {
  const Linearizability result = judge<M>(history);
  EXPECT_EQ(result.verdict, Verdict::linearizable) << result.text;
  EXPECT_TRUE(result.text.empty());
}

// ---- wrong ones

TEST(LinearizabilityBad, StaleRead) {
  expect_violation<R>(
      Registers{{1, 1, 2, R::write(1)}, {1, 3, 4, R::write(2)}, {2, 5, 6, R::read(1)}}, 2);
}

TEST(LinearizabilityBad, ValueNeverWritten) {
  expect_violation<R>(Registers{{1, 1, 9, R::write(1)}, {2, 2, 4, R::read(7)}}, 1);
}

TEST(LinearizabilityBad, EffectBeforeInvocation) {
  expect_violation<R>(Registers{{2, 1, 2, R::read(1)}, {1, 3, 4, R::write(1)}}, 0);
}

TEST(LinearizabilityBad, LostUpdate) {
  expect_violation<CounterModel>(Counts{{1, 1, 3, {1, 1}}, {2, 2, 4, {1, 2}}, {3, 5, 6, {1, 2}}},
                                 2);
}

TEST(LinearizabilityBad, DuplicatedIncrement) {
  expect_violation<CounterModel>(Counts{{1, 1, 2, {1, 1}}, {2, 3, 4, {1, 3}}}, 1);
}

TEST(LinearizabilityBad, BothSwapsSucceed) {
  expect_violation<R>(
      Registers{{1, 1, 5, R::compare_swap(0, 1, true)}, {2, 2, 6, R::compare_swap(0, 2, true)}}, 1);
}

TEST(LinearizabilityBad, SwapsReordered) {
  // 0 -> 1 -> 2, and yet the second one was answered before the first one was sent.
  expect_violation<R>(
      Registers{{2, 1, 2, R::compare_swap(1, 2, true)}, {1, 3, 4, R::compare_swap(0, 1, true)}}, 0);
}

TEST(LinearizabilityBad, SwapRefusedWithoutReason) {
  expect_violation<R>(Registers{{1, 1, 2, R::compare_swap(0, 1, false)}}, 0);
}

TEST(LinearizabilityBad, TwoReadersDisagreeOnOrder) {
  expect_violation<R>(Registers{{1, 1, 20, R::write(1)},
                                {2, 1, 20, R::write(2)},
                                {3, 2, 3, R::read(1)},
                                {4, 2, 3, R::read(0)},
                                {3, 4, 5, R::read(2)},
                                {4, 6, 7, R::read(1)}},
                      5);
}

TEST(LinearizabilityBad, NewThenOld) {
  // The second reader begins after the first one saw the write, and sees what was before it.
  expect_violation<R>(
      Registers{{1, 1, 20, R::write(1)}, {2, 2, 3, R::read(1)}, {3, 4, 5, R::read(0)}}, 2);
}

TEST(LinearizabilityBad, OpenWriteSeenAndGone) {
  expect_violation<R>(
      Registers{{1, 1, kOpen, R::write(1)}, {2, 2, 3, R::read(1)}, {2, 4, 5, R::read(0)}}, 2);
}

TEST(LinearizabilityBad, OpenIncrementTakesEffectTwice) {
  expect_violation<CounterModel>(
      Counts{{1, 1, kOpen, {1, 0}}, {2, 2, 3, {0, 1}}, {2, 4, 5, {0, 2}}}, 2);
}

TEST(LinearizabilityBad, OpenWriteSeenBeforeItWasSent) {
  expect_violation<R>(Registers{{2, 1, 2, R::read(1)}, {1, 3, kOpen, R::write(1)}}, 0);
}

TEST(LinearizabilityBad, OnePlaceForTwo) {
  expect_violation<LogModel>(
      Logs{{1, 1, 3, LogModel::append(7, 1)}, {2, 2, 4, LogModel::append(8, 1)}}, 1);
}

TEST(LinearizabilityBad, PlacesAgainstTime) {
  expect_violation<LogModel>(
      Logs{{1, 1, 2, LogModel::append(7, 2)}, {2, 3, 4, LogModel::append(8, 1)}}, 0);
}

TEST(LinearizabilityBad, AppendedAndGone) {
  expect_violation<LogModel>(Logs{{1, 1, 2, LogModel::append(7, 1)},
                                  {1, 3, 4, LogModel::append(8, 2)},
                                  {2, 5, 6, LogModel::length(1)}},
                             2);
}

TEST(LinearizabilityBad, PlaceChangesItsValue) {
  expect_violation<LogModel>(Logs{{1, 1, kOpen, LogModel::append(7)},
                                  {2, 1, kOpen, LogModel::append(8)},
                                  {3, 2, 3, LogModel::read(1, 7)},
                                  {3, 4, 5, LogModel::read(1, 8)}},
                             3);
}

TEST(LinearizabilityBad, OneKeyOfMany) {
  Maps history;
  for (std::uint64_t key = 0; key < 10; ++key) {
    history.push_back({1, 10 * key + 1, 10 * key + 2, {key, R::write(key)}});
    history.push_back({2, 10 * key + 3, 10 * key + 4, {key, R::read(key)}});
  }
  expect_good<MapModel>(history);
  history[15].operation.inner.value = 6;
  expect_violation<MapModel>(history, 15);
}

// ---- ones that only look wrong

TEST(LinearizabilityGood, Nothing) { expect_good<R>({}); }

TEST(LinearizabilityGood, WriteSeenBeforeItIsAnswered) {
  expect_good<R>(Registers{{1, 1, 9, R::write(1)}, {2, 2, 3, R::read(0)}, {2, 4, 5, R::read(1)}});
}

TEST(LinearizabilityGood, WritesTakeEffectInTheOtherOrder) {
  expect_good<R>(Registers{{1, 1, 4, R::write(1)}, {2, 2, 5, R::write(2)}, {3, 6, 7, R::read(1)}});
}

TEST(LinearizabilityGood, ReadersTakeTurns) {
  expect_good<R>(Registers{{1, 1, 20, R::write(1)},
                           {2, 2, 19, R::write(0)},
                           {3, 3, 10, R::read(1)},
                           {4, 11, 12, R::read(0)},
                           {5, 3, 18, R::read(1)}});
}

TEST(LinearizabilityGood, OpenWriteMuchLater) {
  expect_good<R>(Registers{{1, 1, kOpen, R::write(1)},
                           {2, 2, 3, R::write(2)},
                           {2, 4, 5, R::read(2)},
                           {2, 6, 7, R::read(1)}});
}

TEST(LinearizabilityGood, OpenWriteNever) {
  expect_good<R>(
      Registers{{1, 1, kOpen, R::write(1)}, {2, 2, 3, R::read(0)}, {2, 9, 10, R::read(0)}});
}

TEST(LinearizabilityGood, OpenOperationsOnly) {
  expect_good<R>(Registers{{1, 1, kOpen, R::write(1)}, {2, 2, kOpen, R::read()}});
}

TEST(LinearizabilityGood, OpenSwapMadeRoom) {
  expect_good<R>(Registers{{1, 1, kOpen, R::compare_swap(0, 5)},
                           {2, 2, 3, R::compare_swap(5, 6, true)},
                           {2, 4, 5, R::compare_swap(0, 1, false)}});
}

TEST(LinearizabilityGood, EqualTimesAreConcurrent) {
  expect_good<R>(Registers{{1, 1, 2, R::write(1)}, {2, 2, 3, R::read(0)}, {2, 3, 3, R::read(1)}});
}

TEST(LinearizabilityGood, GapsInPlacesAreOpenAppends) {
  expect_good<LogModel>(Logs{{1, 1, kOpen, LogModel::append(7)},
                             {2, 2, 3, LogModel::append(8, 2)},
                             {2, 4, 5, LogModel::read(1, 7)},
                             {2, 6, 7, LogModel::read(3, 0)},
                             {2, 8, 9, LogModel::length(2)}});
}

TEST(LinearizabilityGood, TimesOfDifferentKeysDoNotMeet) {
  // What one key shows says nothing of another one's order.
  expect_good<MapModel>(Maps{{1, 1, 9, {1, R::write(1)}},
                             {1, 1, 9, {2, R::write(1)}},
                             {2, 2, 3, {1, R::read(1)}},
                             {2, 4, 5, {2, R::read(0)}},
                             {3, 2, 3, {2, R::read(0)}},
                             {3, 4, 5, {1, R::read(1)}}});
}

TEST(LinearizabilityGood, ReadsOfALongLog) {
  Logs history;
  for (std::uint64_t i = 1; i <= 300; ++i)
    history.push_back({1, 2 * i, 2 * i + 1, LogModel::append(i + 1000, i)});
  for (std::uint64_t i = 1; i <= 300; ++i) {
    history.push_back({2, 2000 + i, 2000 + i, LogModel::read(i, i + 1000)});
  }
  expect_good<LogModel>(history);
  history.back().operation.value = 1299;
  expect_violation<LogModel>(history, 599);
}

// ---- the report, the recorder, the bound

TEST(Linearizability, ReportNamesWhatStandsInTheWay) {
  const Linearizability result = judge<R>(Registers{{1, 1, 2, R::write(1)},
                                                    {1, 3, 4, R::write(2)},
                                                    {3, 4, 9, R::write(3)},
                                                    {2, 5, 6, R::read(1)}});
  EXPECT_EQ(result.text,
            "not linearizable: cannot be placed:\n"
            "  [3] client 2, 5 to 6: read gives 1\n"
            "after 3 that can\n"
            "  [0] client 1, 1 to 2: write 1\n"
            "  [1] client 1, 3 to 4: write 2\n"
            "  [2] client 3, 4 to 9: write 3\n"
            "the state is then 3, and next could come\n"
            "  [3] client 2, 5 to 6: read gives 1 (does not fit)");
}

TEST(Linearizability, HistoryNumbersItsEvents) {
  History<R::Operation> history;
  const std::size_t write = history.invoke(1, R::write(1));
  const std::size_t lost = history.invoke(2, R::write(2));
  history.respond(write);
  const std::size_t read = history.invoke(1, R::read());
  history.respond(read).value = 1;
  EXPECT_EQ(history.operations()[write].responded, 3u);
  EXPECT_EQ(history.operations()[lost].responded, kOpen);
  expect_good<R>(history.operations());
  const std::size_t late = history.invoke(1, R::read());
  history.respond(late).value = 0;
  expect_violation<R>(history.operations(), late);
}

TEST(Linearizability, BoundIsNeitherGoodNorBad) {
  // Forty writes at once and a read of a value that none of them wrote.
  Registers history;
  for (std::uint64_t i = 1; i <= 40; ++i) history.push_back({i, 1, 100, R::write(i)});
  history.push_back({99, 101, 102, R::read(77)});
  R model;
  const Linearizability result = check_linearizability(model, history, {.steps_max = 10'000});
  EXPECT_EQ(result.verdict, Verdict::undecided);
  EXPECT_LE(result.steps, 10'000u + 41);
  EXPECT_EQ(result.text, "undecided after " + std::to_string(result.steps) + " steps");
  EXPECT_FALSE(result.unplaced);
}

TEST(Linearizability, ViolationOfOneKeyWinsOverAnUndecidedOne) {
  Maps history;
  for (std::uint64_t i = 1; i <= 40; ++i) history.push_back({i, 1, 100, {1, R::write(i)}});
  history.push_back({99, 101, 102, {1, R::read(77)}});
  history.push_back({99, 103, 104, {2, R::read(77)}});
  MapModel model;
  const Linearizability result = check_linearizability(model, history, {.steps_max = 10'000});
  EXPECT_EQ(result.verdict, Verdict::violation);
  EXPECT_EQ(result.unplaced, 41u);
}

TEST(Linearizability, ManyOpenOperationsAreNoBurden) {
  // 200 increments that nobody saw answered, of which the readers see every second one.
  Counts history;
  std::uint64_t now = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    history.push_back({i, ++now, kOpen, {1, 0}});
    history.push_back({1000, now + 1, now + 2, {0, i / 2}});
    now += 2;
  }
  expect_good<CounterModel>(history);
  history.back().operation.value = 201;
  expect_violation<CounterModel>(history, 399);
}

TEST(Linearizability, OpenWritesThatNobodySawAreNoBurden) {
  // Hundred of them, all different, while two clients go on; then an answer that cannot be.
  Registers history;
  for (std::uint64_t i = 0; i < 100; ++i) {
    history.push_back({1000 + i, 10 * i, kOpen, R::write(1000 + i)});
    history.push_back({1, 10 * i + 1, 10 * i + 4, R::write(i + 1)});
    history.push_back({2, 10 * i + 2, 10 * i + 3, R::read(i % 2 == 0 ? i : i + 1)});
    history.push_back({2, 10 * i + 5, 10 * i + 6, R::read(i + 1)});
  }
  expect_good<R>(history);
  history.back().operation.value = 7;
  expect_violation<R>(history, 399);
}

// ---- random histories

/// A history of an object that is what it should be: operations begin, take effect at some time and
/// are answered; a client that dies leaves an open one, which has its effect later or never.
template <class M, class Draw>
std::vector<Timed<typename M::Operation>> simulated(M& model, Draw&& draw, base::Random& random,
                                                    std::size_t operations, std::size_t clients,
                                                    std::uint64_t dying_ppm) {
  struct Client {
    bool is_busy = false;
    bool is_done = false;
    std::size_t place = 0;
    std::uint64_t id = 0;
  };
  History<typename M::Operation> history;
  std::vector<typename M::Operation> answers;
  std::vector<Client> all(clients);
  std::vector<std::size_t> adrift;
  std::uint64_t ids = 0;
  for (Client& client : all) client.id = ++ids;
  auto state = model.initial();
  const auto take_effect = [&](std::size_t place) {
    draw.answer(model, state, answers[place]);
    state = *model.step(state, answers[place], true);
  };
  std::size_t begun = 0;
  const auto is_busy = [](const Client& client) { return client.is_busy; };
  while (begun < operations || std::any_of(all.begin(), all.end(), is_busy)) {
    Client& client = all[random.below(clients)];
    if (!adrift.empty() && random.chance(1, 20)) {
      const std::size_t which = random.below(adrift.size());
      take_effect(adrift[which]);
      adrift.erase(adrift.begin() + static_cast<std::ptrdiff_t>(which));
    }
    if (!client.is_busy) {
      if (begun == operations) continue;
      ++begun;
      const auto operation = draw.operation(random);
      answers.push_back(operation);
      client = {true, false, history.invoke(client.id, operation), client.id};
    } else if (random.chance(dying_ppm, 1'000'000)) {
      if (!client.is_done) adrift.push_back(client.place);
      client = {false, false, 0, ++ids};
    } else if (!client.is_done) {
      take_effect(client.place);
      client.is_done = true;
    } else {
      history.respond(client.place) = answers[client.place];
      client.is_busy = false;
    }
  }
  return history.operations();
}

struct DrawRegister {
  static R::Operation operation(base::Random& random) {
    switch (random.below(3)) {
      case 0:
        return R::read();
      case 1:
        return R::write(random.below(3));
      default:
        return R::compare_swap(random.below(3), random.below(3));
    }
  }
  static void answer(R&, std::uint64_t state, R::Operation& operation) {
    if (operation.kind == R::Kind::read) operation.value = state;
    operation.swapped = operation.kind == R::Kind::compare_swap && operation.expected == state;
  }
  static void mutate(R::Operation& operation, base::Random& random) {
    if (operation.kind == R::Kind::compare_swap && random.chance(1, 2)) {
      operation.swapped = !operation.swapped;
    } else {
      operation.value = random.below(4);
    }
  }
};

struct DrawCounter {
  static CounterModel::Operation operation(base::Random& random) { return {random.below(3), 0}; }
  static void answer(CounterModel&, std::uint64_t state, CounterModel::Operation& operation) {
    operation.value = state + operation.added;
  }
  static void mutate(CounterModel::Operation& operation, base::Random& random) {
    operation.value = random.chance(1, 2) ? operation.value + 1 : random.below(4);
  }
};

struct DrawLog {
  static LogModel::Operation operation(base::Random& random) {
    switch (random.below(4)) {
      case 0:
        return LogModel::read(1 + random.below(4));
      case 1:
        return LogModel::length();
      default:
        return LogModel::append(1 + random.below(3));
    }
  }
  static void answer(LogModel& model, LogModel::State state, LogModel::Operation& operation) {
    const auto try_result = [&](std::uint64_t& field) {
      for (field = 0; !model.step(state, operation, true); ++field) {
      }
    };
    try_result(operation.kind == LogModel::Kind::read ? operation.value : operation.place);
  }
  static void mutate(LogModel::Operation& operation, base::Random& random) {
    (operation.kind == LogModel::Kind::read ? operation.value : operation.place) = random.below(5);
  }
};

/// By going through every order, without memory and without thought. What was answered up to `end`
/// must have its place.
template <class M>
bool in_any_order(M& model, const std::vector<Timed<typename M::Operation>>& history,
                  std::uint64_t end, std::vector<bool>& placed, const typename M::State& state) {
  const auto is_waiting = [&](std::size_t i) { return !placed[i] && history[i].responded <= end; };
  bool is_complete = true;
  for (std::size_t i = 0; i < history.size(); ++i) is_complete = is_complete && !is_waiting(i);
  if (is_complete) return true;
  for (std::size_t i = 0; i < history.size(); ++i) {
    if (placed[i]) continue;
    bool is_first = true;
    for (std::size_t j = 0; j < history.size(); ++j) {
      if (is_waiting(j) && history[j].responded < history[i].invoked) is_first = false;
    }
    if (!is_first) continue;
    const auto after = model.step(state, history[i].operation, history[i].responded != kOpen);
    if (!after) continue;
    placed[i] = true;
    const bool found = in_any_order(model, history, end, placed, *after);
    placed[i] = false;
    if (found) return true;
  }
  return false;
}

template <class M>
bool in_any_order(M& model, const std::vector<Timed<typename M::Operation>>& history,
                  std::uint64_t end = kOpen - 1) {
  std::vector<bool> placed(history.size());
  return in_any_order(model, history, end, placed, model.initial());
}

template <class M, class Draw>
void expect_random_accepted(Draw draw, std::size_t operations) {
  const std::uint64_t seeds = base::at_full_length() ? 2000 : 20;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    base::Random random(seed);
    M model;
    const auto history =
        simulated(model, draw, random, operations, 1 + random.below(8), random.below(20'000));
    const Linearizability result = check_linearizability(model, history);
    ASSERT_EQ(result.verdict, Verdict::linearizable) << "seed " << seed << "\n" << result.text;
  }
}

/// Small histories as they were, then with one thing changed: judged like the slow search does.
template <class M, class Draw>
void expect_like_every_order(Draw draw) {
  const std::uint64_t seeds = base::at_full_length() ? 1'000'000
                              : base::kSanitized     ? 3'000
                                                     : 20'000;
  std::uint64_t bad = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    base::Random random(seed);
    M model;
    auto history = simulated(model, draw, random, 3 + random.below(5), 1 + random.below(4),
                             random.chance(1, 2) ? 0 : 150'000);
    ASSERT_TRUE(in_any_order(model, history)) << "seed " << seed;
    ASSERT_EQ(check_linearizability(model, history).verdict, Verdict::linearizable)
        << "seed " << seed;
    auto& changed = history[random.below(history.size())];
    switch (random.below(5)) {
      case 0:
      case 1:
        draw.mutate(changed.operation, random);
        break;
      case 2:
        changed.responded = changed.responded == kOpen ? 100 : kOpen;
        break;
      case 3:
        changed.invoked += random.below(5);
        break;
      default:
        std::swap(changed.operation, history[random.below(history.size())].operation);
    }
    changed.responded = std::max(changed.responded, changed.invoked);
    const bool is_good = in_any_order(model, history);
    bad += is_good ? 0 : 1;
    const Linearizability result = check_linearizability(model, history);
    ASSERT_EQ(result.verdict, is_good ? Verdict::linearizable : Verdict::violation)
        << "seed " << seed << "\n"
        << result.text;
    if (is_good) continue;
    // The report is right as well.
    const std::uint64_t end = history[*result.unplaced].responded;
    std::erase_if(history, [&](const auto& timed) { return timed.invoked > end; });
    ASSERT_TRUE(in_any_order(model, history, end - 1)) << "seed " << seed << "\n" << result.text;
    ASSERT_FALSE(in_any_order(model, history, end)) << "seed " << seed << "\n" << result.text;
  }
  EXPECT_GT(bad, seeds / 10);
  EXPECT_LT(bad, seeds);
}

TEST(LinearizabilityRandom, RegistersAreAccepted) {
  expect_random_accepted<R>(DrawRegister{}, 400);
}
TEST(LinearizabilityRandom, CountersAreAccepted) {
  expect_random_accepted<CounterModel>(DrawCounter{}, 400);
}
TEST(LinearizabilityRandom, LogsAreAccepted) { expect_random_accepted<LogModel>(DrawLog{}, 400); }
TEST(LinearizabilityRandom, RegistersLikeEveryOrder) { expect_like_every_order<R>(DrawRegister{}); }
TEST(LinearizabilityRandom, CountersLikeEveryOrder) {
  expect_like_every_order<CounterModel>(DrawCounter{});
}
TEST(LinearizabilityRandom, LogsLikeEveryOrder) { expect_like_every_order<LogModel>(DrawLog{}); }

template <class M, class Draw>
void expect_long_accepted(const char* name, Draw draw) {
  base::Random random(1);
  M model;
  const auto history = simulated(model, draw, random, 10'000, 10, 1000);
  const auto begin = std::chrono::steady_clock::now();
  const Linearizability result = check_linearizability(model, history);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  ASSERT_EQ(result.verdict, Verdict::linearizable) << result.text;
  ::testing::Test::RecordProperty(std::string(name) + "_steps", std::to_string(result.steps));
  ::testing::Test::RecordProperty(std::string(name) + "_ms", std::to_string(took.count()));
}

TEST(LinearizabilityRandom, TenThousandOperationsOfTenClients) {
  expect_long_accepted<R>("register", DrawRegister{});
  expect_long_accepted<CounterModel>("counter", DrawCounter{});
  expect_long_accepted<LogModel>("log", DrawLog{});
}

/// Writes that differ, and swaps that sometimes expect the right value.
struct DrawDifferent {
  std::uint64_t last = 0;
  R::Operation operation(base::Random& random) {
    switch (random.below(3)) {
      case 0:
        return R::read();
      case 1:
        return R::write(++last);
      default:
        return R::compare_swap(last - std::min(last, random.below(3)), last + 1'000'000);
    }
  }
  static void answer(R& model, std::uint64_t state, R::Operation& operation) {
    DrawRegister::answer(model, state, operation);
  }
};

template <class Draw>
void expect_wrong_answer_found(const char* name, Draw draw, std::uint64_t dying_ppm) {
  base::Random random(1);
  R model;
  auto history = simulated(model, draw, random, 10'000, 10, dying_ppm);
  std::size_t wrong = 9000;
  while (history[wrong].operation.kind != R::Kind::read || history[wrong].responded == kOpen) {
    ++wrong;
  }
  history[wrong].operation.value = 77'000'000;
  const Linearizability result = check_linearizability(model, history);
  EXPECT_EQ(result.verdict, Verdict::violation);
  EXPECT_EQ(result.unplaced, wrong);
  ::testing::Test::RecordProperty(std::string(name) + "_steps", std::to_string(result.steps));
}

TEST(LinearizabilityRandom, OneWrongAnswerAmongTenThousandIsFound) {
  expect_wrong_answer_found("few", DrawRegister{}, 0);
  expect_wrong_answer_found("different", DrawDifferent{}, 1000);
}

}  // namespace
}  // namespace dolmen::sim
