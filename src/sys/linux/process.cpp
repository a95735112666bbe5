// SPDX-License-Identifier: Apache-2.0
#include "sys/process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <new>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <dolmen/assert.hpp>

#include "base/mutex.hpp"
#include "sys/linux/descriptor.hpp"
#include "sys/linux/parts.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {
namespace {

// The callbacks of on_fork_child(). The lock is held across fork() so that the child never finds it
// taken by a thread that it does not have.
struct ForkCallbacks {
  base::Mutex mutex;
  std::vector<std::pair<void (*)(void*), void*>> entries DOLMEN_GUARDED_BY(mutex);
  bool hooked DOLMEN_GUARDED_BY(mutex) = false;
};

ForkCallbacks& fork_callbacks() {
  static ForkCallbacks& callbacks = *new ForkCallbacks;  // never destroyed: fork() may come late
  return callbacks;
}

void before_fork() DOLMEN_ACQUIRE(fork_callbacks().mutex) { fork_callbacks().mutex.lock(); }
void after_fork_in_parent() DOLMEN_RELEASE(fork_callbacks().mutex) {
  fork_callbacks().mutex.unlock();
}
void after_fork_in_child() DOLMEN_RELEASE(fork_callbacks().mutex) {
  for (const auto& [callback, argument] : fork_callbacks().entries) callback(argument);
  fork_callbacks().mutex.unlock();
}

class LinuxThread final : public Thread {
 public:
  LinuxThread() = default;
  ~LinuxThread() override {
    if (thread_.joinable()) thread_.join();
  }
  LinuxThread(const LinuxThread&) = delete;
  LinuxThread& operator=(const LinuxThread&) = delete;
  void start(std::function<void()> body, const char* name) {
    thread_ = std::thread(std::move(body));
    ::pthread_setname_np(thread_.native_handle(), name);
  }

 private:
  std::thread thread_;
};

class LinuxProcess final : public Process {
 public:
  std::uint64_t pid() noexcept override { return static_cast<std::uint64_t>(::getpid()); }

  std::string host_name() override {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
  }

  std::string command_line() override {
    std::string text;
    const int fd = ::open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return text;
    const Descriptor descriptor(fd);
    std::array<char, 1024> chunk{};
    for (ssize_t count = 0; (count = ::read(fd, chunk.data(), chunk.size())) > 0;) {
      text.append(chunk.data(), static_cast<std::size_t>(count));
    }
    while (!text.empty() && text.back() == '\0') text.pop_back();
    std::ranges::replace(text, '\0', ' ');
    return text;
  }

  std::string environment(const char* name) override {
    const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets any
    return value == nullptr ? "" : value;
  }

  unsigned cpu_count() noexcept override {
    return std::max(1u, std::thread::hardware_concurrency());
  }

  Result<std::unique_ptr<Thread>> start_thread(const char* name,
                                               std::function<void()> body) override {
    // Signals meant for the program go to the program's threads; faults of this thread stay its
    // own.
    sigset_t blocked;
    sigset_t former;
    sigfillset(&blocked);
    for (const int synchronous : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
      sigdelset(&blocked, synchronous);
    }
    ::pthread_sigmask(SIG_SETMASK, &blocked, &former);
    Result<std::unique_ptr<Thread>> result = fail(Errc::limit, name);
    try {
      // Memory first: a thread that runs has an owner.
      const std::string short_name = std::string(name).substr(0, 15);  // the kernel's limit
      auto owner = std::make_unique<LinuxThread>();
      owner->start(std::move(body), short_name.c_str());
      result = std::move(owner);
    } catch (const std::system_error& error) {
      result = system_failure(error.code().value(), name);
    } catch (const std::bad_alloc&) {
      result = fail(Errc::out_of_memory, name);
    }
    ::pthread_sigmask(SIG_SETMASK, &former, nullptr);
    return result;
  }

  Result<void> on_fork_child(void (*callback)(void*), void* argument) override {
    ForkCallbacks& callbacks = fork_callbacks();
    const base::Lock lock(callbacks.mutex);
    if (!callbacks.hooked) {
      const int error = ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
      if (error != 0) return system_failure(error, "pthread_atfork");
      callbacks.hooked = true;
    }
    callbacks.entries.emplace_back(callback, argument);
    return {};
  }

  bool fence_threads() noexcept override {
    static const bool offered =
        ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    if (!offered) return false;
    // Once registered it fails for want of memory alone, which passes.
    while (::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
      DOLMEN_ASSERT_CMP(errno, ==, ENOMEM);
      std::this_thread::yield();
    }
    return true;
  }

  bool is_alive(std::uint64_t pid) noexcept override {
    const auto id = static_cast<pid_t>(pid);
    if (id <= 0 || static_cast<std::uint64_t>(id) != pid) return false;
    return ::kill(id, 0) == 0 || errno == EPERM;
  }

  std::uint64_t resident_bytes() noexcept override {
    // Pages: of the address space, resident, …
    const int fd = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    const Descriptor descriptor(fd);
    std::array<char, 128> text{};
    const ssize_t count = ::read(fd, text.data(), text.size());
    const std::string_view words(text.data(), count > 0 ? static_cast<std::size_t>(count) : 0);
    const std::size_t at = words.find(' ');
    if (at == std::string_view::npos) return 0;
    std::uint64_t pages = 0;
    (void)std::from_chars(words.data() + at + 1, words.data() + words.size(), pages);
    return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  }

  std::uint64_t machine_bytes() noexcept override {
    const long pages = ::sysconf(_SC_PHYS_PAGES);
    if (pages <= 0) return 0;
    return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  }
};

}  // namespace

Process& linux_process() noexcept {
  static LinuxProcess process;
  return process;
}

}  // namespace dolmen::sys
