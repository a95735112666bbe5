// SPDX-License-Identifier: Apache-2.0
//
// Nodes of a simulated fabric that poll every microsecond, and what they heard. Tests only.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "sim/sim_fabric.hpp"

namespace dolmen::sim {
using fabric::Level;
using fabric::NodeId;
using fabric::NodeName;
using fabric::OpId;
using fabric::Place;
using fabric::RegionId;

inline constexpr std::uint64_t kUs = 1'000;
inline constexpr std::uint64_t kMs = 1'000'000;
inline constexpr RegionId kRegion{7};
inline constexpr fabric::Rights kAll{.read = true, .write = true, .atomic = true};

struct Heard final : fabric::Sink {
  void on_connected(const NodeName& peer) override { up[peer.node] = peer; }
  void on_lost(const NodeName& peer, const Error& why) override {
    up.erase(peer.node);
    lost.emplace_back(peer, why.code());
  }
  void on_refused(NodeId who, const Error& why) override { refused.emplace_back(who, why.code()); }
  void on_message(const NodeName&, base::Bytes message) override {
    messages.push_back(message.size() < 8 ? 0 : base::load<std::uint64_t>(message));
  }
  void on_completed(OpId op, const Result<std::uint64_t>& former) override {
    completed.emplace_back(static_cast<std::uint64_t>(op), former ? Errc{} : former.error().code());
  }
  [[nodiscard]] std::size_t count(std::uint64_t op) const {
    return static_cast<std::size_t>(std::ranges::count(completed, std::pair(op, Errc{})));
  }

  std::map<NodeId, NodeName> up;
  std::vector<std::pair<NodeName, Errc>> lost;
  std::vector<std::pair<NodeId, Errc>> refused;
  std::vector<std::uint64_t> messages;
  std::vector<std::pair<std::uint64_t, Errc>> completed;
};

/// Nodes 1 to n, all of which poll every microsecond unless they are paused.
class Nodes {
 public:
  explicit Nodes(std::size_t count, const FabricModel& model = {}, std::uint64_t seed = 1)
      : world(seed, model), model_(model) {
    for (std::size_t i = 1; i <= count; ++i) start(i);
    run([&] { return is_meshed(); });
    EXPECT_TRUE(is_meshed());
  }

  static NodeId id(std::uint64_t i) { return NodeId{i}; }
  void start(std::uint64_t i) {
    Node& node = nodes_[i];
    node.heard = {};
    node.is_paused = false;
    node.endpoint = world.make({.self = {id(i), ++node.incarnation}});
  }
  void end(std::uint64_t i) { nodes_[i].endpoint.reset(); }
  void pause(std::uint64_t i, bool is_paused) { nodes_[i].is_paused = is_paused; }

  bool is_meshed() {
    for (auto& [i, node] : nodes_) {
      for (auto& [k, other] : nodes_) {
        if (i == k || !node.endpoint || !other.endpoint) continue;
        if (!node.heard.up.contains(id(k)) || node.heard.up[id(k)] != other.endpoint->self()) {
          return false;
        }
      }
    }
    return true;
  }
  bool run(const std::function<bool()>& done, std::uint64_t patience_ns = 2'000 * kMs) {
    const std::uint64_t end_ns = world.now_ns() + patience_ns;
    while (!done()) {
      if (world.now_ns() >= end_ns) return false;
      world.run_for(kUs);
      for (auto& [i, node] : nodes_) {
        if (node.endpoint && !node.is_paused) {
          EXPECT_TRUE(node.endpoint->poll(node.heard));
        }
      }
    }
    return true;
  }
  void run_for(std::uint64_t length_ns) {
    (void)run([] { return false; }, length_ns);
  }

  fabric::Endpoint& at(std::uint64_t i) { return *nodes_.at(i).endpoint; }
  Heard& heard(std::uint64_t i) { return nodes_.at(i).heard; }
  Place place(std::uint64_t i, std::uint64_t offset) { return {at(i).self(), kRegion, offset}; }
  /// A region of node `owner` in which all others may do everything.
  base::MutableBytes share(std::uint64_t owner, std::size_t bytes) {
    const auto memory = at(owner).make_region(kRegion, bytes);
    EXPECT_TRUE(memory);
    for (auto& [i, node] : nodes_) {
      if (i != owner) {
        EXPECT_TRUE(at(owner).grant(kRegion, id(i), kAll));
      }
    }
    return memory.value_or(base::MutableBytes{});
  }
  void send(std::uint64_t from, std::uint64_t to, std::uint64_t number) {
    const std::array<std::uint64_t, 1> word{number};
    EXPECT_TRUE(at(from).send(at(to).self(), std::as_bytes(std::span(word))));
  }

 private:
  struct Node {
    Heard heard;
    std::unique_ptr<fabric::Endpoint> endpoint;
    std::uint64_t incarnation = 0;
    bool is_paused = false;
  };

 public:
  SimFabric world;  // outlives the endpoints
 private:
  const FabricModel model_;
  std::map<std::uint64_t, Node> nodes_;
};

inline std::size_t lines_of(base::Bytes memory, std::byte value) {
  std::size_t lines = 0;
  for (std::size_t at = 0; at + kLineBytes <= memory.size(); at += kLineBytes) {
    const base::Bytes line = memory.subspan(at, kLineBytes);
    const auto of_value = std::ranges::count(line, value);
    EXPECT_TRUE(of_value == 0 || of_value == static_cast<std::ptrdiff_t>(kLineBytes))
        << "a line landed in pieces";
    lines += of_value != 0;
  }
  return lines;
}

}  // namespace dolmen::sim
