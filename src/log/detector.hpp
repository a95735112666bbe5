// SPDX-License-Identifier: Apache-2.0
//
// Whether a leader is still at work, judged by a counter of its that only moves while it is. The
// judge looks at the counter at times of its own choosing and keeps a score: up when it moved since
// the last look, down when not. So whoever stood still itself has looked less often, and does not
// take its own pause for the other's silence.
//
// How long it waits between two looks follows from how regularly the counter moved lately: on a
// quiet machine little more than a beat, on a noisy one more. It is a guess at all times; nothing
// that has to be true rests on it.
//
// Threads: one. Cost: constant.
#pragma once

#include <cstdint>

namespace dolmen::log {

struct DetectorOptions {
  /// A leader at work moves its counter at least this often, when nothing is late.
  std::uint64_t beat_ns = 10'000'000;
  /// Longest time between two looks, however irregular the counter was.
  std::uint64_t period_max_ns = 33'000'000;
};

class Detector {
 public:
  static constexpr int kScoreMax = 8;
  static constexpr int kGain = 3;
  /// Silent below this …
  static constexpr int kFailBelow = 2;
  /// … and not taken for well again before it is above this.
  static constexpr int kRecoverAbove = 6;

  explicit Detector(const DetectorOptions& options) noexcept : options_(options) {}

  /// Begins to watch somebody, who is taken for well, or (it was silent before) is to show it. What
  /// is known of how regular counters are stays known.
  void watch(std::uint64_t now_ns, bool is_well) noexcept;
  /// The counter's value, whenever it is learned.
  void saw(std::uint64_t now_ns, std::uint64_t counter) noexcept;
  /// A look. True: silent. Call at next_look_ns(); later counts once all the same.
  [[nodiscard]] bool look(std::uint64_t now_ns) noexcept;
  [[nodiscard]] std::uint64_t next_look_ns() const noexcept { return next_look_ns_; }

  /// Whether it is taken for well: not silent since it last recovered, and looked at lately.
  [[nodiscard]] bool trusts(std::uint64_t now_ns) const noexcept;
  /// Time between two looks, as it is now.
  [[nodiscard]] std::uint64_t period_ns() const noexcept;
  [[nodiscard]] int score() const noexcept { return score_; }

 private:
  void learn(std::uint64_t lateness_ns) noexcept;

  const DetectorOptions options_;
  std::uint64_t counter_ = 0;
  std::uint64_t moved_ns_ = 0;    ///< when the counter last did
  std::uint64_t longest_ns_ = 0;  ///< between two moves since the last look
  bool has_moved_ = false;        ///< since the last look
  std::uint64_t next_look_ns_ = 0;
  int score_ = 0;
  bool is_well_ = false;
  std::uint64_t late_ns_ = 0;       ///< by how much moves are later than a beat, on average
  std::uint64_t deviation_ns_ = 0;  ///< … and how far from that
};

}  // namespace dolmen::log
