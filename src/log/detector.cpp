// SPDX-License-Identifier: Apache-2.0
#include "log/detector.hpp"

#include <algorithm>

namespace dolmen::log {

void Detector::watch(std::uint64_t now_ns, bool is_well) noexcept {
  moved_ns_ = now_ns;
  longest_ns_ = 0;
  has_moved_ = true;
  is_well_ = is_well;
  score_ = is_well ? kScoreMax : kFailBelow + kGain;
  next_look_ns_ = now_ns + period_ns();
}

void Detector::saw(std::uint64_t now_ns, std::uint64_t counter) noexcept {
  if (counter == counter_) return;
  counter_ = counter;
  longest_ns_ = std::max(longest_ns_, now_ns - std::min(now_ns, moved_ns_));
  moved_ns_ = now_ns;
  has_moved_ = true;
}

bool Detector::look(std::uint64_t now_ns) noexcept {
  if (has_moved_) {
    learn(longest_ns_ - std::min(longest_ns_, options_.beat_ns));
    score_ = std::min(kScoreMax, score_ + kGain);
  } else {
    score_ = std::max(0, score_ - 1);
  }
  has_moved_ = false;
  longest_ns_ = 0;
  next_look_ns_ = now_ns + period_ns();
  if (score_ < kFailBelow) is_well_ = false;
  if (score_ > kRecoverAbove) is_well_ = true;
  return score_ < kFailBelow;
}

bool Detector::trusts(std::uint64_t now_ns) const noexcept {
  // Where nobody looked for so long, what was seen last says nothing any more.
  const std::uint64_t longest_ns = options_.period_max_ns * (kScoreMax - kFailBelow + 1);
  return is_well_ && now_ns < moved_ns_ + longest_ns;
}

std::uint64_t Detector::period_ns() const noexcept {
  const std::uint64_t wanted_ns = options_.beat_ns + late_ns_ + 4 * deviation_ns_;
  return std::min(wanted_ns, std::max(options_.beat_ns, options_.period_max_ns));
}

// One that is far off is believed soon, and forgotten slowly: noise comes in bursts.
void Detector::learn(std::uint64_t lateness_ns) noexcept {
  const bool is_above = lateness_ns > late_ns_;
  const std::uint64_t distance_ns = is_above ? lateness_ns - late_ns_ : late_ns_ - lateness_ns;
  late_ns_ = is_above ? late_ns_ + distance_ns / 8 : late_ns_ - distance_ns / 8;
  if (distance_ns > deviation_ns_) {
    deviation_ns_ += (distance_ns - deviation_ns_) / 4;
  } else {
    deviation_ns_ -= (deviation_ns_ - distance_ns) / 16;
  }
}

}  // namespace dolmen::log
