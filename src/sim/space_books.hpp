// SPDX-License-Identifier: Apache-2.0
//
// What a real space does with the money that banks (mail_bank.hpp) send to its group by mail: books
// it, and sends on what has hops left, by a post() of the function that the mail asks for.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/replicated_space.hpp>

#include "base/bytes.hpp"
#include "sim/mail_bank.hpp"

namespace dolmen::sim {

struct SpaceBooks {
  std::int64_t balance = 0;
  std::map<cluster::GroupId, MailBank::Book> books{};
};

void add_book_functions(SpaceFunctions& functions);
/// A query for what is in the books, and what it gives.
[[nodiscard]] std::vector<std::byte> look_into_books();
[[nodiscard]] Result<SpaceBooks> books_in(base::Bytes reply);

}  // namespace dolmen::sim
