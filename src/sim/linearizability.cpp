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
        initial_(initial),
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
    seen_ = Seen(words_for(opens_.size()));
    std::unordered_map<OperationId, std::uint32_t> last;
    for (std::uint32_t rank = 0; rank < opens_.size(); ++rank) {
      const auto [known, is_new] = last.emplace(intervals_[opens_[rank]].like, rank);
      alike_before_.push_back(known->second);
      known->second = rank;
    }
    link_events();
  }

  SearchOutcome run() {
    const std::vector<Word> none_used(words_for(opens_.size()));
    go_to(0, {initial_, 0, 0, none_used});
    while (next_[0] != end()) {
      if (steps_ > steps_max_) return outcome(Verdict::undecided);
      Frame& frame = frames_.back();
      if (!frame.is_looked_at) look(frame);
      if (frame.next_move < frame.moves.size()) {
        const Move move = frame.moves[frame.next_move++];
        place(move.rank);
        if (is_new(move.after, frame.variants[frame.at].used)) {
          const std::size_t order_before = order_.size();
          add_to_order(frame, move);
          go_to(order_before, {move.after, 0, 0, frame.variants[frame.at].used});
          frames_.back().rank = move.rank;
        } else {
          take_back(move.rank);
        }
        continue;
      }
      if (!frame.only_looked) use_open(frame);
      frame.is_looked_at = false;
      if (++frame.at == frame.variants.size() && !retreat()) return outcome(Verdict::violation);
    }
    return outcome(Verdict::linearizable);
  }

 private:
  /// An answered operation that may come next, and the state after it.
  struct Move {
    std::uint32_t rank;
    StateId after;
  };
  /// A state that open operations can lead to before the next answered one.
  struct Variant {
    StateId state;
    std::size_t from;    ///< the variant before the last of them; the first one: itself
    std::uint32_t rank;  ///< of the last of them
    std::vector<Word> used;
  };
  /// A position that an answered operation has led to. Its variants come in order of how many open
  /// operations they use: more are of no use where fewer do.
  struct Frame {
    std::size_t order_before;
    std::vector<Variant> variants;
    std::uint32_t rank = 0;  ///< of the operation that led here
    std::size_t at = 0;      ///< the variant whose moves these are
    bool is_looked_at = false;
    bool only_looked = false;
    std::vector<Move> moves{};
    std::size_t next_move = 0;
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

  void place(std::uint32_t rank) {
    flip(placed_, rank);
    unlink(invocation_[rank]);
    unlink(response_[rank]);
  }
  void take_back(std::uint32_t rank) {
    flip(placed_, rank);
    relink(response_[rank]);
    relink(invocation_[rank]);
  }

  /// Whether this state and these open operations, with the answered ones that are placed, are
  /// worth a look.
  bool is_new(StateId state, const std::vector<Word>& used) {
    // Below the first word everything is placed; nothing is behind the first response that is left.
    const std::size_t first = next_[0] == end() ? placed_.size() : rank_of_[next_[0]] / 64;
    std::size_t last = placed_.size();
    while (last > first && placed_[last - 1] == 0) --last;
    return seen_.enter(state, first, std::span(placed_).subspan(first, last - first), used);
  }

  std::optional<StateId> step(StateId state, OperationId operation) {
    ++steps_;
    return transitions_->next(state, operation);
  }

  void go_to(std::size_t order_before, Variant first) {
    Frame& frame = frames_.emplace_back();
    frame.order_before = order_before;
    frame.variants.push_back(std::move(first));
  }

  /// Collects the answered operations that can be next.
  void look(Frame& frame) {
    frame.is_looked_at = true;
    frame.only_looked = false;
    frame.moves.clear();
    frame.next_move = 0;
    const StateId state = frame.variants[frame.at].state;
    for (Position at = next_[0]; !is_response_[at]; at = next_[at]) {
      const std::uint32_t rank = rank_of_[at];
      const std::optional<StateId> after = step(state, answered_[rank]);
      if (!after) continue;
      if (intervals_[answered_[rank]].only_looks) {
        // Wherever it comes later, it can come here instead, and nothing else notices.
        frame.only_looked = true;
        frame.moves = {{rank, *after}};
        return;
      }
      frame.moves.push_back({rank, *after});
    }
  }

  /// The first response that is left: what comes before it must be placed before whatever was
  /// invoked after it.
  [[nodiscard]] Position frontier() const {
    Position at = next_[0];
    while (!is_response_[at]) at = next_[at];
    return at;
  }

  /// Adds the variants that one more open operation makes of this one.
  void use_open(Frame& frame) {
    const std::uint64_t time = intervals_[answered_[rank_of_[frontier()]]].responded;
    const Variant before = frame.variants[frame.at];
    for (std::uint32_t rank = 0; rank < opens_.size(); ++rank) {
      if (intervals_[opens_[rank]].invoked > time) break;
      if (has(before.used, rank)) continue;
      const std::uint32_t alike = alike_before_[rank];
      if (alike != rank && !has(before.used, alike)) continue;
      const std::optional<StateId> after = step(before.state, opens_[rank]);
      if (!after || *after == before.state) continue;
      Variant variant{*after, frame.at, rank, before.used};
      flip(variant.used, rank);
      if (is_new(variant.state, variant.used)) frame.variants.push_back(std::move(variant));
    }
  }

  void add_to_order(const Frame& frame, const Move& move) {
    const std::size_t begin = order_.size();
    for (std::size_t at = frame.at; at != 0; at = frame.variants[at].from) {
      order_.push_back(opens_[frame.variants[at].rank]);
    }
    std::reverse(order_.begin() + static_cast<std::ptrdiff_t>(begin), order_.end());
    order_.push_back(answered_[move.rank]);
  }

  /// Nothing leads on from here. False at the root.
  bool retreat() {
    const Frame& frame = frames_.back();
    const Position reached = frontier();
    if (reached > best_reached_ || (reached == best_reached_ && order_.size() > best_.size())) {
      best_reached_ = reached;
      best_ = order_;
      best_state_ = frame.variants[0].state;
      best_candidates_.clear();
      for (Position at = next_[0]; !is_response_[at]; at = next_[at]) {
        best_candidates_.push_back(answered_[rank_of_[at]]);
      }
      for (std::uint32_t rank = 0; rank < opens_.size(); ++rank) {
        const bool is_begun =
            intervals_[opens_[rank]].invoked <= intervals_[answered_[rank_of_[reached]]].responded;
        if (is_begun && !has(frame.variants[0].used, rank)) {
          best_candidates_.push_back(opens_[rank]);
        }
      }
    }
    if (frames_.size() == 1) return false;
    take_back(frame.rank);
    order_.resize(frame.order_before);
    frames_.pop_back();
    return true;
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
      result.order = std::move(order_);
      result.state = frames_.back().variants[0].state;
    }
    return result;
  }

  std::span<const Interval> intervals_;
  Transitions* transitions_;
  std::uint64_t steps_max_;
  std::uint64_t steps_ = 0;
  StateId initial_;
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
  Seen seen_;
  std::vector<Frame> frames_;
  std::vector<OperationId> order_;  ///< placed so far
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
