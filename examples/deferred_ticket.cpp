// SPDX-License-Identifier: Apache-2.0
//
// Many small commits without waiting for the disk each time, then one wait for all of them.
#include <chrono>
#include <cstdio>

#include <dolmen/space.hpp>

struct Meter {
  std::uint64_t readings = 0;
  std::uint64_t sum = 0;
};

int main() {
  using Clock = std::chrono::steady_clock;
  auto space = dolmen::Space::open("meter.dolmen").value();
  const auto meter = space.create<Meter>("meter").value();
  const auto record = [&](std::uint64_t value, dolmen::TransactOptions options) {
    space
        .transact(options, meter,
                  [&](dolmen::mut<Meter> m) {
                    ++m->readings;
                    m->sum += value;
                  })
        .value();
  };
  const auto microseconds = [](Clock::duration d) {
    return static_cast<double>(std::chrono::nanoseconds(d).count()) / 1e3;
  };

  const auto start = Clock::now();
  record(1, {});  // durable: on the disk when it returns
  const auto one = Clock::now();
  dolmen::Ticket last;
  for (std::uint64_t i = 2; i <= 10'000; ++i) {
    record(i, {.durability = dolmen::Durability::deferred, .ticket = &last});
  }
  const auto many = Clock::now();
  space.wait(last).value();  // it and everything before it is on the disk now
  const auto end = Clock::now();

  std::printf("a durable commit: %.1f us; a deferred one: %.2f us; the wait for 9,999: %.1f us\n",
              microseconds(one - start), microseconds(many - one) / 9'999,
              microseconds(end - many));
  const bool safe = space.stats().durable_index >= last.index;
  const auto sum = space.read(meter, [](dolmen::ref<Meter> m) { return m->sum; }).value();
  return safe && sum == 10'000ull * 10'001 / 2 ? 0 : 1;
}
