// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suite does not reach: long operations and fences, and a fabric that brings
// something else than what was sent.
#include "fabric/ofi_endpoint.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/conformance_cluster.hpp"
#include "fabric/tcp_loopback.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::fabric {
namespace {

constexpr std::size_t kLong = 300'000;

/// A real port, and what a test does to its work.
class Tampered final : public sys::OfiPort {
 public:
  explicit Tampered(std::unique_ptr<sys::OfiPort> port) : port_(std::move(port)) {}

  std::function<void(MutableBytes)> on_send;   ///< before it leaves
  std::function<void(MutableBytes)> on_fetch;  ///< when it is there
  bool fails_fetches = false;
  bool swallows = false;
  std::optional<std::vector<std::byte>> other_address;
  std::optional<std::string> other_provider;

  [[nodiscard]] const sys::OfiLimits& limits() const noexcept override {
    limits_ = port_->limits();
    if (other_provider) limits_.provider = *other_provider;
    return limits_;
  }
  [[nodiscard]] Bytes address() const noexcept override {
    return other_address ? Bytes(*other_address) : port_->address();
  }
  Result<sys::OfiPeer> add_peer(Bytes address) override { return port_->add_peer(address); }
  void remove_peer(sys::OfiPeer peer) noexcept override { port_->remove_peer(peer); }
  Result<std::unique_ptr<sys::OfiMemory>> register_memory(MutableBytes memory) override {
    return port_->register_memory(memory);
  }
  Result<std::unique_ptr<sys::OfiMemory>> show(Bytes memory) override {
    return port_->show(memory);
  }
  Result<void> post_receive(std::uint64_t tag, MutableBytes into,
                            const sys::OfiMemory& registered) override {
    return port_->post_receive(tag, into, registered);
  }
  Result<void> send(sys::OfiPeer peer, std::uint64_t tag, Bytes bytes,
                    const sys::OfiMemory& registered) override {
    if (swallows) return fail(Errc::busy, "a port that sends nothing");
    if (on_send) {
      on_send(MutableBytes(const_cast<std::byte*>(bytes.data()), bytes.size()));
    }
    return port_->send(peer, tag, bytes, registered);
  }
  Result<void> read(sys::OfiPeer peer, std::uint64_t tag, MutableBytes into,
                    const sys::OfiMemory& registered, std::uint64_t start,
                    std::uint64_t key) override {
    reads_.push_back({tag, into});
    return port_->read(peer, tag, into, registered, start, key);
  }
  Result<std::size_t> poll(std::span<sys::OfiDone> into) override {
    DOLMEN_TRY(const std::size_t count, port_->poll(into));
    for (sys::OfiDone& one : into.first(count)) {
      const auto found = std::ranges::find(reads_, one.tag, &Read::tag);
      if (found == reads_.end()) continue;
      if (on_fetch) on_fetch(found->into);
      one.is_failed |= fails_fetches;
      reads_.erase(found);
      ++fetches;
    }
    return count;
  }
  [[nodiscard]] sys::Socket* bell() noexcept override { return port_->bell(); }
  [[nodiscard]] bool arm() noexcept override { return port_->arm(); }

  int fetches = 0;

 private:
  struct Read {
    std::uint64_t tag = 0;
    MutableBytes into;
  };
  const std::unique_ptr<sys::OfiPort> port_;
  mutable sys::OfiLimits limits_;
  std::vector<Read> reads_;
};

/// The system's, and what a test adds.
class ShiftedClock final : public sys::Clock {
 public:
  std::uint64_t shift_ns = 0;
  std::uint64_t monotonic_ns() noexcept override {
    return sys::linux_env().clock->monotonic_ns() + shift_ns;
  }
  std::uint64_t wall_ns() noexcept override { return sys::linux_env().clock->wall_ns(); }
  void sleep_ns(std::uint64_t duration_ns) noexcept override {
    sys::linux_env().clock->sleep_ns(duration_ns);
  }
};

class OfiEndpointTest : public testing::TestWithParam<const char*> {
 protected:
  struct Node {
    Tampered* port = nullptr;
    std::unique_ptr<OfiEndpoint> endpoint;
    Recorder sink;
  };

  std::unique_ptr<sys::OfiPort> open() {
    const bool has_hosts = std::string(GetParam()) != "shm";
    auto port = sys::open_ofi({.provider = GetParam(), .source = has_hosts ? "127.0.0.1" : ""});
    if (!port) why_not_ = port.error().message();
    return port ? std::move(*port) : nullptr;
  }
  void SetUp() override {
    for (Node* const node : {&alice_, &bob_}) {
      auto port = open();
      if (!port) GTEST_SKIP() << why_not_;
      auto tampered = std::make_unique<Tampered>(std::move(port));
      node->port = tampered.get();
      ports_.push_back(std::move(tampered));
    }
  }
  /// After what a test changed of the ports.
  void start() {
    for (Node* const node : {&alice_, &bob_}) {
      const NodeId id = node == &alice_ ? kAlice : kBob;
      TcpWorld world = linux_world();
      world.clock = &clock_;
      auto port = std::move(ports_.front());
      ports_.erase(ports_.begin());
      auto made = OfiEndpoint::make(
          {.self = {id, 1}, .key = test_key(), .listen = sys::NetworkAddress{"127.0.0.1", 0}},
          world, std::move(port));
      ASSERT_TRUE(made) << made.error().message();
      node->endpoint = std::move(*made);
    }
    ASSERT_TRUE(alice_.endpoint->set_peers({{kBob, *bob_.endpoint->address()}}));
    ASSERT_TRUE(bob_.endpoint->set_peers({{kAlice, *alice_.endpoint->address()}}));
  }
  void connect() {
    ASSERT_NO_FATAL_FAILURE(start());
    ASSERT_TRUE(pump([&] { return alice_.sink.up.size() == 1 && bob_.sink.up.size() == 1; }));
  }
  void poll() {
    for (Node* const node : {&alice_, &bob_}) ASSERT_TRUE(node->endpoint->poll(node->sink));
  }
  template <class Done>
  [[nodiscard]] bool pump(Done done) {
    const std::uint64_t end_ns = clock_.monotonic_ns() + 120'000'000'000;
    while (!done()) {
      if (clock_.monotonic_ns() > end_ns) return false;
      poll();
      std::this_thread::yield();
    }
    return true;
  }
  MutableBytes share(std::size_t bytes) {
    const auto memory = alice_.endpoint->make_region(kRegion, bytes);
    EXPECT_TRUE(alice_.endpoint->grant(kRegion, kBob, kAllRights));
    return memory.value();
  }
  [[nodiscard]] Place place(std::uint64_t offset) const { return {{kAlice, 1}, kRegion, offset}; }
  [[nodiscard]] Errc outcome(OpId op) {
    const auto& completed = bob_.sink.completed;
    EXPECT_TRUE(pump([&] { return !completed.empty(); }));
    if (completed.size() != 1 || completed[0].op != op) return Errc::timed_out;
    const Errc error = completed[0].error;
    bob_.sink.completed.clear();
    return error;
  }
  bool has_reads() { return alice_.port->limits().read_bytes_max > 0; }

  ShiftedClock clock_;
  std::string why_not_;
  std::vector<std::unique_ptr<Tampered>> ports_;
  Node alice_;
  Node bob_;
};

TEST_P(OfiEndpointTest, LongOperationsAreFetchedAndShortOnesSent) {
  ASSERT_NO_FATAL_FAILURE(connect());
  if (!has_reads()) GTEST_SKIP() << "a fabric without reads";
  const MutableBytes memory = share(2 * kLong);
  const std::vector<std::byte> data = numbered(1, kLong);
  ASSERT_TRUE(bob_.endpoint->write(kOp, place(8), data, Level::placed));
  EXPECT_EQ(outcome(kOp), Errc{});
  EXPECT_TRUE(std::ranges::equal(memory.subspan(8, kLong), data));
  EXPECT_EQ(alice_.port->fetches, 1) << "the target fetches";
  std::vector<std::byte> into(kLong);
  ASSERT_TRUE(bob_.endpoint->read(kOp, place(8), into));
  EXPECT_EQ(outcome(kOp), Errc{});
  EXPECT_EQ(into, data);
  EXPECT_EQ(bob_.port->fetches, 1) << "the reader fetches";
  ASSERT_TRUE(bob_.endpoint->write(kOp, place(0), Bytes(data).first(64), Level::placed));
  EXPECT_EQ(outcome(kOp), Errc{});
  // What needs no answer is sent: its bytes are the caller's again at once.
  ASSERT_TRUE(bob_.endpoint->write(kOp, place(kLong), data, Level::local));
  EXPECT_EQ(outcome(kOp), Errc{});
  ASSERT_TRUE(pump([&] { return std::ranges::equal(memory.subspan(kLong), data); }));
  EXPECT_EQ(alice_.port->fetches, 1);
}

TEST_P(OfiEndpointTest, LongWritesTakeEffectBeforeWhatComesAfterThem) {
  ASSERT_NO_FATAL_FAILURE(connect());
  const MutableBytes memory = share(kLong);
  std::size_t seen = 0;
  for (std::uint64_t i = 1; i <= 20; ++i) {
    const std::vector<std::byte> data(kLong, static_cast<std::byte>(i));
    ASSERT_TRUE(bob_.endpoint->write(kOp, place(0), data, Level::placed));
    ASSERT_TRUE(bob_.endpoint->send({kAlice, 1}, numbered(i, 8)));
    ASSERT_TRUE(pump([&] { return alice_.sink.messages.size() > seen; }));
    ++seen;
    EXPECT_TRUE(std::ranges::equal(memory, data)) << "the message overtook the write";
    EXPECT_EQ(outcome(kOp), Errc{});
  }
}

TEST_P(OfiEndpointTest, LongWritesLandWhollyOrNotAtAllBeforeARevocation) {
  ASSERT_NO_FATAL_FAILURE(connect());
  constexpr std::size_t kWrites = 12;
  const MutableBytes memory = share(kWrites * kLong);
  const std::vector<std::byte> data(kLong, std::byte{1});
  std::size_t landed_in_all = 0;
  std::size_t refused_in_all = 0;
  for (std::size_t round = 0; round < 2 * kWrites; ++round) {
    ASSERT_TRUE(alice_.endpoint->grant(kRegion, kBob, kAllRights));
    std::ranges::fill(memory, std::byte{0});
    auto& completed = bob_.sink.completed;
    completed.clear();
    for (std::size_t i = 0; i < kWrites; ++i) {
      ASSERT_TRUE(bob_.endpoint->write(OpId{i}, place(i * kLong), data, Level::placed));
    }
    for (std::size_t polls = 0; polls < 3 * round; ++polls) ASSERT_NO_FATAL_FAILURE(poll());
    ASSERT_TRUE(alice_.endpoint->revoke(kRegion, kBob));
    const std::vector<std::byte> image(memory.begin(), memory.end());
    ASSERT_TRUE(pump([&] { return completed.size() == kWrites; }));
    EXPECT_TRUE(std::ranges::equal(memory, image)) << "something landed after the fence";
    for (const Recorder::Completed& one : completed) {
      const Bytes there = Bytes(memory).subspan(static_cast<std::size_t>(one.op) * kLong, kLong);
      const bool has_landed = there[0] == std::byte{1};
      EXPECT_EQ(one.error, has_landed ? Errc{} : Errc::no_right);
      EXPECT_TRUE(std::ranges::all_of(there, [&](std::byte byte) { return byte == there[0]; }));
      ++(has_landed ? landed_in_all : refused_in_all);
    }
  }
  EXPECT_GT(landed_in_all, 0u);
  EXPECT_GT(refused_in_all, 0u);
  EXPECT_TRUE(bob_.sink.lost.empty());
}

TEST_P(OfiEndpointTest, FetchedBytesThatAreNotThoseThatWereShownAreNotUsed) {
  for (const bool fails : {false, true}) {
    for (const bool is_write : {true, false}) {
      if (alice_.endpoint) {
        alice_ = Node();
        bob_ = Node();
        SetUp();
      }
      ASSERT_NO_FATAL_FAILURE(connect());
      if (!has_reads()) GTEST_SKIP() << "a fabric without reads";
      const MutableBytes memory = share(kLong);
      Tampered& port = is_write ? *alice_.port : *bob_.port;
      if (fails) {
        port.fails_fetches = true;
      } else {
        port.on_fetch = [](MutableBytes bytes) { bytes[kLong / 2] ^= std::byte{1}; };
      }
      std::vector<std::byte> data(kLong, std::byte{7});
      ASSERT_TRUE(is_write ? bob_.endpoint->write(kOp, place(0), data, Level::placed)
                           : bob_.endpoint->read(kOp, place(0), data));
      EXPECT_EQ(outcome(kOp), Errc::connection_lost);
      EXPECT_TRUE(std::ranges::all_of(memory, [](std::byte one) { return one == std::byte{0}; }));
      EXPECT_TRUE(std::ranges::all_of(data, [](std::byte one) { return one == std::byte{7}; }));
      ASSERT_TRUE(pump([&] { return !alice_.sink.lost.empty() && !bob_.sink.lost.empty(); }));
    }
  }
}

TEST_P(OfiEndpointTest, PiecesThatBreakTheRulesEndTheConnection) {
  ASSERT_NO_FATAL_FAILURE(connect());
  const std::vector<std::function<void(MutableBytes)>> wrongs{
      [](MutableBytes piece) { base::store(piece, 8, std::uint32_t{77}); },     // sequence
      [](MutableBytes piece) { base::store(piece, 16, std::uint16_t{5000}); },  // credits
      [](MutableBytes piece) {
        piece[18] = std::byte{0};
        piece[12] = std::byte{};
      },                                                                            // no piece
      [](MutableBytes piece) { base::store(piece, 20, std::uint32_t{1u << 20}); },  // unit's length
      [](MutableBytes piece) { piece[24] = std::byte{200}; },                       // unit's kind
      [](MutableBytes piece) { piece[24] = std::byte{7}; },                         // an answer
  };
  for (std::size_t i = 0; i < wrongs.size(); ++i) {
    ASSERT_TRUE(pump([&] { return alice_.sink.up.size() == 1 && bob_.sink.up.size() == 1; }));
    alice_.sink.forget();
    bob_.sink.forget();
    bob_.port->on_send = wrongs[i];
    ASSERT_TRUE(bob_.endpoint->send({kAlice, 1}, numbered(1, 8)));
    bob_.port->on_send = nullptr;
    if (i == 2) {  // dropped, and the next one is out of turn
      ASSERT_TRUE(bob_.endpoint->send({kAlice, 1}, numbered(2, 8)));
    }
    ASSERT_TRUE(pump([&] { return !alice_.sink.lost.empty() && !bob_.sink.lost.empty(); })) << i;
    EXPECT_EQ(alice_.sink.lost[0].why, Errc::corrupt) << i;
    EXPECT_EQ(bob_.sink.lost[0].why, Errc::connection_lost) << i;
    EXPECT_TRUE(alice_.sink.messages.empty()) << i;
  }
}

TEST_P(OfiEndpointTest, WhatStrangersSendIsDropped) {
  ASSERT_NO_FATAL_FAILURE(connect());
  const auto stranger = open();
  ASSERT_TRUE(stranger);
  std::vector<std::byte> memory(kOfiPieceBytes);
  const auto registered = stranger->register_memory(memory).value();
  const sys::OfiPeer alice = stranger->add_peer(alice_.port->address()).value();
  std::array<sys::OfiDone, 8> ended;
  std::size_t sent = 0;
  std::size_t done = 0;
  base::Random random(3);
  ASSERT_TRUE(pump([&] {
    const std::size_t bytes = sent == 0 ? 1 : 1 + random.below(kOfiPieceBytes);
    for (std::byte& one : memory) one = static_cast<std::byte>(random());
    if (sent % 2 == 0) {  // a sound piece of nobody
      std::ranges::copy(
          encode(OfiPieceHead{.token = random(), .kind = OfiPieceHead::Kind::credits}),
          memory.begin());
    }
    const std::size_t length = sent % 2 == 0 ? kOfiPieceHeadBytes : bytes;
    if (sent < 500 && sent == done &&
        stranger->send(alice, 1, Bytes(memory).first(length), *registered)) {
      ++sent;
    }
    done += stranger->poll(ended).value();
    return done == 500;
  }));
  ASSERT_TRUE(bob_.endpoint->send({kAlice, 1}, base::as_bytes("hello")));
  ASSERT_TRUE(pump([&] { return !alice_.sink.messages.empty(); }));
  EXPECT_EQ(alice_.sink.messages.size(), 1u);
  EXPECT_TRUE(alice_.sink.lost.empty());
}

TEST_P(OfiEndpointTest, NodesOfDifferentFabricsRefuseEachOther) {
  bob_.port->other_provider = "another";
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(pump([&] { return !alice_.sink.refused.empty() && !bob_.sink.refused.empty(); }));
  EXPECT_TRUE(alice_.sink.refused[0].why == Errc::unsupported ||
              bob_.sink.refused[0].why == Errc::unsupported);
  EXPECT_TRUE(alice_.sink.connects.empty());
}

TEST_P(OfiEndpointTest, AnAddressOfAnotherKindIsRefused) {
  bob_.port->other_address = std::vector<std::byte>(3, std::byte{1});
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(pump([&] { return !alice_.sink.refused.empty(); }));
  EXPECT_EQ(alice_.sink.refused[0].why, Errc::invalid_argument);
  EXPECT_TRUE(alice_.sink.connects.empty());
}

TEST_P(OfiEndpointTest, ANodeToWhichTheFabricHasNoWayIsRefusedInTime) {
  bob_.port->swallows = true;
  ASSERT_NO_FATAL_FAILURE(start());
  for (int i = 0; i < 1000; ++i) ASSERT_NO_FATAL_FAILURE(poll());
  EXPECT_TRUE(alice_.sink.connects.empty() && bob_.sink.connects.empty());
  EXPECT_TRUE(alice_.sink.refused.empty());
  clock_.shift_ns = 11'000'000'000;
  ASSERT_TRUE(pump([&] { return !alice_.sink.refused.empty() && !bob_.sink.refused.empty(); }));
  EXPECT_TRUE(alice_.sink.refused[0].why == Errc::timed_out ||
              bob_.sink.refused[0].why == Errc::timed_out);
  bob_.port->swallows = false;
  EXPECT_TRUE(pump([&] { return alice_.sink.up.size() == 1 && bob_.sink.up.size() == 1; }));
}

INSTANTIATE_TEST_SUITE_P(Ofi, OfiEndpointTest, testing::Values("tcp;ofi_rxm", "shm"),
                         [](const auto& test) {
                           return std::string(test.param) == "shm" ? "Shm" : "TcpRxm";
                         });

}  // namespace
}  // namespace dolmen::fabric
