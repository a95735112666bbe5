// SPDX-License-Identifier: Apache-2.0
//
// What libfabric itself does, which the fabric builds on: over its TCP provider, where it is there.
#include "sys/ofi.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sys/linux/linux.hpp"

namespace dolmen::sys {
namespace {

/// DOLMEN_OFI_PROVIDER and DOLMEN_OFI_SOURCE choose another fabric.
OfiChoice chosen() {
  const auto variable = [](const char* name, const char* otherwise) -> std::string {
    const char* const value = std::getenv(name);
    return value == nullptr ? otherwise : value;
  };
  return {.provider = variable("DOLMEN_OFI_PROVIDER", "tcp;ofi_rxm"),
          .source = variable("DOLMEN_OFI_SOURCE", "127.0.0.1")};
}

class Ofi : public testing::Test {
 protected:
  struct Side {
    std::vector<std::byte> memory = std::vector<std::byte>(1 << 20);
    std::unique_ptr<OfiPort> port;
    std::unique_ptr<OfiMemory> registered;
    OfiPeer peer{};
  };

  void SetUp() override {
    for (Side* const side : {&alice_, &bob_}) {
      auto port = open_ofi(chosen());
      if (!port) GTEST_SKIP() << port.error().message();
      side->port = std::move(*port);
      side->registered = side->port->register_memory(side->memory).value();
    }
    alice_.peer = alice_.port->add_peer(bob_.port->address()).value();
    bob_.peer = bob_.port->add_peer(alice_.port->address()).value();
  }
  void poll_into(Side& side) {
    std::array<OfiDone, 8> some;
    const std::size_t count = side.port->poll(some).value();
    auto& all = &side == &alice_ ? done_of_alice_ : done_of_bob_;
    all.insert(all.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(count));
  }
  template <class Try>
  void until_taken(Try attempt) {
    const std::uint64_t end_ns = linux_env().clock->monotonic_ns() + 20'000'000'000;
    for (;;) {
      const Result<void> result = attempt();
      if (result) return;
      ASSERT_EQ(result.error().code(), Errc::busy) << result.error().message();
      ASSERT_LT(linux_env().clock->monotonic_ns(), end_ns) << "busy for ever";
      poll_into(alice_);
      poll_into(bob_);
    }
  }
  base::MutableBytes part(Side& side, std::size_t at, std::size_t bytes) {
    return base::MutableBytes(side.memory).subspan(at, bytes);
  }
  void send(Side& from, std::uint64_t tag, std::size_t at, std::size_t bytes) {
    until_taken(
        [&] { return from.port->send(from.peer, tag, part(from, at, bytes), *from.registered); });
  }
  template <class Enough>
  void poll_both_until(Enough enough) {
    const std::uint64_t end_ns = linux_env().clock->monotonic_ns() + 20'000'000'000;
    while (!enough()) {
      ASSERT_LT(linux_env().clock->monotonic_ns(), end_ns);
      poll_into(alice_);
      poll_into(bob_);
    }
  }

  Side alice_;
  Side bob_;
  std::vector<OfiDone> done_of_alice_;
  std::vector<OfiDone> done_of_bob_;
};

TEST_F(Ofi, MessagesArriveInOrderAndWhole) {
  constexpr std::size_t kCount = 100;
  constexpr std::size_t kBytes = 8192;
  for (std::size_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(bob_.port->post_receive(i, part(bob_, i * kBytes, kBytes), *bob_.registered));
    std::ranges::fill(part(alice_, i * kBytes, kBytes), static_cast<std::byte>(i));
  }
  for (std::size_t i = 0; i < kCount; ++i) {
    ASSERT_NO_FATAL_FAILURE(send(alice_, i, i * kBytes, 1 + i * 80));
  }
  ASSERT_NO_FATAL_FAILURE(poll_both_until(
      [&] { return done_of_bob_.size() >= kCount && done_of_alice_.size() >= kCount; }));
  for (std::size_t i = 0; i < kCount; ++i) {
    const OfiDone& done = done_of_bob_[i];
    EXPECT_FALSE(done.is_failed);
    EXPECT_EQ(done.tag, i);
    ASSERT_EQ(done.bytes, 1 + i * 80);
    EXPECT_TRUE(std::ranges::all_of(part(bob_, i * kBytes, done.bytes), [&](std::byte one) {
      return one == static_cast<std::byte>(i);
    }));
  }
}

TEST_F(Ofi, WhatIsShownCanBeRead) {
  if (alice_.port->limits().read_bytes_max == 0) GTEST_SKIP() << "a fabric without reads";
  std::vector<std::byte> shown(700'000);
  for (std::size_t i = 0; i < shown.size(); ++i) shown[i] = static_cast<std::byte>(i / 7);
  {
    const auto memory = bob_.port->show(shown).value();
    constexpr std::size_t kSkip = 1000;
    const std::size_t bytes = shown.size() - kSkip;
    ASSERT_NO_FATAL_FAILURE(until_taken([&] {
      return alice_.port->read(alice_.peer, 9, part(alice_, 0, bytes), *alice_.registered,
                               memory->start() + kSkip, memory->key());
    }));
    ASSERT_NO_FATAL_FAILURE(poll_both_until([&] { return !done_of_alice_.empty(); }));
    EXPECT_FALSE(done_of_alice_[0].is_failed);
    EXPECT_EQ(done_of_alice_[0].tag, 9u);
    EXPECT_TRUE(std::ranges::equal(part(alice_, 0, bytes), base::Bytes(shown).subspan(kSkip)));
  }
}

TEST_F(Ofi, TheBellRingsWhenAMessageArrives) {
  if (bob_.port->bell() == nullptr) GTEST_SKIP() << "this fabric cannot be waited for";
  auto poller = linux_env().network->make_poller().value();
  ASSERT_TRUE(poller->add(*bob_.port->bell(), 1, false));
  for (std::uint64_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(bob_.port->post_receive(i, part(bob_, 0, 64), *bob_.registered));
    ASSERT_NO_FATAL_FAILURE(send(alice_, i, 0, 64));
    if (i == 0) {  // the ports find each other
      ASSERT_NO_FATAL_FAILURE(poll_both_until([&] { return !done_of_bob_.empty(); }));
      continue;
    }
    const std::uint64_t end_ns = linux_env().clock->monotonic_ns() + 20'000'000'000;
    while (done_of_bob_.size() <= i) {
      ASSERT_LT(linux_env().clock->monotonic_ns(), end_ns) << "the bell did not ring";
      std::array<Poller::Event, 2> events{};
      if (bob_.port->arm()) {
        ASSERT_TRUE(poller->wait(events, end_ns));
      }
      poll_into(bob_);
    }
  }
  poller->remove(*bob_.port->bell());
}

TEST_F(Ofi, AnAddressOfAnotherLengthIsRefused) {
  const base::Bytes address = alice_.port->address();
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, address.size() - 1}) {
    const auto added = bob_.port->add_peer(address.first(bytes));
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code(), Errc::invalid_argument);
  }
}

TEST(OfiAbsent, AFabricOfAnotherNameIsNotThere) {
  const auto port = open_ofi({.provider = "no such provider", .source = ""});
  ASSERT_FALSE(port);
  EXPECT_TRUE(port.error().code() == Errc::not_found || port.error().code() == Errc::unsupported)
      << port.error().message();
}

}  // namespace
}  // namespace dolmen::sys
