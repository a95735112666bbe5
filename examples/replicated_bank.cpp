// SPDX-License-Identifier: Apache-2.0
//
// A bank in a space that three processes keep the same: accounts are ordinary structures with
// pointers between them. Clients move money; whoever leads is killed again and again; no money is
// lost or made, and every transfer is in the books once.
#include <array>
#include <cstring>
#include <string>

#include <dolmen/hash_map.hpp>
#include <dolmen/replicated_space.hpp>
#include <dolmen/vector.hpp>

#include "replicated_demo.hpp"

namespace {

constexpr std::uint64_t kAccounts = 20;
constexpr std::int64_t kEach = 1000;

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

Reply open_bank(dolmen::Space& space, Bytes) {
  DOLMEN_TRY(const auto bank, space.find_or_create<Bank>("bank"));
  DOLMEN_CHECK(space.transact(bank, [](dolmen::mut<Bank> b) {
    for (std::uint64_t number = b->accounts.size(); number < kAccounts; ++number) {
      b->accounts.insert_or_assign(number, dolmen::make<Account>(b, kEach, std::uint64_t{0}));
    }
  }));
  return bytes_of(kAccounts);
}

Reply transfer(dolmen::Space& space, Bytes arguments) {
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

Reply totals(dolmen::Space& space, Bytes) {
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

}  // namespace

int main(int count, char** words) {
  if (demo::is_member(count, words)) {
    dolmen::SpaceFunctions functions;
    functions["open"] = open_bank;
    functions["transfer"] = transfer;
    functions["totals"] = totals;
    auto space = dolmen::ReplicatedSpace::open("space" + std::string(words[2]), functions);
    if (!space) {
      std::fprintf(stderr, "space %s: %s\n", words[2], space.error().message().c_str());
      return 1;
    }
    return demo::serve(words, space->machine());
  }

  demo::Trio members;
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  dolmen::call_space(client, "open").value();
  std::uint64_t booked = 0;
  std::uint64_t refused = 0;
  unsigned kills = 0;
  std::uint64_t random = 7;
  for (int round = 0; round < 8; ++round) {
    for (int i = 0; i < 40; ++i) {
      random = random * 6'364'136'223'846'793'005 + 1'442'695'040'888'963'407;
      const Order order{.from = (random >> 33) % kAccounts,
                        .to = (random >> 40) % kAccounts,
                        .amount = static_cast<std::int64_t>((random >> 47) % 400)};
      const auto done = dolmen::call_space(client, "transfer", bytes_of(order));
      if (done) {
        ++booked;
      } else if (done.error().code() == dolmen::Errc::aborted) {
        ++refused;
      } else {
        std::fprintf(stderr, "transfer: %s\n", done.error().message().c_str());
        return 1;
      }
    }
    if (members.kill_leader(client) != 0) ++kills;
  }
  const auto sum = value_of<Totals>(dolmen::call_space(client, "totals").value());
  std::printf(
      "%llu transfers booked, %llu refused; %lld in all accounts; a leader was killed %u "
      "times meanwhile\n",
      static_cast<unsigned long long>(sum.booked), static_cast<unsigned long long>(refused),
      static_cast<long long>(sum.money), kills);
  const bool is_right = sum.booked == booked && sum.transfers == 2 * booked &&
                        sum.money == kEach * static_cast<std::int64_t>(kAccounts);
  return members.stop() && is_right && kills > 0 ? 0 : 1;
}
