// SPDX-License-Identifier: Apache-2.0
#include "sys/clock.hpp"

#include <cerrno>
#include <ctime>

#include <sys/random.h>

#include <dolmen/assert.hpp>

#include "sys/linux/parts.hpp"

namespace dolmen::sys {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

std::uint64_t read_clock(clockid_t clock) noexcept {
  timespec now{};
  DOLMEN_ASSERT(::clock_gettime(clock, &now) == 0);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecondNs +
         static_cast<std::uint64_t>(now.tv_nsec);
}

class LinuxClock final : public Clock {
 public:
  std::uint64_t monotonic_ns() noexcept override { return read_clock(CLOCK_MONOTONIC); }
  std::uint64_t wall_ns() noexcept override { return read_clock(CLOCK_REALTIME); }
  void sleep_ns(std::uint64_t duration_ns) noexcept override {
    timespec left{};
    left.tv_sec = static_cast<time_t>(duration_ns / kSecondNs);
    left.tv_nsec = static_cast<long>(duration_ns % kSecondNs);
    while (::clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
  }
};

class LinuxEntropy final : public Entropy {
 public:
  void fill(base::MutableBytes out) noexcept override {
    while (!out.empty()) {
      const ssize_t count = ::getrandom(out.data(), out.size(), 0);
      if (count < 0 && errno == EINTR) continue;
      DOLMEN_ASSERT_CMP(count, >, 0);
      out = out.subspan(static_cast<std::size_t>(count));
    }
  }
};

}  // namespace

Clock& linux_clock() noexcept {
  static LinuxClock clock;
  return clock;
}

Entropy& linux_entropy() noexcept {
  static LinuxEntropy entropy;
  return entropy;
}

}  // namespace dolmen::sys
