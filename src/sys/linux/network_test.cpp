// SPDX-License-Identifier: Apache-2.0
#include "sys/network.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::sys {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;
constexpr std::uint64_t kPatienceNs = 60 * kSecondNs;

Network& network() { return *linux_env().network; }
std::uint64_t now_ns() { return linux_env().clock->monotonic_ns(); }

/// Waits on the poller until `done` says so; fails the test when nothing comes of it.
template <class Done>
void wait_until(Poller& poller, Done done) {
  const std::uint64_t end_ns = now_ns() + kPatienceNs;
  std::array<Poller::Event, 8> events{};
  while (!done()) {
    ASSERT_LT(now_ns(), end_ns) << "nothing happened";
    ASSERT_TRUE(poller.wait(events, std::min(end_ns, now_ns() + kSecondNs / 100)));
  }
}

struct Pair {
  std::unique_ptr<Poller> poller = network().make_poller().value();
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Socket> dialled;
  std::unique_ptr<Socket> accepted;

  explicit Pair(const char* host = "127.0.0.1") {
    listener = network().listen({host, 0}).value();
    dialled = network().connect(listener->address()).value();
    wait_until(*poller, [&] {
      if (!accepted) accepted = listener->accept().value();
      return accepted && dialled->connected().value();
    });
  }
  ~Pair() {
    if (dialled) poller->remove(*dialled);
    if (accepted) poller->remove(*accepted);
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
};

/// The descriptors of this process that are TCP sockets.
std::vector<int> tcp_descriptors() {
  std::vector<int> found;
  DIR* const folder = ::opendir("/proc/self/fd");
  while (const dirent* const entry = ::readdir(folder)) {
    const int fd = std::atoi(entry->d_name);
    int option = 0;
    socklen_t bytes = sizeof option;
    if (::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &option, &bytes) == 0) found.push_back(fd);
  }
  ::closedir(folder);
  return found;
}

TEST(Network, BytesArriveInBothDirectionsAndAReadWithoutThemDoesNotBlock) {
  for (const char* host : {"127.0.0.1", "::1"}) {
    if (host[0] == ':' && !network().listen({host, 0})) continue;  // a machine without IPv6
    Pair pair(host);
    std::array<std::byte, 16> into{};
    const auto nothing = pair.accepted->read(into);
    ASSERT_TRUE(nothing);
    EXPECT_EQ(nothing->bytes, 0u);
    EXPECT_FALSE(nothing->ended);
    for (auto [from, to] : {std::pair(pair.dialled.get(), pair.accepted.get()),
                            std::pair(pair.accepted.get(), pair.dialled.get())}) {
      EXPECT_EQ(from->write(base::as_bytes("hello")).value(), 5u);
      std::size_t count = 0;
      wait_until(*pair.poller, [&] {
        count += to->read(base::MutableBytes(into).subspan(count)).value().bytes;
        return count == 5;
      });
      EXPECT_TRUE(std::ranges::equal(base::Bytes(into).first(5), base::as_bytes("hello")));
    }
  }
}

TEST(Network, AWriteToAReaderThatDoesNotReadStopsAndGoesOnLater) {
  Pair pair;
  const std::vector<std::byte> chunk(1 << 20, std::byte{7});
  std::size_t written = 0;
  for (;;) {
    const std::size_t count = pair.dialled->write(chunk).value();
    written += count;
    if (count == 0) break;
    ASSERT_LT(written, std::size_t{1} << 30) << "a system without limits";
  }
  ASSERT_TRUE(pair.poller->add(*pair.dialled, 1, true));
  std::vector<std::byte> into(1 << 20);
  std::size_t read = 0;
  bool writable = false;
  wait_until(*pair.poller, [&] {
    read += pair.accepted->read(into).value().bytes;
    std::array<Poller::Event, 4> events{};
    const Poller::Ready ready = pair.poller->wait(events, 0).value();
    for (std::size_t i = 0; i < ready.events; ++i) writable = writable || events[i].writable;
    return read == written;
  });
  EXPECT_TRUE(writable);
  EXPECT_GT(pair.dialled->write(chunk).value(), 0u);
}

TEST(Network, AnEndIsReadBehindTheLastByte) {
  Pair pair;
  ASSERT_EQ(pair.dialled->write(base::as_bytes("last")).value(), 4u);
  pair.dialled.reset();
  std::array<std::byte, 16> into{};
  std::size_t count = 0;
  bool ended = false;
  wait_until(*pair.poller, [&] {
    const Socket::Read read = pair.accepted->read(into).value();
    EXPECT_FALSE(read.ended && count < 4);
    count += read.bytes;
    ended = read.ended;
    return ended;
  });
  EXPECT_EQ(count, 4u);
}

TEST(Network, WritingToAConnectionThatIsGoneIsAnErrorAndNoSignal) {
  struct sigaction action{};
  action.sa_handler = SIG_DFL;  // what would end the process
  struct sigaction former{};
  ASSERT_EQ(::sigaction(SIGPIPE, &action, &former), 0);
  Pair pair;
  pair.accepted.reset();
  const std::uint64_t end_ns = now_ns() + kPatienceNs;
  Result<std::size_t> written = std::size_t{0};
  while (written && now_ns() < end_ns) written = pair.dialled->write(base::as_bytes("x"));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), Errc::connection_lost);
  EXPECT_NE(written.error().detail(), 0u);
  EXPECT_NE(written.error().message().find("write to a connection: "), std::string::npos);
  ::sigaction(SIGPIPE, &former, nullptr);
}

TEST(Network, NobodyListeningIsALostConnection) {
  NetworkAddress address;
  {
    const auto listener = network().listen({"127.0.0.1", 0}).value();
    address = listener->address();
  }
  const auto poller = network().make_poller().value();
  Errc code{};
  const auto socket = network().connect(address);
  if (!socket) {
    code = socket.error().code();
  } else {
    wait_until(*poller, [&] {
      const auto connected = (*socket)->connected();
      if (!connected) code = connected.error().code();
      return !connected;
    });
  }
  EXPECT_EQ(code, Errc::connection_lost);
}

TEST(Network, AddressesAreNumbersAndAnOccupiedOneSaysSo) {
  const auto named = network().connect({"localhost", 1});
  ASSERT_FALSE(named);
  EXPECT_EQ(named.error().code(), Errc::invalid_argument);
  EXPECT_EQ(named.error().context(), "localhost: no numeric address");
  EXPECT_EQ(network().listen({"", 0}).error().code(), Errc::invalid_argument);
  EXPECT_EQ(network().listen({"192.0.2.1", 0}).error().code(), Errc::io_error);  // of nobody
  const auto first = network().listen({"127.0.0.1", 0}).value();
  const auto second = network().listen(first->address());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Errc::already_exists);
}

TEST(Network, ANameIsLookedUpAndANumberIsItself) {
  for (const std::string host : {"192.0.2.7", "2001:db8::7", "127.0.0.1"}) {
    EXPECT_EQ(network().resolve(host).value(), std::vector{host});
  }
  // Whatever this machine's files say of it: something that can be connected to.
  const auto local = network().resolve("localhost");
  ASSERT_TRUE(local) << local.error().message();
  ASSERT_FALSE(local->empty());
  for (const std::string& host : *local) {
    EXPECT_EQ(network().resolve(host).value(), std::vector{host}) << "it is numeric";
  }
  EXPECT_NE(std::ranges::find_if(
                *local,
                [](const std::string& host) { return host == "::1" || host.starts_with("127."); }),
            local->end());
  // What cannot be a name, so that nobody else is asked.
  for (const std::string& host : {std::string("two..dots"), std::string(300, 'x')}) {
    const auto none = network().resolve(host);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code(), Errc::not_found);
    EXPECT_NE(none.error().context().find("a host called " + host), std::string::npos);
    EXPECT_NE(none.error().context().find("/etc/hosts"), std::string::npos);
  }
}

TEST(Network, AnAddressCanBeListenedAtAgainAtOnce) {
  NetworkAddress address;
  {
    Pair pair;
    address = pair.listener->address();
    pair.poller->remove(*pair.accepted);
    pair.accepted.reset();  // this end closes first and would hold the address
  }
  EXPECT_TRUE(network().listen(address));
}

/// The port of the end that dialled. Requires: no other pair.
std::uint16_t source_port(const Pair& pair) {
  for (const int fd : tcp_descriptors()) {
    sockaddr_in bound{};
    socklen_t bytes = sizeof bound;
    EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &bytes), 0);
    const std::uint16_t port = ntohs(bound.sin_port);
    if (port != pair.listener->address().port) return port;
  }
  return 0;
}

// The system may have given the port of a member that was killed to an outgoing connection.
TEST(Network, TheSourcePortOfAConnectionCanBeListenedAt) {
  {
    const Pair pair;
    EXPECT_TRUE(network().listen({"127.0.0.1", source_port(pair)}));
  }
  Pair pair;
  const std::uint16_t port = source_port(pair);
  pair.dialled.reset();  // this end closes first, and its address is remembered for a minute
  pair.accepted.reset();
  EXPECT_TRUE(network().listen({"127.0.0.1", port}));
}

TEST(Network, SocketsEndWithExecAndDoNotDelaySmallWrites) {
  const std::vector<int> before = tcp_descriptors();
  Pair pair;
  std::size_t streams = 0;
  for (const int fd : tcp_descriptors()) {
    if (std::ranges::find(before, fd) != before.end()) continue;
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    int listening = 0;
    int no_delay = 0;
    socklen_t bytes = sizeof listening;
    ASSERT_EQ(::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &bytes), 0);
    ASSERT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &bytes), 0);
    if (listening == 0) {
      EXPECT_EQ(no_delay, 1);
      ++streams;
    }
  }
  EXPECT_EQ(streams, 2u);
}

TEST(Network, RunningOutOfDescriptorsIsALimit) {
  if (base::kSanitized)
    GTEST_SKIP() << "a sanitizer needs descriptors of its own to look at memory";
  rlimit former{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &former), 0);
  const auto listener = network().listen({"127.0.0.1", 0}).value();
  const auto socket = network().connect(listener->address()).value();
  const auto poller = network().make_poller().value();
  const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(next, 0);
  ::close(next);
  const rlimit none{.rlim_cur = static_cast<rlim_t>(next), .rlim_max = former.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  Errc accepted{};
  wait_until(*poller, [&] {
    const auto result = listener->accept();
    if (!result) accepted = result.error().code();
    return !result;
  });
  const auto connected = network().connect(listener->address());
  const auto polled = network().make_poller();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &former), 0);
  EXPECT_EQ(accepted, Errc::limit);
  ASSERT_FALSE(connected);
  EXPECT_EQ(connected.error().code(), Errc::limit);
  ASSERT_FALSE(polled);
  EXPECT_EQ(polled.error().code(), Errc::limit);
  // Where the limit came before the connection did, it is still on its way.
  std::unique_ptr<Socket> stayed;
  wait_until(*poller, [&] {
    stayed = listener->accept().value();
    return stayed != nullptr;
  });
}

TEST(Network, AForkedChildThatForgetsAPollerTakesNothingFromItsParent) {
  Pair pair;
  ASSERT_TRUE(pair.poller->add(*pair.accepted, 7, false));
  const pid_t child = ::fork();
  if (child == 0) {
    pair.poller->remove(*pair.accepted);
    pair.poller.reset();
    ::_exit(0);
  }
  ASSERT_GT(child, 0);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  ASSERT_TRUE(pair.dialled->write(base::as_bytes("hello")));
  std::array<Poller::Event, 4> events{};
  ASSERT_EQ(pair.poller->wait(events, now_ns() + kPatienceNs).value().events, 1u);
  EXPECT_EQ(events[0].tag, 7u);
}

TEST(Poller, ReportsWhoIsReadyUntilItIsRead) {
  Pair pair;
  ASSERT_TRUE(pair.poller->add(*pair.listener, 10));
  ASSERT_TRUE(pair.poller->add(*pair.accepted, 11, false));
  std::array<Poller::Event, 8> events{};
  EXPECT_EQ(pair.poller->wait(events, 0).value().events, 0u);
  ASSERT_EQ(pair.dialled->write(base::as_bytes("x")).value(), 1u);
  for (int time = 0; time < 2; ++time) {
    ASSERT_EQ(pair.poller->wait(events, now_ns() + kPatienceNs).value().events, 1u);
    EXPECT_EQ(events[0].tag, 11u);
    EXPECT_TRUE(events[0].readable);
    EXPECT_FALSE(events[0].writable);
  }
  ASSERT_TRUE(pair.poller->change(*pair.accepted, 12, true));
  ASSERT_EQ(pair.poller->wait(events, 0).value().events, 1u);
  EXPECT_EQ(events[0].tag, 12u);
  EXPECT_TRUE(events[0].readable);
  EXPECT_TRUE(events[0].writable);
  pair.poller->remove(*pair.accepted);
  EXPECT_EQ(pair.poller->wait(events, 0).value().events, 0u);
  const auto another = network().connect(pair.listener->address()).value();
  ASSERT_EQ(pair.poller->wait(events, now_ns() + kPatienceNs).value().events, 1u);
  EXPECT_EQ(events[0].tag, 10u);
  pair.poller->remove(*pair.listener);
}

TEST(Poller, WaitsUntilItsTimeAndNotLess) {
  const auto poller = network().make_poller().value();
  std::array<Poller::Event, 1> events{};
  const std::uint64_t until_ns = now_ns() + 20'000'000;
  const Poller::Ready ready = poller->wait(events, until_ns).value();
  EXPECT_GE(now_ns(), until_ns);
  EXPECT_EQ(ready.events, 0u);
  EXPECT_FALSE(ready.woken);
  EXPECT_FALSE(poller->wait(events, 1).value().woken);  // a time long past
}

TEST(Poller, AWakeBeforeTheWaitIsNotLostAndReportedOnce) {
  const auto poller = network().make_poller().value();
  std::array<Poller::Event, 1> events{};
  poller->wake();
  poller->wake();
  EXPECT_TRUE(poller->wait(events, now_ns() + kPatienceNs).value().woken);
  EXPECT_FALSE(poller->wait(events, 0).value().woken);
}

TEST(Poller, EveryWakeOfAnotherThreadIsSeen) {
  const auto poller = network().make_poller().value();
  constexpr int kRounds = 2'000;
  std::atomic<int> told = 0;
  std::atomic<int> seen = 0;
  std::thread other([&] {
    for (int i = 1; i <= kRounds; ++i) {
      told.store(i, std::memory_order_relaxed);  // the wake publishes it
      poller->wake();
      while (seen.load() < i) std::this_thread::yield();
    }
  });
  std::array<Poller::Event, 1> events{};
  const std::uint64_t end_ns = now_ns() + kPatienceNs;
  while (seen.load() < kRounds && now_ns() < end_ns) {
    const bool woken = poller->wait(events, end_ns).value().woken;
    if (woken) seen.store(told.load(std::memory_order_relaxed));
  }
  EXPECT_EQ(seen.load(), kRounds);
  seen.store(kRounds);
  other.join();
}

}  // namespace
}  // namespace dolmen::sys
