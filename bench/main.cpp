// SPDX-License-Identifier: Apache-2.0
// The benchmarks as a program of their own, with the dolmen command's words: `dolmen_bench bench
// kv`.
#include <cstdio>
#include <string>
#include <vector>

#include "bench/bench.hpp"

int main(int count, char** words) {
  std::vector<std::string> arguments(words + 1, words + count);
  if (arguments.empty() || arguments.front() != "bench") {
    std::fputs("usage: dolmen_bench bench SUITE …; see dolmen_bench bench --help\n", stderr);
    return 2;
  }
  arguments.erase(arguments.begin());
  return dolmen::bench::command(arguments);
}
