// SPDX-License-Identifier: Apache-2.0
#include "sim/space_books.hpp"

#include <utility>

#include <dolmen/vector.hpp>

#include "node/replicated_group.hpp"
#include "node/space_effect.hpp"

namespace dolmen::sim {

/// A transfer, and with which group.
struct BookEntry {
  std::uint64_t id = 0;
  std::uint64_t group = 0;
};
struct BookPages {
  std::int64_t balance = 0;
  vector<BookEntry> sent;
  vector<BookEntry> came;
};

namespace {

constexpr const char* kBooks = "books";
constexpr const char* kLookIntoBooks = "books.look";
constexpr std::uint64_t kBooksBytes = 256u << 10;

Result<std::vector<std::byte>> run_came(Space& space, base::Bytes arguments) {
  DOLMEN_TRY(const MailBank::Money money, MailBank::money_in(arguments));
  DOLMEN_TRY(const auto books, space.find_or_create<BookPages>(kBooks, {.capacity = kBooksBytes}));
  const bool goes_back = money.hops > 0;
  DOLMEN_CHECK(space.transact(books, [&](mut<BookPages> pages) {
    pages->came.push_back({.id = money.id, .group = money.sender});
    if (goes_back) {
      pages->sent.push_back({.id = money.id, .group = money.sender});
    } else {
      pages->balance += money.amount;
    }
  }));
  if (goes_back) {
    const std::vector<std::byte> letter = MailBank::bytes_of(
        {.id = money.id, .amount = money.amount, .hops = money.hops - 1, .sender = 0}, 0);
    DOLMEN_CHECK(post(space, static_cast<std::uint32_t>(money.sender), kCameFunction, letter));
  }
  return std::vector<std::byte>{};
}

Result<std::vector<std::byte>> run_look_into_books(Space& space, base::Bytes /*arguments*/) {
  base::ByteWriter out;
  const auto books = space.find<BookPages>(kBooks);
  if (!books && books.error().code() == Errc::not_found) {
    out.put(std::int64_t{0});
    out.put(std::uint64_t{0});
    return out.release();
  }
  if (!books) return std::unexpected(books.error());
  DOLMEN_CHECK(space.read(*books, [&](ref<BookPages> pages) {
    out.put(std::int64_t{pages->balance});
    out.put(static_cast<std::uint64_t>(pages->sent.size()));
    const auto put = [&](const BookEntry& entry) {
      out.put(std::uint64_t{entry.id});
      out.put(std::uint64_t{entry.group});
    };
    for (const BookEntry& entry : pages->sent) put(entry);
    for (const BookEntry& entry : pages->came) put(entry);
  }));
  return out.release();
}

}  // namespace

void add_book_functions(SpaceFunctions& functions) {
  functions[kCameFunction] = run_came;
  functions[kLookIntoBooks] = SpaceFunction::query(run_look_into_books);
}

std::vector<std::byte> look_into_books() {
  return node::encode(node::SpaceCall{.function = kLookIntoBooks, .arguments = {}});
}

Result<SpaceBooks> books_in(base::Bytes reply) {
  DOLMEN_TRY(const auto bytes, node::decode_reply(reply));
  base::ByteReader in(bytes);
  SpaceBooks all{.balance = in.get<std::int64_t>()};
  for (auto sent = in.get<std::uint64_t>(); in.remaining() > 0 && !in.failed();) {
    const auto id = in.get<std::uint64_t>();
    MailBank::Book& book = all.books[node::group_of(in.get<std::uint64_t>())];
    (sent > 0 ? book.sent : book.came).push_back(id);
    sent -= sent > 0 ? 1 : 0;
  }
  if (in.failed()) return fail(Errc::corrupt, "books of a space");
  return all;
}

}  // namespace dolmen::sim
