// SPDX-License-Identifier: Apache-2.0
//
// What the device itself does, which the fabric builds on. Runs where there is an RDMA device:
// tools/guest has one.
#include <array>
#include <bit>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "sys/linux/linux.hpp"

namespace dolmen::sys {
namespace {

constexpr RdmaAccess kAll{.read = true, .write = true, .atomic = true};

class Rdma : public testing::Test {
 protected:
  struct Side {
    std::unique_ptr<RdmaDomain> domain;
    std::vector<std::byte> memory = std::vector<std::byte>(4096);
    std::unique_ptr<RdmaMemory> registered;
    std::unique_ptr<RdmaQueue> queue;
  };

  void SetUp() override {
    auto device = open_rdma("");
    if (!device) GTEST_SKIP() << device.error().message();
    device_ = std::move(*device);
    for (Side* const side : {&user_, &owner_}) {
      side->domain = device_->make_domain().value();
      side->registered = side->domain->register_memory(side->memory, kAll).value();
      side->queue = side->domain->make_queue({.sends = 16, .receives = 16}, 0xFFFFFE).value();
    }
    ASSERT_TRUE(user_.queue->connect(owner_.queue->address(), {}));
    ASSERT_TRUE(owner_.queue->connect(user_.queue->address(), kAll));
  }
  RdmaDone::How outcome(RdmaWork::Kind kind, std::uint64_t offset, std::uint32_t key) {
    const RdmaWork work{
        .kind = kind,
        .tag = 5,
        .local = user_.memory.data(),
        .bytes = 8,
        .local_key = user_.registered->local_key(),
        .remote_address = std::bit_cast<std::uint64_t>(owner_.memory.data()) + offset,
        .remote_key = key,
        .operand = 1};
    EXPECT_TRUE(user_.queue->post(work));
    return next();
  }
  RdmaDone::How next() {
    RdmaDone done;
    const std::uint64_t end_ns = linux_env().clock->monotonic_ns() + 20'000'000'000;
    while (linux_env().clock->monotonic_ns() < end_ns) {
      if (user_.queue->poll(std::span(&done, 1)).value() == 1) return done.how;
    }
    ADD_FAILURE() << "no end";
    return done.how;
  }
  std::uint64_t word(std::uint64_t offset) {
    return base::load<std::uint64_t>(owner_.memory, offset);
  }
  std::uint32_t key() { return owner_.registered->remote_key(); }

  std::unique_ptr<RdmaDevice> device_;
  Side user_;
  Side owner_;
};

TEST_F(Rdma, AQueueDoesWhatItIsToldInMemoryOfTheOtherSide) {
  base::store(base::MutableBytes(user_.memory), 0, std::uint64_t{41});
  EXPECT_EQ(outcome(RdmaWork::Kind::write, 64, key()), RdmaDone::How::done);
  EXPECT_EQ(word(64), 41u);
  EXPECT_EQ(outcome(RdmaWork::Kind::fetch_add, 64, key()), RdmaDone::How::done);
  EXPECT_EQ(word(64), 42u);
  EXPECT_EQ(base::load<std::uint64_t>(user_.memory), 41u);
  EXPECT_EQ(outcome(RdmaWork::Kind::read, 64, key()), RdmaDone::How::done);
  EXPECT_EQ(base::load<std::uint64_t>(user_.memory), 42u);
}

TEST_F(Rdma, AccessThatWasTakenAwayIsAFenceAlthoughTheMemoryIsStillRegistered) {
  base::store(base::MutableBytes(user_.memory), 0, std::uint64_t{7});
  EXPECT_EQ(outcome(RdmaWork::Kind::write, 0, key()), RdmaDone::How::done);
  ASSERT_TRUE(owner_.queue->set_access({.read = true}));
  EXPECT_EQ(outcome(RdmaWork::Kind::read, 0, key()), RdmaDone::How::done) << "what was left to it";
  EXPECT_EQ(outcome(RdmaWork::Kind::write, 8, key()), RdmaDone::How::refused);
  EXPECT_EQ(word(8), 0u);
  const RdmaWork later{.kind = RdmaWork::Kind::write,
                       .tag = 6,
                       .local = user_.memory.data(),
                       .bytes = 8,
                       .local_key = user_.registered->local_key(),
                       .remote_address = std::bit_cast<std::uint64_t>(owner_.memory.data()) + 16,
                       .remote_key = key()};
  if (user_.queue->post(later)) {
    EXPECT_EQ(next(), RdmaDone::How::flushed);
  }
  EXPECT_EQ(word(16), 0u);
}

TEST_F(Rdma, AKeyOfAnotherDomainReachesNothing) {
  const auto other = device_->make_domain().value();
  std::vector<std::byte> secret(4096);
  const auto registered = other->register_memory(secret, kAll).value();
  const RdmaWork work{.kind = RdmaWork::Kind::read,
                      .local = user_.memory.data(),
                      .bytes = 8,
                      .local_key = user_.registered->local_key(),
                      .remote_address = std::bit_cast<std::uint64_t>(secret.data()),
                      .remote_key = registered->remote_key()};
  ASSERT_TRUE(user_.queue->post(work));
  EXPECT_EQ(next(), RdmaDone::How::refused);
}

TEST_F(Rdma, AnArmedQueueRingsTheBellOnce) {
  auto poller = linux_env().network->make_poller().value();
  ASSERT_TRUE(poller->add(device_->bell(), 1, false));
  std::array<Poller::Event, 2> events{};
  EXPECT_FALSE(user_.queue->arm().value());
  EXPECT_EQ(poller->wait(events, 0).value().events, 0u);
  const RdmaWork work{.kind = RdmaWork::Kind::write,
                      .local = user_.memory.data(),
                      .bytes = 8,
                      .local_key = user_.registered->local_key(),
                      .remote_address = std::bit_cast<std::uint64_t>(owner_.memory.data()),
                      .remote_key = key()};
  ASSERT_TRUE(user_.queue->post(work));
  const std::uint64_t end_ns = linux_env().clock->monotonic_ns() + 20'000'000'000;
  EXPECT_EQ(poller->wait(events, end_ns).value().events, 1u);
  device_->quiet();
  EXPECT_EQ(poller->wait(events, 0).value().events, 0u);
  EXPECT_TRUE(user_.queue->arm().value()) << "what is there already rings no bell";
  EXPECT_EQ(next(), RdmaDone::How::done);
  poller->remove(device_->bell());
}

TEST(RdmaAbsent, ADeviceOfAnotherNameIsNotThere) {
  const auto device = open_rdma("no such device");
  ASSERT_FALSE(device);
  EXPECT_NE(device.error().code(), Errc{});
}

}  // namespace
}  // namespace dolmen::sys
