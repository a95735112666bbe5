// SPDX-License-Identifier: Apache-2.0
//
// The first half of the demo: input, loading, SIGKILL, what is left, going on, reopening.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/demo_steps.hpp"
#include "packages/stanza.hpp"
#include "sys/linux/child.hpp"

namespace dolmen::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kKillAttempts = 5;

/// The type of the file system that holds `path`, as the kernel names it.
std::string file_system_of(const std::string& path) {
  std::ifstream mounts("/proc/self/mounts");
  std::string best;
  std::string type = "an unknown file system";
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string device;
    std::string where;
    std::string what;
    words >> device >> where >> what;
    const std::string folder = where.ends_with('/') ? where : where + "/";
    if ((path + "/").starts_with(folder) && folder.size() >= best.size()) {
      best = folder;
      type = what;
    }
  }
  return type;
}

/// Whether apt has downloaded lists of packages; without them it knows the installed ones only.
bool has_package_lists() {
  std::error_code ignored;
  for (const auto& file : fs::directory_iterator("/var/lib/apt/lists", ignored)) {
    if (file.path().filename().string().find("_Packages") != std::string::npos) return true;
  }
  return false;
}

/// A word and a number, as the children report.
std::pair<std::string, std::uint64_t> parse(const std::string& line) {
  std::istringstream words(line);
  std::pair<std::string, std::uint64_t> result;
  words >> result.first >> result.second;
  return result;
}

/// Enough to be a graph, little enough for a test.
bool in_quick(const packages::Stanza& stanza) {
  return stanza.section == "libs" || stanza.section == "admin" || stanza.section == "utils";
}

}  // namespace

Result<void> Demo::gather() {
  std::string source = options_.input;
  std::string text;
  if (!source.empty()) {
    text = packages::read_file(source);
  } else {
    source = "apt-cache dumpavail";
    screen_.say("Reading what " + source + " prints …");
    text = packages::read_dumpavail();
    if (text.empty()) {
      source = "/var/lib/dpkg/status";
      text = packages::read_file(source);
    }
    if (!has_package_lists()) {
      screen_.say(
          "This machine has no lists of the packages that it could install, so only the installed "
          "ones are loaded. `sudo apt-get update` fetches the lists of all 60,000.");
    }
  }
  const packages::Universe universe(std::move(text));
  std::ofstream copy(paths_.input, std::ios::binary);
  std::uint64_t count = 0;
  for (const packages::Stanza& stanza : universe.stanzas()) {
    if (options_.quick && !in_quick(stanza)) continue;
    copy << stanza.text << "\n\n";
    ++count;
    if (subject_.empty() || stanza.name == "libc6") subject_ = stanza.name;
  }
  copy.close();
  if (count < 2) return fail(Errc::not_found, "package descriptions; name a file with --input");
  if (!copy) return fail(Errc::io_error, interned(paths_.input));
  durable_ = "each transaction is one fdatasync on " + file_system_of(paths_.space);
  figures_["input"] = {{"source", source},
                       {"bytes", fs::file_size(paths_.input)},
                       {"packages", count},
                       {"quick", options_.quick},
                       {"durability", durable_}};
  screen_.say("Input: " + grouped(count) + " packages from " + source + " (" +
              size_text(fs::file_size(paths_.input)) + " of text" +
              (options_.quick ? ", --quick: three sections only" : "") +
              "). Space: " + paths_.space + "; " + durable_ + ".");
  screen_.say("These are the structures, ordinary C++ with pointers into each other:");
  screen_.code("model");
  return {};
}

Result<void> Demo::load_and_kill() {
  screen_.heading(1, "Load it, and kill the loader in the middle");
  screen_.say(
      "A second process makes the packages, one object for each section of the archive, then "
      "links their dependencies. Each transaction is a batch of both, whole or not at all:");
  screen_.code("step");
  screen_.code("link");
  screen_.say("This process listens to it, and kills it at a moment left to chance:");
  screen_.code("kill");
  for (int attempt = 1; attempt <= kKillAttempts; ++attempt) {
    const auto percent = random_.between(30, 70);
    DOLMEN_TRY(const bool killed, load_until_killed(percent));
    figures_["load"]["attempts"] = attempt;
    if (killed) return look_after_kill();
    // A short load may end before the signal arrives; then there is nothing to see.
    fs::remove_all(paths_.space);
  }
  return fail(Errc::limit, "the loader was always faster than the signal; give it more input");
}

Result<bool> Demo::load_until_killed(std::uint64_t percent) {
  const std::uint64_t start_ns = now_ns();
  DOLMEN_TRY(sys::Child loader,
             sys::Child::start(program_, {"demo", "--child", "load", "--dir", paths_.space,
                                          "--input", paths_.input}));
  std::uint64_t commits = 0;
  std::uint64_t first_ns = 0;
  acknowledged_ = killed_at_ = 0;
  while (!interrupted()) {
    DOLMEN_TRY(const auto line, loader.read_line());
    if (!line) break;
    const auto [what, number] = parse(*line);
    if (what == "batch") batch_ = number;
    if (what == "total") total_ = number;
    if (what != "done") continue;
    // [demo:kill]
    acknowledged_ = number;  // the loader said so: these are durable
    ++commits;
    screen_.progress("loading", acknowledged_, total_);
    if (killed_at_ == 0 && acknowledged_ * 100 >= percent * total_) {
      env_.clock->sleep_ns(random_.below((now_ns() - start_ns) / commits));  // into the next batch
      loader.kill();                                                         // SIGKILL
      killed_at_ = acknowledged_;
    }
    // [/demo:kill]
    if (commits == 1) first_ns = now_ns();
  }
  const std::uint64_t end_ns = now_ns();
  screen_.end_progress();
  if (interrupted()) loader.kill();
  DOLMEN_TRY(const auto end, loader.wait());
  if (interrupted()) return fail(Errc::aborted, "interrupted");
  if (end.code != 0 || (end.signal != 0 && killed_at_ == 0)) {
    return fail(Errc::aborted, "the loader failed", static_cast<std::uint64_t>(end.signal));
  }
  const double rate =
      commits < 2 ? 0 : static_cast<double>(commits - 1) / static_cast<double>(end_ns - first_ns);
  figures_["load"] = {{"total", total_},
                      {"batch", batch_},
                      {"killed_at", killed_at_},
                      {"acknowledged", acknowledged_},
                      {"signal", end.signal},
                      {"commits_acknowledged", commits},
                      {"commits_per_s", rate * 1e9},
                      {"ms", static_cast<double>(end_ns - start_ns) / 1e6}};
  // The commit in flight may have been the last one: then there is nothing to go on with.
  return end.signal != 0 && acknowledged_ + batch_ < total_;
}

Result<void> Demo::look_after_kill() {
  const auto percent = static_cast<double>(acknowledged_) * 100 / static_cast<double>(total_);
  screen_.figure("killed with SIGKILL at", decimal(percent, 1) + " % of the work");
  const double commits_per_s = figures_["load"]["commits_per_s"];
  const double packages_per_s = commits_per_s * static_cast<double>(batch_);
  screen_.figure("rate until then", decimal(commits_per_s, 0) + " durable commits/s, " +
                                        grouped(static_cast<std::uint64_t>(packages_per_s)) +
                                        " packages/s");
  const std::uint64_t start_ns = now_ns();
  DOLMEN_TRY(Space space, Space::open(paths_.space));
  const std::uint64_t opened_ns = now_ns() - start_ns;
  DOLMEN_TRY(const auto debian, space.find<packages::Catalogue>("debian"));
  packages::Census census;
  {
    DOLMEN_TRY(const View view, space.view());
    DOLMEN_TRY(census, view.read([&] { return packages::count(*view[debian]); }));
  }
  DOLMEN_CHECK(space.close());
  found_ = census.progress();
  const std::uint64_t packages = total_ / 2;
  const auto whole = [&](std::uint64_t number) {
    return number % batch_ == 0 || number == packages;
  };
  figures_["load"]["found"] = found_;
  figures_["load"]["reopen_after_kill_ms"] = static_cast<double>(opened_ns) / 1e6;
  const auto in_words = [&](std::uint64_t progress) {
    return grouped(std::min(progress, packages)) + " packages made, " +
           grouped(progress > packages ? progress - packages : 0) + " linked";
  };
  screen_.figure("acknowledged before it died", in_words(acknowledged_));
  screen_.figure("found after reopening", in_words(found_));
  screen_.figure("reopening took", duration_text(opened_ns));
  check("everything acknowledged is there", found_ >= acknowledged_);
  check("no batch is there in part: " + grouped(census.edges) + " edges, each with its way back",
        census.wrong.empty() && whole(census.packages) && whole(census.linked));
  if (!census.wrong.empty()) screen_.say("wrong: " + census.wrong);
  return {};
}

Result<void> Demo::resume() {
  const std::uint64_t start_ns = now_ns();
  DOLMEN_TRY(sys::Child loader,
             sys::Child::start(program_, {"demo", "--child", "load", "--dir", paths_.space,
                                          "--input", paths_.input}));
  std::uint64_t first = 0;
  std::uint64_t first_ns = start_ns;
  std::uint64_t done = 0;
  while (!interrupted()) {
    DOLMEN_TRY(const auto line, loader.read_line());
    if (!line) break;
    const auto [what, number] = parse(*line);
    if (what != "done") continue;
    done = number;
    if (first == 0) {
      first = done;
      first_ns = now_ns();
    }
    screen_.progress("going on", done, total_);
  }
  const std::uint64_t end_ns = now_ns();
  screen_.end_progress();
  if (interrupted()) loader.kill();
  DOLMEN_TRY(const auto end, loader.wait());
  if (interrupted()) return fail(Errc::aborted, "interrupted");
  if (end.code != 0 || end.signal != 0) return fail(Errc::aborted, "the second loader failed");
  const double rate = first == done ? 0
                                    : static_cast<double>(done - first) * 1e9 /
                                          static_cast<double>(end_ns - first_ns);
  figures_["load"]["resume_ms"] = static_cast<double>(end_ns - start_ns) / 1e6;
  figures_["load"]["resume_packages_per_s"] = rate;
  screen_.figure("started again, it went on to the end in",
                 duration_text(end_ns - start_ns) + ", " +
                     grouped(static_cast<std::uint64_t>(rate)) + " packages/s");
  check("it began where the last commit ended",
        first > found_ && first <= found_ + batch_ && done == total_);
  return {};
}

Result<void> Demo::reopen() {
  screen_.heading(2, "Open it in another process");
  screen_.say("Nothing is loaded and nothing is parsed: pages are read when they are touched.");
  screen_.code("open");
  const std::uint64_t start_ns = now_ns();
  DOLMEN_TRY(sys::Child reader, sys::Child::start(program_, {"demo", "--child", "open", "--dir",
                                                             paths_.space, "--input", subject_}));
  std::string version;
  auto& figures = figures_["reopen"];
  while (!interrupted()) {
    DOLMEN_TRY(const auto line, reader.read_line());
    if (!line) break;
    const auto [what, number] = parse(*line);
    if (what == "version") {
      version = line->substr(line->find(' ') + 1);
    } else {
      figures[what] = number;
    }
  }
  if (interrupted()) reader.kill();
  DOLMEN_TRY(const auto end, reader.wait());
  const std::uint64_t process_ns = now_ns() - start_ns;
  if (interrupted()) return fail(Errc::aborted, "interrupted");
  if (end.code != 0 || version.empty()) return fail(Errc::aborted, "the reader failed");
  figures["process_ns"] = process_ns;
  figures["value"] = version;
  screen_.figure("until the first value was read", duration_text(figures["first_value_ns"]));
  screen_.figure("that value", subject_ + " has version " + version);
  screen_.figure("read from the space's files", size_text(figures["read_bytes"]) +
                                                    ", of which from the device " +
                                                    size_text(figures["device_bytes"]));
  screen_.figure("pages of memory faulted in", grouped(figures["faults"]));
  screen_.figure("the whole process took", duration_text(process_ns));
  return {};
}

}  // namespace dolmen::cli
