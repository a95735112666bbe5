// SPDX-License-Identifier: Apache-2.0
//
// Demand-filled memory under real faults: every test runs with both drivers.
#include "sys/linux/fault.hpp"

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::sys {
namespace {

constexpr std::size_t kRangeBytes = 8 << 20;

std::uint64_t pattern_at(std::size_t offset) { return offset * 0x9E3779B97F4A7C15ull + 1; }

/// Fills every unit with a pattern of its place, and counts.
class PatternHandler final : public FaultHandler {
 public:
  bool on_fault(std::uintptr_t address) noexcept override {
    calls.fetch_add(1);
    const auto start = reinterpret_cast<std::uintptr_t>(base);
    if (refuse.load() || address - start >= bytes) return false;
    const std::size_t unit = linux_env().memory->fault_unit_bytes(driver);
    const std::size_t offset = (address - start) / unit * unit;
    alignas(8) std::byte contents[64 << 10];
    for (std::size_t at = 0; at < unit; at += 8) {
      base::store(base::MutableBytes(contents), at, pattern_at(offset + at));
    }
    errno = EXDEV;  // a handler may spoil it; the interrupted code must not see that
    return linux_env().memory->fill(base + offset, base::Bytes(contents).first(unit)).has_value();
  }

  std::byte* base = nullptr;
  std::size_t bytes = 0;
  FaultDriver driver = FaultDriver::none;
  std::atomic<int> calls{0};
  std::atomic<bool> refuse{false};
};

sigjmp_buf escape;
std::atomic<int> escaped{0};
void escape_handler(int) {
  escaped.fetch_add(1);
  siglongjmp(escape, 1);
}

class Faults : public testing::TestWithParam<FaultDriver> {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    if (GetParam() == FaultDriver::userfaultfd &&
        memory.best_driver() != FaultDriver::userfaultfd) {
      GTEST_SKIP() << "this machine has no userfaultfd";
    }
    // A former handler, so that faults that are passed on can be seen.
    escaped = 0;
    struct sigaction action{};
    action.sa_handler = escape_handler;
    action.sa_flags = SA_NODEFER;
    for (const int signal : {SIGSEGV, SIGBUS})
      sigaction(signal, &action, &former[signal == SIGBUS]);

    handler.driver = GetParam();
    handler.bytes = kRangeBytes;
    ASSERT_TRUE(memory.install_fault_handler(GetParam(), &handler));
    auto reserved = memory.reserve(2 * kRangeBytes, 1 << 20);
    ASSERT_TRUE(reserved) << reserved.error().message();
    handler.base = *reserved;
    ASSERT_TRUE(memory.demand(handler.base, kRangeBytes));
  }
  void TearDown() override {
    if (handler.base == nullptr) return;
    memory.release(handler.base, 2 * kRangeBytes);
    ASSERT_TRUE(memory.install_fault_handler(FaultDriver::none, nullptr));
    for (const int signal : {SIGSEGV, SIGBUS}) {
      struct sigaction current{};
      sigaction(signal, nullptr, &current);
      EXPECT_EQ(current.sa_handler, escape_handler) << "the former handler was not put back";
      sigaction(signal, &former[signal == SIGBUS], nullptr);
    }
  }

  [[nodiscard]] std::size_t unit() const { return memory.fault_unit_bytes(GetParam()); }
  [[nodiscard]] volatile std::uint64_t& word(std::size_t offset) const {
    return *reinterpret_cast<volatile std::uint64_t*>(handler.base + offset);
  }
  std::uint64_t peek(std::size_t offset) const { return word(offset); }
  [[nodiscard]] std::atomic<std::uint64_t>& counter(std::size_t offset) const {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(handler.base + offset);
  }
  /// Whether the access reached the former handler instead of memory.
  template <class Access>
  [[nodiscard]] bool escapes(Access access) {
    const int before = escaped.load();
    if (sigsetjmp(escape, 1) == 0) access();
    return escaped.load() != before;
  }

  Memory& memory = *linux_env().memory;
  PatternHandler handler;
  struct sigaction former[2]{};
};

INSTANTIATE_TEST_SUITE_P(BothDrivers, Faults,
                         testing::Values(FaultDriver::protection, FaultDriver::userfaultfd),
                         [](const auto& parameter) {
                           return parameter.param == FaultDriver::protection ? "Protection"
                                                                             : "UserFaultFd";
                         });

TEST_P(Faults, FirstTouchFillsOneUnitAndKeepsErrno) {
  EXPECT_FALSE(memory.present(handler.base + 5 * unit()));
  errno = EDOM;
  EXPECT_EQ(word(5 * unit() + 16), pattern_at(5 * unit() + 16));
  EXPECT_EQ(errno, EDOM);
  EXPECT_EQ(handler.calls, 1);
  EXPECT_TRUE(memory.present(handler.base + 5 * unit()));
  EXPECT_FALSE(memory.present(handler.base + 4 * unit()));
  EXPECT_FALSE(memory.present(handler.base + 6 * unit()));
}

TEST_P(Faults, AFirstTouchMayBeAStore) {
  word(8) = 42;
  EXPECT_EQ(word(0), pattern_at(0));
  EXPECT_EQ(word(8), 42u);
  EXPECT_EQ(handler.calls, 1);
}

TEST_P(Faults, FillOfAPresentUnitChangesNothing) {
  word(8) = 42;
  const std::vector<std::byte> other(2 * unit(), std::byte{0xFF});
  ASSERT_TRUE(memory.fill(handler.base, other));  // the second unit is absent and is filled
  EXPECT_EQ(word(8), 42u);
  EXPECT_EQ(word(unit()), ~0ull);
  EXPECT_EQ(handler.calls, 1);
}

TEST_P(Faults, FillOutsideADemandRangeIsAnError) {
  const std::vector<std::byte> contents(unit());
  const auto outside = memory.fill(handler.base + kRangeBytes, contents);
  ASSERT_FALSE(outside);
  EXPECT_EQ(outside.error().code(), Errc::invalid_argument);
  const auto partial = memory.fill(handler.base, base::Bytes(contents).first(512));
  ASSERT_FALSE(partial);
  EXPECT_EQ(partial.error().code(), Errc::invalid_argument);
}

TEST_P(Faults, DiscardMakesUnitsAbsentAgain) {
  word(8) = 42;
  word(unit() + 8) = 43;
  memory.discard(handler.base, unit());
  EXPECT_FALSE(memory.present(handler.base));
  EXPECT_TRUE(memory.present(handler.base + unit()));
  EXPECT_EQ(word(8), pattern_at(8));
  EXPECT_EQ(word(unit() + 8), 43u);
  EXPECT_EQ(handler.calls, 3);
}

TEST_P(Faults, ActivateEndsDemandAndGivesZeros) {
  word(8) = 42;
  memory.discard(handler.base, 2 * unit());
  ASSERT_TRUE(memory.activate(handler.base, 2 * unit()));
  handler.calls = 0;
  EXPECT_EQ(word(8), 0u);
  EXPECT_EQ(word(unit()), 0u);
  EXPECT_EQ(handler.calls, 0);
  ASSERT_TRUE(memory.demand(handler.base, unit()));
  EXPECT_EQ(word(8), pattern_at(8));
}

TEST_P(Faults, AFaultThatTheHandlerRefusesReachesTheFormerHandler) {
  handler.refuse = true;
  EXPECT_TRUE(escapes([&] { peek(0); }));
  EXPECT_EQ(handler.calls, 1);
  handler.refuse = false;
  EXPECT_FALSE(escapes([&] { peek(0); }));
}

TEST_P(Faults, FaultsOutsideTheArenaReachTheFormerHandler) {
  void* const page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  EXPECT_TRUE(escapes([&] { *static_cast<volatile char*>(page) = 1; }));
  EXPECT_TRUE(escapes([&] { peek(kRangeBytes); }));  // reserved, not demanded
  EXPECT_EQ(handler.calls, 0);
  munmap(page, 4096);
}

TEST_P(Faults, AStoreToAProtectedPresentPageIsNotTakenForAnAbsentOne) {
  word(8) = 42;
  ASSERT_TRUE(memory.protect(handler.base, unit(), false));
  EXPECT_TRUE(escapes([&] { word(8) = 43; }));
  EXPECT_EQ(word(8), 42u);
  EXPECT_EQ(handler.calls, 1);
  ASSERT_TRUE(memory.protect(handler.base, unit(), true));
  EXPECT_FALSE(escapes([&] { word(8) = 43; }));
  EXPECT_EQ(word(8), 43u);
}

TEST_P(Faults, ProtectingARangeLeavesItsAbsentUnitsAbsent) {
  word(8) = 42;
  ASSERT_TRUE(memory.protect(handler.base, 2 * unit(), false));
  EXPECT_EQ(word(unit()), pattern_at(unit()));
  EXPECT_EQ(handler.calls, 2);
}

/// Opens the page on the first store, if it is told to.
class OpeningHandler final : public StoreHandler {
 public:
  bool on_store(std::uintptr_t address) noexcept override {
    seen = address;
    const std::uintptr_t page = address / 4096 * 4096;
    return opens &&
           linux_env().memory->protect(reinterpret_cast<std::byte*>(page), 4096, true).has_value();
  }
  bool opens = true;
  std::uintptr_t seen = 0;
};

TEST_P(Faults, PagesClosedWhileAbsentStayClosedWhenTheyAreFilledAndDiscarded) {
  ASSERT_TRUE(memory.protect(handler.base, 4 * unit(), false));
  EXPECT_EQ(word(0), pattern_at(0));
  EXPECT_TRUE(escapes([&] { word(8) = 1; }));
  EXPECT_TRUE(escapes([&] { word(unit() + 8) = 1; }));  // a first touch that is a store
  EXPECT_EQ(word(unit() + 8), pattern_at(unit() + 8));
  memory.discard(handler.base, unit());
  EXPECT_EQ(word(8), pattern_at(8));
  EXPECT_TRUE(escapes([&] { word(8) = 1; }));
  ASSERT_TRUE(memory.protect(handler.base + unit(), unit(), true));
  word(unit() + 8) = 1;
  ASSERT_TRUE(memory.protect(handler.base, 4 * unit(), true));
  word(8) = 1;
  word(3 * unit()) = 1;
}

TEST_P(Faults, StoresToClosedPagesGoToTheStoreHandlerFirst) {
  OpeningHandler stores;
  ASSERT_TRUE(memory.install_store_handler(&stores));
  ASSERT_TRUE(memory.protect(handler.base, unit(), false));
  EXPECT_EQ(word(16), pattern_at(16));
  EXPECT_EQ(stores.seen, 0u) << "reading is no store";
  word(8) = 42;
  EXPECT_EQ(word(8), 42u);
  EXPECT_EQ(stores.seen, reinterpret_cast<std::uintptr_t>(handler.base) + 8);
  stores.opens = false;
  ASSERT_TRUE(memory.protect(handler.base, unit(), false));
  EXPECT_TRUE(escapes([&] { word(8) = 43; }));
  EXPECT_EQ(word(8), 42u);
  ASSERT_TRUE(memory.install_store_handler(nullptr));
  stores.opens = true;
  EXPECT_TRUE(escapes([&] { word(8) = 43; }));
}

TEST_P(Faults, SystemCallsOnAbsentPagesGiveEfaultUntilTheyAreFilled) {
  const int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(read(fd, handler.base, 8), -1);
  EXPECT_EQ(errno, EFAULT);
  peek(0);
  EXPECT_EQ(read(fd, handler.base, 8), 8);
  EXPECT_EQ(word(0), 0u);
  close(fd);
}

TEST_P(Faults, ThreadsHammeringTheSamePagesLoseNoStore) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 3000;
  const std::size_t units = kRangeBytes / unit();
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int number = 0; number < kThreads; ++number) {
    threads.emplace_back([&, number] {
      base::Random random(static_cast<std::uint64_t>(number));
      for (int round = 0; round < kRounds; ++round) {
        const std::size_t place = random.below(units) * unit();
        counter(place).fetch_add(1);
        const std::size_t read = random.below(unit() / 8 - 1) * 8 + 8;
        wrong += word(place + read) != pattern_at(place + read);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  std::uint64_t adds = 0;
  for (std::size_t place = 0; place < kRangeBytes; place += unit()) {
    adds += word(place) - pattern_at(place);
  }
  EXPECT_EQ(adds, std::uint64_t{kThreads} * kRounds);
}

TEST_P(Faults, ThreadsSurviveUnitsBeingDroppedUnderThem) {
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::atomic<int> reads{0};
  constexpr std::size_t kUnits = 8;
  std::vector<std::thread> threads;
  for (int number = 0; number < 3; ++number) {
    threads.emplace_back([&, number] {
      base::Random random(static_cast<std::uint64_t>(number));
      while (!stop) {
        const std::size_t place = random.below(kUnits * unit() / 8) * 8;
        wrong += word(place) != pattern_at(place);
        reads.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  base::Random random(7);
  // Until the threads have met dropped units, however late they came to run.
  for (int round = 0; round < 2000 || reads < 1000 || handler.calls.load() <= 8; ++round) {
    memory.discard(handler.base + random.below(kUnits) * unit(), unit());
    if (round % 16 == 0) std::this_thread::yield();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(Faults, AForkedChildNeitherHasNorFillsTheArena) {
  word(8) = 42;
  const pid_t child = fork();
  if (child == 0) {
    const std::vector<std::byte> contents(unit(), std::byte{0xFF});
    const auto filled = memory.fill(handler.base + unit(), contents);
    if (filled || filled.error().code() != Errc::forked) _exit(1);
    signal(SIGSEGV, SIG_DFL);
    word(8) = 43;
    _exit(2);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
  EXPECT_FALSE(memory.present(handler.base + unit()));
  EXPECT_EQ(word(8), 42u);
}

TEST_P(Faults, AForkedChildCanStartAnew) {
  word(8) = 42;
  const FaultDriver driver = GetParam();
  const pid_t child = fork();
  if (child == 0) {
    PatternHandler own;
    own.driver = driver;
    own.bytes = kRangeBytes;
    if (!memory.install_fault_handler(driver, &own)) _exit(1);
    auto place = memory.reserve(kRangeBytes, 1 << 20);
    if (!place || !memory.demand(*place, kRangeBytes)) _exit(2);
    own.base = *place;
    std::atomic_signal_fence(
        std::memory_order_seq_cst);  // the handler reads it during the load below
    const auto* const words = reinterpret_cast<const volatile std::uint64_t*>(*place);
    if (words[0] != pattern_at(0) || words[kRangeBytes / 8 - 1] != pattern_at(kRangeBytes - 8)) {
      _exit(3);
    }
    memory.release(*place, kRangeBytes);
    if (!memory.install_fault_handler(FaultDriver::none, nullptr)) _exit(4);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(word(unit()), pattern_at(unit())) << "the parent goes on";
  EXPECT_EQ(word(8), 42u);
}

TEST_P(Faults, WithoutAFormerHandlerTheProcessDiesOfTheSignal) {
  ASSERT_TRUE(handler.base != nullptr);
  const FaultDriver driver = GetParam();
  const auto die = [driver] {
    for (const int number : {SIGSEGV, SIGBUS}) signal(number, SIG_DFL);
    Memory& child_memory = *linux_env().memory;
    PatternHandler refusing;
    refusing.refuse = true;
    if (!child_memory.install_fault_handler(driver, &refusing)) _exit(1);
    auto place = child_memory.reserve(1 << 20, 1 << 20);
    if (!place || !child_memory.demand(*place, 1 << 20)) _exit(2);
    **place = std::byte{1};
    _exit(3);
  };
  // The re-executed child runs SetUp first; its handler is taken out for the one of this test.
  EXPECT_EXIT(
      {
        memory.release(handler.base, 2 * kRangeBytes);
        (void)memory.install_fault_handler(FaultDriver::none, nullptr);
        die();
      },
      testing::KilledBySignal(fault_signal(driver)), "");
}

TEST(Memory, TheBestDriverIsUserfaultfdOrProtection) {
  const FaultDriver driver = linux_env().memory->best_driver();
  EXPECT_NE(driver, FaultDriver::none);
  EXPECT_EQ(linux_env().memory->best_driver(), driver);
  RecordProperty("driver", driver == FaultDriver::userfaultfd ? "userfaultfd" : "protection");
}

TEST(Memory, DemandNeedsAHandler) {
  Memory& memory = *linux_env().memory;
  auto place = memory.reserve(1 << 20, 1 << 20);
  ASSERT_TRUE(place);
  const auto demanded = memory.demand(*place, 1 << 20);
  ASSERT_FALSE(demanded);
  EXPECT_EQ(demanded.error().code(), Errc::unsupported);
  memory.release(*place, 1 << 20);
}

TEST(UnitFiller, TheSecondWayMovesAFilledMappingOverTheUnit) {
  constexpr std::size_t kUnits = 4;
  void* const mapped =
      mmap(nullptr, kUnits * kUnitBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  auto* const start = static_cast<std::byte*>(mapped);
  UnitMap* const units = UnitMap::create(kUnits * kUnitBytes);
  ASSERT_NE(units, nullptr);
  units->set_range(0, kUnits, UnitState::absent);
  UnitFiller filler;
  filler.open(UnitFiller::Way::move);
  const std::vector<std::byte> contents(kUnitBytes, std::byte{7});
  ASSERT_TRUE(filler.fill(*units, 2, start + 2 * kUnitBytes, contents));
  EXPECT_EQ(units->state(2), UnitState::present);
  EXPECT_EQ(units->state(1), UnitState::absent);
  EXPECT_EQ(start[2 * kUnitBytes], std::byte{7});
  EXPECT_EQ(start[3 * kUnitBytes - 1], std::byte{7});
  start[2 * kUnitBytes] = std::byte{8};
  ASSERT_TRUE(filler.fill(*units, 2, start + 2 * kUnitBytes, contents));
  EXPECT_EQ(start[2 * kUnitBytes], std::byte{8});
  EXPECT_TRUE(UnitFiller::drop(*units, 2, start + 2 * kUnitBytes));
  EXPECT_EQ(units->state(2), UnitState::absent);
  filler.close();
  UnitMap::destroy(units);
  munmap(mapped, kUnits * kUnitBytes);
}

TEST(UnitMap, WholeGibibytesAreOneEntryUntilTheirUnitsDiffer) {
  constexpr std::size_t kPerBlock = (std::size_t{1} << 30) / kUnitBytes;
  UnitMap* const units = UnitMap::create(std::size_t{3} << 30);
  ASSERT_NE(units, nullptr);
  units->set_range(10, 3 * kPerBlock - 10, UnitState::absent);
  EXPECT_EQ(units->state(9), UnitState::plain);
  EXPECT_EQ(units->state(10), UnitState::absent);
  EXPECT_EQ(units->state(kPerBlock + 5), UnitState::absent);
  EXPECT_EQ(units->state(3 * kPerBlock - 10), UnitState::plain);
  EXPECT_FALSE(units->begin_change(9, UnitState::absent));
  ASSERT_TRUE(units->begin_change(kPerBlock + 5, UnitState::absent));
  EXPECT_FALSE(units->begin_change(kPerBlock + 5, UnitState::absent));
  units->end_change(kPerBlock + 5, UnitState::present);
  units->set_write_protected((kPerBlock + 5) * 16 + 3, true);
  EXPECT_TRUE(units->is_write_protected((kPerBlock + 5) * 16 + 3));
  EXPECT_FALSE(units->is_write_protected((kPerBlock + 5) * 16 + 4));
  units->set_range(kPerBlock, 2 * kPerBlock, UnitState::plain);
  EXPECT_EQ(units->state(kPerBlock + 5), UnitState::plain);
  EXPECT_FALSE(units->is_write_protected((kPerBlock + 5) * 16 + 3));
  EXPECT_EQ(units->state(10), UnitState::absent);
  UnitMap::destroy(units);
}

}  // namespace
}  // namespace dolmen::sys
