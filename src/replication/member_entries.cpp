// SPDX-License-Identifier: Apache-2.0
//
// What a member says of its log to who looks at it.
#include <algorithm>

#include "replication/entries_message.hpp"
#include "replication/member.hpp"

namespace dolmen::replication {

void Member::tell_entries(const fabric::NodeName& to, const GroupId& group, const Hosting& hosting,
                          base::Bytes body) {
  const auto asked = decode_ask_entries(body);
  if (!asked) return;
  const log::Replica& replica = hosting.replica;
  EntriesTold told{.number = asked->number,
                   .base = replica.base().index,
                   .end = replica.end().index,
                   .stable = replica.stable()};
  const log::Index last_ones = told.end >= asked->count ? told.end - asked->count + 1 : 1;
  told.first = std::max(asked->from == 0 ? last_ones : asked->from, told.base + 1);
  for (log::Index index = told.first; index <= told.end; ++index) {
    if (told.entries.size() == asked->count) break;
    const log::Entry& entry = replica.at(index);
    const base::Bytes payload = entry.payload;
    told.entries.push_back({.origin = entry.origin,
                            .kind = entry.kind,
                            .bytes = static_cast<std::uint32_t>(payload.size()),
                            .head = payload.first(std::min(payload.size(), kEntryHeadToldMax))});
  }
  send(to, {.kind = EnvelopeKind::entries, .group = group, .from = replica.self()}, encode(told));
}

}  // namespace dolmen::replication
