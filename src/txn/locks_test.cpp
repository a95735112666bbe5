// SPDX-License-Identifier: Apache-2.0
#include "txn/locks.hpp"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "sys/linux/linux.hpp"

namespace dolmen::txn {
namespace {

enum class Fences : std::uint8_t { offered, refused };

/// The real process, whose fences are counted or refused.
class CountingProcess final : public sys::Process {
 public:
  explicit CountingProcess(Fences fences) : fences_(fences) {}
  std::uint64_t pid() noexcept override { return real_.pid(); }
  std::string host_name() override { return real_.host_name(); }
  std::string command_line() override { return real_.command_line(); }
  unsigned cpu_count() noexcept override { return real_.cpu_count(); }
  std::string environment(const char* name) override { return real_.environment(name); }
  Result<std::unique_ptr<sys::Thread>> start_thread(const char* name,
                                                    std::function<void()> body) override {
    return real_.start_thread(name, std::move(body));
  }
  Result<void> on_fork_child(void (*callback)(void*), void* argument) override {
    return real_.on_fork_child(callback, argument);
  }
  bool is_alive(std::uint64_t pid) noexcept override { return real_.is_alive(pid); }
  std::uint64_t resident_bytes() noexcept override { return real_.resident_bytes(); }
  std::uint64_t machine_bytes() noexcept override { return real_.machine_bytes(); }
  bool fence_threads() noexcept override {
    if (fences_ == Fences::refused || !real_.fence_threads()) return false;
    count.fetch_add(1);
    return true;
  }

  std::atomic<std::uint32_t> count{0};

 private:
  sys::Process& real_ = *sys::linux_env().process;
  const Fences fences_;
};

class Locks : public ::testing::TestWithParam<Fences> {
 protected:
  [[nodiscard]] bool offered() const { return at_start_ != 0; }
  [[nodiscard]] std::uint32_t fences() const { return process_.count - at_start_; }
  void read_often(std::uint16_t stripe) {
    for (std::uint32_t i = 0; i < 2 * LockTable::kBiasReads; ++i) {
      locks_->lock_shared(std::span(&stripe, 1), thread_line());
      locks_->unlock_shared(thread_line());
    }
  }
  void write(std::uint16_t stripe) {
    locks_->enter_writer(std::span(&stripe, 1), this, thread_line());
    locks_->unlock(std::span(&stripe, 1), this);
    locks_->leave_writer(thread_line());
  }

  CountingProcess process_{GetParam()};
  // The table compares the address of its space and does no more with it.
  std::unique_ptr<LockTable> locks_ = std::make_unique<LockTable>(
      static_cast<const detail::SpaceCore*>(static_cast<const void*>(this)), process_);
  const std::uint32_t at_start_ = process_.count;
};

TEST_P(Locks, AStripeThatIsOnlyReadCostsItsNextWriterOneFenceOfAllThreads) {
  constexpr std::uint16_t kRead = 5;
  constexpr std::uint16_t kOther = 6;
  write(kRead);
  EXPECT_EQ(fences(), 0u);
  read_often(kRead);
  write(kOther);
  EXPECT_EQ(fences(), 0u) << "only the stripe that was read is biased";
  write(kRead);
  EXPECT_EQ(fences(), offered() ? 1u : 0u);
  write(kRead);
  EXPECT_EQ(fences(), offered() ? 1u : 0u) << "the bias ended with the first writer";
}

TEST_P(Locks, ALateLockOfABiasedStripeFencesToo) {
  constexpr std::uint16_t kStripe = 7;
  read_often(kStripe);
  ASSERT_TRUE(locks_->try_lock(kStripe, this, &thread_line()));
  EXPECT_EQ(fences(), offered() ? 1u : 0u);
  locks_->unlock_and_wake(kStripe, this);
}

TEST_P(Locks, AnUnfencedReaderHoldsAWriterOffAndWakesIt) {
  const std::uint16_t stripe = 9;
  read_often(stripe);
  std::atomic<bool> inside{false};
  std::atomic<bool> leave{false};
  std::uint64_t value = 0;  // plain: the locks are what orders it
  std::thread reader([&] {
    locks_->lock_shared(std::span(&stripe, 1), thread_line());
    inside = true;
    while (!leave) std::this_thread::yield();
    EXPECT_EQ(value, 0u);
    locks_->unlock_shared(thread_line());
  });
  while (!inside) std::this_thread::yield();
  EXPECT_FALSE(locks_->try_lock(stripe, &value, &thread_line()));
  std::thread writer([&] {
    locks_->enter_writer(std::span(&stripe, 1), this, thread_line());
    value = 1;
    locks_->unlock(std::span(&stripe, 1), this);
    locks_->leave_writer(thread_line());
  });
  leave = true;
  reader.join();
  writer.join();
  EXPECT_EQ(value, 1u);
}

TEST_P(Locks, ReadersNeverSeeAWritersHalf) {
  constexpr std::uint16_t kStripe = 11;
  constexpr int kRounds = 20;
  std::uint64_t left = 0;  // plain: the locks are what orders them
  std::uint64_t right = 0;
  std::atomic<std::uint64_t> reads{0};
  std::atomic<bool> stop{false};
  std::atomic<std::uint32_t> torn{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      const std::uint16_t stripe = kStripe;
      while (!stop.load(std::memory_order_relaxed)) {
        locks_->lock_shared(std::span(&stripe, 1), thread_line());
        if (left != right) torn.fetch_add(1);
        locks_->unlock_shared(thread_line());
        reads.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  for (int round = 0; round < kRounds; ++round) {
    // Long enough for the readers to leave their fences out, so that each round ends a bias.
    const std::uint64_t until = reads + 3 * LockTable::kBiasReads;
    while (reads < until) std::this_thread::yield();
    for (int i = 0; i < 4; ++i) {
      const std::uint16_t stripe = kStripe;
      locks_->enter_writer(std::span(&stripe, 1), this, thread_line());
      ++left;
      std::atomic_signal_fence(std::memory_order_seq_cst);
      ++right;
      locks_->unlock(std::span(&stripe, 1), this);
      locks_->leave_writer(thread_line());
    }
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(torn, 0u);
  EXPECT_EQ(left, 4u * kRounds);
  if (offered()) {
    EXPECT_GE(fences(), static_cast<std::uint32_t>(kRounds));
  }
}

TEST_P(Locks, AWriterAndAReaderOfEverythingExcludeEachOther) {
  constexpr int kRounds = 300;
  std::uint64_t left = 0;
  std::uint64_t right = 0;
  std::atomic<std::uint32_t> torn{0};
  std::thread reader([&] {
    for (int i = 0; i < kRounds; ++i) {
      locks_->lock_shared_all(thread_line());
      if (left != right) torn.fetch_add(1);
      locks_->unlock_shared(thread_line());
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    const std::uint16_t stripes[] = {1, 2};
    locks_->enter_writer(stripes, this, thread_line());
    ++left;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    ++right;
    locks_->unlock(stripes, this);
    locks_->leave_writer(thread_line());
  }
  reader.join();
  EXPECT_EQ(torn, 0u);
  EXPECT_EQ(left, static_cast<std::uint64_t>(kRounds));
}

INSTANTIATE_TEST_SUITE_P(Fences, Locks, ::testing::Values(Fences::offered, Fences::refused),
                         [](const auto& tested) {
                           return tested.param == Fences::offered ? "Offered" : "Refused";
                         });

}  // namespace
}  // namespace dolmen::txn
