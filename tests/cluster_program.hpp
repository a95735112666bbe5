// SPDX-License-Identifier: Apache-2.0
//
// For tests: what the processes of a cluster run, which are the test program with other words:
//   node DIRECTORY LOST       a node, until SIGTERM; who is silent for LOST ms loses its seats
//   client ADDRESS NUMBER     calls both spaces until SIGTERM, and says on standard output what it
//                             begins and what it was answered
// A node's disk can be slow: each sync takes as many milliseconds longer as came with SIGUSR1.
#pragma once

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <thread>

#include <sys/syscall.h>
#include <unistd.h>

#include <dolmen/cluster.hpp>

#include "base/random.hpp"
#include "examples/cluster_demo.hpp"
#include "sim/sim_hooks.hpp"
#include "tests/cluster_books.hpp"

namespace dolmen::processes {

using std::chrono::milliseconds;

inline std::atomic<int> sync_ms{0};

inline void wait_for_slow_disk() {
  const int length_ms = sync_ms;
  const timespec length{.tv_sec = length_ms / 1000, .tv_nsec = length_ms % 1000 * 1'000'000};
  if (length_ms != 0) ::nanosleep(&length, nullptr);
}

/// In one write, so that it is in the pipe wholly or not at all.
struct Record {
  std::uint64_t key = 0;
  std::uint64_t at_ns = 0;  ///< of a clock that all processes share
  std::uint64_t value = 0;
  std::uint32_t client = 0;
  std::uint8_t space = 0;
  std::uint8_t what = 0;
  std::uint8_t is_end = 0;
  std::uint8_t outcome = 0;
};
static_assert(sizeof(Record) == 32);

inline std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

inline void report(const Record& record) {
  // Nobody listens any more: there is nothing to be done.
  if (::write(STDOUT_FILENO, &record, sizeof record) != sizeof record) std::_Exit(5);
}

inline std::atomic<bool> is_client_stopping{false};

/// Longer than any test waits: what a client is not told by then is a failure.
inline constexpr std::chrono::seconds kPatience(60);

/// How the call ended. Says on standard error what should not have been answered.
inline Outcome outcome_of(const dolmen::Error& error) {
  if (error.code() == dolmen::Errc::busy) return Outcome::refused;
  if (error.code() != dolmen::Errc::timed_out && error.code() != dolmen::Errc::connection_lost) {
    std::fprintf(stderr, "a client: %s\n", error.message().c_str());
  }
  return Outcome::unknown;
}

inline int run_client(const std::string& address, std::uint32_t number,
                      std::chrono::milliseconds patience) {
  std::signal(SIGTERM, [](int) { is_client_stopping = true; });
  dolmen::base::Random random(number);
  auto cluster = dolmen::Cluster::open(address, kPatience);
  if (!cluster) {
    std::fprintf(stderr, "client %u: %s\n", number, cluster.error().message().c_str());
    return 2;
  }
  std::vector<dolmen::ReplicatedClient> clients;
  for (const char* space : kSpaces) {
    auto client = cluster->client(space, kPatience);
    if (!client) {
      std::fprintf(stderr, "client %u: %s\n", number, client.error().message().c_str());
      return 3;
    }
    clients.push_back(std::move(*client));
  }
  for (std::uint64_t i = 1; !is_client_stopping; ++i) {
    const auto space = static_cast<std::uint8_t>(random.below(2));
    const std::uint64_t draw = random.below(8);
    const What what = draw < 4 ? What::move : draw < 6 ? What::send : What::look;
    Record record{.key = std::uint64_t{number} << 32 | i,
                  .at_ns = now_ns(),
                  .client = number,
                  .space = space,
                  .what = static_cast<std::uint8_t>(what)};
    report(record);
    const std::string name =
        what == What::move ? "move" : std::string("send ") + kSpaces[1 - space];
    const auto answer =
        what == What::look
            ? dolmen::query_space(clients[space], "sums", {}, patience)
            : dolmen::call_space(clients[space], name, bytes_of(record.key), patience);
    record.at_ns = now_ns();
    record.is_end = 1;
    const Outcome outcome = answer ? Outcome::answered : outcome_of(answer.error());
    record.outcome = static_cast<std::uint8_t>(outcome);
    if (answer) {
      record.value =
          what == What::look ? value_of<Sums>(*answer).length : value_of<std::uint64_t>(*answer);
    }
    report(record);
    std::this_thread::sleep_for(std::chrono::microseconds(300 + random.below(700)));
  }
  return 0;
}

inline int run_node(const std::string& directory, milliseconds lost_after) {
  struct sigaction slow{};
  slow.sa_flags = SA_SIGINFO | SA_RESTART;
  slow.sa_sigaction = [](int, siginfo_t* what, void*) { sync_ms = what->si_value.sival_int; };
  ::sigaction(SIGUSR1, &slow, nullptr);
  const char* const bug = std::getenv("DOLMEN_TEST_BUG");
  std::optional<dolmen::sim::SimHooks> hooks;
  if (bug != nullptr) hooks.emplace(dolmen::sim::SimHookOptions{.buggify = false, .planted = bug});
  dolmen::NodeRunOptions options;
  options.functions = functions();
  options.lost_after = lost_after;
  return demo::serve(directory, options);
}

/// What main() does with its words; nothing: they are no process's of a cluster.
inline std::optional<int> run_as_process(int count, char** words) {
  const std::string word = count >= 3 ? words[1] : "";
  if (word == "node" && count == 4) return run_node(words[2], milliseconds(std::atoi(words[3])));
  if (word == "client" && count == 5) {
    return run_client(words[2], static_cast<std::uint32_t>(std::atoi(words[3])),
                      std::chrono::milliseconds(std::atoi(words[4])));
  }
  // A process that took itself for the test would start others without end.
  if (count >= 2 && words[1][0] != '-') return 2;
  return std::nullopt;
}

}  // namespace dolmen::processes

// The library's calls come here: a test cannot have a slow disk otherwise.
extern "C" inline __attribute__((used)) int fdatasync(int descriptor) {
  dolmen::processes::wait_for_slow_disk();
  return static_cast<int>(::syscall(SYS_fdatasync, descriptor));
}
