// SPDX-License-Identifier: Apache-2.0
#include "object/heap_core.hpp"

namespace dolmen::object::core {

Geometry geometry_of(const ObjectBytes& bytes, unsigned capacity_log2) noexcept {
  const auto magic = bytes.load<std::uint32_t>(offsetof(ObjectHeader, magic));
  const auto format = bytes.load<std::uint8_t>(offsetof(ObjectHeader, format));
  const auto capacity = bytes.load<std::uint8_t>(offsetof(ObjectHeader, capacity_log2));
  Geometry g{.origin = bytes.load<std::uint32_t>(offsetof(ObjectHeader, heap_origin))};
  if (magic != kObjectMagic || format != kObjectFormat || capacity != capacity_log2 ||
      g.origin < sizeof(ObjectHeader) || g.origin >= bytes.capacity() || g.origin % 16 != 0) {
    return {};
  }
  g.compact_end = compact_end_of(g.origin, bytes.capacity());
  const std::uint32_t state =
      16 * std::uint32_t{bytes.load<std::uint16_t>(offsetof(ObjectHeader, heap_state))};
  const bool is_paged = capacity_log2 >= layout::kPagedLog2;
  if (is_paged != (state != 0) || !bytes.holds(state, sizeof(HeapState) * (is_paged ? 1 : 0))) {
    return g;
  }
  g.state = state;
  g.is_sound = true;
  return g;
}

SlotKey key_of(const PagedRun& run) noexcept {
  return {.type = run.type,
          .slot_bytes = run.slot_bytes,
          .element_bytes = run.element_bytes,
          .is_array = (run.flags & layout::kArray) != 0};
}

}  // namespace dolmen::object::core
