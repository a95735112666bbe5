// SPDX-License-Identifier: Apache-2.0
//
// Three replicas for tests, whose messages and syncs happen when a test says so.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/hooks.hpp"
#include "log/replica.hpp"

namespace dolmen::log {

inline constexpr std::uint64_t kMs = 1'000'000;

inline std::vector<std::byte> bytes(std::string_view text) {
  const base::Bytes all = base::as_bytes(text);
  return {all.begin(), all.end()};
}

/// Plants one bug as long as it lives.
class Planted final : public base::Hooks {
 public:
  explicit Planted(std::string_view bug) : bug_(bug), former_(base::install_hooks(this)) {}
  ~Planted() override { base::install_hooks(former_); }
  Planted(const Planted&) = delete;
  Planted& operator=(const Planted&) = delete;
  bool buggify(std::string_view) override { return false; }
  void probe(std::string_view) override {}
  bool planted(std::string_view bug) override { return bug == bug_; }

 private:
  std::string_view bug_;
  base::Hooks* former_;
};

class ReplicaTest : public testing::Test {
 protected:
  struct Node {
    std::unique_ptr<Replica> replica;
    DurableState disk;
    std::vector<Record> unsynced;
    RecordCount synced = 0;
    std::vector<Output::Letter> outbox;
    std::optional<Index> undo_from;
    SnapshotPtr installed;
  };

  void SetUp() override {
    for (std::uint64_t i = 1; i <= 3; ++i) start(i);
  }

  static ReplicaId id(std::uint64_t number) { return ReplicaId{number}; }
  Replica& at(std::uint64_t number) { return *nodes_[number].replica; }

  /// From its disk.
  void start(std::uint64_t number) {
    Node& node = nodes_[number];
    node.unsynced.clear();
    node.outbox.clear();
    node.synced = 0;
    node.replica = std::make_unique<Replica>(id(number), Configuration{{id(1), id(2), id(3)}},
                                             options_, node.disk, number, now_ns_);
  }
  void collect(std::uint64_t number) {
    Node& node = nodes_[number];
    Output output = node.replica->take_output();
    for (Record& record : output.records) node.unsynced.push_back(std::move(record));
    for (auto& letter : output.letters) node.outbox.push_back(std::move(letter));
    if (output.installed) node.installed = output.installed;
    if (output.undo_from) node.undo_from = output.undo_from;
  }
  void sync(std::uint64_t number) {
    collect(number);
    Node& node = nodes_[number];
    for (const Record& record : node.unsynced) node.disk.apply(record);
    node.synced += node.unsynced.size();
    node.unsynced.clear();
    node.replica->persisted(now_ns_, node.synced);
    collect(number);
  }
  /// Delivers what `from` has for `to`; whether there was anything.
  bool carry(std::uint64_t from, std::uint64_t to) {
    collect(from);
    std::vector<Output::Letter> letters;
    std::erase_if(nodes_[from].outbox, [&](const Output::Letter& letter) {
      if (letter.to != id(to)) return false;
      letters.push_back(letter);
      return true;
    });
    for (const auto& letter : letters) {
      at(to).receive(now_ns_, id(from), letter.message);
      collect(to);
    }
    return !letters.empty();
  }
  /// Everything among these, until nothing moves any more.
  void settle(std::initializer_list<std::uint64_t> numbers) {
    for (bool moved = true; moved;) {
      moved = false;
      for (const std::uint64_t number : numbers) sync(number);
      for (const std::uint64_t from : numbers) {
        for (const std::uint64_t to : numbers) moved |= from != to && carry(from, to);
      }
    }
  }
  void lose_mail() {
    for (auto& [number, node] : nodes_) {
      collect(number);
      node.outbox.clear();
    }
  }
  /// Nobody hears of anybody for a second, and `number` then wants to lead.
  void lose_patience(std::uint64_t number) {
    now_ns_ += 1000 * kMs;
    for (int i = 0; i < 100; ++i) {
      at(number).tick(now_ns_);
      if (at(number).role() == Role::candidate || at(number).role() == Role::leader) return;
      now_ns_ = std::max(now_ns_, at(number).next_wakeup_ns());
    }
  }
  /// Makes `number` lead, in a new epoch, with the help of `helper`; everybody else is deaf.
  void elect(std::uint64_t number, std::uint64_t helper) {
    // It may first have to notice that it leads no more, and how far epochs have come.
    for (int attempt = 0; attempt < 3; ++attempt) {
      lose_patience(number);
      settle({number, helper});
      if (at(number).role() == Role::leader) break;
    }
    ASSERT_EQ(at(number).role(), Role::leader);
    lose_mail();
  }
  /// The leader sends again what was lost, and everything arrives.
  void catch_up(std::uint64_t leader) {
    now_ns_ += 21 * kMs;
    at(leader).tick(now_ns_);
    settle({1, 2, 3});
  }

  ReplicaOptions options_;
  std::uint64_t now_ns_ = 1;
  std::map<std::uint64_t, Node> nodes_;
};

}  // namespace dolmen::log
