// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suite is made of: recorders, and endpoints that one thread polls in turn.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "fabric/conformance_world.hpp"
#include "fabric/fabric.hpp"

namespace dolmen::fabric {

/// Keeps what an endpoint reported.
class Recorder : public Sink {
 public:
  struct Message {
    NodeName from;
    std::vector<std::byte> bytes;
  };
  struct Completed {
    OpId op;
    Errc error{};
    std::uint64_t former = 0;
  };
  struct Ended {
    NodeName peer;
    Errc why{};
    std::string text;
  };

  void on_connected(const NodeName& peer) override {
    EXPECT_FALSE(up.contains(peer.node)) << "an earlier life or connection was not reported lost";
    up[peer.node] = peer;
    connects.push_back(peer);
  }
  void on_lost(const NodeName& peer, const Error& why) override {
    EXPECT_TRUE(up.contains(peer.node) && up[peer.node] == peer) << "lost, but not connected";
    up.erase(peer.node);
    lost.push_back({peer, why.code(), why.message()});
  }
  void on_refused(NodeId who, const Error& why) override {
    refused.push_back({{who, 0}, why.code(), why.message()});
  }
  void on_message(const NodeName& from, Bytes message) override {
    EXPECT_TRUE(up.contains(from.node) && up[from.node] == from) << "a message from nobody";
    messages.push_back({from, {message.begin(), message.end()}});
  }
  void on_completed(OpId op, const Result<std::uint64_t>& former) override {
    completed.push_back({op, former ? Errc{} : former.error().code(), former.value_or(0)});
  }

  /// Everything but who is connected.
  void forget() {
    connects.clear();
    lost.clear();
    refused.clear();
    messages.clear();
    completed.clear();
  }

  std::map<NodeId, NodeName> up;
  std::vector<NodeName> connects;
  std::vector<Ended> lost;
  std::vector<Ended> refused;
  std::vector<Message> messages;
  std::vector<Completed> completed;
};

inline constexpr NodeId kAlice{1};
inline constexpr NodeId kBob{2};
inline constexpr NodeId kCarol{3};

/// The endpoints of one test, polled in turn by its thread.
class Cluster {
 public:
  explicit Cluster(std::unique_ptr<World> world) : world_(std::move(world)) {}
  ~Cluster() {
    while (!nodes_.empty()) end(nodes_.begin()->first);
  }

  void start(NodeId id, std::uint64_t incarnation = 1) {
    Node& node = nodes_[id];
    node.sink = std::make_unique<Recorder>();
    node.endpoint = world_->make(NodeName{id, incarnation});
  }
  void end(NodeId id) {
    world_->before_end(id);
    nodes_.erase(id);
  }
  /// Starts them and waits until all are connected.
  void connect(std::initializer_list<NodeId> ids) {
    for (const NodeId id : ids) start(id);
    ASSERT_TRUE(pump([&] { return is_meshed(); }));
  }
  [[nodiscard]] bool is_meshed() {
    for (auto& [id, node] : nodes_) {
      for (auto& [other, its] : nodes_) {
        if (id != other && !node.sink->up.contains(other)) return false;
        if (id != other && node.sink->up[other] != its.endpoint->self()) return false;
      }
    }
    return true;
  }
  [[nodiscard]] Endpoint& at(NodeId id) { return *nodes_.at(id).endpoint; }
  [[nodiscard]] Recorder& heard(NodeId id) { return *nodes_.at(id).sink; }
  [[nodiscard]] NodeName name(NodeId id) { return at(id).self(); }
  [[nodiscard]] World& world() { return *world_; }
  /// Left out of pump() until resume(): it does not poll.
  void suspend(NodeId id) { nodes_.at(id).is_suspended = true; }
  void resume(NodeId id) { nodes_.at(id).is_suspended = false; }

  bool poll_all() {
    bool did_something = false;
    for (auto& [id, node] : nodes_) {
      if (node.is_suspended) continue;
      const Result<bool> polled = node.endpoint->poll(*node.sink);
      EXPECT_TRUE(polled) << polled.error().message();
      did_something = did_something || polled.value_or(false);
    }
    return did_something;
  }
  /// Polls all until `done`; false when nothing came of it.
  template <class Done>
  [[nodiscard]] bool pump(Done done) {
    constexpr std::uint64_t kPatienceNs = 60'000'000'000;
    const std::uint64_t end_ns = world_->now_ns() + kPatienceNs;
    while (!done()) {
      if (world_->now_ns() > end_ns) return false;
      if (!poll_all()) world_->pass_time();
    }
    return true;
  }
  /// Until nobody has had anything to do for a while.
  void settle() {
    for (int quiet = 0; quiet < 200;) {
      quiet = poll_all() ? 0 : quiet + 1;
      if (quiet > 0) world_->pass_time();
    }
  }
  /// Sends as soon as it is taken.
  [[nodiscard]] Result<void> deliver(NodeId from, const NodeName& to, Bytes bytes) {
    Result<void> sent = fail(Errc::busy);
    const bool done = pump([&] {
      sent = at(from).send(to, bytes);
      return sent || sent.error().code() != Errc::busy;
    });
    EXPECT_TRUE(done) << "busy for ever";
    return sent;
  }
  /// The outcome of operation `op` of `id`, which was asked for just now.
  Recorder::Completed outcome(NodeId id, OpId op) {
    const auto find = [&] {
      return std::ranges::find(heard(id).completed, op, &Recorder::Completed::op);
    };
    EXPECT_TRUE(pump([&] { return find() != heard(id).completed.end(); }));
    const auto found = find();
    if (found == heard(id).completed.end()) return {op, Errc::timed_out};
    const Recorder::Completed result = *found;
    heard(id).completed.erase(found);
    return result;
  }

 private:
  struct Node {
    std::unique_ptr<Recorder> sink;
    std::unique_ptr<Endpoint> endpoint;
    bool is_suspended = false;
  };

  std::unique_ptr<World> world_;
  std::map<NodeId, Node> nodes_;
};

inline std::vector<std::byte> numbered(std::uint64_t number, std::size_t bytes) {
  std::vector<std::byte> result(std::max<std::size_t>(bytes, 8));
  base::Random random(number);
  for (std::size_t at = 0; at + 8 <= result.size(); at += 8) {
    base::store(MutableBytes(result), at, random());
  }
  base::store(MutableBytes(result), 0, number);
  return result;
}

inline Errc code(const Result<void>& result) { return result ? Errc{} : result.error().code(); }

inline constexpr RegionId kRegion{7};
inline constexpr OpId kOp{1};
inline constexpr Rights kAllRights{.read = true, .write = true, .atomic = true};

}  // namespace dolmen::fabric
