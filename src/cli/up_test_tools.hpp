// SPDX-License-Identifier: Apache-2.0
//
// A cluster that `dolmen up` runs beside a test. Tests only.
#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include <unistd.h>

#include "cli/command_test_tools.hpp"
#include "sys/linux/children.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli::test {

class UpCluster : public CliTest {
 protected:
  using Clock = std::chrono::steady_clock;
  static double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }
  /// An address that no other process is given, and a port that none is given without asking for it
  /// (tests/replicated_members.hpp). The nodes are at the ports behind it.
  static std::string host() {
    const auto pid = static_cast<std::uint32_t>(::getpid());
    return "127." + std::to_string(1 + (pid >> 16)) + "." + std::to_string(pid >> 8 & 0xff) + "." +
           std::to_string(pid & 0xff);
  }
  static constexpr int kPort = 7400;
  static constexpr int kMetricsPort = 7500;
  static std::string at(int node) { return host() + ":" + std::to_string(kPort + node); }

  [[nodiscard]] std::vector<std::string> up(const std::string& directory) const {
    return {"up", directory, "-n", "3", "--host", host(), "--port", std::to_string(kPort)};
  }
  static std::string word_of(const std::string& word) { return dolmen::cli::test::quoted(word); }
  /// A command that goes on beside the test; what it says is in up.out and up.err.
  void begin(const std::vector<std::string>& words) {
    std::string line = "cd " + word_of(root_) + " && exec " + word_of(DOLMEN_COMMAND);
    for (const std::string& word : words) line += " " + word_of(word);
    const auto started = children_.start("/bin/sh", {"-c", line + " >up.out 2>up.err"}, {});
    ASSERT_TRUE(started) << started.error().message();
  }
  /// What it ended with.
  int end() {
    while (children_.running() > 0) {
      const auto ended = children_.wait();
      if (!ended || !*ended) continue;
      return (*ended)->second.signal != 0 ? -(*ended)->second.signal : (*ended)->second.code;
    }
    return -1000;
  }
  int terminate() {
    children_.terminate();
    return end();
  }
  template <class Done>
  [[nodiscard]] static bool until(const Done& done, double patience_s = 60) {
    const auto begin = Clock::now();
    while (!done()) {
      if (seconds_since(begin) > patience_s) return false;
      dolmen::sys::linux_env().clock->sleep_ns(20'000'000);
    }
    return true;
  }

  /// Of the processes that run with these words one after the other among their own.
  [[nodiscard]] static std::vector<int> processes(const std::vector<std::string>& words) {
    std::string wanted;
    for (const std::string& word : words) wanted += word + '\0';
    std::vector<int> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const int pid = std::atoi(entry.path().filename().c_str());
      if (pid > 0 && read_file(entry.path() / "cmdline").find(wanted) != std::string::npos) {
        found.push_back(pid);
      }
    }
    return found;
  }
  [[nodiscard]] std::vector<int> node_process(int node) const {
    return processes({"serve", path("cluster/node-" + std::to_string(node))});
  }
  [[nodiscard]] std::size_t node_processes() const {
    return node_process(1).size() + node_process(2).size() + node_process(3).size();
  }
  void signal(int node, int number) const {
    const auto found = node_process(node);
    ASSERT_EQ(found.size(), 1u);
    ASSERT_EQ(::kill(found.front(), number), 0);
  }

  [[nodiscard]] std::string address() const {
    return "dolmen://" + at(1) + "," + at(2) + "," + at(3) +
           "?identity=" + path("cluster/keys/client-1.key");
  }
  [[nodiscard]] Json status() const { return dolmen({"status", address(), "--json"}).json(); }
  /// Until every group has so many members and a leader.
  [[nodiscard]] bool has_groups(std::size_t count) const {
    return until([&] {
      // On a busy machine it may take a while until a node is there that answers.
      const Outcome asked = dolmen({"status", address(), "--json"});
      if (asked.exit != kOk) return false;
      const Json now = asked.json();
      const auto is_whole = [](const Json& group) {
        return group["members"].size() == 3 && group["leader"] != 0;
      };
      return now["groups"].size() == count &&
             std::all_of(now["groups"].begin(), now["groups"].end(), is_whole);
    });
  }

  sys::Children children_;
};

}  // namespace dolmen::cli::test
