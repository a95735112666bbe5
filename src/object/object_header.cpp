// SPDX-License-Identifier: Apache-2.0
#include "object/object_header.hpp"

#include "object/heap_layout.hpp"

namespace dolmen::object {

bool verify_id(const ObjectHeader& header, const ObjectId& id) noexcept {
  return derive_object_id(header.seed()) == id;
}

Result<void> check_header(base::Bytes first_page, const ObjectId& id, unsigned capacity_log2) {
  if (first_page.size() < sizeof(ObjectHeader)) {
    return fail(Errc::corrupt, "object header: too short", first_page.size());
  }
  const ObjectHeader h = load_header(first_page.data());
  if (h.magic != kObjectMagic) return fail(Errc::corrupt, "object header: magic", 0);
  if (h.format > kObjectFormat) {
    return fail(Errc::version_unsupported, "object header", h.format);
  }
  if (h.format == 0) return fail(Errc::corrupt, "object header: format", 4);
  if (h.capacity_log2 != capacity_log2 || capacity_log2 < kMinCapacityLog2 ||
      capacity_log2 > kMaxCapacityLog2) {
    return fail(Errc::corrupt, "object header: capacity", 5);
  }
  if (!verify_id(h, id)) return fail(Errc::corrupt, "object header: id", 8);
  const std::uint32_t capacity = std::uint32_t{1} << capacity_log2;
  const auto inside = [&](std::uint32_t offset, std::uint32_t alignment) {
    return offset >= sizeof(ObjectHeader) && offset < capacity && offset % alignment == 0;
  };
  const bool is_paged = capacity_log2 >= layout::kPagedLog2;
  if (is_paged != (h.heap_state != 0) ||
      (is_paged && !inside(std::uint32_t{h.heap_state} * 16, 16))) {
    return fail(Errc::corrupt, "object header: heap state", 42);
  }
  if ((h.root_offset == 0) != (h.root_type == 0) ||
      (h.root_offset != 0 && !inside(h.root_offset, 8))) {
    return fail(Errc::corrupt, "object header: root", 44);
  }
  if ((h.fot_offset == 0) != (h.fot_count == 0) ||
      (h.fot_offset != 0 && !inside(h.fot_offset, 16)) ||
      h.fot_count > (capacity - h.fot_offset) / 32) {
    return fail(Errc::corrupt, "object header: foreign object table", 52);
  }
  if (!inside(h.heap_origin, 16)) return fail(Errc::corrupt, "object header: heap origin", 60);
  return {};
}

}  // namespace dolmen::object
