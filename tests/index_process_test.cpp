// SPDX-License-Identifier: Apache-2.0
//
// An index in three processes, of which the one that leads is killed while clients read its memory
// and put: what all of them saw together is judged.
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#ifdef DOLMEN_MEMBER_PROGRAM  // builds with examples
#include <dolmen/index.hpp>

#include "base/hooks.hpp"
#include "tests/replicated_members.hpp"

namespace {

using namespace dolmen::members;
using dolmen::sim::MapModel;
using dolmen::sim::RegisterModel;

constexpr std::uint64_t kKeys = 6;

/// Clients that get, put and erase until they are told to stop. No value is 0: that is no key.
class IndexClients {
 public:
  IndexClients(const dolmen::ReplicatedGroup& group, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      threads_.emplace_back([this, &group, i] { work(group, i); });
    }
  }
  ~IndexClients() { stop(); }
  IndexClients(const IndexClients&) = delete;
  IndexClients& operator=(const IndexClients&) = delete;

  void stop() {
    is_stopping_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  [[nodiscard]] std::uint64_t answered() const { return answered_; }
  [[nodiscard]] std::uint64_t one_sided() const { return one_sided_; }
  [[nodiscard]] std::uint64_t asked() const { return asked_; }
  [[nodiscard]] std::string broken() const { return broken_; }
  /// Empty if all is right. Requires: stop().
  [[nodiscard]] std::string judge() const {
    MapModel model;
    const auto judged = dolmen::sim::check_linearizability(model, history_.operations());
    if (judged.verdict == dolmen::sim::Verdict::linearizable) return {};
    return judged.text;
  }
  void wait_for_answers(std::uint64_t more) const {
    const std::uint64_t wanted = answered_ + more;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (answered_ < wanted) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << "the group stands still";
      std::this_thread::sleep_for(milliseconds(1));
    }
  }

 private:
  using Operation = MapModel::Operation;

  std::size_t begins(unsigned client, const Operation& operation) {
    const std::lock_guard lock(mutex_);
    return history_.invoke(client, operation);
  }
  template <class T>
  void ends(std::size_t place, const dolmen::Result<T>& answer, std::optional<std::uint64_t> got) {
    const std::lock_guard lock(mutex_);
    if (!answer) {
      if (answer.error().code() != dolmen::Errc::timed_out) broken_ = answer.error().message();
      return;
    }
    Operation& operation = history_.respond(place);
    if (got) operation.inner.value = *got;
    ++answered_;
  }

  void work(const dolmen::ReplicatedGroup& group, unsigned number) {
    constexpr std::uint64_t kShards[] = {1};
    const std::chrono::seconds patience(20);
    dolmen::base::Random random(number);
    auto index = dolmen::Index::make(group, kShards).value();
    for (std::uint64_t i = 1; !is_stopping_; ++i) {
      const std::uint64_t key = random.below(kKeys);
      const auto key_bytes = std::as_bytes(std::span(&key, 1));
      // The first only looks: where memory is mapped it hears of nobody's end but by lines.
      const std::uint64_t what = number == 0 ? 0 : random.below(10);
      if (what < 7) {
        const std::size_t place = begins(number, {key, RegisterModel::read()});
        const auto got = index.get(key_bytes, patience);
        const bool is_there = got && got->has_value();
        ends(place, got, is_there ? dolmen::base::load<std::uint64_t>(**got) : 0);
      } else if (what < 9) {
        // As long as it is large, so that places in the heap are given to others.
        const std::uint64_t value = i * 16 + number;
        std::vector<std::byte> text(8 + value % 5 * 40);
        dolmen::base::store(dolmen::base::MutableBytes(text), 0, value);
        const std::size_t place = begins(number, {key, RegisterModel::write(value)});
        ends(place, index.put(key_bytes, text, patience), std::nullopt);
      } else {
        const std::size_t place = begins(number, {key, RegisterModel::write(0)});
        ends(place, index.erase(key_bytes, patience), std::nullopt);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
    const dolmen::IndexCounts counts = index.counts();
    one_sided_ += counts.one_sided;
    asked_ += counts.asked;
  }

  std::mutex mutex_;
  dolmen::sim::History<Operation> history_;
  std::string broken_;
  std::atomic<std::uint64_t> answered_{0};
  std::atomic<std::uint64_t> one_sided_{0};
  std::atomic<std::uint64_t> asked_{0};
  std::atomic<bool> is_stopping_{false};
  std::vector<std::thread> threads_;
};

void judge(IndexClients& clients, int kills) {
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  EXPECT_GT(clients.one_sided(), clients.asked());
  std::printf("%d kills, %lu answers, %lu read, %lu asked for\n", kills, clients.answered(),
              clients.one_sided(), clients.asked());
}

TEST(IndexProcess, WhatIsReadInMemoryIsTheLatestWhoeverLeads) {
  const auto kills = static_cast<int>(dolmen::base::budget("index_kills"));
  Members members(loopback(), {});
  auto status = dolmen::ReplicatedClient::make(members.group()).value();
  IndexClients clients(members.group(), 4);
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  for (int kill = 0; kill < kills; ++kill) {
    members.kill_leader(status);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(100));
  }
  judge(clients, kills);
}

/// Kills whoever leads a group in memory alone, one after the other.
void kill_leaders(Members& members, IndexClients& clients, int kills) {
  auto status = dolmen::ReplicatedClient::make(members.group()).value();
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  Whole whole;
  for (int kill = 0; kill < kills; ++kill) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    std::uint32_t leader = 0;
    while ((leader = leader_of_whole(status, whole)) == 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << "never whole";
      std::this_thread::sleep_for(milliseconds(5));
    }
    members.end(leader, SIGKILL);
    members.start(leader);
    whole.end = 0;
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(100));
  }
}

// Nobody's memory is unmapped when its process dies.
TEST(IndexProcess, MappedMemoryOfADeadLeaderIsNotBelieved) {
  const auto kills = static_cast<int>(dolmen::base::budget("index_kills"));
  const SharedFolder folder;
  Members members(folder.addresses(), {}, dolmen::ReplicatedLevel::replicated);
  IndexClients clients(members.group(), 4);
  ASSERT_NO_FATAL_FAILURE(kill_leaders(members, clients, kills));
  judge(clients, kills);
}

class BelievingHooks final : public dolmen::base::Hooks {
 public:
  BelievingHooks() : former_(dolmen::base::install_hooks(this)) {}
  ~BelievingHooks() override { dolmen::base::install_hooks(former_); }
  BelievingHooks(const BelievingHooks&) = delete;
  BelievingHooks& operator=(const BelievingHooks&) = delete;
  bool buggify(std::string_view) override { return false; }
  void probe(std::string_view) override {}
  bool planted(std::string_view bug) override { return bug == "cluster.lines_not_looked_at"; }
  void step(std::string_view) override {}

 private:
  dolmen::base::Hooks* former_;
};

TEST(IndexProcess, AReaderWhoLooksAtNoLinesIsSeen) {
  if (dolmen::base::kSanitized) GTEST_SKIP() << "the release build looks for planted bugs";
  const BelievingHooks hooks;
  const SharedFolder folder;
  Members members(folder.addresses(), {}, dolmen::ReplicatedLevel::replicated);
  IndexClients clients(members.group(), 4);
  ASSERT_NO_FATAL_FAILURE(kill_leaders(members, clients, 2));
  clients.stop();
  EXPECT_NE(clients.judge(), "");
}

}  // namespace
#endif
