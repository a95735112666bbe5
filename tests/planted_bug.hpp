// SPDX-License-Identifier: Apache-2.0
//
// Whether a campaign sees a bug that is planted in the product, and which rare paths it took on
// purpose. Tests only.
#pragma once

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "sim/sim_hooks.hpp"

namespace dolmen::sim {

/// The first seed whose run shows the bug, by a violation or by an assertion; 0: none. Each in a
/// process of its own, with a time limit: not to end is not to be seen. `is_violated(seed)` runs
/// one. Requires: this process has opened no space.
template <class Run>
std::uint64_t first_seen(const std::string& bug, std::uint64_t seeds_max, const Run& is_violated) {
  for (std::uint64_t seed = 1; seed <= seeds_max; ++seed) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(3);
      const SimHooks hooks({.seed = seed, .buggify = false, .planted = bug});
      _exit(is_violated(seed) ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1) return seed;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) return seed;
  }
  return 0;
}

/// Each of these BUGGIFY sites fired in some run.
inline void expect_fired(const SimHooks& hooks, std::initializer_list<const char*> sites) {
  const auto reached = hooks.buggify_sites();
  for (const char* const site : sites) {
    const auto found = reached.find(site);
    EXPECT_TRUE(found != reached.end() && found->second.fired > 0) << site;
  }
}

/// "replication.letter_lost 3124, …"
inline std::string fired_text(const SimHooks& hooks) {
  std::string text;
  for (const auto& [name, site] : hooks.buggify_sites()) {
    text += (text.empty() ? "" : ", ") + name + " " + std::to_string(site.fired);
  }
  return text;
}

}  // namespace dolmen::sim
