// SPDX-License-Identifier: Apache-2.0
// The sim suite: how much simulated time, and how many events, a second of a core gives.
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <time.h>

#include "bench/suites.hpp"
#include "sim/cluster_world.hpp"
#include "sim/log_world.hpp"

namespace dolmen::bench {
namespace {

/// Of this process; other programs' share of the core is not in it.
double cpu_seconds_now() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

struct Ran {
  std::string violation;
  std::uint64_t simulated_ns = 0;
  std::uint64_t events = 0;
};

Ran of_log(std::uint64_t seed) {
  const sim::LogWorldResult result = sim::run_log_world({.seed = seed});
  return {result.violation, result.simulated_ns, result.events};
}

Ran of_cluster(const sim::ClusterWorldOptions& options) {
  const sim::ClusterWorldResult result = sim::run_cluster_world(options);
  return {result.violation, result.simulated_ns, result.events};
}

struct Case {
  std::string name;
  std::uint64_t seeds;  ///< of one measurement
  std::string told;
  std::function<Ran(std::uint64_t seed)> run;
};

std::vector<Case> all_cases() {
  return {
      {"log", 200, "a group of replicas (log_campaign_test)", of_log},
      {"group", 40, "five members of one group with journals, three clients",
       [](std::uint64_t seed) {
         return of_cluster({.seed = seed, .nodes = 5, .groups = 1, .clients = 3});
       }},
      {"cluster", 20, "twelve nodes, five groups (cluster_campaign_test)",
       [](std::uint64_t seed) { return of_cluster({.seed = seed}); }},
      {"cluster30", 10, "thirty nodes, twelve groups",
       [](std::uint64_t seed) { return of_cluster({.seed = seed, .nodes = 30, .groups = 12}); }},
  };
}

Values measure(const Case& one, std::uint64_t seeds) {
  const double begin = cpu_seconds_now();
  std::uint64_t simulated_ns = 0;
  std::uint64_t events = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const Ran ran = one.run(seed);
    if (!ran.violation.empty()) {
      throw Failure("seed " + std::to_string(seed) + ": " + ran.violation);
    }
    simulated_ns += ran.simulated_ns;
    events += ran.events;
  }
  const double seconds = cpu_seconds_now() - begin;
  return {static_cast<double>(simulated_ns) / 1e9 / seconds, static_cast<double>(events) / seconds};
}

}  // namespace

void sim_suite(Report& report) {
  for (const Case& one : all_cases()) {
    const std::uint64_t seeds = report.quick() ? 1 : one.seeds;
    const std::string mode = report.scaled("1 seed") + std::to_string(seeds) +
                             " seeds, per second of this process's CPU time; " + one.told;
    report.race({{one.name + "_hours", "1/s"}, {one.name + "_events", "1/s"}},
                {{"dolmen", mode, [&one, seeds] { return measure(one, seeds); }}});
  }
}

}  // namespace dolmen::bench
