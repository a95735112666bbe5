// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <system_error>

#include <unistd.h>

#include "bench/bench.hpp"
#include "bench/index.hpp"
#include "bench/machine.hpp"
#include "bench/suites.hpp"

namespace dolmen::bench {
namespace {

struct SuiteEntry {
  std::string_view name;
  std::string_view what;
  void (*run)(Report&);
};

constexpr std::array<SuiteEntry, 11> kSuites{{
    {"pointers", "following pointers, against raw, Boost offset_ptr, PMDK", pointers_suite},
    {"kv", "a million records: get, scan, put, load, against LMDB, SQLite, std maps", kv_suite},
    {"commits", "small transactions, deferred and durable, against LMDB, SQLite, PMDK, fdatasync",
     commits_suite},
    {"open", "reopening after a crash until the first value is read, against LMDB", open_suite},
    {"footprint", "bytes in memory and on disk, against LMDB, std::unordered_map", footprint_suite},
    {"log", "entries in a log of three processes, against etcd, C raft, Redis, floors", log_suite},
    {"fabric", "writes, reads and round trips between two processes, against bare ones",
     fabric_suite},
    {"sim", "simulated time and events per second of a core", sim_suite},
    {"failover", "from the end of a log's leader to the next acknowledged command", failover_suite},
    {"cluster",
     "a space of three processes: transactions, reads, many groups, a member that comes back; "
     "against one process, etcd, a raw copy",
     cluster_suite},
    {"index", "keys and values kept by three processes, against Redis, memcached, etcd",
     index_suite},
}};

void print_help(std::FILE* out) {
  std::fputs(
      "usage: dolmen bench SUITE [--json] [--runs N] [--quick] [--fifo] [--case CASE] [--dir "
      "DIR]\n\n",
      out);
  for (const SuiteEntry& suite : kSuites) {
    std::fprintf(out, "  %-10s %s\n", suite.name.data(), suite.what.data());
  }
  std::fputs(
      "\n"
      "  --json     one JSON object on stdout: suite, machine, rows\n"
      "  --runs N   counted runs per system after a warm-up (5; at least 1)\n"
      "  --quick    small inputs, for a smoke test; every mode says so\n"
      "  --fifo     measurements of one thread in the real-time class, where permitted: for busy "
      "machines\n"
      "  --case C   this case only; C*: those that begin so\n"
      "  --system S this system only, or these (S,S), for profiling\n"
      "  --dir D    put the files below D (default: the temporary folder); durable figures need a "
      "disk\n\n"
      "Systems take turns. dolmen_x in a peer's row: how many times better dolmen's median is\n"
      "(below 1: dolmen is worse).\n",
      out);
}

int complain(const std::string& what) {
  std::fprintf(stderr, "dolmen bench: %s; see dolmen bench --help\n", what.c_str());
  return 2;
}

std::string default_directory() {
  std::error_code error;
  return std::filesystem::temp_directory_path(error).string();
}

int run_part(std::span<const std::string> arguments) {
  try {
    if (arguments.empty()) return complain("no part named");
    if (arguments[0].starts_with("open-")) {
      open_child(arguments);
    } else if (arguments[0].starts_with("footprint-")) {
      footprint_child(arguments);
    } else if (arguments[0].starts_with("log-") || arguments[0] == "server-run") {
      log_child(arguments);
    } else if (arguments[0].starts_with("fabric-")) {
      fabric_child(arguments);
    } else if (arguments[0] == "index-member") {
      index_child({arguments.begin() + 1, arguments.end()});
    } else if (arguments[0].starts_with("failover-")) {
      failover_child(arguments);
    } else if (arguments[0].starts_with("recover-")) {
      recover_child(arguments);
    } else {
      return complain("unknown part " + arguments[0]);
    }
    return 0;
  } catch (const Failure& failure) {
    std::fprintf(stderr, "dolmen bench: %s: %s\n", arguments[0].c_str(), failure.what().c_str());
  } catch (const AccessError& error) {
    std::fprintf(stderr, "dolmen bench: %s: %s\n", arguments[0].c_str(), error.message().c_str());
  }
  return 1;
}

int run_suite(const SuiteEntry& suite, Options options) {
  if (options.directory.empty()) options.directory = default_directory();
  options.directory += "/dolmen-bench-" + std::to_string(::getpid());
  if (options.fifo && !RealTime::allow(true)) {
    std::fputs("dolmen bench: --fifo is not permitted here; going on without\n", stderr);
    options.fifo = false;
  }
  Report report(options);
  if (const double load = machine_load(); load > 1.0 && !options.quick) {
    report.note("the machine is busy (load " + std::to_string(load).substr(0, 4) +
                "): blocking figures read the scheduler's tick rather than the disk; see --fifo");
  }
  try {
    const Folder folder(options.directory);
    const std::string type = filesystem_of(options.directory);
    if (type == "tmpfs" || type == "ramfs") {
      report.note("the files lie in memory (" + type +
                  "): durable figures mean nothing here; use --dir");
    }
    suite.run(report);
    if (report.rows().empty()) return complain("no such case or system in this suite");
    report.compare();
    if (options.json) {
      std::printf("%s\n", report.json().dump(2).c_str());
    } else {
      std::printf("%s\n%s", machine_facts(options.directory).dump().c_str(), "\n");
      std::printf("%s", report.table().c_str());
    }
  } catch (const Failure& failure) {
    std::fprintf(stderr, "dolmen bench: %s\n", failure.what().c_str());
    return 1;
  }
  return report.failed() ? 1 : 0;
}

}  // namespace

int command(std::span<const std::string> arguments) {
  if (!arguments.empty() && arguments[0] == "--child") return run_part(arguments.subspan(1));
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    const auto value = [&]() -> const std::string* {
      return i + 1 < arguments.size() ? &arguments[++i] : nullptr;
    };
    if (word == "--help" || word == "-h") {
      print_help(stdout);
      return 0;
    } else if (word == "--json") {
      options.json = true;
    } else if (word == "--quick") {
      options.quick = true;
    } else if (word == "--fifo") {
      options.fifo = true;
    } else if (word == "--runs" || word == "--case" || word == "--system" || word == "--dir") {
      const std::string* given = value();
      if (given == nullptr) return complain(word + " needs a value");
      if (word == "--case") options.only_case = *given;
      if (word == "--system") options.only_system = *given;
      if (word == "--dir") options.directory = *given;
      if (word == "--runs") {
        const char* const end = given->data() + given->size();
        const auto [stop, error] = std::from_chars(given->data(), end, options.runs);
        if (error != std::errc() || stop != end || options.runs < 1) {
          return complain("--runs needs a number of at least 1");
        }
      }
    } else if (word.starts_with("-") || !options.suite.empty()) {
      return complain("unknown argument " + word);
    } else {
      options.suite = word;
    }
  }
  if (options.suite.empty()) return complain("SUITE is required");
  const auto suite = std::find_if(kSuites.begin(), kSuites.end(), [&](const SuiteEntry& entry) {
    return entry.name == options.suite;
  });
  if (suite == kSuites.end()) return complain("unknown suite " + options.suite);
  return run_suite(*suite, std::move(options));
}

}  // namespace dolmen::bench
