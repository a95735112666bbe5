// SPDX-License-Identifier: Apache-2.0
//
// Endpoints that spin: they read connections themselves, of which the poller knows nothing then.
#include <memory>

#include <gtest/gtest.h>

#include "fabric/conformance.hpp"
#include "fabric/tcp_loopback.hpp"

namespace dolmen::fabric {
namespace {

constexpr std::uint64_t kSpinNs = 1'000;  // so that it ends, too

struct SpinningLoopback final : TcpLoopback {
  TcpOptions options(const NodeName& name) override {
    TcpOptions spinning = TcpLoopback::options(name);
    spinning.wait.spin_ns = kSpinNs;
    return spinning;
  }
};

INSTANTIATE_TEST_SUITE_P(TcpSpinning, FabricConformance,
                         testing::Values(world<SpinningLoopback>("Loopback")), world_name);

class TcpSpinning : public testing::Test {
 protected:
  struct Node {
    NodeName name;
    std::unique_ptr<Endpoint> endpoint;
    Recorder sink{};
  };
  void poll(Node& node) { ASSERT_TRUE(node.endpoint->poll(node.sink)); }
  /// Until `done`; false: nothing comes of it.
  template <class Done>
  bool run(const Done& done) {
    const std::uint64_t end_ns = world_.now_ns() + kPatienceNs;
    while (!done()) {
      if (world_.now_ns() > end_ns) return false;
      poll(asks_);
      poll(answers_);
    }
    return true;
  }
  /// So often that both read each other without the poller.
  void exchange_much() {
    ASSERT_TRUE(run([&] { return asks_.sink.up.size() == 1 && answers_.sink.up.size() == 1; }));
    for (std::size_t i = 1; i <= 100; ++i) {
      ASSERT_TRUE(asks_.endpoint->send(answers_.name, base::as_bytes("there")));
      ASSERT_TRUE(run([&] { return answers_.sink.messages.size() == i; }));
      ASSERT_TRUE(answers_.endpoint->send(asks_.name, base::as_bytes("back")));
      ASSERT_TRUE(run([&] { return asks_.sink.messages.size() == i; }));
    }
  }
  void spin_out(Node& node) {
    const std::uint64_t end_ns = world_.now_ns() + 2 * kSpinNs;
    while (world_.now_ns() < end_ns) poll(node);
  }

  static constexpr std::uint64_t kPatienceNs = 60'000'000'000;
  SpinningLoopback world_;
  Node asks_{{NodeId{1}, 1}, world_.make({NodeId{1}, 1})};
  Node answers_{{NodeId{2}, 1}, world_.make({NodeId{2}, 1})};
};

TEST_F(TcpSpinning, WhoWaitsIsWokenByAConnectionThatItReadItselfBefore) {
  exchange_much();
  for (int again = 0; again < 2; ++again) {
    spin_out(answers_);
    ASSERT_TRUE(asks_.endpoint->send(answers_.name, base::as_bytes("now")));
    poll(asks_);  // it is on its way, and answers_ has not looked since
    const std::uint64_t until_ns = world_.now_ns() + kPatienceNs;
    ASSERT_TRUE(answers_.endpoint->wait(until_ns));
    EXPECT_LT(world_.now_ns(), until_ns);
    answers_.sink.forget();
    ASSERT_TRUE(run([&] { return answers_.sink.messages.size() == 1; }));
  }
}

TEST_F(TcpSpinning, TheEndOfAConnectionThatItReadItselfWakesWhoWaits) {
  exchange_much();
  spin_out(answers_);
  world_.before_end(asks_.name.node);
  asks_.endpoint.reset();
  const std::uint64_t until_ns = world_.now_ns() + kPatienceNs;
  ASSERT_TRUE(answers_.endpoint->wait(until_ns));
  EXPECT_LT(world_.now_ns(), until_ns);
  const std::uint64_t end_ns = world_.now_ns() + kPatienceNs;
  while (answers_.sink.lost.empty() && world_.now_ns() < end_ns) poll(answers_);
  EXPECT_EQ(answers_.sink.lost.size(), 1u);
}

TEST_F(TcpSpinning, MoreThanTheSystemTakesAtOnceLeavesWhenThereIsRoom) {
  exchange_much();
  asks_.sink.forget();
  // Each fills the connection again and again, so that the poller has to say when there is room.
  const std::vector<std::byte> large(1u << 20, std::byte{7});
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(run([&] { return answers_.endpoint->send(asks_.name, large).has_value(); }));
  }
  ASSERT_TRUE(run([&] { return asks_.sink.messages.size() == 8; }));
  for (const Recorder::Message& one : asks_.sink.messages) EXPECT_EQ(one.bytes, large);
}

}  // namespace
}  // namespace dolmen::fabric
