// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a call of an import, as the pages of a part, and as what a space says of itself.
#include <algorithm>
#include <cstdint>
#include <span>

#include <dolmen/assert.hpp>

#include "base/commit_record.hpp"
#include "node/space_import.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen;
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto call = node::decode_import_call(bytes)) {
    const auto again = node::encode(*call);
    DOLMEN_ASSERT(std::ranges::equal(again, bytes));
    constexpr std::size_t kRoom = 1u << 20;
    if (const auto part = node::record_of(call->at, call->pages, kRoom)) {
      DOLMEN_ASSERT_CMP(part->record.size(), <=, kRoom);
      base::CommitRecordReader reader(part->record);
      base::CommitSection section;
      base::CommitRun run;
      while (reader.next_section(section)) {
        while (reader.next_run(run)) {
        }
      }
      DOLMEN_ASSERT(!reader.failed());
      DOLMEN_ASSERT(part->cursor.object >= call->at.cursor.object);
    }
  }
  if (const auto state = node::decode_import_state(bytes)) {
    DOLMEN_ASSERT(node::decode_import_state(node::encode(*state)).value() == *state);
  }
  if (const auto head = node::decode_space_head(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*head), bytes));
  }
  return 0;
}
