// SPDX-License-Identifier: Apache-2.0
#include "txn/thread_line.hpp"

#include <dolmen/assert.hpp>

namespace dolmen::txn {

namespace {

constinit std::atomic<ThreadLine*> first_line{nullptr};
constinit std::atomic<std::uint32_t> undo_followers{0};

ThreadLine* take_line() {
  for (ThreadLine* line = first_line.load(std::memory_order_acquire); line != nullptr;
       line = line->next) {
    bool free = false;
    if (line->taken.compare_exchange_strong(free, true, std::memory_order_acq_rel)) return line;
  }
  auto* line = new ThreadLine;
  line->taken.store(true, std::memory_order_relaxed);
  line->next = first_line.load(std::memory_order_relaxed);
  while (!first_line.compare_exchange_weak(line->next, line, std::memory_order_acq_rel)) {
  }
  return line;
}

/// Gives the line back when the thread ends.
struct LineOfThread {
  ThreadLine* line = nullptr;
  ~LineOfThread() {
    if (line == nullptr) return;
    DOLMEN_ASSERT(line->writing.load(std::memory_order_relaxed) == nullptr);
    own_thread_line = nullptr;
    line->taken.store(false, std::memory_order_release);
  }
};

thread_local LineOfThread line_of_thread;

}  // namespace

// Beside it, since the first use of a variable with a destructor allocates.
[[gnu::tls_model("initial-exec")]] thread_local constinit ThreadLine* own_thread_line = nullptr;

ThreadLine& register_thread_line() {
  line_of_thread.line = take_line();
  own_thread_line = line_of_thread.line;
  return *own_thread_line;
}

ThreadLine* all_thread_lines() noexcept { return first_line.load(std::memory_order_acquire); }

UndoFollower::UndoFollower() noexcept { undo_followers.fetch_add(1, std::memory_order_seq_cst); }
UndoFollower::~UndoFollower() { undo_followers.fetch_sub(1, std::memory_order_release); }
bool UndoFollower::any() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return undo_followers.load(std::memory_order_seq_cst) != 0;
}

}  // namespace dolmen::txn
