// SPDX-License-Identifier: Apache-2.0
//
// The word is the lock of a robust mutex that a thread of our own holds and never gives back. The
// kernel marks the locks of a thread that ends before it takes the memory away, which is most of
// what ending takes, and long before the process's descriptors say that it has ended.
//
// The thread does nothing else, so its list of held locks is ours alone: the C library keeps its
// own in other threads, and none of this one's addresses lies in memory that others write.
#include "sys/linux/life_mark.hpp"

#include <atomic>
#include <utility>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sanitizers.hpp"
#include "sys/linux/parts.hpp"
#include "sys/process.hpp"

namespace dolmen::sys {
namespace {

static_assert(kLifeEnded == FUTEX_OWNER_DIED);

class LinuxLifeMark final : public LifeMark {
 public:
  explicit LinuxLifeMark(std::uint32_t* word) noexcept : word_(word), pid_(::getpid()) {}
  ~LinuxLifeMark() override {
    if (::getpid() != pid_) {
      (void)thread_.release();  // a forked child has no such thread, and the word is its parent's
      return;
    }
    is_over_.store(true);
    is_over_.notify_one();
  }
  LinuxLifeMark(const LinuxLifeMark&) = delete;
  LinuxLifeMark& operator=(const LinuxLifeMark&) = delete;

  Result<void> start() {
    auto started = linux_process().start_thread("dolmen-life", [this] { hold(); });
    if (!started) return std::unexpected(started.error());
    thread_ = std::move(*started);
    return {};
  }

 private:
  void hold() noexcept {
    robust_list held{};
    robust_list_head head{};
    held.next = &head.list;
    head.list.next = &held;
    head.futex_offset = static_cast<long>(reinterpret_cast<std::uintptr_t>(word_) -
                                          reinterpret_cast<std::uintptr_t>(&held));
    const std::atomic_ref word(*word_);
    if (::syscall(SYS_set_robust_list, &head, sizeof head) != 0) return;
    // The kernel looks for the holder's number before it marks anything.
    word.store(static_cast<std::uint32_t>(::gettid()));
    while (!is_over_.load()) is_over_.wait(false);
    word.store(0);
    // Before `head` goes.
    (void)::syscall(SYS_set_robust_list, nullptr, sizeof head);
  }

  std::uint32_t* const word_;
  const pid_t pid_;
  std::atomic<bool> is_over_{false};
  std::unique_ptr<Thread> thread_;  // last: it ends first
};

}  // namespace

Result<std::unique_ptr<LifeMark>> make_life_mark(std::uint32_t* word) {
  // In a child that a process with threads forked, as tests do, the thread sanitizer knows of the
  // parent's threads, and takes a new one for one of them.
  if (base::kThreadSanitizer) return fail(Errc::unsupported, "a life mark");
  auto mark = std::make_unique<LinuxLifeMark>(word);
  DOLMEN_CHECK(mark->start());
  return mark;
}

}  // namespace dolmen::sys
