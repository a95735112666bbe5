// SPDX-License-Identifier: Apache-2.0
//
// The dolmen command. Exit codes: 0 done, 1 failed or damage found, 2 wrong usage.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "cli/command.hpp"

#ifdef DOLMEN_WITH_BENCH
#include <bench/bench.hpp>
#endif

namespace dolmen::cli {

namespace {

/// Everything behind the word bench belongs to the benchmarks, unread.
int bench(int count, char** words) {
#ifdef DOLMEN_WITH_BENCH
  return bench::command(std::vector<std::string>(words + 2, words + count));
#else
  (void)count;
  (void)words;
  return failed("this build has no benchmarks; configure it with -DDOLMEN_BENCH=ON");
#endif
}

int run(int count, char** words) {
  if (count >= 2 && std::string(words[1]) == "bench") return bench(count, words);
  CLI::App app("dolmen: durable C++ objects with pointers that survive crashes");
  app.set_version_flag("--version", "dolmen " DOLMEN_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 failed or damage found, 2 wrong usage.\nExample:\n"
      "  dolmen init web.dolmen && dolmen ls web.dolmen");
  Chosen chosen;
  add_init(app, chosen);
  add_ls(app, chosen);
  add_inspect(app, chosen);
  add_stat(app, chosen);
  add_check(app, chosen);
  add_scrub(app, chosen);
  add_tree(app, chosen);
  add_doctor(app, chosen);
  add_demo(app, chosen);
  app.add_subcommand("bench", "measure dolmen beside its peers; see dolmen bench --help");
  try {
    app.parse(count, words);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "dolmen: %s; see dolmen --help\n", error.what());
    return kUsage;
  }
  return chosen.run();
}

}  // namespace

}  // namespace dolmen::cli

int main(int count, char** words) {
  try {
    return dolmen::cli::run(count, words);
  } catch (const dolmen::AccessError& access) {
    return dolmen::cli::failed(access.error());
  } catch (const std::exception& error) {
    return dolmen::cli::failed(error.what());
  }
}
