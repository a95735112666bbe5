// SPDX-License-Identifier: Apache-2.0
//
// Virtual time as a queue of things to happen. Equal times keep the order in which they were
// scheduled, so that a run depends on nothing but its seed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace dolmen::sim {

class EventQueue {
 public:
  [[nodiscard]] std::uint64_t now_ns() const noexcept { return now_ns_; }
  [[nodiscard]] std::uint64_t events_run() const noexcept { return events_run_; }

  /// What would be in the past happens next.
  void at(std::uint64_t at_ns, std::function<void()> event) {
    heap_.push_back({std::max(at_ns, now_ns_), scheduled_++, std::move(event)});
    std::ranges::push_heap(heap_, later);
  }
  void after(std::uint64_t delay_ns, std::function<void()> event) {
    at(now_ns_ + delay_ns, std::move(event));
  }
  /// Runs everything up to and including that time, and what it schedules.
  void run_until(std::uint64_t end_ns) {
    while (!heap_.empty() && heap_.front().at_ns <= end_ns) {
      std::ranges::pop_heap(heap_, later);
      const Event event = std::move(heap_.back());
      heap_.pop_back();
      now_ns_ = event.at_ns;
      ++events_run_;
      event.run();
    }
    now_ns_ = end_ns;
  }

 private:
  struct Event {
    std::uint64_t at_ns;
    std::uint64_t number;
    std::function<void()> run;
  };
  static bool later(const Event& left, const Event& right) noexcept {
    return std::pair(left.at_ns, left.number) > std::pair(right.at_ns, right.number);
  }

  std::vector<Event> heap_;
  std::uint64_t now_ns_ = 0;
  std::uint64_t scheduled_ = 0;
  std::uint64_t events_run_ = 0;
};

}  // namespace dolmen::sim
