// SPDX-License-Identifier: Apache-2.0
//
// The debug mode that catches stores past logging (docs/debugging.md), under every way in which
// absent pages are noticed. A test that needs a driver other than the process's is skipped: ctest
// gives each test a process.
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <thread>

#include <gtest/gtest.h>

#include <dolmen/space.hpp>
#include <dolmen/vector.hpp>

#include "node/open_space.hpp"
#include "sys/linux/linux.hpp"
#include "txn/space_core.hpp"
#include "txn/view_core.hpp"

namespace dolmen {
namespace {

using sys::FaultDriver;

struct Account {
  std::uint64_t number;
  std::uint64_t balance;
  std::uint32_t limits[4];
};
struct Bank {
  Account first;
  ptr<Account> last;
  vector<Account> accounts;
};

/// A writable reference to what was read: the mistake that the guard is for.
template <class T>
T& slip(const T& stored) {
  return const_cast<T&>(stored);
}

/// What a mut leads to, as a reader sees it: operator[] of a container that may be written logs.
template <class T>
const T& look(const mut<T>& target) {
  return *target;
}

class StoreGuard : public testing::TestWithParam<FaultDriver> {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    sys::Memory& memory = *sys::linux_env().memory;
    if (GetParam() == FaultDriver::userfaultfd &&
        memory.best_driver() != FaultDriver::userfaultfd) {
      GTEST_SKIP() << "this machine has no userfaultfd";
    }
    const auto driver = detail::install_arena_faults(memory, GetParam());
    ASSERT_TRUE(driver) << driver.error().message();
    if (*driver != GetParam()) GTEST_SKIP() << "this process has the other driver";
    std::string pattern = (std::filesystem::temp_directory_path() / "dolmen-guard-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    path = pattern;
    open(true);
    if (HasFatalFailure()) return;
    bank = space->create<Bank>("bank", {.capacity = 1u << 20}).value();
    other = space->create<Bank>("other", {.capacity = 1u << 20}).value();
    // Many pages, so that some stay closed while others are open.
    for (const Object<Bank>& each : {bank, other}) {
      space
          ->transact(each,
                     [&](mut<Bank> b) {
                       b->first = Account{1, 100, {}};
                       b->last = make<Account>(b, std::uint64_t{7}, std::uint64_t{700});
                       for (std::uint64_t i = 0; i < 4000; ++i) {
                         b->accounts.push_back(Account{i, 10 * i, {}});
                       }
                     })
          .value();
    }
  }
  void TearDown() override {
    space.reset();
    if (!path.empty()) std::filesystem::remove_all(path);
  }

  void open(bool guarded) {
    space.reset();
    auto disk = sys::open_directory(path, sys::DirectoryMode::open_or_create);
    ASSERT_TRUE(disk);
    SpaceOptions options;
    options.background = false;
    options.guard_stores = guarded;
    auto opened = node::open_space(sys::linux_env(), std::move(*disk), options, GetParam());
    ASSERT_TRUE(opened) << opened.error().message();
    space.emplace(std::move(*opened));
  }
  std::uint64_t balance(std::size_t i) {
    return space->read(bank, [&](ref<Bank> b) { return b->accounts[i].balance; }).value();
  }
  static void expect_stray(const Result<void>& outcome, const std::string& field) {
    ASSERT_FALSE(outcome) << "the store was not caught";
    EXPECT_EQ(outcome.error().code(), Errc::unlogged_store);
    const std::string text = outcome.error().message();
    EXPECT_NE(text.find(field), std::string::npos) << text;
    EXPECT_NE(text.find("object "), std::string::npos) << text;
    EXPECT_NE(text.find(", page "), std::string::npos) << text;
  }

  std::string path;
  std::optional<Space> space;
  Object<Bank> bank;
  Object<Bank> other;
};

std::string driver_name(const testing::TestParamInfo<FaultDriver>& info) {
  return info.param == FaultDriver::protection ? "Protection" : "Userfaultfd";
}

INSTANTIATE_TEST_SUITE_P(Drivers, StoreGuard,
                         testing::Values(FaultDriver::protection, FaultDriver::userfaultfd),
                         driver_name);

TEST_P(StoreGuard, WithoutItAStrayStoreIsCommittedByNobodyAndNoticedByNobody) {
  open(false);
  ASSERT_TRUE(space->transact(bank, [&](mut<Bank> b) {
    b->first.balance = 1;
    slip(look(b).accounts[2000]).balance = 666;
  }));
  EXPECT_EQ(balance(2000), 666u);
  open(false);
  EXPECT_EQ(balance(2000), 20000u) << "the store was never in the log";
}

TEST_P(StoreGuard, AConstCastInAClosedPageFailsTheTransactionAndIsPutBack) {
  expect_stray(space->transact(bank,
                               [&](mut<Bank> b) {
                                 b->first.balance = 1;
                                 slip(look(b).accounts[2000]).balance = 666;
                                 EXPECT_EQ(look(b).accounts[2000].balance, 666u);
                               }),
               "Account::balance");
  EXPECT_EQ(balance(2000), 20000u);
  EXPECT_EQ(space->read(bank, [](ref<Bank> b) { return b->first.balance; }).value(), 100u);
}

TEST_P(StoreGuard, ARootTakenAsRefIsClosed) {
  expect_stray(space->transact(bank, [&](ref<Bank> b) { slip(b->first).balance = 666; }),
               "Bank::first.balance");
  EXPECT_EQ(space->read(bank, [](ref<Bank> b) { return b->first.balance; }).value(), 100u);
}

TEST_P(StoreGuard, AConstCastBesideALoggedFieldIsFoundAtTheCommit) {
  expect_stray(space->transact(bank,
                               [&](mut<Bank> b) {
                                 b->accounts.edit(2000)->number = 5;
                                 slip(look(b).accounts[2001]).limits[2] = 666;
                               }),
               "Account::limits[2]");
  EXPECT_EQ(space->read(bank, [](ref<Bank> b) { return b->accounts[2001].limits[2]; }).value(), 0u);
  EXPECT_EQ(space->read(bank, [](ref<Bank> b) { return b->accounts[2000].number; }).value(), 2000u);
}

TEST_P(StoreGuard, AReferenceKeptFromAnEarlierTransactionIsNoRight) {
  Account* kept = nullptr;
  space->transact(bank, [&](mut<Bank> b) { kept = edit(b->last).get(); }).value();
  expect_stray(space->transact(bank, [&](mut<Bank>) { kept->balance = 666; }), "Account::balance");
  EXPECT_EQ(space->read(bank, [](ref<Bank> b) { return b->last->balance; }).value(), 700u);
  EXPECT_TRUE(space->transact(bank, [&](mut<Bank> b) { edit(b->last)->balance = 701; }));
}

TEST_P(StoreGuard, AStoreBeforeItsEditIsFoundThoughTheCommitWouldNotSeeIt) {
  expect_stray(space->transact(bank,
                               [&](mut<Bank> b) {
                                 b->accounts.edit(2000)->number = 5;
                                 slip(look(b).accounts[2001]).balance = 666;
                                 b->accounts.edit(2001)->balance = 666;
                               }),
               "Account::balance");
  EXPECT_EQ(balance(2001), 20010u);
}

TEST_P(StoreGuard, ACopyOverObjectMemoryIsFoundWithAFieldOfIt) {
  const Account wrong{0xFFFF, 0xFFFF, {1, 2, 3, 4}};
  expect_stray(space->transact(bank,
                               [&](mut<Bank> b) {
                                 std::memcpy(&slip(look(b).accounts[2000]), &wrong, sizeof wrong);
                               }),
               "Account::");  // which one is stored first is the compiler's choice
  EXPECT_EQ(balance(2000), 20000u);
}

TEST_P(StoreGuard, FreedMemoryAndTheObjectsOwnWordsAreGuardedToo) {
  Account* freed = nullptr;
  space
      ->transact(bank,
                 [&](mut<Bank> b) {
                   const mut<Account> gone = edit(b->last);
                   freed = gone.get();
                   b->last = nullptr;
                   destroy(gone);
                 })
      .value();
  expect_stray(space->transact(bank, [&](mut<Bank>) { freed->balance = 666; }), "object");
  expect_stray(space->transact(bank,
                               [&](mut<Bank> b) {
                                 b->first.balance = 1;
                                 const std::uintptr_t base = detail::base_of(b.get());
                                 *reinterpret_cast<std::uint8_t*>(base) = 0xEE;
                               }),
               "at offset 0");
  EXPECT_EQ(balance(1), 10u);
}

TEST_P(StoreGuard, AnObjectMadeInTheTransactionIsGuardedFromItsFirstByte) {
  const auto outcome = space->transact(any, [&]() -> Result<void> {
    DOLMEN_TRY(const auto fresh, space->create<Bank>("fresh", {.capacity = 1u << 20}));
    const auto root = space->edit(fresh);
    root->accounts.push_back(Account{1, 1, {}});
    slip(look(root).accounts[0]).balance = 2;  // announced by push_back: logged, so no mistake
    auto* end = reinterpret_cast<std::byte*>(detail::base_of(static_cast<const void*>(root.get())) +
                                             (1u << 19));
    *end = std::byte{1};
    return {};
  });
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Errc::unlogged_store) << outcome.error().message();
  EXPECT_FALSE(space->find<Bank>("fresh"));
}

TEST_P(StoreGuard, ABodyThatThrowsHasItsStrayStoresPutBackToo) {
  EXPECT_THROW((void)space->transact(bank,
                                     [&](mut<Bank> b) {
                                       b->accounts.edit(2000)->number = 5;
                                       slip(look(b).accounts[2001]).balance = 666;
                                       slip(look(b).accounts[100]).balance = 666;
                                       throw std::runtime_error("no");
                                     }),
               std::runtime_error);
  EXPECT_EQ(balance(2001), 20010u);
  EXPECT_EQ(balance(100), 1000u);
}

TEST_P(StoreGuard, NoViewSeesAStrayStoreOfARunningTransaction) {
  expect_stray(space->transact(bank,
                               [&](mut<Bank> b) {
                                 b->accounts.edit(2000)->number = 5;
                                 slip(look(b).accounts[2001]).balance = 666;
                                 slip(look(b).accounts[100]).balance = 666;
                                 const View view = space->view({.level = Level::visible}).value();
                                 EXPECT_EQ(view[bank]->accounts[2001].balance, 20010u);
                                 EXPECT_EQ(view[bank]->accounts[100].balance, 1000u);
                               }),
               "Account::balance");
}

TEST_P(StoreGuard, AnotherThreadsStoreToAnOpenPageFailsTheTransaction) {
  expect_stray(space->transact(bank,
                               [&](mut<Bank> b) {
                                 b->accounts.edit(2000)->number = 5;
                                 Account& stray = slip(look(b).accounts[2001]);
                                 std::thread([&] { stray.balance = 666; }).join();
                               }),
               "Account::balance");
  EXPECT_EQ(balance(2001), 20010u);
}

TEST_P(StoreGuard, SoundWorkOfEveryKindPasses) {
  for (int round = 0; round < 3; ++round) {
    auto small = space->create<Account>("small", {.capacity = 512}).value();
    auto neighbour = space->create<Account>("neighbour", {.capacity = 512}).value();
    ASSERT_TRUE(
        space->transact(small, neighbour, bank, [&](mut<Account> s, mut<Account> n, mut<Bank> b) {
          s->balance = 1;
          n->balance = 2;
          b->last = ptr<Account>(s);
          b->accounts.pop_back();
          b->accounts.edit(7)->balance += 1;
        }));
    const View view = space->view().value();
    EXPECT_EQ(view[bank]->last->balance, 1u);
    ASSERT_FALSE(space->transact(bank, [&](mut<Bank> b) -> Result<void> {
      b->accounts.clear();
      return fail(Errc::aborted);
    }));
    ASSERT_TRUE(space->checkpoint());
    ASSERT_TRUE(space->erase(neighbour));
    ASSERT_TRUE(space->erase(small));
    EXPECT_EQ(view[bank]->last->balance, 1u);
  }
  ASSERT_TRUE(space->resize(bank.id(), 4u << 20));
  open(true);
  EXPECT_EQ(balance(7), 73u);
  ASSERT_TRUE(space->transact(bank, [&](mut<Bank> b) { b->accounts.clear(); }));
}

using StoreGuardDeathTest = StoreGuard;
INSTANTIATE_TEST_SUITE_P(Drivers, StoreGuardDeathTest,
                         testing::Values(FaultDriver::protection, FaultDriver::userfaultfd),
                         driver_name);

constexpr const char* kField = "dolmen: unlogged_store: .*Account::balance in object .*, page ";

TEST_P(StoreGuardDeathTest, AStoreToAnObjectThatWasNotNamedEndsTheProcessThere) {
  const Account* target = nullptr;
  space->read(other, [&](ref<Bank> b) { target = &b->accounts[3000]; }).value();
  EXPECT_DEATH((void)space->transact(bank, [&](mut<Bank>) { slip(*target).balance = 666; }),
               std::string(kField) + ".*does not hold the object");
}

TEST_P(StoreGuardDeathTest, AStoreInAReadSectionEndsTheProcessThere) {
  EXPECT_DEATH(
      (void)space->read(bank, [&](ref<Bank> b) { slip((*b).accounts[3000]).balance = 666; }),
      std::string(kField) + ".*in a read section");
}

TEST_P(StoreGuardDeathTest, AStoreInAViewEndsTheProcessThere) {
  const View view = space->view().value();
  EXPECT_DEATH(slip(view[bank]->accounts[3000]).balance = 666,
               std::string(kField) + ".*a view cannot be written");
}

TEST_P(StoreGuardDeathTest, AStoreOutsideEverySectionEndsTheProcessThere) {
  Account* kept = nullptr;
  space->transact(bank, [&](mut<Bank> b) { kept = b->accounts.edit(3000).get(); }).value();
  EXPECT_DEATH(kept->balance = 666, std::string(kField) + ".*outside every section");
}

TEST_P(StoreGuardDeathTest, SmallObjectsAreGuardedFromTheirNeighbours) {
  auto small = space->create<Account>({.capacity = 512}).value();
  auto neighbour = space->create<Account>({.capacity = 512}).value();
  const Account* target = nullptr;
  space->read(neighbour, [&](ref<Account> n) { target = n.get(); }).value();
  EXPECT_DEATH((void)space->transact(small,
                                     [&](mut<Account> s) {
                                       s->balance = 1;
                                       slip(*target).balance = 666;
                                     }),
               std::string(kField) + ".*does not hold the object");
}

TEST(StoreGuardSwitch, TheEnvironmentSwitchesItOn) {
  std::string pattern = (std::filesystem::temp_directory_path() / "dolmen-guard-XXXXXX").string();
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  for (const bool on : {false, true}) {
    ASSERT_EQ(::setenv("DOLMEN_GUARD_STORES", on ? "1" : "0", 1), 0);
    auto space = Space::open(pattern).value();
    auto account = space.find_or_create<Account>("account").value();
    const Account* target = nullptr;
    space.read(account, [&](ref<Account> a) { target = a.get(); }).value();
    const auto done = space.transact(any, [&] {
      (void)edit(target->number);
      slip(*target).balance = on ? 666 : 667;
    });
    EXPECT_EQ(done.has_value(), !on);
  }
  std::filesystem::remove_all(pattern);
}

}  // namespace
}  // namespace dolmen
