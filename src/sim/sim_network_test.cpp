// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_network.hpp"

#include <gtest/gtest.h>

namespace dolmen::sim {
namespace {

struct Arrival {
  std::uint64_t at_ns;
  std::size_t from;
  std::size_t to;
  std::byte first;
  friend bool operator==(const Arrival&, const Arrival&) = default;
};

struct World {
  explicit World(std::uint64_t seed, const NetworkFaults& faults = {})
      : network(queue, 3, seed,
                [this](std::size_t from, std::size_t to, const std::vector<std::byte>& bytes) {
                  arrived.push_back({queue.now_ns(), from, to, bytes[0]});
                }) {
    network.set_faults(faults);
  }
  void send_many(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) network.send(0, 1, {static_cast<std::byte>(i)});
    queue.run_until(queue.now_ns() + 10'000'000'000);
  }
  EventQueue queue;
  std::vector<Arrival> arrived;
  SimNetwork network;
};

TEST(EventQueue, RunsInTheOrderOfTimeAndThenOfScheduling) {
  EventQueue queue;
  std::vector<int> order;
  queue.at(20, [&] { order.push_back(3); });
  queue.at(10, [&] { order.push_back(1); });
  queue.at(10, [&] {
    order.push_back(2);
    queue.after(0, [&] { order.push_back(4); });
  });
  queue.at(21, [&] { order.push_back(9); });
  queue.run_until(20);
  EXPECT_EQ(order, (std::vector<int>{1, 2, 4, 3}));
  EXPECT_EQ(queue.now_ns(), 20u);
  EXPECT_EQ(queue.events_run(), 4u);
}

TEST(SimNetwork, CarriesEverythingWithinItsBoundsWhenNothingIsWrong) {
  World world(1);
  world.send_many(200);
  ASSERT_EQ(world.arrived.size(), 200u);
  for (const Arrival& arrival : world.arrived) {
    EXPECT_GE(arrival.at_ns, 10'000u);
    EXPECT_LE(arrival.at_ns, 50'000u);
  }
}

TEST(SimNetwork, LosesRepeatsAndReordersAsOftenAsItWasTold) {
  World world(
      1,
      {.loss_ppm = 250'000, .repeat_ppm = 500'000, .late_ppm = 100'000, .late_ns = 1'000'000'000});
  world.send_many(10'000);
  EXPECT_NEAR(static_cast<double>(world.network.messages_lost()), 2500, 250);
  EXPECT_NEAR(static_cast<double>(world.arrived.size()), 11'250, 400);
  std::size_t overtaken = 0;
  for (std::size_t i = 1; i < world.arrived.size(); ++i) {
    overtaken += world.arrived[i].first < world.arrived[i - 1].first;
  }
  EXPECT_GT(overtaken, 1000u);
}

TEST(SimNetwork, ACutHasADirectionAndAnEndAndHeals) {
  World world(1);
  world.network.cut(0, 1, 5'000'000);
  world.network.cut(0, 1, 1);  // a shorter one ends nothing
  world.network.send(0, 1, {std::byte{1}});
  world.network.send(1, 0, {std::byte{2}});
  world.network.send(0, 2, {std::byte{3}});
  world.queue.run_until(1'000'000);
  EXPECT_EQ(world.arrived.size(), 2u);
  world.network.heal();
  world.network.send(0, 1, {std::byte{4}});
  world.queue.run_until(2'000'000);
  EXPECT_EQ(world.arrived.back().first, std::byte{4});
  world.network.cut(0, 1, 1'000'000);
  world.queue.run_until(4'000'000);
  world.network.send(0, 1, {std::byte{5}});
  world.queue.run_until(5'000'000);
  EXPECT_EQ(world.arrived.back().first, std::byte{5});
}

TEST(SimNetwork, IsTheSameForTheSameSeedAndAnotherForAnother) {
  const NetworkFaults faults{.loss_ppm = 100'000, .repeat_ppm = 100'000};
  World one(1, faults);
  World same(1, faults);
  World other(2, faults);
  for (World* world : {&one, &same, &other}) world->send_many(500);
  EXPECT_EQ(one.arrived, same.arrived);
  EXPECT_NE(one.arrived, other.arrived);
}

}  // namespace
}  // namespace dolmen::sim
