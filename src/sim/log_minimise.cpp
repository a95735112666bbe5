// SPDX-License-Identifier: Apache-2.0
//
// A failing run made small, and how to see it again.
#include <string>

#include "sim/log_world.hpp"

namespace dolmen::sim {

namespace {
constexpr std::uint64_t kMs = 1'000'000;
}

LogWorldOptions minimise(const LogWorldOptions& options) {
  LogWorldOptions smallest = options;
  const auto still_fails = [](const LogWorldOptions& candidate) {
    return !run_log_world(candidate).violation.empty();
  };
  for (std::uint32_t fault = 1; fault < kAllLogFaults; fault <<= 1) {
    LogWorldOptions candidate = smallest;
    candidate.faults &= ~fault;
    if (candidate.faults != smallest.faults && still_fails(candidate)) smallest = candidate;
  }
  while (smallest.faulty_ns > 100 * kMs) {
    LogWorldOptions candidate = smallest;
    candidate.faulty_ns = smallest.faulty_ns / 4 * 3;
    if (!still_fails(candidate)) break;
    smallest = candidate;
  }
  return smallest;
}

std::string command_of(const LogWorldOptions& options) {
  std::string command = "DOLMEN_LOG_SEED=" + std::to_string(options.seed);
  command += " DOLMEN_LOG_FAULTS=" + std::to_string(options.faults);
  if (options.is_direct)
    command += *options.is_direct ? " DOLMEN_LOG_DIRECT=1" : " DOLMEN_LOG_DIRECT=0";
  command += " DOLMEN_LOG_MS=" + std::to_string(options.faulty_ns / kMs);
  command += " log_campaign_test --gtest_filter=LogCampaign.OneSeed";
  return command;
}

}  // namespace dolmen::sim
