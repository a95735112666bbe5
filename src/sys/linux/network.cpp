// SPDX-License-Identifier: Apache-2.0
#include "sys/network.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <dolmen/assert.hpp>

#include "sys/linux/descriptor.hpp"
#include "sys/linux/parts.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;
constexpr std::uint64_t kWakeTag = ~std::uint64_t{0};
constexpr int kBacklog = 128;

/// Running out of descriptors is a limit, and passes.
std::unexpected<Error> failure(int number, std::string_view about) {
  const bool is_limit = number == EMFILE || number == ENFILE || number == ENOSPC;
  return is_limit ? system_failure_as(Errc::limit, number, about) : system_failure(number, about);
}

/// What a stream's errno means to whoever holds the stream.
std::unexpected<Error> stream_failure(int number, const char* about) {
  switch (number) {
    case ECONNRESET:
    case ECONNABORTED:
    case ECONNREFUSED:
    case EPIPE:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case ENETRESET:
      return system_failure_as(Errc::connection_lost, number, about);
    default:
      return system_failure(number, about);
  }
}

std::string text_of(const NetworkAddress& address) {
  const bool is_v6 = address.host.find(':') != std::string::npos;
  return (is_v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

/// An address as the system takes it.
struct SystemAddress {
  sockaddr_storage storage{};
  socklen_t bytes = sizeof(sockaddr_storage);

  [[nodiscard]] sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] std::uint16_t port() noexcept {
    return storage.ss_family == AF_INET6
               ? ntohs(reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port)
               : ntohs(reinterpret_cast<sockaddr_in*>(&storage)->sin_port);
  }
};

Result<SystemAddress> system_address(const NetworkAddress& address) {
  SystemAddress result;
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&result.storage);
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&result.storage);
  if (::inet_pton(AF_INET, address.host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    result.bytes = sizeof *v4;
    return result;
  }
  if (::inet_pton(AF_INET6, address.host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(address.port);
    result.bytes = sizeof *v6;
    return result;
  }
  return fail(Errc::invalid_argument, interned(address.host + ": no numeric address"));
}

Result<int> make_socket(int family, const std::string& about) {
  const int fd = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return failure(errno, about);
  return fd;
}

bool set(int fd, int level, int option, int value) noexcept {
  return ::setsockopt(fd, level, option, &value, sizeof value) == 0;
}

class LinuxSocket final : public Socket {
 public:
  LinuxSocket(int fd, bool is_connected) noexcept : fd_(fd), connected_(is_connected) {}
  ~LinuxSocket() override { ::close(fd_); }
  LinuxSocket(const LinuxSocket&) = delete;
  LinuxSocket& operator=(const LinuxSocket&) = delete;

  [[nodiscard]] int fd() const noexcept { return fd_; }

  Result<bool> connected() override {
    if (connected_) return true;
    int error = 0;
    socklen_t bytes = sizeof error;
    if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) error = errno;
    if (error != 0) return stream_failure(error, "connect");
    SystemAddress peer;
    if (::getpeername(fd_, peer.get(), &peer.bytes) == 0) {
      connected_ = true;
    } else if (errno != ENOTCONN) {
      return stream_failure(errno, "connect");
    }
    return connected_;
  }

  Result<Read> read(base::MutableBytes into) override {
    if (into.empty()) return Read{};
    for (;;) {
      const ssize_t count = ::recv(fd_, into.data(), into.size(), 0);
      if (count > 0) return Read{.bytes = static_cast<std::size_t>(count)};
      if (count == 0) return Read{.ended = true};
      if (errno == EAGAIN || errno == EWOULDBLOCK) return Read{};
      if (errno != EINTR) return stream_failure(errno, "read from a connection");
    }
  }

  Result<std::size_t> write(base::Bytes bytes) override {
    if (bytes.empty()) return std::size_t{0};
    for (;;) {
      const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
      if (errno != EINTR) return stream_failure(errno, "write to a connection");
    }
  }

 private:
  const int fd_;
  bool connected_;
};

class LinuxListener final : public Listener {
 public:
  LinuxListener(int fd, NetworkAddress address) noexcept : fd_(fd), address_(std::move(address)) {}
  ~LinuxListener() override { ::close(fd_); }
  LinuxListener(const LinuxListener&) = delete;
  LinuxListener& operator=(const LinuxListener&) = delete;

  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] const NetworkAddress& address() const noexcept override { return address_; }

  Result<std::unique_ptr<Socket>> accept() override {
    for (;;) {
      const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        Descriptor descriptor(fd);
        // What cannot be set is a connection that has ended already; its first read says so.
        (void)set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        auto socket = std::make_unique<LinuxSocket>(fd, true);
        (void)descriptor.release();
        return socket;
      }
      switch (errno) {
        case EAGAIN:
#if EWOULDBLOCK != EAGAIN
        case EWOULDBLOCK:
#endif
          return std::unique_ptr<Socket>();
        // The next one may be sound: these belong to a connection that failed while it was queued.
        case EINTR:
        case ECONNABORTED:
        case EPROTO:
        case ENETDOWN:
        case ENETUNREACH:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case ENONET:
        case EOPNOTSUPP:
        case ENOPROTOOPT:
        case EPERM:
          continue;
        default:
          return failure(errno, "accept a connection");
      }
    }
  }

 private:
  const int fd_;
  const NetworkAddress address_;
};

class LinuxPoller final : public Poller {
 public:
  LinuxPoller(int epoll, int event) noexcept : epoll_(epoll), event_(event) {}
  ~LinuxPoller() override {
    ::close(event_);
    ::close(epoll_);
  }
  LinuxPoller(const LinuxPoller&) = delete;
  LinuxPoller& operator=(const LinuxPoller&) = delete;

  Result<void> add(Socket& socket, std::uint64_t tag, bool writable) override {
    return control(EPOLL_CTL_ADD, fd_of(socket), tag, writable);
  }
  Result<void> add(Listener& listener, std::uint64_t tag) override {
    return control(EPOLL_CTL_ADD, fd_of(listener), tag, false);
  }
  Result<void> change(Socket& socket, std::uint64_t tag, bool writable) override {
    return control(EPOLL_CTL_MOD, fd_of(socket), tag, writable);
  }
  void remove(Socket& socket) noexcept override { forget(fd_of(socket)); }
  void remove(Listener& listener) noexcept override { forget(fd_of(listener)); }

  Result<Ready> wait(std::span<Event> events, std::uint64_t until_ns) override {
    // One more than the caller takes: a wake is no event of theirs.
    std::array<epoll_event, 64> found{};
    const auto most = static_cast<int>(std::min(events.size() + 1, found.size()));
    int count = 0;
    for (;;) {
      timespec left{};
      if (until_ns != 0) {
        const std::uint64_t now_ns = linux_clock().monotonic_ns();
        const std::uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
        left.tv_sec = static_cast<time_t>(std::min(left_ns / kSecondNs, kLongestSeconds));
        left.tv_nsec = static_cast<long>(left_ns % kSecondNs);
      }
      count = ::epoll_pwait2(epoll_, found.data(), most, &left, nullptr);
      if (count >= 0) break;
      if (errno != EINTR) return failure(errno, "wait for connections");
    }
    Ready ready;
    for (const epoll_event& one : std::span(found).first(static_cast<std::size_t>(count))) {
      if (one.data.u64 == kWakeTag) {
        std::uint64_t times = 0;
        (void)!::read(event_, &times, sizeof times);
        // In this order: a wake that comes between finds the flag up and needs no event, because
        // this call returns in any case; what it was to show is seen by whoever reads the flag
        // here.
        (void)woken_.exchange(false, std::memory_order_acq_rel);
        ready.woken = true;
      } else if (ready.events < events.size()) {
        events[ready.events++] = {.tag = one.data.u64,
                                  .readable = (one.events & ~std::uint32_t{EPOLLOUT}) != 0,
                                  .writable = (one.events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0};
      }
    }
    return ready;
  }

  void wake() noexcept override {
    if (woken_.exchange(true, std::memory_order_acq_rel)) return;
    const std::uint64_t once = 1;
    (void)!::write(event_, &once,
                   sizeof once);  // fails only if the counter is full: it is readable then
  }

 private:
  static constexpr std::uint64_t kLongestSeconds = 1u << 30;

  static int fd_of(Socket& socket) noexcept { return static_cast<LinuxSocket&>(socket).fd(); }
  static int fd_of(Listener& listener) noexcept {
    return static_cast<LinuxListener&>(listener).fd();
  }
  Result<void> control(int operation, int fd, std::uint64_t tag, bool writable) {
    DOLMEN_ASSERT_CMP(tag, !=, kWakeTag);
    epoll_event wanted{};
    wanted.events = EPOLLIN | EPOLLRDHUP | (writable ? std::uint32_t{EPOLLOUT} : 0);
    wanted.data.u64 = tag;
    if (::epoll_ctl(epoll_, operation, fd, &wanted) != 0) {
      return failure(errno, "wait for a connection");
    }
    return {};
  }
  void forget(int fd) noexcept {
    // A forked child shares what is watched with its parent, whose it is.
    if (::getpid() == pid_) (void)::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
  }

  const int epoll_;
  const int event_;
  const pid_t pid_ = ::getpid();
  std::atomic<bool> woken_ = false;
};

/// What the system's look-up says of a name.
std::unexpected<Error> no_such_host(const std::string& host, int code) {
  if (code == EAI_MEMORY) return fail(Errc::out_of_memory, "look up a host");
  return fail(Errc::not_found,
              interned("a host called " + host + " (" + ::gai_strerror(code) +
                       "): a numeric address does without a name, and /etc/hosts may have it"));
}

class LinuxNetwork final : public Network {
 public:
  Result<std::vector<std::string>> resolve(const std::string& host) override {
    if (system_address({.host = host})) return std::vector{host};
    addrinfo wanted{};
    wanted.ai_family = AF_UNSPEC;
    wanted.ai_socktype = SOCK_STREAM;
    wanted.ai_flags = AI_ADDRCONFIG;
    addrinfo* first = nullptr;
    const int code = ::getaddrinfo(host.c_str(), nullptr, &wanted, &first);
    if (code != 0) return no_such_host(host, code);
    std::vector<std::string> found;
    for (const int family : {AF_INET, AF_INET6}) {
      for (const addrinfo* one = first; one != nullptr; one = one->ai_next) {
        std::array<char, INET6_ADDRSTRLEN> text{};
        if (one->ai_family != family) continue;
        const void* const bytes =
            family == AF_INET ? static_cast<const void*>(
                                    &reinterpret_cast<const sockaddr_in*>(one->ai_addr)->sin_addr)
                              : &reinterpret_cast<const sockaddr_in6*>(one->ai_addr)->sin6_addr;
        if (::inet_ntop(family, bytes, text.data(), text.size()) == nullptr) continue;
        if (std::ranges::find(found, text.data()) == found.end()) found.emplace_back(text.data());
      }
    }
    ::freeaddrinfo(first);
    if (found.empty()) return no_such_host(host, EAI_NONAME);
    return found;
  }

  Result<std::unique_ptr<Listener>> listen(const NetworkAddress& address) override {
    const std::string about = "listen at " + text_of(address);
    DOLMEN_TRY(SystemAddress system, system_address(address));
    DOLMEN_TRY(const int fd, make_socket(system.storage.ss_family, about));
    Descriptor descriptor(fd);
    if (!set(fd, SOL_SOCKET, SO_REUSEADDR, 1) || ::bind(fd, system.get(), system.bytes) != 0 ||
        ::listen(fd, kBacklog) != 0) {
      if (errno == EADDRINUSE) return fail(Errc::already_exists, interned(about), EADDRINUSE);
      return failure(errno, about);
    }
    SystemAddress bound;
    if (::getsockname(fd, bound.get(), &bound.bytes) != 0) return failure(errno, about);
    auto listener = std::make_unique<LinuxListener>(fd, NetworkAddress{address.host, bound.port()});
    (void)descriptor.release();
    return listener;
  }

  Result<std::unique_ptr<Socket>> connect(const NetworkAddress& address) override {
    const std::string about = "connect to " + text_of(address);
    DOLMEN_TRY(SystemAddress system, system_address(address));
    DOLMEN_TRY(const int fd, make_socket(system.storage.ss_family, about));
    Descriptor descriptor(fd);
    // The system may give this end the port of somebody who listens there again after a crash: a
    // connection that forbids it would keep that port for as long as it lasts, and a minute more.
    if (!set(fd, IPPROTO_TCP, TCP_NODELAY, 1) || !set(fd, SOL_SOCKET, SO_REUSEADDR, 1)) {
      return failure(errno, about);
    }
    const bool is_connected = ::connect(fd, system.get(), system.bytes) == 0;
    if (!is_connected && errno != EINPROGRESS && errno != EINTR) {
      return stream_failure(errno, about.c_str());
    }
    auto socket = std::make_unique<LinuxSocket>(fd, is_connected);
    (void)descriptor.release();
    return socket;
  }

  Result<std::unique_ptr<Poller>> make_poller() override {
    Descriptor epoll(::epoll_create1(EPOLL_CLOEXEC));
    Descriptor event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    const int epoll_fd = epoll.get();
    const int event_fd = event.get();
    if (epoll_fd < 0 || event_fd < 0) return failure(errno, "make a poller");
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    wanted.data.u64 = kWakeTag;
    if (::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event_fd, &wanted) != 0) {
      return failure(errno, "make a poller");
    }
    auto poller = std::make_unique<LinuxPoller>(epoll_fd, event_fd);
    (void)epoll.release();
    (void)event.release();
    return poller;
  }
};

}  // namespace

Result<std::unique_ptr<Socket>> watched_descriptor(int fd) {
  Descriptor copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (copy.get() < 0) return failure(errno, "watch a descriptor");
  auto socket = std::make_unique<LinuxSocket>(copy.get(), true);
  (void)copy.release();
  return socket;
}

Network& linux_network() noexcept {
  static LinuxNetwork network;
  return network;
}

}  // namespace dolmen::sys
