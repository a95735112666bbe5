// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/bell.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <utility>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dolmen/assert.hpp>

#include "sys/linux/descriptor.hpp"
#include "sys/linux/file.hpp"
#include "sys/linux/parts.hpp"
#include "sys/linux/process_mark.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;
constexpr std::uint64_t kLongestNs = 3600 * kSecondNs;  // then it returns early
constexpr int kEvents = 16;                             // at a time
constexpr std::uint64_t kBellToken = ~std::uint64_t{0};

void ring_pipe(int fd) noexcept {
  // Full: it rings already.
  const std::byte ring{1};
  (void)without_interruption([&] { return ::write(fd, &ring, 1); });
}

class LinuxBell final : public Bell {
 public:
  explicit LinuxBell(int fd) noexcept : fd_(fd) {}
  void ring() noexcept override { ring_pipe(fd_.get()); }

 private:
  const Descriptor fd_;
};

class LinuxOwnBell final : public OwnBell {
 public:
  LinuxOwnBell(int directory, int pipe, int epoll, std::string name) noexcept
      : directory_(directory),
        pipe_(pipe),
        epoll_(epoll),
        name_(std::move(name)),
        pid_(::getpid()) {}
  ~LinuxOwnBell() override {
    if (::getpid() == pid_) (void)::unlinkat(directory_.get(), name_.c_str(), 0);
    for (const auto& [token, fd] : watched_) ::close(fd);
  }
  LinuxOwnBell(const LinuxOwnBell&) = delete;
  LinuxOwnBell& operator=(const LinuxOwnBell&) = delete;

  void ring() noexcept override { ring_pipe(pipe_.get()); }

  Result<void> watch(const ProcessMark& process, std::uint64_t token) override {
    if (token == kBellToken || watched_.contains(token)) {
      return fail(Errc::already_exists, "a watched process", token);
    }
    DOLMEN_TRY(const int fd, open_process(process));
    Descriptor descriptor(fd);
    watched_.emplace(token, fd);
    (void)descriptor.release();
    epoll_event event{.events = EPOLLIN, .data = {.u64 = token}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      const int error = errno;
      unwatch(token);
      return system_failure(error, "epoll_ctl");
    }
    return {};
  }

  void unwatch(std::uint64_t token) noexcept override {
    const auto found = watched_.find(token);
    if (found == watched_.end()) return;
    // Closing alone would leave it watched while a forked child has it open.
    // What a forked child of this process watches is its parent's.
    if (::getpid() == pid_) {
      (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second, nullptr);
    }
    ::close(found->second);
    watched_.erase(found);
  }

  Result<void> wait(std::uint64_t until_ns, std::vector<std::uint64_t>& ended) override {
    std::array<epoll_event, kEvents> events{};
    const int count = wait_for(events, until_ns);
    if (count < 0) {
      if (errno == EINTR) return {};
      return system_failure(errno, "epoll_pwait2");
    }
    for (int i = 0; i < count; ++i) {
      const std::uint64_t token = events[static_cast<std::size_t>(i)].data.u64;
      if (token == kBellToken) {
        std::array<std::byte, 4096> rings;  // as a rule one is written: clearing it would cost more
        (void)without_interruption([&] { return ::read(pipe_.get(), rings.data(), rings.size()); });
        continue;
      }
      ended.push_back(token);
      unwatch(token);
    }
    return {};
  }

  Result<std::unique_ptr<Socket>> watched() override { return watched_descriptor(epoll_.get()); }

 private:
  [[nodiscard]] int wait_for(std::array<epoll_event, kEvents>& events,
                             std::uint64_t until_ns) noexcept {
    const std::uint64_t now = until_ns == 0 ? 0 : linux_clock().monotonic_ns();
    const std::uint64_t left = until_ns <= now ? 0 : std::min(until_ns - now, kLongestNs);
    if (left == 0) return ::epoll_wait(epoll_.get(), events.data(), kEvents, 0);
    const timespec time{.tv_sec = static_cast<time_t>(left / kSecondNs),
                        .tv_nsec = static_cast<long>(left % kSecondNs)};
    const int count = ::epoll_pwait2(epoll_.get(), events.data(), kEvents, &time, nullptr);
    if (count >= 0 || errno != ENOSYS) return count;
    // Before Linux 5.11: whole milliseconds, rounded down; the caller waits once more.
    return ::epoll_wait(epoll_.get(), events.data(), kEvents, static_cast<int>(left / 1'000'000));
  }

  const Descriptor directory_;
  const Descriptor pipe_;
  const Descriptor epoll_;
  const std::string name_;
  const pid_t pid_;
  std::map<std::uint64_t, int> watched_;  // by token: the process's descriptor
};

}  // namespace

bool is_named(int fd, int directory, const std::string& name) noexcept {
  struct stat held{};
  struct stat named{};
  return ::fstat(fd, &held) == 0 &&
         ::fstatat(directory, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

Result<std::unique_ptr<OwnBell>> make_own_bell(int directory, const std::string& name) {
  // Between its making and its lock it looks like a dead maker's, and may be reaped: then once
  // more.
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    if (::mkfifoat(directory, name.c_str(), 0600) != 0) return system_failure(errno, name);
    Descriptor pipe(
        ::openat(directory, name.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
    if (pipe.get() < 0) {
      if (errno == ENOENT) continue;
      return system_failure(errno, name);
    }
    if (::flock(pipe.get(), LOCK_EX | LOCK_NB) != 0) {
      // A reaper has it and removes it.
      if (errno != EWOULDBLOCK && errno != EINTR) return system_failure(errno, name);
      linux_clock().sleep_ns(10'000);
      (void)::unlinkat(directory, name.c_str(), 0);
      continue;
    }
    if (!is_named(pipe.get(), directory, name)) continue;
    Descriptor epoll(::epoll_create1(EPOLL_CLOEXEC));
    Descriptor folder(::fcntl(directory, F_DUPFD_CLOEXEC, 0));
    epoll_event event{.events = EPOLLIN, .data = {.u64 = kBellToken}};
    if (epoll.get() < 0 || folder.get() < 0 ||
        ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, pipe.get(), &event) != 0) {
      const int error = errno;
      (void)::unlinkat(directory, name.c_str(), 0);
      return system_failure(error, name);
    }
    auto bell = std::make_unique<LinuxOwnBell>(folder.get(), pipe.get(), epoll.get(), name);
    (void)folder.release();
    (void)pipe.release();
    (void)epoll.release();
    return bell;
  }
  return fail(Errc::io_error, interned(name + " is removed again and again"));
}

std::unique_ptr<Bell> make_bell_of(int fd) { return std::make_unique<LinuxBell>(fd); }

}  // namespace dolmen::sys
