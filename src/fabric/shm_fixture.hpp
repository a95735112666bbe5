// SPDX-License-Identifier: Apache-2.0
//
// Endpoints that share one scratch directory, and what they reported. Tests only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/shm.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/shared_scratch.hpp"

namespace dolmen::fabric::shm::test {

inline NodeName life(std::uint64_t node, std::uint64_t incarnation = 1) {
  return {.node = static_cast<NodeId>(node), .incarnation = incarnation};
}
inline Bytes bytes_of(std::string_view text) { return base::as_bytes(text); }

class Record final : public Sink {
 public:
  void on_connected(const NodeName& peer) override {
    EXPECT_EQ(std::ranges::find(connected, peer), connected.end());
    connected.push_back(peer);
  }
  void on_lost(const NodeName& peer, const Error& why) override {
    EXPECT_EQ(std::erase(connected, peer), 1u) << "lost, but not connected";
    lost.emplace_back(peer, why.code());
  }
  void on_refused(NodeId who, const Error& why) override { refused.emplace_back(who, why.code()); }
  void on_message(const NodeName& from, Bytes message) override {
    EXPECT_NE(std::ranges::find(connected, from), connected.end());
    std::string text(message.size(), '\0');
    if (!message.empty()) std::memcpy(text.data(), message.data(), message.size());
    messages.emplace_back(from, std::move(text));
  }
  void on_completed(OpId op, const Result<std::uint64_t>& former) override {
    completed.emplace_back(op, former ? Errc{} : former.error().code());
    value = former.value_or(0);
  }

  std::vector<NodeName> connected;
  std::vector<std::pair<NodeName, Errc>> lost;
  std::vector<std::pair<NodeId, Errc>> refused;
  std::vector<std::pair<NodeName, std::string>> messages;
  std::vector<std::pair<OpId, Errc>> completed;
  std::uint64_t value = 0;  // of the last completion
};

struct Node {
  std::unique_ptr<Endpoint> endpoint;
  Record record;

  bool poll() {
    const auto polled = endpoint->poll(record);
    EXPECT_TRUE(polled) << polled.error().message();
    return polled.value_or(false);
  }
  Endpoint* operator->() const { return endpoint.get(); }
};

class ShmWorld : public testing::Test {
 protected:
  Node join(const ShmOptions& options) {
    auto opened = open_shm(sys::linux_env(), scratch.open(), options);
    EXPECT_TRUE(opened) << opened.error().message();
    Node node;
    if (opened) node.endpoint = std::move(*opened);
    return node;
  }
  Node join(const NodeName& self) {
    ShmOptions options;
    options.self = self;
    return join(options);
  }
  /// Polls all in turn until none has anything to do.
  template <class... Nodes>
  static void settle(Nodes&... nodes) {
    int quiet = 0;
    for (int i = 0; i < 1'000'000 && quiet < 3; ++i) {
      const bool did = (static_cast<int>(nodes.poll()) + ...) > 0;
      quiet = did ? 0 : quiet + 1;
    }
    EXPECT_EQ(quiet, 3) << "never at rest";
  }
  [[nodiscard]] std::vector<std::string> objects() const { return scratch.open()->list().value(); }

  sys::test::SharedScratch scratch;
};

}  // namespace dolmen::fabric::shm::test
