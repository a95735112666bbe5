// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_streams.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dolmen::sim {
namespace {

struct Pair {
  SimClock clock;
  StreamWorld world;
  std::unique_ptr<sys::Listener> listener;
  std::unique_ptr<sys::Socket> dialled;
  std::unique_ptr<sys::Socket> accepted;

  explicit Pair(std::uint64_t seed = 1, const StreamFaults& faults = {}) : world(clock, seed) {
    world.set_faults(faults);
    listener = world.host("b").listen({"b", 0}).value();
    dialled = world.host("a").connect(listener->address()).value();
    while (!accepted || !dialled->connected().value()) {
      clock.advance_ns(1'000);
      if (!accepted) accepted = listener->accept().value();
    }
  }
};

/// Everything that arrives within so long.
std::string read_for(Pair& pair, sys::Socket& socket, std::uint64_t time_ns) {
  std::string text;
  const std::uint64_t end_ns = pair.clock.monotonic_ns() + time_ns;
  while (pair.clock.monotonic_ns() < end_ns) {
    std::array<std::byte, 64> into{};
    const sys::Socket::Read read = socket.read(into).value();
    for (const std::byte b : std::span(into).first(read.bytes)) text += static_cast<char>(b);
    if (read.bytes == 0) pair.clock.advance_ns(1'000);
  }
  return text;
}

void write_all(sys::Socket& socket, std::string_view text) {
  while (!text.empty()) text.remove_prefix(socket.write(base::as_bytes(text)).value());
}

TEST(SimStreams, EveryByteComesOnceAndInOrderHoweverTheyAreCut) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Pair pair(seed, {.delay_min_ns = 0, .delay_max_ns = 90'000, .piece_max = 1 + seed % 7});
    std::string sent;
    for (int i = 0; i < 200; ++i) sent += std::to_string(i) + " ";
    write_all(*pair.dialled, sent);
    EXPECT_EQ(read_for(pair, *pair.accepted, 10'000'000), sent);
    write_all(*pair.accepted, sent);
    EXPECT_EQ(read_for(pair, *pair.dialled, 10'000'000), sent);
  }
}

TEST(SimStreams, TheSameSeedGivesTheSameRun) {
  const auto run = [](std::uint64_t seed) {
    Pair pair(seed, {.piece_max = 5});
    std::vector<std::size_t> counts;
    for (int i = 0; i < 50; ++i) {
      counts.push_back(pair.dialled->write(base::as_bytes("hello")).value());
    }
    return std::pair(counts, pair.clock.monotonic_ns());
  };
  EXPECT_EQ(run(3), run(3));
  EXPECT_NE(run(3), run(4));
}

TEST(SimStreams, ACutHoldsOneDirectionBackAndLosesNothing) {
  Pair pair;
  pair.world.cut("a", "b", 5'000'000);
  write_all(*pair.dialled, "held");
  write_all(*pair.accepted, "free");
  EXPECT_EQ(read_for(pair, *pair.dialled, 1'000'000), "free");
  EXPECT_EQ(read_for(pair, *pair.accepted, 1'000'000), "");
  EXPECT_EQ(read_for(pair, *pair.accepted, 5'000'000), "held");
}

TEST(SimStreams, AWriterWaitsForItsReader) {
  Pair pair(1, {.window = 100});
  std::size_t written = 0;
  const std::string text(1'000, 'x');
  while (const std::size_t count = pair.dialled->write(base::as_bytes(text)).value()) {
    written += count;
  }
  EXPECT_EQ(written, 100u);
  const auto poller = pair.world.host("a").make_poller().value();
  ASSERT_TRUE(poller->add(*pair.dialled, 4, true));
  std::array<sys::Poller::Event, 2> events{};
  EXPECT_EQ(poller->wait(events, 0).value().events, 0u);
  EXPECT_EQ(read_for(pair, *pair.accepted, 1'000'000).size(), 100u);
  ASSERT_EQ(poller->wait(events, 0).value().events, 1u);
  EXPECT_EQ(events[0].tag, 4u);
  EXPECT_TRUE(events[0].writable);
  EXPECT_GT(pair.dialled->write(base::as_bytes(text)).value(), 0u);
  poller->remove(*pair.dialled);
}

TEST(SimStreams, AnEndFollowsTheLastByteAndUnreadBytesMakeItAReset) {
  {
    Pair pair;
    write_all(*pair.dialled, "last");
    pair.dialled.reset();
    std::array<std::byte, 8> into{};
    std::size_t count = 0;
    for (bool ended = false; !ended; pair.clock.advance_ns(1'000)) {
      const sys::Socket::Read read = pair.accepted->read(into).value();
      ended = read.ended;
      count += read.bytes;
    }
    EXPECT_EQ(count, 4u);
    EXPECT_EQ(pair.accepted->write(into).error().code(), Errc::connection_lost);
  }
  Pair pair;
  write_all(*pair.accepted, "unread");
  pair.dialled.reset();
  pair.clock.advance_ns(1'000'000);
  std::array<std::byte, 8> into{};
  EXPECT_EQ(pair.accepted->read(into).error().code(), Errc::connection_lost);
}

TEST(SimStreams, ResetsAreSeenAtBothEnds) {
  Pair pair(1, {.reset_ppm = 1'000'000});
  EXPECT_EQ(pair.dialled->write(base::as_bytes("x")).error().code(), Errc::connection_lost);
  EXPECT_EQ(pair.world.resets(), 1u);
  pair.clock.advance_ns(1'000'000);
  std::array<std::byte, 8> into{};
  EXPECT_EQ(pair.accepted->read(into).error().code(), Errc::connection_lost);
  EXPECT_EQ(pair.dialled->read(into).error().code(), Errc::connection_lost);
}

TEST(SimStreams, NobodyListeningRefuses) {
  SimClock clock;
  StreamWorld world(clock, 1);
  const auto socket = world.host("a").connect({"b", 9}).value();
  EXPECT_FALSE(socket->connected().value());
  clock.advance_ns(1'000'000);
  EXPECT_EQ(socket->connected().error().code(), Errc::connection_lost);
  EXPECT_EQ(world.host("a").listen({"b", 9}).error().code(), Errc::io_error);
  const auto listener = world.host("b").listen({"b", 9}).value();
  EXPECT_EQ(world.host("b").listen({"b", 9}).error().code(), Errc::already_exists);
}

TEST(SimStreams, APollerReportsWhoIsReadyAndWakes) {
  Pair pair;
  const auto poller = pair.world.host("b").make_poller().value();
  ASSERT_TRUE(poller->add(*pair.listener, 1));
  ASSERT_TRUE(poller->add(*pair.accepted, 2, false));
  std::array<sys::Poller::Event, 4> events{};
  EXPECT_EQ(poller->wait(events, 0).value().events, 0u);
  write_all(*pair.dialled, "x");
  const auto another = pair.world.host("a").connect(pair.listener->address()).value();
  pair.clock.advance_ns(1'000'000);
  ASSERT_EQ(poller->wait(events, 0).value().events, 2u);
  EXPECT_EQ(events[0].tag + events[1].tag, 3u);
  poller->wake();
  EXPECT_TRUE(poller->wait(events, 0).value().woken);
  EXPECT_FALSE(poller->wait(events, 0).value().woken);
  poller->remove(*pair.listener);
  poller->remove(*pair.accepted);
}

}  // namespace
}  // namespace dolmen::sim
