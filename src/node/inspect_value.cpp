// SPDX-License-Identifier: Apache-2.0
#include "node/inspect_value.hpp"

#include <algorithm>
#include <cstring>

#include <dolmen/detail/arena.hpp>
#include <dolmen/detail/container_btree_nodes.hpp>
#include <dolmen/detail/container_hash_table.hpp>

#include "object/fot.hpp"

namespace dolmen::node {

using detail::round_up;
using object::TypeEntry;

namespace {

std::unexpected<Error> damaged(const char* what, std::uint64_t offset) {
  return fail(Errc::corrupt, what, offset);
}

Value with(Value::Kind kind) {
  Value value;
  value.kind = kind;
  return value;
}

constexpr bool has_parts(TypeKind kind) noexcept {
  return kind == TypeKind::record || kind == TypeKind::array || kind == TypeKind::vector ||
         kind == TypeKind::hash_map || kind == TypeKind::ordered_map;
}

}  // namespace

const TypeEntry* ValueReader::entry_of(std::uint16_t type) const noexcept {
  return type < types_.types.size() ? &types_.types[type] : nullptr;
}

bool ValueReader::holds(std::uint64_t offset, std::uint64_t bytes) const noexcept {
  return bytes <= heap_.capacity() && offset <= heap_.capacity() - bytes;
}

template <class T>
T ValueReader::load(std::uint64_t offset) const noexcept {
  T value{};
  if (holds(offset, sizeof value)) std::memcpy(&value, heap_.base() + offset, sizeof value);
  return value;
}

Result<Value> ValueReader::read(std::uint16_t type_index, std::uint64_t offset) {
  const TypeEntry* type = entry_of(type_index);
  if (type == nullptr) return damaged("a type without description", offset);
  if (!holds(offset, type->size)) return damaged("a value outside its object", offset);
  if (left_ == 0) return fail(Errc::limit, "values shown; ask for fewer with --limit");
  --left_;
  if (depth_ >= std::min(limits_.depth, kValueDepthMax) && has_parts(type->kind)) {
    Value omitted = with(Value::Kind::omitted);
    omitted.text = type->name;
    return omitted;
  }
  ++depth_;
  auto value = [&]() -> Result<Value> {
    switch (type->kind) {
      case TypeKind::array:
        return read_many(type->element, offset, type->count);
      case TypeKind::record:
        return record(*type, offset);
      case TypeKind::enumeration:
        return read(type->element, offset);
      case TypeKind::pointer:
        return pointer(*type, offset);
      case TypeKind::link:
        return link(*type, offset);
      case TypeKind::string:
        return string(offset);
      case TypeKind::vector:
        return vector(*type, offset);
      case TypeKind::hash_map:
        return hash_map(*type, offset);
      case TypeKind::ordered_map:
        return ordered_map(*type, offset);
      case TypeKind::opaque:
        return hex(offset, type->size);
      default:
        return scalar(*type, offset);
    }
  }();
  --depth_;
  return value;
}

Result<Value> ValueReader::read_many(std::uint16_t type_index, std::uint64_t offset,
                                     std::uint64_t count) {
  const TypeEntry* type = entry_of(type_index);
  if (type == nullptr) return damaged("a type without description", offset);
  if (type->size != 0 && count > heap_.capacity() / type->size) {
    return damaged("an array outside its object", offset);
  }
  if (!holds(offset, type->size * count)) return damaged("an array outside its object", offset);
  if (type->kind == TypeKind::character && type->size == 1) {
    const auto* chars = heap_.base() + offset;
    std::uint64_t length = count;
    while (length != 0 && chars[length - 1] == std::byte{0}) --length;
    return text(offset, length);
  }
  if (type->kind == TypeKind::byte) return hex(offset, count);
  Value list = with(Value::Kind::list);
  list.total = count;
  for (std::uint64_t i = 0; i < count && i < limits_.elements; ++i) {
    DOLMEN_TRY(Value element, read(type_index, offset + i * type->size));
    list.items.push_back(std::move(element));
  }
  return list;
}

Result<Value> ValueReader::scalar(const TypeEntry& type, std::uint64_t offset) const {
  Value value;
  switch (type.kind) {
    case TypeKind::boolean:
      value.kind = Value::Kind::boolean;
      value.natural = load<std::uint8_t>(offset) != 0;
      return value;
    case TypeKind::floating:
      value.kind = Value::Kind::real;
      if (type.size == sizeof(float)) {
        value.real = static_cast<double>(load<float>(offset));
      } else if (type.size == sizeof(double)) {
        value.real = load<double>(offset);
      } else {
        return hex(offset, type.size);
      }
      return value;
    case TypeKind::character:
      if (type.size == 1) return text(offset, 1);
      break;
    case TypeKind::byte:
      return hex(offset, 1);
    default:
      break;
  }
  const bool is_signed = type.kind == TypeKind::signed_integer;
  value.kind = is_signed ? Value::Kind::integer : Value::Kind::natural;
  switch (type.size) {
    case 1:
      value.natural = load<std::uint8_t>(offset);
      break;
    case 2:
      value.natural = load<std::uint16_t>(offset);
      break;
    case 4:
      value.natural = load<std::uint32_t>(offset);
      break;
    case 8:
      value.natural = load<std::uint64_t>(offset);
      break;
    default:
      return hex(offset, type.size);
  }
  const std::uint64_t above = 64 - 8 * type.size;  // bits that the sign fills
  value.integer = static_cast<std::int64_t>(value.natural << above) >> above;
  return value;
}

Result<Value> ValueReader::record(const TypeEntry& type, std::uint64_t offset) {
  Value value = with(Value::Kind::record);
  for (const object::FieldDescription& field : type.fields) {
    const TypeEntry* element = entry_of(field.type);
    if (element == nullptr) return damaged("a field without type", offset);
    auto part = field.count == 1 ? read(field.type, offset + field.offset)
                                 : read_many(field.type, offset + field.offset, field.count);
    if (!part) return std::unexpected(part.error());
    value.names.push_back(field.name);
    value.items.push_back(std::move(*part));
  }
  return value;
}

Result<Value> ValueReader::pointer(const TypeEntry& type, std::uint64_t offset) const {
  const auto bits = load<std::uint64_t>(offset);
  Value value;
  if (bits == 0) return value;
  value.kind = Value::Kind::pointer;
  const TypeEntry* target = entry_of(type.element);
  value.text = target == nullptr ? std::string() : target->name;
  value.offset = bits & detail::kOffsetMask;
  if (detail::is_foreign(bits)) {
    const auto object = object::fot_entry(heap_, detail::fot_index(bits));
    if (!object) return damaged("a pointer through a free foreign index", offset);
    value.object = *object;
  } else if (bits <= detail::kOffsetMask) {
    value.object = id_;
  } else {
    return damaged("a pointer with transient bits", offset);
  }
  return value;
}

Result<Value> ValueReader::link(const TypeEntry& type, std::uint64_t offset) const {
  Value value;
  const auto object = load<ObjectId>(offset);
  if (object.is_null()) return value;
  const TypeEntry* target = entry_of(type.element);
  value.kind = Value::Kind::pointer;
  value.text = target == nullptr ? std::string() : target->name;
  value.object = object;
  value.offset = load<std::uint64_t>(offset + sizeof(ObjectId));
  return value;
}

Result<Value> ValueReader::text(std::uint64_t offset, std::uint64_t bytes) const {
  if (!holds(offset, bytes)) return damaged("a text outside its object", offset);
  Value value = with(Value::Kind::text);
  value.total = bytes;
  value.text.resize(std::min(bytes, limits_.text_bytes));
  std::memcpy(value.text.data(), heap_.base() + offset, value.text.size());
  return value;
}

Result<Value> ValueReader::hex(std::uint64_t offset, std::uint64_t bytes) const {
  if (!holds(offset, bytes)) return damaged("bytes outside their object", offset);
  static constexpr char kDigits[] = "0123456789abcdef";
  Value value = with(Value::Kind::bytes);
  value.total = bytes;
  for (std::uint64_t i = 0; i < bytes && i < limits_.text_bytes; ++i) {
    const auto byte = std::to_integer<unsigned>(heap_.base()[offset + i]);
    value.text.push_back(kDigits[byte >> 4]);
    value.text.push_back(kDigits[byte & 15]);
  }
  return value;
}

Result<Value> ValueReader::string(std::uint64_t offset) const {
  const auto size = load<std::uint8_t>(offset + 23);
  if (size == 0xFF) {
    return text(load<std::uint64_t>(offset), load<std::uint32_t>(offset + 8));
  }
  if (size > 22) return damaged("a string of impossible size", offset);
  return text(offset, size);
}

Result<Value> ValueReader::vector(const TypeEntry& type, std::uint64_t offset) {
  const auto size = load<std::uint32_t>(offset + 8);
  if (size > load<std::uint32_t>(offset + 12)) return damaged("a vector above capacity", offset);
  if (size == 0) return with(Value::Kind::list);
  return read_many(type.element, load<std::uint64_t>(offset), size);
}

Result<void> ValueReader::entry(const TypeEntry& map, std::uint64_t key, std::uint64_t value,
                                Value& into) {
  DOLMEN_TRY(Value key_value, read(map.element, key));
  DOLMEN_TRY(Value mapped, read(map.element2, value));
  into.items.push_back(std::move(key_value));
  into.items.push_back(std::move(mapped));
  return {};
}

Result<Value> ValueReader::hash_map(const TypeEntry& type, std::uint64_t offset) {
  using detail::HashLayout;
  const TypeEntry* key = entry_of(type.element);
  const TypeEntry* mapped = entry_of(type.element2);
  if (key == nullptr || mapped == nullptr) return damaged("a map without types", offset);
  const std::size_t align = std::max<std::size_t>({key->align, mapped->align, 1});
  const std::uint64_t key_at = round_up(8, align);
  const std::uint64_t value_at = key_at + round_up(key->size, std::max(mapped->align, 1u));

  Value map = with(Value::Kind::map);
  const auto directory = load<std::uint64_t>(offset);
  map.total = load<std::uint64_t>(offset + 8);
  const auto buckets = load<std::uint32_t>(offset + 16);
  if (buckets > heap_.capacity() / sizeof(detail::HashBucket) || map.total > heap_.capacity() / 8) {
    return damaged("a hash map larger than its object", offset);
  }
  std::uint64_t seen = 0;
  for (std::uint32_t bucket = 0; bucket < buckets; ++bucket) {
    const HashLayout::Place place = HashLayout::place_of(bucket);
    const auto segment = load<std::uint64_t>(directory + 8ull * place.segment);
    const std::uint64_t at = segment + 64ull * place.offset;
    if (segment == 0 || !holds(at, 64)) return damaged("a hash map without buckets", offset);
    for (unsigned slot = 0; slot < detail::HashBucket::kSlots; ++slot) {
      auto link = load<std::uint64_t>(at + 8 * slot);
      while (link != 0) {
        if (map.items.size() / 2 >= limits_.elements) return map;
        if (++seen > map.total) return damaged("a hash map with too many entries", offset);
        const std::uint64_t node = link & HashLayout::kLocationMask;
        if (!holds(node, value_at + mapped->size)) return damaged("an entry outside", offset);
        DOLMEN_CHECK(entry(type, node + key_at, node + value_at, map));
        link = (link & HashLayout::kHasNext) != 0 ? load<std::uint64_t>(node) : 0;
      }
    }
  }
  if (seen != map.total) return damaged("a hash map with too few entries", offset);
  return map;
}

Result<Value> ValueReader::ordered_map(const TypeEntry& type, std::uint64_t offset) {
  const TypeEntry* key = entry_of(type.element);
  const TypeEntry* mapped = entry_of(type.element2);
  if (key == nullptr || mapped == nullptr) return damaged("a map without types", offset);
  const detail::LeafLayout layout{key->size, std::max(key->align, 1u), mapped->size,
                                  std::max(mapped->align, 1u)};
  const std::size_t capacity = layout.capacity();
  const std::size_t keys_at = layout.keys_at(layout.order_bytes());
  const std::size_t values_at = layout.values_at(capacity, layout.order_bytes());

  Value map = with(Value::Kind::map);
  map.total = load<std::uint64_t>(offset + 24);
  std::uint64_t seen = 0;
  auto leaf = load<std::uint64_t>(offset + 8);
  for (std::uint32_t leaves = 0; leaf != 0; leaf = load<std::uint64_t>(leaf + 8), ++leaves) {
    if (leaves > heap_.capacity() / 64) return damaged("leaves of a map in a ring", offset);
    if (!holds(leaf, values_at + capacity * mapped->size)) {
      return damaged("a leaf outside its object", offset);
    }
    const auto count = load<std::uint16_t>(leaf + 16);
    if (count > capacity) return damaged("a leaf above its capacity", leaf);
    for (std::uint16_t i = 0; i < count; ++i) {
      if (map.items.size() / 2 >= limits_.elements) return map;
      if (++seen > map.total) return damaged("an ordered map with too many entries", offset);
      const std::uint64_t slot = load<std::uint8_t>(leaf + 18 + i);
      if (slot >= capacity) return damaged("a leaf's order", leaf);
      DOLMEN_CHECK(entry(type, leaf + keys_at + slot * key->size,
                         leaf + values_at + slot * mapped->size, map));
    }
  }
  if (seen != map.total) return damaged("an ordered map with too few entries", offset);
  return map;
}

}  // namespace dolmen::node
