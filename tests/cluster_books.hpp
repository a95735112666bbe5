// SPDX-License-Identifier: Apache-2.0
//
// For tests: the functions of the two spaces of which tests/cluster_oracle.hpp judges what is in
// them. None of them looks whether it was called before: what runs twice is seen.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <dolmen/replicated_space.hpp>
#include <dolmen/vector.hpp>

#include "tests/cluster_oracle.hpp"

namespace dolmen::processes {

using Bytes = std::span<const std::byte>;
using Reply = dolmen::Result<std::vector<std::byte>>;

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

namespace stored {

/// Pages, so that no call copies what is there already.
struct Page {
  dolmen::vector<Entry> entries;
};
struct List {
  dolmen::vector<dolmen::ptr<Page>> pages;
  std::uint64_t length = 0;
};
struct Ledger {
  List booked, received, told;
  dolmen::vector<std::int64_t> accounts;
  dolmen::vector<std::uint64_t> cargo;  ///< written over and over: what makes logs long
  std::int64_t out = 0;
};

inline void append(dolmen::mut<Ledger> ledger, List& list, const Entry& entry) {
  constexpr std::uint64_t kEntries = 256;
  if (list.length % kEntries == 0) list.pages.push_back(dolmen::make<Page>(ledger));
  const dolmen::ptr<Page> last = std::as_const(list.pages).back();
  dolmen::edit(last)->entries.push_back(entry);
  ++list.length;
}

inline void pay(dolmen::mut<Ledger> ledger, std::uint64_t account, std::int64_t amount) {
  while (ledger->accounts.size() < kAccounts) ledger->accounts.push_back(0);
  ledger->accounts[account] += amount;
}

}  // namespace stored

/// In one transaction, and with what it posts in one entry; how long the book is with it.
inline Reply book(dolmen::Space& space, Bytes arguments, What what, const char* there) {
  const auto key = value_of<std::uint64_t>(arguments);
  std::uint64_t length = 0;
  DOLMEN_TRY(const auto root, space.find_or_create<stored::Ledger>("ledger"));
  DOLMEN_CHECK(space.transact(root, [&](dolmen::mut<stored::Ledger> ledger) {
    stored::append(ledger, ledger->booked, {key, static_cast<std::uint64_t>(what)});
    length = ledger->booked.length;
    stored::pay(ledger, payer_of(key), -amount_of(key));
    if (what == What::move) return stored::pay(ledger, payee_of(key), amount_of(key));
    ledger->out += amount_of(key);
  }));
  if (what == What::send) {
    DOLMEN_CHECK(dolmen::post(space, there, "receive", arguments,
                              {.on_result = "told", .context = arguments}));
  }
  return bytes_of(length);
}

inline Reply receive(dolmen::Space& space, Bytes arguments) {
  const auto key = value_of<std::uint64_t>(arguments);
  if (is_for_nobody(key)) return dolmen::fail(dolmen::Errc::not_found, "an account");
  DOLMEN_TRY(const auto root, space.find_or_create<stored::Ledger>("ledger"));
  DOLMEN_CHECK(space.transact(root, [&](dolmen::mut<stored::Ledger> ledger) {
    stored::append(ledger, ledger->received, {key, 0});
    stored::pay(ledger, payee_of(key), amount_of(key));
  }));
  return std::vector<std::byte>{};
}

inline Reply told(dolmen::Space& space, Bytes arguments) {
  DOLMEN_TRY(const dolmen::PostResult came, dolmen::post_result(arguments));
  const auto key = value_of<std::uint64_t>(came.context);
  const bool arrived = came.result.has_value();
  DOLMEN_TRY(const auto root, space.find_or_create<stored::Ledger>("ledger"));
  DOLMEN_CHECK(space.transact(root, [&](dolmen::mut<stored::Ledger> ledger) {
    stored::append(ledger, ledger->told, {key, arrived ? 1u : 0u});
    ledger->out -= amount_of(key);
    if (!arrived) stored::pay(ledger, payer_of(key), amount_of(key));
  }));
  return std::vector<std::byte>{};
}

/// Numbers that no two calls have in common.
inline Reply carry(dolmen::Space& space, Bytes arguments) {
  const auto seed = value_of<std::uint64_t>(arguments);
  constexpr std::uint64_t kWords = 64 * 1024;
  DOLMEN_TRY(const auto root, space.find_or_create<stored::Ledger>("ledger"));
  DOLMEN_CHECK(space.transact(root, [&](dolmen::mut<stored::Ledger> ledger) {
    if (ledger->cargo.size() < kWords) ledger->cargo.resize(kWords);
    const auto words = ledger->cargo.edit_span();
    for (std::uint64_t i = 0; i < kWords; ++i) words[i] = (seed + i) * 0x9e37'79b9'7f4a'7c15;
  }));
  return std::vector<std::byte>{};
}

// Queries.

struct ListAsked {
  std::uint64_t list = 0;  ///< booked, received, told
  std::uint64_t from = 0;
};
inline constexpr std::uint64_t kListMax = 16 * 1024;

inline Reply list(dolmen::Space& space, Bytes arguments) {
  const auto asked = value_of<ListAsked>(arguments);
  const auto root = space.find<stored::Ledger>("ledger");
  if (!root) return std::vector<std::byte>{};
  std::vector<Entry> entries;
  DOLMEN_CHECK(space.read(*root, [&](dolmen::ref<stored::Ledger> ledger) {
    const stored::List* const lists[] = {&ledger->booked, &ledger->received, &ledger->told};
    std::uint64_t place = 0;
    for (const auto& page : lists[asked.list % 3]->pages) {
      for (const Entry& entry : page->entries) {
        if (place++ >= asked.from && entries.size() < kListMax) entries.push_back(entry);
      }
    }
  }));
  const Bytes bytes = std::as_bytes(std::span(entries));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

struct Sums {
  std::uint64_t length = 0;  ///< of the book
  std::int64_t money = 0;
  std::int64_t out = 0;
};

inline Reply sums(dolmen::Space& space, Bytes /*arguments*/) {
  Sums found;
  const auto root = space.find<stored::Ledger>("ledger");
  if (!root) return bytes_of(found);
  DOLMEN_CHECK(space.read(*root, [&](dolmen::ref<stored::Ledger> ledger) {
    found.length = ledger->booked.length;
    for (const std::int64_t money : ledger->accounts) found.money += money;
    found.out = ledger->out;
  }));
  return bytes_of(found);
}

/// What is large: an object of this many words for each lower half of what it is called with; they
/// are others for another upper half.
inline constexpr std::uint64_t kPadWords = 32'768;
struct Pad {
  dolmen::vector<std::uint64_t> words;
};
inline dolmen::Result<std::vector<std::byte>> pad(dolmen::Space& space, Bytes arguments) {
  const auto which = value_of<std::uint64_t>(arguments);
  const std::string name = "pad " + std::to_string(which & 0xFFFF'FFFF);
  DOLMEN_TRY(const auto object, space.find_or_create<Pad>(name));
  DOLMEN_CHECK(space.transact(object, [&](dolmen::mut<Pad> p) {
    p->words.clear();
    for (std::uint64_t i = 1; i <= kPadWords; ++i) {
      p->words.push_back((which + i) * 0x9E3779B97F4A7C15);
    }
  }));
  return std::vector<std::byte>{};
}

inline dolmen::SpaceFunctions functions() {
  dolmen::SpaceFunctions all;
  all["pad"] = pad;
  all["move"] = [](dolmen::Space& space, Bytes key) { return book(space, key, What::move, ""); };
  for (const char* there : kSpaces) {
    all[std::string("send ") + there] = [there](dolmen::Space& space, Bytes key) {
      return book(space, key, What::send, there);
    };
  }
  all["receive"] = receive;
  all["told"] = told;
  all["carry"] = carry;
  all["list"] = dolmen::SpaceFunction::query(list);
  all["sums"] = dolmen::SpaceFunction::query(sums);
  return all;
}

}  // namespace dolmen::processes
