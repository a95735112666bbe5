// SPDX-License-Identifier: Apache-2.0
//
// Every call for memory fails while a space is made, used, closed and opened again.
#include <cstdlib>
#include <iostream>

#include <sys/wait.h>

#include <gtest/gtest.h>

#include "node/failing_test_program.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

/// The machine's memory, whose nth call that may fail fails once. fill() is none of them: it stands
/// at the place of a load, and has nobody to tell.
class FailingMemory final : public sys::Memory {
 public:
  FailingMemory(sys::Memory& memory, std::uint64_t nth) noexcept : memory_(memory), nth_(nth) {}
  [[nodiscard]] std::uint64_t calls() const noexcept { return calls_; }
  void fail_no_more() noexcept { nth_ = 0; }

  Result<std::byte*> reserve(std::size_t bytes, std::size_t alignment) override {
    DOLMEN_CHECK(count());
    return memory_.reserve(bytes, alignment);
  }
  void release(std::byte* address, std::size_t bytes) noexcept override {
    memory_.release(address, bytes);
  }
  Result<void> activate(std::byte* address, std::size_t bytes) override {
    DOLMEN_CHECK(count());
    return memory_.activate(address, bytes);
  }
  void discard(std::byte* address, std::size_t bytes) noexcept override {
    memory_.discard(address, bytes);
  }
  void advise_huge(std::byte* address, std::size_t bytes) noexcept override {
    memory_.advise_huge(address, bytes);
  }
  Result<void> protect(std::byte* address, std::size_t bytes, bool writable) override {
    DOLMEN_CHECK(count());
    return memory_.protect(address, bytes, writable);
  }
  Result<void> install_store_handler(sys::StoreHandler* handler) override {
    DOLMEN_CHECK(count());
    return memory_.install_store_handler(handler);
  }
  sys::FaultDriver best_driver() override { return memory_.best_driver(); }
  std::size_t fault_unit_bytes(sys::FaultDriver driver) const noexcept override {
    return memory_.fault_unit_bytes(driver);
  }
  Result<void> install_fault_handler(sys::FaultDriver driver, sys::FaultHandler* handler) override {
    DOLMEN_CHECK(count());
    return memory_.install_fault_handler(driver, handler);
  }
  Result<void> demand(std::byte* address, std::size_t bytes) override {
    DOLMEN_CHECK(count());
    return memory_.demand(address, bytes);
  }
  Result<void> fill(std::byte* address, base::Bytes bytes) noexcept override {
    return memory_.fill(address, bytes);
  }
  bool present(const std::byte* address) noexcept override { return memory_.present(address); }

 private:
  Result<void> count() {
    if (++calls_ == nth_) return fail(Errc::out_of_memory, "no more address space");
    return {};
  }

  sys::Memory& memory_;
  std::uint64_t nth_;
  std::uint64_t calls_ = 0;
};

/// In a process of its own: the arena grows once, and belongs to one Memory. Exit codes: 0 a call
/// failed and all was well, 1 something was wrong, 2 there are not so many calls.
[[noreturn]] void run_with_failing_memory(std::uint64_t nth, bool guarded) {
  static FailingMemory memory(*sys::linux_env().memory, nth);  // the arena keeps it
  const sim::SimEnv world(1, memory);
  sim::SimDisk disk(1);
  std::string problem;
  bool reached = false;
  {
    Program program(world.env(), disk, guarded);
    program.run(Errc::out_of_memory, false);
    reached = memory.calls() >= nth;
    memory.fail_no_more();
    program.check_afterwards();
    problem = program.problem();
    // That a page could not be closed again is heard of by nobody: it is guarded less.
    if (problem.empty() && !guarded && (program.refusals() != 0) != reached) {
      problem = "a call that failed was not heard of";
    }
  }
  if (!problem.empty()) std::cerr << "call " << nth << ": " << problem << std::endl;
  std::_Exit(!problem.empty() ? 1 : reached ? 0 : 2);
}

void sweep_memory(bool guarded, std::uint64_t step, std::uint64_t calls_min) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  std::uint64_t nth = 1;
  int code = 0;
  const auto ended = [&](int status) {
    code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    return code != 1;
  };
  for (; code == 0; nth += step) EXPECT_EXIT(run_with_failing_memory(nth, guarded), ended, "");
  EXPECT_EQ(code, 2);
  EXPECT_GT(nth, calls_min) << "the sweep shrank";
}

TEST(MemoryFailureCrash, EveryCallForMemoryFailsOnce) { sweep_memory(false, stride(6), 20); }
TEST(MemoryFailureCrash, EveryCallForMemoryFailsOnceUnderTheStoreGuard) {
  sweep_memory(true, stride(101), 100);
}

}  // namespace
}  // namespace dolmen::node
