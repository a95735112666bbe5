// SPDX-License-Identifier: Apache-2.0
#include "object/heap.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "object/heap_core.hpp"

namespace dolmen::object {
namespace {

using core::EditCore;
using core::kPage;

/// Where the heap begins: varied by the id, so that the hot first lines and pages of equal objects
/// do not fall into the same sets of caches and TLBs.
std::uint32_t coloured_origin(unsigned capacity_log2, const ObjectIdSeed& seed) noexcept {
  constexpr std::uint32_t kLine = sizeof(ObjectHeader);
  if (capacity_log2 < layout::kPagedLog2) return kLine;
  const ObjectId id = derive_object_id(seed);
  const std::uint32_t pages = std::uint32_t{1} << (capacity_log2 - layout::kPageShift);
  const std::uint32_t lines = std::min(24u, pages * 2);
  if (capacity_log2 < 20) return kLine + static_cast<std::uint32_t>(id.low % lines) * kLine;
  // Nearly all sets of a first-level cache (64 lines of 64 bytes), with room for what comes first.
  const auto line = static_cast<std::uint32_t>(id.low % 56);
  const auto page = static_cast<std::uint32_t>(id.high % std::min(128u, pages / 8));
  return page * kPage + line * kLine + (page == 0 ? kLine : 0u);
}

}  // namespace

std::uint64_t allocation_bytes(std::uint64_t bytes) noexcept { return layout::array_bytes(bytes); }

void Heap::format(std::byte* base, unsigned capacity_log2, const ObjectIdSeed& seed,
                  WriteLog& log) {
  DOLMEN_ASSERT(capacity_log2 >= kMinCapacityLog2 && capacity_log2 <= kMaxCapacityLog2);
  ObjectHeader header;
  header.capacity_log2 = static_cast<std::uint8_t>(capacity_log2);
  header.flags = seed.flags;
  header.nonce = seed.nonce;
  header.owner_key = seed.owner_key;
  header.default_rights = seed.default_rights;
  header.heap_origin = coloured_origin(capacity_log2, seed);
  const std::uint32_t capacity = std::uint32_t{1} << capacity_log2;
  core::EditableBytes(base, capacity, log).store_fresh(0, header);

  EditCore heap(base, capacity_log2, log);
  heap.write_gap(header.heap_origin,
                 core::compact_end_of(header.heap_origin, capacity) - header.heap_origin);
  if (capacity_log2 >= layout::kPagedLog2) heap.make_state();
}

Result<std::uint32_t> Heap::allocate(std::uint32_t type_tag, std::uint32_t element_bytes,
                                     std::uint64_t count) {
  if (type_tag == 0 || element_bytes == 0 || count == 0) {
    return fail(Errc::invalid_argument, "an allocation needs a type and a size", type_tag);
  }
  if (element_bytes > capacity() || count > capacity() / element_bytes) {
    return fail(Errc::object_full, "larger than the object", element_bytes);
  }
  const bool is_array = count > 1;
  const std::uint64_t bytes =
      is_array ? layout::array_bytes(element_bytes * count) : layout::single_bytes(element_bytes);
  EditCore heap(writable_, capacity_log2(), *log_);
  auto result = heap.allocate({.type = type_tag,
                               .slot_bytes = static_cast<std::uint32_t>(bytes),
                               .element_bytes = element_bytes,
                               .is_array = is_array});
  if (heap.failed()) return fail(Errc::corrupt, "heap");
  return result;
}

Result<void> Heap::deallocate(std::uint64_t offset) {
  EditCore heap(writable_, capacity_log2(), *log_);
  auto result = heap.deallocate(offset);
  if (heap.failed()) return fail(Errc::corrupt, "heap");
  return result;
}

void Heap::set_root(std::uint32_t offset, std::uint32_t type_tag) {
  struct Root {
    std::uint32_t offset;
    std::uint32_t type;
  };
  core::EditableBytes(writable_, capacity(), *log_)
      .store(offsetof(ObjectHeader, root_offset), Root{offset, type_tag});
}

void Heap::set_fot(std::uint32_t offset, std::uint32_t count) {
  struct Table {
    std::uint32_t offset;
    std::uint32_t count;
  };
  core::EditableBytes(writable_, capacity(), *log_)
      .store(offsetof(ObjectHeader, fot_offset), Table{offset, count});
}

}  // namespace dolmen::object
