// SPDX-License-Identifier: Apache-2.0
//
// A view shows one commit for as long as it lives. Writers neither wait for it nor disturb it.
#include <cstdio>
#include <numeric>
#include <thread>

#include <dolmen/space.hpp>
#include <dolmen/vector.hpp>

struct Accounts {
  dolmen::vector<std::int64_t> balance;
};

static std::int64_t total(const Accounts& accounts) {
  return std::accumulate(accounts.balance.begin(), accounts.balance.end(), std::int64_t{0});
}

int main() {
  auto space = dolmen::Space::open("bank.dolmen").value();
  const auto bank = space.create<Accounts>("bank").value();
  space.transact(bank, [](dolmen::mut<Accounts> a) { a->balance.assign(1000, 100); }).value();

  const dolmen::View before = space.view().value();
  std::thread clerk([&] {
    for (std::size_t i = 0; i < 2000; ++i) {  // deferred: visible at once, on the disk soon
      space
          .transact({.durability = dolmen::Durability::deferred}, bank,
                    [&](dolmen::mut<Accounts> a) {
                      a->balance[i % 1000] -= 7;
                      a->balance[(i * 31 + 1) % 1000] += 8;
                    })
          .value();
    }
  });
  bool steady = true;
  for (int i = 0; i < 1000; ++i) steady = steady && total(*before[bank]) == 100'000;
  clerk.join();

  // A new view sees all that was committed, here also what a power cut could still take back.
  const dolmen::View after = space.view({.level = dolmen::Level::visible}).value();
  std::printf("held view: %lld, new view: %lld\n", static_cast<long long>(total(*before[bank])),
              static_cast<long long>(total(*after[bank])));
  return steady && total(*after[bank]) == 102'000 ? 0 : 1;
}
