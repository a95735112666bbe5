// SPDX-License-Identifier: Apache-2.0
//
// Everything at once in one space: money moves between accounts in many objects, twins are always
// equal, names come and go, checkpoints never stop, another space opens and closes. Every reader
// checks the invariants.
#include <array>
#include <atomic>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/vector.hpp>

#include "base/random.hpp"
#include "node/space_fixture.hpp"

namespace dolmen::node {
namespace {

constexpr std::size_t kAccounts = 8;
constexpr std::uint64_t kTotal = kAccounts * 1000;

struct Account {
  std::uint64_t balance;
};
struct Twin {
  std::uint64_t count;
};

class Bank : public testing::Test {
 protected:
  using Balances = std::array<std::uint64_t, kAccounts>;

  Bank() {
    const auto made = space_.transact(any, [&]() -> Result<void> {
      for (auto& account : accounts_) {
        // Large ones are filled page by page on demand, small ones as a whole.
        DOLMEN_TRY(account, space_.create<Account>(
                                {.capacity = &account - accounts_.data() < 4 ? 512u : 1u << 20}));
        space_.edit(account)->balance = 1000;
      }
      for (auto& twin : twins_) {
        DOLMEN_TRY(twin, space_.create<Twin>({.capacity = 64u << 10}));
      }
      return {};
    });
    EXPECT_TRUE(made) << made.error().message();
  }

  void transfer(base::Random& random) {
    const std::size_t from = random.below(kAccounts);
    const std::size_t to = (from + 1 + random.below(kAccounts - 1)) % kAccounts;
    const std::uint64_t amount = random.below(100);
    const TransactOptions options{.durability = random.chance(1, 8) ? Durability::durable
                                                                    : Durability::deferred};
    const bool refuse = random.chance(1, 5);
    const auto move = [&](Account& giver, Account& taker) -> Result<void> {
      giver.balance -= amount;  // wraps around below zero, the sum does not mind
      taker.balance += amount;
      if (refuse) return fail(Errc::aborted);
      return {};
    };
    const auto done = random.chance(1, 2)
                          ? space_.transact(options, accounts_[from], accounts_[to],
                                            [&](mut<Account> giver, mut<Account> taker) {
                                              return move(*giver, *taker);
                                            })
                          : space_.transact(options, any, [&] {
                              auto giver = space_.edit(accounts_[from]);
                              return move(*giver, *space_.edit(accounts_[to]));
                            });
    if (!done) {
      EXPECT_EQ(done.error().code(), Errc::aborted) << done.error().message();
    }
  }
  void count_twins() {
    Ticket ticket;
    const auto done =
        space_.transact(TransactOptions{.durability = Durability::deferred, .ticket = &ticket},
                        twins_[0], twins_[1], [](mut<Twin> a, mut<Twin> b) {
                          ++a->count;
                          ++b->count;
                        });
    EXPECT_TRUE(done) << done.error().message();
    const auto view = space_.view(ReadOptions{.level = Level::visible});
    ASSERT_TRUE(view) << view.error().message();
    EXPECT_GE(view->index(), ticket.index) << "a view shows its maker's own commits";
    if (ticket.index % 16 == 0) {
      EXPECT_TRUE(space_.wait(ticket));
    }
  }
  void check_everything() {
    const auto sum = space_.read(everything, [&] {
      std::uint64_t total = 0;
      for (const auto& account : accounts_) total += space_.root(account)->balance;
      return total;
    });
    ASSERT_TRUE(sum) << sum.error().message();
    EXPECT_EQ(*sum, kTotal);
  }
  void check_twins() {
    const auto same = space_.read(ReadOptions{.level = Level::visible}, twins_[0], twins_[1],
                                  [](ref<Twin> a, ref<Twin> b) { return a->count == b->count; });
    ASSERT_TRUE(same) << same.error().message();
    EXPECT_TRUE(*same);
  }
  [[nodiscard]] Balances balances(const View& view) const {
    Balances balances{};
    for (std::size_t i = 0; i < kAccounts; ++i) balances[i] = view[accounts_[i]]->balance;
    return balances;
  }
  void check(const View& view) const {
    const Balances now = balances(view);
    EXPECT_EQ(std::accumulate(now.begin(), now.end(), std::uint64_t{0}), kTotal);
    EXPECT_EQ(view[twins_[0]]->count, view[twins_[1]]->count);
  }

  /// Runs `rounds` rounds of each worker in threads of their own, and meanwhile each watcher.
  void run(int rounds, std::vector<std::function<void(base::Random&)>> workers,
           std::vector<std::function<void()>> watchers) {
    std::atomic<std::size_t> working{workers.size()};
    std::vector<std::jthread> threads;
    for (std::size_t w = 0; w < workers.size(); ++w) {
      threads.emplace_back([&, w] {
        base::Random random(w + 1);
        for (int round = 0; round < rounds; ++round) workers[w](random);
        working.fetch_sub(1);
      });
    }
    for (const auto& watch : watchers) {
      threads.emplace_back([&working, &watch] {
        while (working.load() > 0) watch();
        watch();
      });
    }
  }

  TestDirectory directory_;
  Space space_ = open_test_space(directory_);
  std::array<Object<Account>, kAccounts> accounts_;
  std::array<Object<Twin>, 2> twins_;
};

TEST_F(Bank, EveryReaderSeesWholeTransactions) {
  const View oldest = space_.view().value();
  const auto transfers = [this](base::Random& random) { transfer(random); };
  std::atomic<std::uint64_t> newest_index{0};
  run(150, {transfers, transfers, transfers, [this](base::Random&) { count_twins(); }},
      {[this] { check_everything(); }, [this] { check_twins(); },
       [&] {
         const std::uint64_t before = newest_index.load();
         const auto view = space_.view(ReadOptions{.level = Level::visible});
         ASSERT_TRUE(view) << view.error().message();
         EXPECT_GE(view->index(), before) << "views never go back";
         check(*view);
         newest_index.store(std::max(before, view->index()));
       },
       [this] { check(space_.view().value()); }, [this] { EXPECT_TRUE(space_.checkpoint()); }});
  // Nothing of it was looked at before.
  EXPECT_EQ(balances(oldest), (Balances{1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000}));
  EXPECT_EQ(oldest[twins_[0]]->count, 0u);
  check(space_.view().value());
  EXPECT_EQ(space_.view().value()[twins_[0]]->count, 150u);
}

TEST_F(Bank, AViewHeldAcrossManyCommitsShowsOneState) {
  std::atomic<int> held{0};
  const auto transfers = [this](base::Random& random) { transfer(random); };
  const auto hold = [&] {
    const View view = space_.view(ReadOptions{.level = Level::visible}).value();
    const Balances first = balances(view);
    const std::uint64_t until = space_.stats().commits + 20;
    for (int look = 0; look < 50 && space_.stats().commits < until; ++look) {
      EXPECT_EQ(balances(view), first);
    }
    check(view);
    held.fetch_add(1);
  };
  run(150, {transfers, transfers}, {hold, hold, hold});
  EXPECT_GT(held.load(), 3);
}

TEST_F(Bank, NamesComeAndGoWhileOtherSpacesOpenAndClose) {
  std::atomic<int> number{0};
  run(25,
      {[&](base::Random&) {
         const std::string name = "account " + std::to_string(number.fetch_add(1));
         ASSERT_TRUE(space_.set_name(accounts_[0].id(), name));
         const auto found = space_.find<Account>(name);
         ASSERT_TRUE(found) << found.error().message();
         EXPECT_EQ(*found, accounts_[0]);
         ASSERT_TRUE(space_.remove_name(name));
         EXPECT_EQ(space_.find<Account>(name).error().code(), Errc::not_found);
       },
       [this](base::Random& random) { transfer(random); },
       [](base::Random&) {
         const TestDirectory elsewhere;
         auto other = open_test_space(elsewhere, {.background = false});
         const auto shelf = other.create<Shelf>({.capacity = 4096}).value();
         ASSERT_TRUE(other.transact(shelf, [](mut<Shelf> s) { s->value = 5; }));
         EXPECT_EQ(other.view().value()[shelf]->value, 5u);
       }},
      {[this] { check_everything(); }, [this] { EXPECT_TRUE(space_.names()); }});
}

/// Pointers to ever other objects, so that the table of foreign objects is looked through and its
/// indices are used again and again.
struct Directory {
  vector<ptr<Account>> entries;
};

TEST(ForeignTable, IndicesAreReusedWhileViewsAndReadersFollowTheOldOnes) {
  constexpr std::size_t kEntries = 300;
  constexpr std::size_t kTargets = 900;
  constexpr int kRounds = 40;
  const TestDirectory place;
  auto space = open_test_space(place);
  const auto directory = space.create<Directory>().value();
  std::vector<Object<Account>> targets(kTargets);
  const auto made = space.transact(any, [&]() -> Result<void> {
    for (std::size_t i = 0; i < kTargets; ++i) {
      DOLMEN_TRY(targets[i], space.create<Account>({.capacity = 512}));
      space.edit(targets[i])->balance = i;
    }
    auto d = space.edit(directory);
    d->entries.resize(kEntries);
    for (std::size_t i = 0; i < kEntries; ++i) d->entries[i] = ptr_to(*space.root(targets[i]));
    return {};
  });
  ASSERT_TRUE(made) << made.error().message();
  // Entry i always leads to a target whose number is i modulo kEntries.
  const auto right = [&](const Directory& d) {
    for (std::size_t i = 0; i < kEntries; ++i) {
      if (d.entries[i]->balance % kEntries != i) return false;
    }
    return true;
  };
  std::atomic<bool> done{false};
  std::vector<std::jthread> readers;
  for (int t = 0; t < 2; ++t) {
    readers.emplace_back([&] {
      while (!done.load()) {
        const View view = space.view(ReadOptions{.level = Level::visible}).value();
        std::vector<std::uint64_t> first;
        for (const auto& entry : view[directory]->entries) first.push_back(entry->balance);
        EXPECT_TRUE(right(*view[directory]));
        std::vector<std::uint64_t> second;
        for (const auto& entry : view[directory]->entries) second.push_back(entry->balance);
        EXPECT_EQ(first, second);
      }
    });
  }
  readers.emplace_back([&] {
    while (!done.load()) {
      const auto read = space.read(everything, [&] { return right(*space.root(directory)); });
      EXPECT_TRUE(read && *read);
    }
  });
  base::Random random(3);
  for (int round = 0; round < kRounds; ++round) {
    const bool refuse = random.chance(1, 4);
    const auto moved = space.transact(
        TransactOptions{.durability = Durability::deferred}, any, [&]() -> Result<void> {
          auto d = space.edit(directory);
          for (int i = 0; i < 60; ++i) {
            const std::size_t entry = random.below(kEntries);
            const std::size_t target = entry + kEntries * random.below(kTargets / kEntries);
            d->entries[entry] = ptr_to(*space.root(targets[target]));
          }
          if (refuse) return fail(Errc::aborted);
          return {};
        });
    EXPECT_EQ(moved.has_value(), !refuse);
  }
  done = true;
}

}  // namespace
}  // namespace dolmen::node
