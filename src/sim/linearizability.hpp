// SPDX-License-Identifier: Apache-2.0
//
// Whether a history of concurrent operations could have come from one object that does one at a
// time: each between its invocation and its response, with the result that its client saw.
//
// The search is Wing and Gong's with Lowe's memory of where it has been, and short cuts that lose
// no answer: an operation that fits and only looks is placed at once; an open operation is placed
// only where it changes something; of equal open operations, the one that was invoked first comes
// first; and a position counts as seen if one with the same state, the same answered operations and
// no more open ones was; open ones come in sequences that grow only where shorter ones failed. An
// *open* operation is one whose answer nobody saw: it took effect at any time after its invocation,
// or never. One that surely never took effect does not belong in a history.
//
// Times are numbers of any clock that only goes forward. An operation comes before another one if
// its response is smaller than the other's invocation; equal times are concurrent, so where a clock
// is coarse, number the events instead (History does).
//
// A SequentialModel says what the object does:
//
//   struct Model {
//     using Operation = …;                        // what was asked and answered; compared with ==
//     using State = …;                            // copied, compared with ==
//     State initial();
//     // The state after it; nothing if a result that is known differs from what it would be.
//     std::optional<State> step(const State&, const Operation&, bool result_known);
//     // Whether it changes no state in which step() lets it be; then it is judged much faster.
//     bool only_looks(const Operation&, bool result_known);
//     std::size_t hash(const State&);
//     std::string text(const Operation&, bool result_known);
//     std::string text(const State&);
//     std::uint64_t key(const Operation&);        // optional: operations on different keys do not
//   };                                            // touch each other, and are judged key by key
//
// Ready ones: linearizability_models.hpp. Threads: one per call; no call keeps anything.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dolmen/assert.hpp>

namespace dolmen::sim {

/// The response of an open operation.
inline constexpr std::uint64_t kOpen = std::numeric_limits<std::uint64_t>::max();

template <class Operation>
struct Timed {
  std::uint64_t client = 0;  ///< for the report only
  std::uint64_t invoked = 0;
  std::uint64_t responded = kOpen;  ///< not before `invoked`
  Operation operation{};
};

enum class Verdict : std::uint8_t {
  linearizable,
  violation,
  undecided,  ///< the bound was reached first
};

struct LinearizabilityLimits {
  /// Calls of the model's step(), for each key. Memory grows by at most some 100 bytes per call,
  /// and a bit per open operation.
  std::uint64_t steps_max = 10'000'000;
};

struct Linearizability {
  Verdict verdict = Verdict::linearizable;
  /// Of a violation: the operation that cannot be placed, what comes before it in the longest
  /// attempt, and what stands in its way. Otherwise empty or one line.
  std::string text;
  /// Of a violation: the operation (its place in the history) such that whatever was answered
  /// before it can be put in order, and it cannot as well; operations still under way may have
  /// taken effect, with the results that they had later.
  std::optional<std::size_t> unplaced;
  std::uint64_t steps = 0;
};

/// Records operations as they happen, in one thread, and numbers the events.
template <class Operation>
class History {
 public:
  /// Its place in operations().
  std::size_t invoke(std::uint64_t client, Operation operation) {
    operations_.push_back({client, ++events_, kOpen, std::move(operation)});
    return operations_.size() - 1;
  }
  /// The operation, to enter its result: it has been answered now. Requires: it is open.
  Operation& respond(std::size_t place) {
    DOLMEN_ASSERT(operations_[place].responded == kOpen && "an operation is answered once");
    operations_[place].responded = ++events_;
    return operations_[place].operation;
  }
  [[nodiscard]] const std::vector<Timed<Operation>>& operations() const noexcept {
    return operations_;
  }

 private:
  std::vector<Timed<Operation>> operations_;
  std::uint64_t events_ = 0;
};

namespace detail {

using StateId = std::uint32_t;
using OperationId = std::uint32_t;

struct Interval {
  std::uint64_t invoked;
  std::uint64_t responded;
  OperationId like;  ///< of an open one: the first that is open and equal to it
  bool only_looks;   ///< it changes no state that it fits in
};

/// The model, with its states numbered.
class Transitions {
 public:
  virtual ~Transitions() = default;
  virtual std::optional<StateId> next(StateId state, OperationId operation) = 0;
};

struct SearchOutcome {
  Verdict verdict = Verdict::linearizable;
  std::uint64_t steps = 0;
  // The attempt that got furthest, or the whole order:
  std::vector<OperationId> order;
  StateId state = 0;  ///< after it
  // Of a violation:
  OperationId unplaced = 0;
  std::vector<OperationId> candidates;  ///< what could have come next, `unplaced` among them
};

SearchOutcome search_order(std::span<const Interval> intervals, Transitions& transitions,
                           StateId initial, std::uint64_t steps_max);

/// "[17] client 3, 120 to 140: "
std::string place_text(std::size_t place, std::uint64_t client, std::uint64_t invoked,
                       std::uint64_t responded);

}  // namespace detail

template <class M>
concept SequentialModel =
    std::equality_comparable<typename M::State> && std::copyable<typename M::State> &&
    std::equality_comparable<typename M::Operation> &&
    requires(M model, const typename M::State& state, const typename M::Operation& operation) {
      { model.initial() } -> std::same_as<typename M::State>;
      { model.step(state, operation, true) } -> std::same_as<std::optional<typename M::State>>;
      { model.only_looks(operation, true) } -> std::convertible_to<bool>;
      { model.hash(state) } -> std::convertible_to<std::size_t>;
      { model.text(operation, true) } -> std::convertible_to<std::string>;
      { model.text(state) } -> std::convertible_to<std::string>;
    };

namespace detail {

template <SequentialModel M>
class ModelTransitions final : public Transitions {
 public:
  using History = std::span<const Timed<typename M::Operation>>;
  ModelTransitions(M& model, History history, std::span<const std::size_t> places)
      : model_(&model), history_(history), places_(places), ids_(16, Hash{&model}) {}

  StateId id(const typename M::State& state) {
    const auto [entry, is_new] = ids_.emplace(state, static_cast<StateId>(states_.size()));
    if (is_new) states_.push_back(&entry->first);
    return entry->second;
  }
  [[nodiscard]] const typename M::State& state(StateId id) const { return *states_[id]; }

  std::optional<StateId> next(StateId state, OperationId operation) override {
    const auto& timed = history_[places_[operation]];
    const auto after = model_->step(*states_[state], timed.operation, timed.responded != kOpen);
    if (!after) return std::nullopt;
    return id(*after);
  }

 private:
  struct Hash {
    M* model;
    std::size_t operator()(const typename M::State& state) const { return model->hash(state); }
  };
  M* model_;
  History history_;
  std::span<const std::size_t> places_;
  std::unordered_map<typename M::State, StateId, Hash> ids_;
  std::vector<const typename M::State*> states_;
};

/// One part of a history: the operations at `places`.
template <SequentialModel M>
Linearizability judge_part(M& model, std::span<const Timed<typename M::Operation>> history,
                           std::span<const std::size_t> places, std::uint64_t steps_max) {
  constexpr std::size_t kShown = 12;
  std::vector<Interval> intervals;
  std::vector<OperationId> kinds;  // of open operations, the first of each
  for (OperationId id = 0; id < places.size(); ++id) {
    const auto& timed = history[places[id]];
    intervals.push_back({timed.invoked, timed.responded, id,
                         model.only_looks(timed.operation, timed.responded != kOpen)});
    if (timed.responded != kOpen) continue;
    const auto like = std::find_if(kinds.begin(), kinds.end(), [&](OperationId other) {
      return history[places[other]].operation == timed.operation;
    });
    if (like == kinds.end()) {
      kinds.push_back(id);
    } else {
      intervals.back().like = *like;
    }
  }
  ModelTransitions<M> transitions(model, history, places);
  const SearchOutcome outcome =
      search_order(intervals, transitions, transitions.id(model.initial()), steps_max);
  Linearizability result{outcome.verdict, {}, std::nullopt, outcome.steps};
  if (outcome.verdict == Verdict::undecided) {
    result.text = "undecided after " + std::to_string(outcome.steps) + " steps";
  }
  if (outcome.verdict != Verdict::violation) return result;

  const auto line = [&](OperationId operation) {
    const auto& timed = history[places[operation]];
    return place_text(places[operation], timed.client, timed.invoked, timed.responded) +
           model.text(timed.operation, timed.responded != kOpen);
  };
  result.unplaced = places[outcome.unplaced];
  result.text = "not linearizable: cannot be placed:\n  " + line(outcome.unplaced) + "\nafter " +
                std::to_string(outcome.order.size()) + " that can";
  const std::size_t hidden = outcome.order.size() - std::min(outcome.order.size(), kShown);
  if (hidden > 0) result.text += ", of which the last are";
  for (std::size_t i = hidden; i < outcome.order.size(); ++i) {
    result.text += "\n  " + line(outcome.order[i]);
  }
  result.text += "\nthe state is then " + model.text(transitions.state(outcome.state)) +
                 ", and next could come";
  for (const OperationId operation : outcome.candidates) {
    const bool fits = transitions.next(outcome.state, operation).has_value();
    result.text += "\n  " + line(operation) + (fits ? " (leads no further)" : " (does not fit)");
  }
  return result;
}

}  // namespace detail

/// Judges a history; the order of its operations in `history` does not matter. Cost: for a history
/// that is linearizable and whose results tell much, a few steps per operation and client; in the
/// worst case exponential in the number of operations that are under way at once, open ones among
/// them; values that differ help most.
template <SequentialModel M>
[[nodiscard]] Linearizability check_linearizability(
    M& model, std::span<const Timed<typename M::Operation>> history,
    const LinearizabilityLimits& limits = {}) {
  std::map<std::uint64_t, std::vector<std::size_t>> parts;
  for (std::size_t place = 0; place < history.size(); ++place) {
    DOLMEN_ASSERT(history[place].invoked <= history[place].responded &&
                  "an operation is answered after it was invoked");
    std::uint64_t key = 0;
    if constexpr (requires { model.key(history[place].operation); }) {
      key = model.key(history[place].operation);
    }
    parts[key].push_back(place);
  }
  Linearizability all;
  for (const auto& [key, places] : parts) {
    Linearizability part = detail::judge_part<M>(model, history, places, limits.steps_max);
    part.steps += all.steps;
    if (part.verdict == Verdict::violation) return part;
    if (part.verdict == Verdict::undecided && all.verdict == Verdict::linearizable) {
      all.verdict = Verdict::undecided;
      all.text = part.text;
    }
    all.steps = part.steps;
  }
  return all;
}

template <SequentialModel M>
[[nodiscard]] Linearizability check_linearizability(
    M& model, const std::vector<Timed<typename M::Operation>>& history,
    const LinearizabilityLimits& limits = {}) {
  return check_linearizability(model, std::span(history), limits);
}

}  // namespace dolmen::sim
