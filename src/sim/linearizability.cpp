// SPDX-License-Identifier: Apache-2.0
#include "sim/linearizability.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace dolmen::sim::detail {

namespace {

using Word = std::uint64_t;
using Position = std::uint32_t;  ///< of an event; 0: before all of them

constexpr std::size_t words_for(std::size_t bits) { return (bits + 63) / 64; }

/// Positions where the search has been: the state, the answered operations that are placed, and the
/// open ones. Exact: a hash only finds the candidates.
class Seen {
 public:
  explicit Seen(std::size_t open_words) : open_words_(open_words) {}

  /// False if a position with this state and these answered operations was here that had used no
  /// open operation that this one has not. `first` is the number of the first of `placed`'s words.
  bool enter(StateId state, std::size_t first, std::span<const Word> placed,
             std::span<const Word> open) {
    const Word head = Word{state} << 32 | first;
    Word hash = mix(head);
    for (const Word word : placed) hash = mix(hash ^ word);
    const auto [begin, end] = places_.equal_range(hash);
    for (auto it = begin; it != end; ++it) {
      const Word* const record = &records_[it->second];
      if (record[0] != head || record[1] != placed.size()) continue;
      if (!std::equal(placed.begin(), placed.end(), record + 2)) continue;
      const Word* const used = record + 2 + placed.size();
      std::size_t i = 0;
      while (i < open_words_ && (used[i] & ~open[i]) == 0) ++i;
      if (i == open_words_) return false;
    }
    places_.emplace(hash, records_.size());
    records_.push_back(head);
    records_.push_back(placed.size());
    records_.insert(records_.end(), placed.begin(), placed.end());
    records_.insert(records_.end(), open.begin(), open.end());
    return true;
  }

 private:
  static Word mix(Word value) noexcept {
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ value >> 27) * 0x94D049BB133111EBull;
    return value ^ value >> 31;
  }

  std::size_t open_words_;
  std::vector<Word> records_;
  std::unordered_multimap<Word, std::size_t> places_;
};

class Search {
 public:
  Search(std::span<const Interval> intervals, Transitions& transitions, StateId initial,
         std::uint64_t steps_max)
      : intervals_(intervals),
        transitions_(&transitions),
        steps_max_(steps_max),
        state_(initial),
        seen_(0) {
    for (OperationId i = 0; i < intervals.size(); ++i) {
      (intervals[i].responded == kOpen ? opens_ : answered_).push_back(i);
    }
    const auto by_invocation = [&](OperationId left, OperationId right) {
      return std::pair(intervals_[left].invoked, left) <
             std::pair(intervals_[right].invoked, right);
    };
    std::sort(opens_.begin(), opens_.end(), by_invocation);
    std::sort(answered_.begin(), answered_.end(), by_invocation);
    placed_.resize(words_for(answered_.size()));
    open_placed_.resize(words_for(opens_.size()));
    seen_ = Seen(open_placed_.size());
    std::unordered_map<OperationId, std::uint32_t> last;
    for (std::uint32_t rank = 0; rank < opens_.size(); ++rank) {
      const auto [known, is_new] = last.emplace(intervals_[opens_[rank]].like, rank);
      alike_before_.push_back(known->second);
      known->second = rank;
    }
    link_events();
  }

  SearchOutcome run() {
    arrive();
    while (next_[0] != end()) {
      Frame& frame = frames_.back();
      if (frame.cursor == moves_.size() && !frame.with_open) look_at_open(frame);
      if (steps_ > steps_max_) return outcome(Verdict::undecided);
      if (frame.cursor == moves_.size()) {
        if (!retreat()) return outcome(Verdict::violation);
        continue;
      }
      const Move move = moves_[frame.cursor++];
      place(move);
      if (is_new()) {
        order_.push_back(move);
        before_.push_back(std::exchange(state_, move.after));
        arrive();
      } else {
        take_back(move);
      }
    }
    return outcome(Verdict::linearizable);
  }

 private:
  /// An operation that may come next, and the state after it.
  struct Move {
    std::uint32_t rank;  ///< among the answered, or the open ones
    bool is_open;
    StateId after;
  };
  /// The choices at a depth: moves_ from `begin`, the last frame's up to the end of moves_.
  struct Frame {
    std::size_t begin;
    std::size_t cursor;
    bool with_open;  ///< open operations are among them, or need not be looked at
  };

  [[nodiscard]] Position end() const noexcept { return static_cast<Position>(next_.size()); }

  /// Events of the answered operations in order of time, invocations first, as a list that an
  /// operation can leave and come back to.
  void link_events() {
    struct Event {
      std::uint64_t time;
      bool is_response;
      std::uint32_t rank;
    };
    std::vector<Event> events;
    for (std::uint32_t rank = 0; rank < answered_.size(); ++rank) {
      events.push_back({intervals_[answered_[rank]].invoked, false, rank});
      events.push_back({intervals_[answered_[rank]].responded, true, rank});
    }
    std::sort(events.begin(), events.end(), [](const Event& left, const Event& right) {
      return std::tie(left.time, left.is_response, left.rank) <
             std::tie(right.time, right.is_response, right.rank);
    });
    rank_of_.resize(events.size() + 1);
    is_response_.resize(events.size() + 1);
    next_.resize(events.size() + 1);
    previous_.resize(events.size() + 2);
    invocation_.resize(answered_.size());
    response_.resize(answered_.size());
    std::iota(next_.begin(), next_.end(), Position{1});
    std::iota(previous_.begin() + 1, previous_.end(), Position{0});
    for (Position at = 1; at <= events.size(); ++at) {
      const Event& event = events[at - 1];
      rank_of_[at] = event.rank;
      is_response_[at] = event.is_response;
      (event.is_response ? response_ : invocation_)[event.rank] = at;
    }
  }
  void unlink(Position at) {
    next_[previous_[at]] = next_[at];
    previous_[next_[at]] = previous_[at];
  }
  void relink(Position at) {
    next_[previous_[at]] = at;
    previous_[next_[at]] = at;
  }

  static void flip(std::vector<Word>& words, std::uint32_t bit) {
    words[bit / 64] ^= Word{1} << bit % 64;
  }
  static bool has(const std::vector<Word>& words, std::uint32_t bit) {
    return (words[bit / 64] >> bit % 64 & 1) != 0;
  }

  void place(const Move& move) {
    if (move.is_open) return flip(open_placed_, move.rank);
    flip(placed_, move.rank);
    unlink(invocation_[move.rank]);
    unlink(response_[move.rank]);
  }
  void take_back(const Move& move) {
    if (move.is_open) return flip(open_placed_, move.rank);
    flip(placed_, move.rank);
    relink(response_[move.rank]);
    relink(invocation_[move.rank]);
  }

  /// Whether the position after the last move of moves_ that was placed is worth going to.
  bool is_new() {
    // Below the first word everything is placed; nothing is behind the first response that is left.
    const std::size_t first = next_[0] == end() ? placed_.size() : rank_of_[next_[0]] / 64;
    std::size_t last = placed_.size();
    while (last > first && placed_[last - 1] == 0) --last;
    const Frame& frame = frames_.back();
    return seen_.enter(moves_[frame.cursor - 1].after, first,
                       std::span(placed_).subspan(first, last - first), open_placed_);
  }

  std::optional<StateId> step(OperationId operation) {
    ++steps_;
    return transitions_->next(state_, operation);
  }

  /// At a new position: collects the answered operations that can be next.
  void arrive() {
    Frame frame{moves_.size(), moves_.size(), false};
    Position at = next_[0];
    for (; at != end() && !is_response_[at]; at = next_[at]) {
      const std::uint32_t rank = rank_of_[at];
      const std::optional<StateId> after = step(answered_[rank]);
      if (!after) continue;
      if (intervals_[answered_[rank]].only_looks) {
        // Wherever it comes later, it can come here instead, and nothing else notices.
        moves_.resize(frame.begin);
        frame.with_open = true;
        moves_.push_back({rank, false, *after});
        break;
      }
      moves_.push_back({rank, false, *after});
    }
    frames_.push_back(frame);
  }

  /// The first response that is left: what comes before it must be placed before whatever was
  /// invoked after it.
  [[nodiscard]] Position frontier() const {
    Position at = next_[0];
    while (!is_response_[at]) at = next_[at];
    return at;
  }

  void look_at_open(Frame& frame) {
    frame.with_open = true;
    const std::uint64_t time = intervals_[answered_[rank_of_[frontier()]]].responded;
    for (std::uint32_t rank = 0; rank < opens_.size(); ++rank) {
      if (intervals_[opens_[rank]].invoked > time) break;
      if (has(open_placed_, rank)) continue;
      const std::uint32_t alike = alike_before_[rank];
      if (alike != rank && !has(open_placed_, alike)) continue;
      const std::optional<StateId> after = step(opens_[rank]);
      if (after && *after != state_) moves_.push_back({rank, true, *after});
    }
  }

  /// Nothing leads on from here. False at the root.
  bool retreat() {
    const Position reached = frontier();
    if (reached > best_reached_ || (reached == best_reached_ && order_.size() > best_.size())) {
      best_reached_ = reached;
      best_.clear();
      for (const Move& move : order_) best_.push_back(id_of(move));
      best_state_ = state_;
      best_candidates_.clear();
      for (Position at = next_[0]; !is_response_[at]; at = next_[at]) {
        best_candidates_.push_back(answered_[rank_of_[at]]);
      }
      for (std::uint32_t rank = 0; rank < opens_.size(); ++rank) {
        const bool is_begun =
            intervals_[opens_[rank]].invoked <= intervals_[answered_[rank_of_[reached]]].responded;
        if (is_begun && !has(open_placed_, rank)) best_candidates_.push_back(opens_[rank]);
      }
    }
    moves_.resize(frames_.back().begin);
    frames_.pop_back();
    if (order_.empty()) return false;
    take_back(order_.back());
    order_.pop_back();
    state_ = before_.back();
    before_.pop_back();
    return true;
  }

  [[nodiscard]] OperationId id_of(const Move& move) const {
    return move.is_open ? opens_[move.rank] : answered_[move.rank];
  }

  SearchOutcome outcome(Verdict verdict) {
    SearchOutcome result;
    result.verdict = verdict;
    result.steps = steps_;
    if (verdict == Verdict::violation) {
      result.order = std::move(best_);
      result.state = best_state_;
      result.unplaced = answered_[rank_of_[best_reached_]];
      result.candidates = std::move(best_candidates_);
    } else {
      for (const Move& move : order_) result.order.push_back(id_of(move));
      result.state = state_;
    }
    return result;
  }

  std::span<const Interval> intervals_;
  Transitions* transitions_;
  std::uint64_t steps_max_;
  std::uint64_t steps_ = 0;
  StateId state_;
  std::vector<OperationId> answered_;        ///< in order of invocation; an index here is a rank
  std::vector<OperationId> opens_;           ///< the same of the open ones
  std::vector<std::uint32_t> alike_before_;  ///< the last equal open one before it, or itself
  // Events of the answered ones, by position:
  std::vector<std::uint32_t> rank_of_;
  std::vector<bool> is_response_;
  std::vector<Position> next_;
  std::vector<Position> previous_;
  std::vector<Position> invocation_;  ///< by rank
  std::vector<Position> response_;
  std::vector<Word> placed_;  ///< by rank
  std::vector<Word> open_placed_;
  Seen seen_;
  std::vector<Frame> frames_;    ///< one more than order_
  std::vector<Move> moves_;      ///< of all frames
  std::vector<Move> order_;      ///< placed so far
  std::vector<StateId> before_;  ///< the states before each of them
  Position best_reached_ = 0;
  std::vector<OperationId> best_;
  StateId best_state_ = 0;
  std::vector<OperationId> best_candidates_;
};

}  // namespace

SearchOutcome search_order(std::span<const Interval> intervals, Transitions& transitions,
                           StateId initial, std::uint64_t steps_max) {
  return Search(intervals, transitions, initial, steps_max).run();
}

std::string place_text(std::size_t place, std::uint64_t client, std::uint64_t invoked,
                       std::uint64_t responded) {
  return "[" + std::to_string(place) + "] client " + std::to_string(client) + ", " +
         std::to_string(invoked) + " to " +
         (responded == kOpen ? std::string("?") : std::to_string(responded)) + ": ";
}

}  // namespace dolmen::sim::detail
