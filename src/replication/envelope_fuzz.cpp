// SPDX-License-Identifier: Apache-2.0
//
// Any bytes: what the decoders accept, as a whole or as the body of any kind, is exactly what the
// encoders make.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "replication/entries_message.hpp"
#include "replication/envelope.hpp"
#include "replication/lease_message.hpp"
#include "replication/membership.hpp"
#include "replication/state_message.hpp"

namespace {

using namespace dolmen;

void check(base::Bytes body, const std::vector<std::byte>& again) {
  DOLMEN_ASSERT(std::ranges::equal(again, body));
}

void take_for_a_body(base::Bytes body) {
  if (const auto request = replication::decode_request(body)) check(body, encode(*request));
  if (const auto read = replication::decode_read_request(body)) check(body, encode(*read));
  if (const auto reply = replication::decode_reply(body)) check(body, encode(*reply));
  if (const auto status = replication::decode_status(body)) check(body, encode(*status));
  if (const auto reply = replication::decode_memory_reply(body)) check(body, encode(*reply));
  if (const auto denied = replication::decode_denied(body)) check(body, encode(*denied));
  if (const auto roster = replication::decode_roster(body)) check(body, encode(*roster));
  if (const auto change = replication::decode_change(body)) check(body, encode(*change));
  if (const auto reply = replication::decode_change_reply(body)) check(body, encode(*reply));
  if (const auto ask = replication::decode_ask_state(body)) check(body, encode(*ask));
  if (const auto ask = replication::decode_ask_entries(body)) check(body, encode(*ask));
  if (const auto told = replication::decode_entries_told(body)) check(body, encode(*told));
  if (const auto ask = replication::decode_ask_lease(body)) check(body, encode(*ask));
  if (const auto told = replication::decode_lease_told(body)) check(body, encode(*told));
  if (const auto part = replication::decode_state_part(body)) check(body, encode(*part));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const base::Bytes bytes = std::as_bytes(std::span(data, size));
  take_for_a_body(bytes);
  const auto opened = replication::decode_envelope(bytes);
  if (!opened) return 0;
  check(bytes.first(replication::kEnvelopeBytes), encode(opened->envelope));
  DOLMEN_ASSERT(opened->body.size() == size - replication::kEnvelopeBytes);
  take_for_a_body(opened->body);
  return 0;
}
