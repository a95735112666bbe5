// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as the homes of a group, and as the commands and mails of its log. What restore()
// accepts is exactly what snapshot() gives; two that execute the same have the same state; what is
// undone leaves no trace; and what is posted is understood. The input: the length of the state, 4
// bytes, the state, and then who a mail is from, 1 byte (0: it is a command), its length, 2 bytes,
// and it.
#include <algorithm>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include <dolmen/assert.hpp>

#include "cluster/home_table.hpp"

namespace {

using namespace dolmen;

constexpr cluster::HomeLimits kHomeLimits{.objects_max = 12, .arriving_max = 3, .window_parts = 2};

void apply(cluster::HomeTable& table, log::Index index, const cluster::HomePlan& plan) {
  for (const cluster::HomeLetter& letter : plan.letters) {
    DOLMEN_ASSERT(letter.to != 0);
    const auto again = cluster::decode_home_mail(cluster::encode(letter.mail));
    DOLMEN_ASSERT(again.has_value() && *again == letter.mail);
  }
  if (plan.verdict == cluster::HomeVerdict::applied) table.apply(index, plan);
}

log::Index run(cluster::HomeTable& table, base::ByteReader in, log::Index index) {
  while (in.remaining() >= 3) {
    const auto from = in.get<std::uint8_t>();
    const std::size_t length = in.get<std::uint16_t>();
    const base::Bytes bytes = in.take(std::min(length, in.remaining()));
    ++index;
    if (from == 0) {
      const auto command = cluster::decode_home_command(bytes);
      if (command) apply(table, index, table.plan(*command));
    } else if (from != table.self()) {
      const auto mail = cluster::decode_home_mail(bytes);
      if (mail) apply(table, index, table.plan(cluster::home::Take{}, from, *mail));
    }
    DOLMEN_ASSERT(table.parts_wanted().size() <= 12 * 2);
  }
  return index;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::ByteReader in(std::as_bytes(std::span(data, size)));
  const auto length = in.get<std::uint32_t>();
  const base::Bytes state = in.take(std::min<std::size_t>(length, in.remaining()));
  cluster::HomeTable table(1, kHomeLimits);
  const std::vector<std::byte> empty = table.snapshot();
  if (table.restore(state)) {
    DOLMEN_ASSERT(std::ranges::equal(table.snapshot(), state));
  } else {
    DOLMEN_ASSERT(table.snapshot() == empty);
  }
  const std::vector<std::byte> before = table.snapshot();
  const log::Index end = run(table, in, 0);
  DOLMEN_ASSERT(table.snapshot() == before);
  cluster::HomeTable undone = table;
  undone.undo(1);
  undone.settle(end);
  DOLMEN_ASSERT(undone.snapshot() == before);
  table.settle(end);
  const std::vector<std::byte> after = table.snapshot();
  cluster::HomeTable other(1, kHomeLimits);
  DOLMEN_ASSERT(other.restore(before).has_value());
  other.settle(run(other, in, 0));
  DOLMEN_ASSERT(other.snapshot() == after);
  DOLMEN_ASSERT(other.restore(after).has_value());
  DOLMEN_ASSERT(other.snapshot() == after);
  return 0;
}
