// SPDX-License-Identifier: Apache-2.0
#include "node/object_parts.hpp"

#include <algorithm>
#include <cstring>
#include <set>
#include <span>
#include <utility>

#include <dolmen/assert.hpp>
#include <dolmen/reflect.hpp>

#include "node/object_image.hpp"
#include "node/space_image.hpp"
#include "object/heap.hpp"
#include "object/object_header.hpp"
#include "object/type_table.hpp"
#include "txn/space_core.hpp"
#include "txn/types.hpp"

namespace dolmen::node {

namespace {

std::unexpected<Error> damaged_part() { return fail(Errc::corrupt, "a part of an object"); }

/// Of which some byte is not zero, and the first one.
Result<std::vector<std::uint32_t>> pages_in(
    store::Store& store, const store::ObjectInfo& info,
    const std::function<void(std::uint32_t, base::Bytes)>& with) {
  DOLMEN_TRY(const std::uint32_t count, store.page_count(info.object));
  std::vector<std::byte> page(store::page_bytes(info.capacity_log2));
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t number = 0; number < std::max(count, 1u); ++number) {
    DOLMEN_CHECK(store.read_page({info.object, number}, page));
    if (number > 0 && is_zero(page)) continue;
    numbers.push_back(number);
    if (numbers.size() * kCellBytes > kMovedBytesMax) {
      return fail(Errc::too_large, "an object that is to move", numbers.size() * kCellBytes);
    }
    if (with) with(number, page);
  }
  return numbers;
}

}  // namespace

std::vector<std::byte> encode_cell_head(const PageCell& cell) {
  base::ByteWriter head;
  head.put_id(cell.object);
  head.put(cell.page);
  head.put(cell.capacity_log2);
  head.put(std::uint8_t{0});
  head.put(std::uint16_t{0});
  DOLMEN_ASSERT_CMP(head.size(), ==, kCellHeadBytes);
  return head.release();
}

Result<std::vector<PageCell>> decode_cells(base::Bytes part) {
  if (part.size() % kCellBytes != 0 || part.size() > kObjectPartBytes) return damaged_part();
  std::vector<PageCell> cells;
  std::uint32_t began_with = 0;  ///< page of the first cell of the object that is at
  bool is_ended = false;         ///< nothing of it may follow
  for (std::size_t at = 0; at < part.size(); at += kCellBytes) {
    base::ByteReader in(part.subspan(at, kCellBytes));
    PageCell cell;
    cell.object = in.get_id();
    cell.page = in.get<std::uint32_t>();
    cell.capacity_log2 = in.get<std::uint8_t>();
    if (in.get<std::uint8_t>() != 0 || in.get<std::uint16_t>() != 0) return damaged_part();
    if (cell.object.is_null()) continue;
    if (cell.capacity_log2 < base::kMinCapacityLog2 ||
        cell.capacity_log2 > base::kMaxCapacityLog2) {
      return damaged_part();
    }
    const std::size_t page_bytes = store::page_bytes(cell.capacity_log2);
    if (cell.page >= (std::uint64_t{1} << cell.capacity_log2) / page_bytes) return damaged_part();
    cell.bytes = in.take(page_bytes);
    // Pages of one object, in their order; its first one, in front or at the end.
    if (!cells.empty() && cells.back().object == cell.object) {
      const bool is_end = cell.page == 0 && began_with != 0;
      const bool is_behind = is_end || cells.back().page < cell.page;
      if (is_ended || !is_behind || cells.back().capacity_log2 != cell.capacity_log2) {
        return damaged_part();
      }
      is_ended = is_end;
    } else {
      began_with = cell.page;
      is_ended = false;
    }
    cells.push_back(cell);
  }
  return cells;
}

Result<ObjectParts> ObjectParts::make(store::Store& store, sys::Memory& memory,
                                      const ObjectId& object) {
  DOLMEN_TRY(const auto info, store.find(object));
  if (!info) return fail(Errc::not_found, "an object that is to move");
  ObjectImage image(memory);
  DOLMEN_CHECK(image.begin(*info));
  DOLMEN_TRY(const auto own, pages_in(store, *info, [&](std::uint32_t number, base::Bytes bytes) {
               image.add_page(number, bytes);
             }));
  DOLMEN_CHECK(image.verify());
  const auto header = object::load_header(image.page(0).data());
  if ((header.flags & (object::kCatalog | object::kTypeDescription)) != 0) {
    return fail(Errc::invalid_argument, "an object of the space's own does not move");
  }
  std::set<std::uint32_t> tags;
  const object::HeapReader heap(image.page(0).data(), info->capacity_log2);
  DOLMEN_CHECK(heap.for_each_allocation([&](const object::Allocation& allocation) {
    if (allocation.type_tag >= object::kFirstUserTag) tags.insert(allocation.type_tag);
  }));
  ObjectParts parts;
  for (const std::uint32_t tag : tags) {
    const ObjectId id = detail::SpaceCore::type_object_id(tag);
    DOLMEN_TRY(const auto described, store.find(id));
    if (!described) continue;
    DOLMEN_TRY(const auto pages, pages_in(store, *described, {}));
    if (pages.size() > kCellsOfPart) {
      return fail(Errc::too_large, "the description of a type of an object that is to move",
                  pages.size() * kCellBytes);
    }
    while (parts.cells_.size() % kCellsOfPart + pages.size() > kCellsOfPart) {
      parts.cells_.emplace_back();
    }
    for (const std::uint32_t page : pages) {
      parts.cells_.push_back({id, page, described->capacity_log2});
    }
  }
  // The page with its header comes last: where that is zeros, something is not all here.
  for (const std::uint32_t page : own) {
    if (page != 0) parts.cells_.push_back({object, page, info->capacity_log2});
  }
  parts.cells_.push_back({object, 0, info->capacity_log2});
  if (parts.bytes() > kMovedBytesMax) {
    return fail(Errc::too_large, "an object that is to move", parts.bytes());
  }
  parts.hash_ = cluster::hash_before_parts(object);
  for (std::uint64_t at = 0; at < parts.bytes(); at += kObjectPartBytes) {
    const std::uint64_t length = std::min<std::uint64_t>(kObjectPartBytes, parts.bytes() - at);
    DOLMEN_TRY(const auto part, parts.read(store, at, static_cast<std::size_t>(length)));
    parts.hash_ = cluster::hash_of_part(parts.hash_, part);
  }
  return parts;
}

Result<std::vector<std::byte>> ObjectParts::read(store::Store& store, std::uint64_t offset,
                                                 std::size_t bytes) const {
  if (offset % kCellBytes != 0 || bytes % kCellBytes != 0 || offset + bytes > this->bytes()) {
    return fail(Errc::invalid_argument, "a part of an object", offset);
  }
  std::vector<std::byte> part(bytes);
  for (std::size_t at = 0; at < bytes; at += kCellBytes) {
    const Place& place = cells_[static_cast<std::size_t>((offset + at) / kCellBytes)];
    if (place.object.is_null()) continue;
    const base::MutableBytes cell = base::MutableBytes(part).subspan(at, kCellBytes);
    std::ranges::copy(
        encode_cell_head(
            {.object = place.object, .page = place.page, .capacity_log2 = place.capacity_log2}),
        cell.begin());
    DOLMEN_CHECK(
        store.read_page({place.object, place.page},
                        cell.subspan(kCellHeadBytes, store::page_bytes(place.capacity_log2))));
  }
  return part;
}

Result<ArrivedType> type_in(const std::byte* base, unsigned capacity_log2) {
  const object::HeapReader heap(base, capacity_log2);
  const auto root = heap.at(object::load_header(base).root_offset);
  std::uint32_t length = 0;
  if (!root || root->type_tag != txn::kTypeBytesTag || root->bytes < sizeof length) {
    return fail(Errc::corrupt, "description of a type");
  }
  std::memcpy(&length, base + root->offset, sizeof length);
  if (length > root->bytes - sizeof length) return fail(Errc::corrupt, "description of a type");
  DOLMEN_TRY(const auto described,
             object::decode_types(base::Bytes(base + root->offset + sizeof length, length)));
  const object::TypeEntry& type = described.types.front();
  const std::uint64_t identity = type_identity(type.name, type.fingerprint);
  return ArrivedType{.tag = txn::type_tag_of(identity), .identity = identity};
}

Result<ArrivedType> verify_type(sys::Memory& memory, std::span<const PageCell> cells) {
  DOLMEN_ASSERT(!cells.empty());
  ObjectImage image(memory);
  DOLMEN_CHECK(
      image.begin({.object = cells.front().object, .capacity_log2 = cells.front().capacity_log2}));
  for (const PageCell& cell : cells) image.add_page(cell.page, cell.bytes);
  DOLMEN_CHECK(image.verify());
  if ((object::load_header(image.page(0).data()).flags & object::kTypeDescription) == 0) {
    return fail(Errc::corrupt, "an object that describes no type");
  }
  DOLMEN_TRY(const ArrivedType type, type_in(image.page(0).data(), cells.front().capacity_log2));
  if (detail::SpaceCore::type_object_id(type.tag) == cells.front().object) return type;
  return fail(Errc::corrupt, "the description of another type");
}

}  // namespace dolmen::node
