// SPDX-License-Identifier: Apache-2.0
//
// The dolmen command; docs/cli.md describes it.
#include <cerrno>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>
#include <vector>

#include "cli/command.hpp"
#include "sys/linux/child.hpp"

#ifdef DOLMEN_WITH_BENCH
#include <bench/bench.hpp>
#endif

namespace dolmen::cli {

namespace {

/// As far as the words name a command: "index create".
std::string command_in(const CLI::App& app, int count, char** words) {
  std::string path;
  const CLI::App* above = &app;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const auto found =
        above->get_subcommands([&](const CLI::App* one) { return one->get_name() == word; });
    if (found.empty()) break;
    above = found.front();
    path += (path.empty() ? "" : " ") + word;
  }
  return path;
}

/// Everything behind the word bench belongs to the benchmarks, unread.
int bench(int count, char** words) {
#ifdef DOLMEN_WITH_BENCH
  return bench::command(std::vector<std::string>(words + 2, words + count));
#else
  constexpr const char* kNone = "this build has no benchmarks; configure it with -DDOLMEN_BENCH=ON";
  const std::string first = count >= 3 ? words[2] : "";
  if (first != "--help" && first != "-h") return failed(kNone);
  std::printf("dolmen bench SUITE: %s\n", kNone);
  return kOk;
#endif
}

int run(int count, char** words) {
  if (count >= 2 && std::string(words[1]) == "bench") return bench(count, words);
  CLI::App app("dolmen: durable C++ objects with pointers that survive crashes", "dolmen");
  app.set_version_flag("--version", "dolmen " DOLMEN_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 damage found.\nExample:\n"
      "  dolmen init web.dolmen && dolmen ls web.dolmen");
  Chosen chosen;
  add_init(app, chosen);
  add_cluster(app, chosen);
  add_ls(app, chosen);
  add_tree(app, chosen);
  add_log(app, chosen);
  add_node(app, chosen);
  add_index(app, chosen);
  add_object(app, chosen);
  add_up(app, chosen);
  add_move(app, chosen);
  add_top(app, chosen);
  add_inspect(app, chosen);
  add_stat(app, chosen);
  add_check(app, chosen);
  add_scrub(app, chosen);
  add_dump(app, chosen);
  add_load(app, chosen);
  add_doctor(app, chosen);
  add_demo(app, chosen);
  app.add_subcommand("bench", "measure dolmen beside its peers; see dolmen bench --help");
  const std::string word = count >= 2 ? words[1] : "";
  const std::string command = command_in(app, count, words);
  if (!word.empty() && word.front() != '-' && command.empty()) {
    return misused("there is no command '" + shown(word) + "'");
  }
  try {
    app.parse(count, words);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return misused(error.what(), command);
  }
  return chosen.run();
}

}  // namespace

}  // namespace dolmen::cli

int main(int count, char** words) {
  dolmen::sys::keep_standard_descriptors();
  int exit = dolmen::cli::kFailed;
  try {
    exit = dolmen::cli::run(count, words);
  } catch (const dolmen::AccessError& access) {
    exit = dolmen::cli::failed(access.error());
  } catch (const std::exception& error) {
    exit = dolmen::cli::failed(error.what());
  }
  // What was printed may lie in the buffer only.
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit;
  const std::string why = errno == 0 ? "" : ": " + std::generic_category().message(errno);
  const int lost = dolmen::cli::failed("standard output could not be written" + why);
  return exit == dolmen::cli::kOk ? lost : exit;
}
