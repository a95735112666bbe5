// SPDX-License-Identifier: Apache-2.0
//
// A bank as a space keeps it, and what clients may ask of it: accounts are ordinary structures with
// pointers between them, and every transfer is in the books.
#pragma once

#include <array>
#include <cstring>
#include <string>

#include <dolmen/hash_map.hpp>
#include <dolmen/replicated_space.hpp>
#include <dolmen/vector.hpp>

namespace bank {

inline constexpr std::uint64_t kAccounts = 20;
inline constexpr std::int64_t kEach = 1000;

struct Account {
  std::int64_t balance = 0;
  std::uint64_t transfers = 0;
};
struct Transfer {
  dolmen::ptr<Account> from;
  dolmen::ptr<Account> to;
  std::int64_t amount = 0;
};
struct Bank {
  dolmen::hash_map<std::uint64_t, dolmen::ptr<Account>> accounts;
  dolmen::vector<Transfer> book;
};

using Bytes = std::span<const std::byte>;
using Reply = dolmen::Result<std::vector<std::byte>>;

struct Order {
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  std::int64_t amount = 0;
};
struct Totals {
  std::int64_t money = 0;
  std::uint64_t transfers = 0;  ///< as the accounts count them
  std::uint64_t booked = 0;
};

template <class T>
std::vector<std::byte> bytes_of(const T& value) {
  std::vector<std::byte> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
template <class T>
T value_of(Bytes bytes) {
  T value{};
  if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

inline Reply open_bank(dolmen::Space& space, Bytes) {
  DOLMEN_TRY(const auto bank, space.find_or_create<Bank>("bank"));
  DOLMEN_CHECK(space.transact(bank, [](dolmen::mut<Bank> b) {
    for (std::uint64_t number = b->accounts.size(); number < kAccounts; ++number) {
      b->accounts.insert_or_assign(number, dolmen::make<Account>(b, kEach, std::uint64_t{0}));
    }
  }));
  return bytes_of(kAccounts);
}

inline Reply transfer(dolmen::Space& space, Bytes arguments) {
  const auto order = value_of<Order>(arguments);
  DOLMEN_TRY(const auto bank, space.find<Bank>("bank"));
  DOLMEN_CHECK(space.transact(bank, [&](dolmen::mut<Bank> b) -> dolmen::Result<void> {
    const auto from = b->accounts.find(order.from);
    const auto to = b->accounts.find(order.to);
    if (from == b->accounts.end() || to == b->accounts.end()) {
      return dolmen::fail(dolmen::Errc::not_found, "account");
    }
    if (from->second->balance < order.amount) {
      return dolmen::fail(dolmen::Errc::aborted, "not enough money");
    }
    const auto payer = dolmen::edit(from->second);
    const auto payee = dolmen::edit(to->second);
    payer->balance -= order.amount;
    payee->balance += order.amount;
    ++payer->transfers;
    ++payee->transfers;
    b->book.push_back({from->second, to->second, order.amount});
    return {};
  }));
  return std::vector<std::byte>{};
}

inline Reply totals(dolmen::Space& space, Bytes) {
  DOLMEN_TRY(const auto bank, space.find<Bank>("bank"));
  DOLMEN_TRY(const Totals sum, space.read(bank, [](dolmen::ref<Bank> b) {
    Totals total{.booked = b->book.size()};
    for (const auto& [number, account] : b->accounts) {
      total.money += account->balance;
      total.transfers += account->transfers;
    }
    return total;
  }));
  return bytes_of(sum);
}

inline dolmen::SpaceFunctions functions() {
  dolmen::SpaceFunctions all;
  all["open"] = open_bank;
  all["transfer"] = transfer;
  all["totals"] = totals;
  return all;
}

/// What every bank holds at any time.
[[nodiscard]] inline bool is_right(const Totals& sum) {
  return sum.transfers == 2 * sum.booked &&
         sum.money == kEach * static_cast<std::int64_t>(kAccounts);
}

/// The next one of a made-up series.
inline Order next_order(std::uint64_t& random) {
  random = random * 6'364'136'223'846'793'005 + 1'442'695'040'888'963'407;
  return {.from = (random >> 33) % kAccounts,
          .to = (random >> 40) % kAccounts,
          .amount = static_cast<std::int64_t>((random >> 47) % 400)};
}

}  // namespace bank
