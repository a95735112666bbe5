// SPDX-License-Identifier: Apache-2.0
//
// What clients show of their keys' rights (docs/links.md, "What a request acts under"): a member
// compares it with what its owner knows, and never asks on its own account instead.
#include <optional>
#include <vector>

#include "base/hooks.hpp"
#include "replication/member.hpp"

namespace dolmen::replication {

Right Member::right_of(const fabric::NodeName& from, const Capability& shown) const {
  if (!options_.right_of || DOLMEN_PLANTED("replication.handle_not_checked")) return Right::held;
  return options_.right_of(from, shown);
}

/// In the words of who asked.
void Member::deny(const fabric::NodeName& from, const Envelope& envelope, base::Bytes body,
                  Right right) {
  DOLMEN_PROBE("replication.denied");
  std::optional<std::uint64_t> number;
  if (envelope.kind == EnvelopeKind::request || envelope.kind == EnvelopeKind::ask_outcome) {
    if (const auto request = decode_request(body)) number = request->number;
  } else if (envelope.kind == EnvelopeKind::read_request) {
    if (const auto asked = decode_read_request(body)) number = asked->number;
  } else {
    return send(from, {.kind = EnvelopeKind::denied, .group = envelope.group},
                encode(Denied{.what = envelope.kind, .why = right}));
  }
  if (!number) return;
  send(from, {.kind = EnvelopeKind::reply, .group = envelope.group},
       encode(Reply{.number = *number, .status = refusal_of(right)}));
}

void Member::rights_changed() {
  std::vector<fabric::NodeName> gone;
  for (const auto& [reader, shown] : memory_readers_) {
    if (right_of(reader, shown) != Right::held) gone.push_back(reader);
  }
  for (const fabric::NodeName& reader : gone) forget_reader(reader);
}

}  // namespace dolmen::replication
