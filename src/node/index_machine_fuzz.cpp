// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a client's request to an index, and as an entry of its log: what is understood is
// exactly what the encoder makes, and a small table of either kind carries it out.
#include <algorithm>
#include <cstdint>
#include <span>

#include <dolmen/assert.hpp>

#include "node/index_machine.hpp"
#include "node/ordered_machine.hpp"
#include "sim/sim_env.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen;
  const base::Bytes bytes = std::as_bytes(std::span(data, size));
  const auto request = node::decode_index_request(bytes);
  if (request) DOLMEN_ASSERT(std::ranges::equal(encode(*request), bytes));
  sim::SimClock clock;
  const IndexShardOptions options{.bucket_bytes = 1024, .record_bytes = 4096};
  node::IndexMachine machine(clock, node::IndexMachine::geometry_of(options).value(), 0);
  machine.reset();
  (void)machine.effect_of(bytes);
  const auto reply = machine.apply(bytes);
  DOLMEN_ASSERT(request || reply.empty());
  DOLMEN_ASSERT(machine.table().check().has_value());
  node::OrderedMachine ordered(
      clock, node::OrderedMachine::geometry_of({.node_bytes = 8192, .record_bytes = 4096}).value(),
      0);
  ordered.reset();
  (void)ordered.effect_of(bytes);
  const auto told = ordered.apply(bytes);
  DOLMEN_ASSERT(request || told.empty());
  if (request && request->scan) DOLMEN_ASSERT(node::decode_index_page(told).has_value());
  DOLMEN_ASSERT(ordered.table().check().has_value());
  if (const auto page = node::decode_index_page(bytes); page && !page->entries.empty()) {
    // One entry is more than a page, if it is long.
    (void)node::encode_index_page(*page);
  }
  if (request && request->asks_stats) {
    for (const StateMachine* const one :
         {static_cast<const StateMachine*>(&machine), static_cast<const StateMachine*>(&ordered)}) {
      DOLMEN_ASSERT(node::decode_index_stats(one->read(bytes).value()).has_value());
    }
  }
  if (const auto stats = node::decode_index_stats(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode_index_stats(*stats), bytes));
  }
  (void)node::decode_index_value(bytes);
  (void)node::decode_index_outcomes(bytes, size);
  return 0;
}
