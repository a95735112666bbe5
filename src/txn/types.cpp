// SPDX-License-Identifier: Apache-2.0
#include "txn/types.hpp"

#include <cstring>

#include "base/mutex.hpp"
#include "base/sha256.hpp"
#include "object/type_query.hpp"

namespace dolmen::txn {

namespace {

struct Registry {
  base::SharedMutex mutex;
  std::unordered_map<std::uint32_t, const TypeInfo*> types DOLMEN_GUARDED_BY(mutex);
};

Registry& registry() {
  static Registry the_registry;
  return the_registry;
}

/// Words of a container that hold pointers, whatever its elements are: every 8-byte word of it is
/// offered; the scanner tells pointers from counts by value, the marker may keep an entry too long,
/// never too short.
void append_words(std::vector<std::uint32_t>& offsets, std::uint32_t base, std::uint32_t size) {
  for (std::uint32_t at = 0; at + 8 <= size; at += 8) offsets.push_back(base + at);
}

void append_pointers(const object::TypeDescription& table, std::uint16_t type, std::uint32_t base,
                     std::vector<std::uint32_t>& offsets) {
  const object::TypeEntry& entry = table.types[type];
  if (!entry.holds_pointers) return;
  switch (entry.kind) {
    case TypeKind::pointer:
      offsets.push_back(base);
      return;
    case TypeKind::string:
    case TypeKind::vector:
    case TypeKind::hash_map:
    case TypeKind::ordered_map:
    case TypeKind::opaque:
      append_words(offsets, base, entry.size);
      return;
    default:
      break;
  }
  for (const object::FieldDescription& field : entry.fields) {
    const object::TypeEntry& element = table.types[field.type];
    for (std::uint32_t i = 0; i < field.count; ++i) {
      append_pointers(table, field.type, base + field.offset + i * element.size, offsets);
    }
  }
}

}  // namespace

std::uint32_t register_type(const TypeInfo& type) {
  const std::uint32_t tag = detail::type_tag(type);
  static thread_local const TypeInfo* last = nullptr;  // runs of allocations have one type
  if (last == &type) return tag;
  Registry& known = registry();
  {
    const base::SharedLock guard(known.mutex);
    if (known.types.contains(tag)) {
      last = &type;
      return tag;
    }
  }
  const base::Lock guard(known.mutex);
  known.types.emplace(tag, &type);
  last = &type;
  return tag;
}

const TypeInfo* registered_type(std::uint32_t tag) {
  Registry& known = registry();
  const base::SharedLock guard(known.mutex);
  const auto found = known.types.find(tag);
  return found == known.types.end() ? nullptr : found->second;
}

Result<std::shared_ptr<const object::TypeDescription>> type_description(detail::SpaceCore& core,
                                                                        std::uint32_t tag) {
  if (const TypeInfo* own = registered_type(tag)) {
    DOLMEN_TRY(auto described, object::describe_type(*own));
    return std::make_shared<const object::TypeDescription>(std::move(described));
  }
  const ObjectId id = detail::SpaceCore::type_object_id(tag);
  const detail::SpaceCore::MapUser user(core);
  DOLMEN_TRY(HomeObject* const home, core.home(id));
  const object::HeapReader heap(home->base, home->capacity_log2());
  const object::ObjectHeader header = object::load_header(home->base);
  const auto allocation = heap.at(header.root_offset);
  if (!allocation || allocation->bytes < sizeof(std::uint32_t)) {
    return fail(Errc::corrupt, interned("type description " + id.to_string()));
  }
  std::uint32_t length;
  std::memcpy(&length, home->base + allocation->offset, sizeof length);
  if (length > allocation->bytes - sizeof length) {
    return fail(Errc::corrupt, interned("type description " + id.to_string()));
  }
  DOLMEN_TRY(auto described, object::decode_types(base::Bytes(
                                 home->base + allocation->offset + sizeof length, length)));
  const object::TypeEntry& root = described.types[0];
  if (type_tag_of(type_identity(root.name, root.fingerprint)) != tag) {
    return fail(Errc::corrupt, interned("type description " + id.to_string() + " of another type"));
  }
  return std::make_shared<const object::TypeDescription>(std::move(described));
}

const char* layout_difference(detail::SpaceCore& core, std::uint32_t stored_tag,
                              const TypeInfo& now) {
  const std::string name(now.name);
  const auto stored = type_description(core, stored_tag);
  const auto current = object::describe_type(now);
  if (!stored || !current)
    return interned("`" + name + "`, whose stored description is not readable");
  std::string difference = object::describe_difference(**stored, *current);
  if (difference.empty()) {
    difference = "the object holds a `" + (*stored)->types[0].name + "`, not a `" + name + "`";
  }
  return interned(difference);
}

std::optional<std::span<const std::uint32_t>> StoredPointerLayout::pointer_offsets(
    std::uint32_t type_tag) {
  const auto found = known_.find(type_tag);
  if (found != known_.end()) return std::span<const std::uint32_t>(found->second);
  const auto description = type_description(core_, type_tag);
  if (!description) return std::nullopt;
  std::vector<std::uint32_t> offsets;
  append_pointers(**description, 0, 0, offsets);
  return std::span<const std::uint32_t>(known_.emplace(type_tag, std::move(offsets)).first->second);
}

}  // namespace dolmen::txn

namespace dolmen::detail {

ObjectId SpaceCore::type_object_id(std::uint32_t tag) noexcept {
  // The seed that the object's header carries, so that the id verifies like any other.
  return derive_object_id(type_object_seed(tag));
}

ObjectIdSeed SpaceCore::type_object_seed(std::uint32_t tag) noexcept {
  ObjectIdSeed seed;
  static constexpr char kText[] = "dolmen type";
  std::memcpy(seed.nonce.data(), kText, sizeof kText - 1);
  std::memcpy(seed.nonce.data() + 12, &tag, sizeof tag);
  seed.flags = object::kImmutable | object::kTypeDescription;
  return seed;
}

}  // namespace dolmen::detail
