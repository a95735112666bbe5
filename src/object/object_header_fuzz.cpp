// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as an object's first page: check_header() answers, never reads beyond them, and what it
// accepts has offsets inside the object.
#include <cstdint>

#include <dolmen/assert.hpp>

#include "object/object_header.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen;
  const base::Bytes bytes = std::as_bytes(std::span(data, size));
  ObjectId id{1, 2};
  unsigned capacity_log2 = 9;
  if (size >= sizeof(object::ObjectHeader)) {
    // The right id and capacity, so that the checks behind them are reached.
    const object::ObjectHeader header = object::load_header(bytes.data());
    id = derive_object_id(header.seed());
    capacity_log2 = header.capacity_log2;
  }
  if (object::check_header(bytes, id, capacity_log2)) {
    const object::ObjectHeader header = object::load_header(bytes.data());
    const std::uint64_t capacity = std::uint64_t{1} << capacity_log2;
    DOLMEN_ASSERT(header.root_offset < capacity && header.heap_origin < capacity);
    DOLMEN_ASSERT(header.fot_offset + std::uint64_t{header.fot_count} * 32 <= capacity);
    DOLMEN_ASSERT(!object::check_header(bytes, ObjectId{id.high ^ 1, id.low}, capacity_log2));
  }
  return 0;
}
