// SPDX-License-Identifier: Apache-2.0
//
// Whether a campaign sees a bug that is planted in the product. Tests only.
#pragma once

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

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

}  // namespace dolmen::sim
