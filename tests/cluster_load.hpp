// SPDX-License-Identifier: Apache-2.0
//
// For tests: client processes of a cluster's two spaces, and what they say, which outlives them.
#pragma once

#include <atomic>
#include <csignal>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "tests/cluster_oracle.hpp"
#include "tests/cluster_processes.hpp"
#include "tests/cluster_program.hpp"

namespace dolmen::processes {

class Load {
 public:
  /// `patience`: of each call; one that is not answered by then is told so.
  Load(const Nodes& nodes, std::uint32_t clients, std::chrono::milliseconds patience = kPatience)
      : nodes_(nodes), patience_(patience) {
    if (::pipe2(pipe_, O_CLOEXEC) != 0) std::abort();
    listener_ = std::thread([this] { listen(); });
    for (std::uint32_t i = 0; i < clients; ++i) begin();
  }
  ~Load() {
    for (const auto& [number, pid] : pids_) end_process(pid, SIGKILL);
    close_pipe();
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  /// kill -9 of one, whose place another one takes.
  void kill_one(std::uint64_t which) {
    const auto chosen = std::next(pids_.begin(), static_cast<std::ptrdiff_t>(which % pids_.size()));
    EXPECT_EQ(end_process(chosen->second, SIGKILL), -SIGKILL);
    pids_.erase(chosen);
    begin();
  }
  /// All of them come to an end after the call that they are at.
  void stop() {
    for (const auto& [number, pid] : pids_) ::kill(pid, SIGTERM);
    for (const auto& [number, pid] : std::exchange(pids_, {})) {
      const int ended = end_process(pid, SIGTERM);
      // One that was still starting has begun nothing.
      EXPECT_TRUE(ended == 0 || ended == -SIGTERM) << "client " << number << ": " << ended;
    }
    close_pipe();
  }

  [[nodiscard]] std::uint64_t answered() const { return answered_[0] + answered_[1]; }
  /// Until each space has given so many more answers.
  void wait_for_answers(std::uint64_t more) const {
    const std::array<std::uint64_t, 2> wanted{answered_[0] + more, answered_[1] + more};
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (answered_[0] < wanted[0] || answered_[1] < wanted[1]) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << "the cluster stands still\n"
                                                         << nodes_.said() << nodes_.status();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  /// Longest time that a call took which ended since the last time that this was asked.
  [[nodiscard]] double longest_s() {
    const std::lock_guard lock(mutex_);
    return static_cast<double>(std::exchange(longest_ns_, 0)) * 1e-9;
  }
  /// Calls whose clients were told that they may have happened.
  [[nodiscard]] std::uint64_t unsure() const { return unsure_; }
  [[nodiscard]] std::uint64_t refused() const { return refused_; }
  /// Requires: stop().
  [[nodiscard]] const std::vector<Operation>& operations() const { return operations_; }

 private:
  void begin() {
    const std::uint32_t number = next_++;
    pids_[number] = start_process(
        {"client", nodes_.address(), std::to_string(number), std::to_string(patience_.count())},
        nodes_.output(), pipe_[1]);
  }
  void close_pipe() {
    if (!listener_.joinable()) return;
    ::close(pipe_[1]);  // nobody else has it
    listener_.join();
    ::close(pipe_[0]);
  }
  void listen() {
    Record records[128];
    std::size_t bytes = 0;
    auto* const at = reinterpret_cast<std::byte*>(records);
    for (;;) {
      const ssize_t count = ::read(pipe_[0], at + bytes, sizeof records - bytes);
      if (count <= 0) return;
      bytes += static_cast<std::size_t>(count);
      const std::size_t whole = bytes / sizeof(Record);
      for (std::size_t i = 0; i < whole; ++i) hear(records[i]);
      bytes -= whole * sizeof(Record);
      std::memmove(at, at + whole * sizeof(Record), bytes);
    }
  }
  void hear(const Record& record) {
    const std::lock_guard lock(mutex_);
    if (record.is_end == 0) {
      places_[record.client] = operations_.size();
      operations_.push_back({.key = record.key,
                             .space = record.space,
                             .what = static_cast<What>(record.what),
                             .begin_ns = record.at_ns});
      return;
    }
    Operation& one = operations_[places_[record.client]];
    one.outcome = static_cast<Outcome>(record.outcome);
    longest_ns_ = std::max(longest_ns_, record.at_ns - one.begin_ns);
    if (one.outcome == Outcome::unknown) ++unsure_;
    if (one.outcome == Outcome::refused) ++refused_;
    if (one.outcome != Outcome::answered) return;
    one.end_ns = record.at_ns;
    one.value = record.value;
    ++answered_[record.space];
  }

  const Nodes& nodes_;
  const std::chrono::milliseconds patience_;
  int pipe_[2] = {-1, -1};
  std::map<std::uint32_t, pid_t> pids_;
  std::uint32_t next_ = 1;
  std::thread listener_;
  std::mutex mutex_;
  std::vector<Operation> operations_;
  std::map<std::uint32_t, std::size_t> places_;  ///< of what each client is at
  std::uint64_t longest_ns_ = 0;
  std::array<std::atomic<std::uint64_t>, 2> answered_{};
  std::atomic<std::uint64_t> unsure_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace dolmen::processes
