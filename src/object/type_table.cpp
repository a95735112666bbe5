// SPDX-License-Identifier: Apache-2.0
#include "object/type_table.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include <dolmen/assert.hpp>

namespace dolmen::object {
namespace {

constexpr std::uint32_t kMagic = 0x70797464;  // "dtyp"
constexpr std::uint16_t kVersion = 1;
constexpr std::uint8_t kHoldsPointers = 1;
// Of one type with an empty name and of one field with an empty name.
constexpr std::size_t kTypeBytes = 34;
constexpr std::size_t kFieldBytes = 12;

bool is_integer(TypeKind kind) {
  return kind == TypeKind::boolean || kind == TypeKind::signed_integer ||
         kind == TypeKind::unsigned_integer || kind == TypeKind::character;
}

bool is_scalar(TypeKind kind) {
  return is_integer(kind) || kind == TypeKind::floating || kind == TypeKind::byte ||
         kind == TypeKind::enumeration;
}

/// Checks the invariants of a description whose strings and indices are within their limits. Each
/// check gives null, or what is wrong.
class Validator {
 public:
  explicit Validator(const TypeDescription& description)
      : description_(description), depths_(description.types.size(), kUnknown) {}

  const char* check() {
    for (std::size_t i = 0; i < description_.types.size(); ++i) {
      const TypeEntry& type = description_.types[i];
      if (const char* wrong = check_shape(type)) return wrong;
      if (const char* wrong = check_elements(type)) return wrong;
      if (const char* wrong = check_fields(type)) return wrong;
    }
    for (std::size_t i = 0; i < description_.types.size(); ++i) {
      if (depth_of(i, 0) > kNestingMax) return "type table: nested too deep";
      if (layout_fingerprint(description_, static_cast<std::uint16_t>(i)) !=
          description_.types[i].fingerprint)
        return "type table: fingerprint";
    }
    return nullptr;
  }

 private:
  static constexpr std::size_t kUnknown = 0;
  static constexpr std::size_t kTooDeep = kNestingMax + 1;

  static const char* check_shape(const TypeEntry& type) {
    if (type.kind < TypeKind::boolean || type.kind > TypeKind::opaque) return "type table: kind";
    if (type.size == 0 || type.size > kTypeBytesMax) return "type table: size";
    if (!std::has_single_bit(type.align) || type.size % type.align != 0)
      return "type table: alignment";
    if (type.layout_version != 0 && type.kind < TypeKind::pointer)
      return "type table: layout version";
    if (is_scalar(type.kind) && type.size > 8) return "type table: size of a scalar";
    return nullptr;
  }

  const char* check_elements(const TypeEntry& type) const {
    const bool has = type.element != kNoType;
    if (!has && type.element2 != kNoType) return "type table: mapped type without key";
    if (type.kind == TypeKind::array) {
      if (!has || type.count == 0) return "type table: array without element";
      const TypeEntry& element = description_.types[type.element];
      if (element.kind == TypeKind::array) return "type table: array of arrays";
      if (std::uint64_t{type.count} * element.size != type.size) return "type table: array size";
    } else if (type.count != 1) {
      return "type table: count";
    }
    if (type.kind == TypeKind::enumeration) {
      if (!has) return "type table: enumeration without integer";
      const TypeEntry& element = description_.types[type.element];
      if (!is_integer(element.kind) || element.size != type.size)
        return "type table: integer of an enumeration";
    } else if (has && (is_scalar(type.kind) || type.kind == TypeKind::record)) {
      return "type table: element";
    }
    return nullptr;
  }

  const char* check_fields(const TypeEntry& type) const {
    if (!type.fields.empty() && type.kind != TypeKind::record) return "type table: fields";
    std::set<std::string_view> names;
    std::uint64_t end = 0;
    for (const FieldDescription& field : type.fields) {
      if (!names.insert(field.name).second) return "type table: field named twice";
      if (field.type == kNoType || field.count == 0) return "type table: field type";
      const TypeEntry& element = description_.types[field.type];
      if (element.kind == TypeKind::array) return "type table: field of arrays";
      if (field.offset < end) return "type table: fields overlap";
      end = field.offset + std::uint64_t{field.count} * element.size;
      if (end > type.size) return "type table: field outside its record";
    }
    return nullptr;
  }

  // 1 for a type without parts. A type still being visited counts as known only when it is done, so
  // that a cycle runs into the limit, and the limit is remembered by every type on it: linear in
  // all.
  std::size_t depth_of(std::size_t index, std::size_t above) {
    if (depths_[index] != kUnknown) return depths_[index];
    if (above > kNestingMax) return kTooDeep;
    const TypeEntry& type = description_.types[index];
    std::size_t deepest = 0;
    const auto visit = [&](std::uint16_t part) {
      if (deepest <= kNestingMax) deepest = std::max(deepest, depth_of(part, above + 1));
    };
    if (type.kind == TypeKind::array) visit(type.element);
    for (const FieldDescription& field : type.fields) visit(field.type);
    depths_[index] = std::min(deepest + 1, kTooDeep);
    return depths_[index];
  }

  const TypeDescription& description_;
  std::vector<std::size_t> depths_;
};

std::string_view read_name(base::ByteReader& reader) {
  const std::string_view name = reader.get_string();
  if (name.empty() || name.size() > kTypeNameBytesMax) reader.fail();
  for (const char c : name) {  // names are shown on terminals
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) reader.fail();
  }
  return name;
}

TypeEntry read_type(base::ByteReader& reader, std::size_t type_count) {
  const auto index_or_none = [&](bool none_allowed) {
    const auto index = reader.get<std::uint16_t>();
    if (index >= type_count && !(none_allowed && index == kNoType)) reader.fail();
    return index;
  };
  TypeEntry type;
  type.kind = static_cast<TypeKind>(reader.get<std::uint8_t>());
  const auto flags = reader.get<std::uint8_t>();
  if ((flags & ~kHoldsPointers) != 0) reader.fail();
  type.holds_pointers = (flags & kHoldsPointers) != 0;
  type.size = reader.get<std::uint32_t>();
  type.align = reader.get<std::uint32_t>();
  type.count = reader.get<std::uint32_t>();
  type.layout_version = reader.get<std::uint32_t>();
  type.fingerprint = reader.get<std::uint64_t>();
  type.element = index_or_none(true);
  type.element2 = index_or_none(true);
  const auto field_count = reader.get<std::uint16_t>();
  if (field_count > kTypeFieldsMax || field_count > reader.remaining() / kFieldBytes) reader.fail();
  type.name = read_name(reader);
  for (std::size_t i = 0; i < field_count && !reader.failed(); ++i) {
    FieldDescription field;
    field.offset = reader.get<std::uint32_t>();
    field.count = reader.get<std::uint32_t>();
    field.type = index_or_none(false);
    field.name = read_name(reader);
    type.fields.push_back(std::move(field));
  }
  return type;
}

}  // namespace

std::uint64_t layout_fingerprint(const TypeDescription& description, std::uint16_t index) {
  const TypeEntry& type = description.types[index];
  const auto of = [&](std::uint16_t part) { return description.types[part].fingerprint; };
  detail::LayoutHash hash;
  hash.byte(static_cast<std::uint8_t>(type.kind));
  hash.u32(type.size);
  hash.u32(type.align);
  switch (type.kind) {
    case TypeKind::boolean:
    case TypeKind::signed_integer:
    case TypeKind::unsigned_integer:
    case TypeKind::floating:
    case TypeKind::character:
    case TypeKind::byte:
      break;
    case TypeKind::enumeration:
      hash.u64(of(type.element));
      break;
    case TypeKind::array:
      hash.u32(type.count);
      hash.u64(of(type.element));
      break;
    case TypeKind::record:
      hash.u32(static_cast<std::uint32_t>(type.fields.size()));
      for (const FieldDescription& field : type.fields) {
        hash.string(field.name);
        hash.u32(field.offset);
        hash.u32(field.count);
        hash.u64(of(field.type));
      }
      break;
    case TypeKind::pointer:
    case TypeKind::link:
    case TypeKind::string:
    case TypeKind::vector:
    case TypeKind::hash_map:
    case TypeKind::ordered_map:
    case TypeKind::opaque:
      hash.u32(type.layout_version);
      hash.string(type.name);
      break;
  }
  return hash.value();
}

Result<TypeDescription> describe_type(const TypeInfo& root) {
  std::vector<const TypeInfo*> order{&root};
  // By what is stored of a type, not by address: ptr<T> and ptr<const T> are one type here, and so
  // are two copies of a TypeInfo in two shared libraries.
  std::map<std::pair<std::string_view, std::uint64_t>, std::uint16_t> indices{
      {{root.name, root.fingerprint}, std::uint16_t{0}}};
  const auto index_of = [&](const TypeInfo* info) {
    const auto [found, is_new] = indices.try_emplace({info->name, info->fingerprint},
                                                     static_cast<std::uint16_t>(order.size()));
    if (is_new) order.push_back(info);
    return found->second;
  };
  TypeDescription description;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const TypeInfo& info = *order[i];
    TypeEntry type{std::string(info.name),
                   info.kind,
                   info.holds_pointers,
                   info.size,
                   info.align,
                   info.count,
                   info.layout_version,
                   info.fingerprint,
                   kNoType,
                   kNoType,
                   {}};
    for (const FieldInfo& field : info.fields) {
      type.fields.push_back(
          {std::string(field.name), field.offset, field.count, index_of(field.type)});
    }
    if (info.element != nullptr) type.element = index_of(&info.element());
    if (info.element2 != nullptr) type.element2 = index_of(&info.element2());
    if (order.size() > kTypesMax) return fail(Errc::limit, "reachable types", kTypesMax);
    if (info.name.size() > kTypeNameBytesMax) return fail(Errc::limit, "length of a type's name");
    description.types.push_back(std::move(type));
  }
  if (const char* wrong = Validator(description).check()) return fail(Errc::limit, wrong);
  return description;
}

std::vector<std::byte> encode_types(const TypeDescription& description) {
  DOLMEN_ASSERT(!description.types.empty() && description.types.size() <= kTypesMax);
  base::ByteWriter writer;
  writer.put(kMagic);
  writer.put(kVersion);
  writer.put(static_cast<std::uint16_t>(description.types.size()));
  for (const TypeEntry& type : description.types) {
    writer.put(static_cast<std::uint8_t>(type.kind));
    writer.put(type.holds_pointers ? kHoldsPointers : std::uint8_t{0});
    writer.put(type.size);
    writer.put(type.align);
    writer.put(type.count);
    writer.put(type.layout_version);
    writer.put(type.fingerprint);
    writer.put(type.element);
    writer.put(type.element2);
    writer.put(static_cast<std::uint16_t>(type.fields.size()));
    writer.put_string(type.name);
    for (const FieldDescription& field : type.fields) {
      writer.put(field.offset);
      writer.put(field.count);
      writer.put(field.type);
      writer.put_string(field.name);
    }
  }
  return writer.release();
}

Result<std::vector<std::byte>> encode_type(const TypeInfo& root) {
  DOLMEN_TRY(const TypeDescription description, describe_type(root));
  return encode_types(description);
}

Result<TypeDescription> decode_types(base::Bytes bytes) {
  base::ByteReader reader(bytes);
  if (reader.get<std::uint32_t>() != kMagic) return fail(Errc::corrupt, "type table: magic");
  const auto version = reader.get<std::uint16_t>();
  if (!reader.failed() && version != kVersion)
    return fail(Errc::version_unsupported, "type table", version);
  const std::size_t type_count = reader.get<std::uint16_t>();
  if (type_count == 0 || type_count > kTypesMax || type_count > reader.remaining() / kTypeBytes)
    return fail(Errc::corrupt, "type table: number of types", type_count);
  TypeDescription description;
  while (description.types.size() < type_count && !reader.failed())
    description.types.push_back(read_type(reader, type_count));
  if (!reader.finished()) return fail(Errc::corrupt, "type table", reader.position());
  if (const char* wrong = Validator(description).check()) return fail(Errc::corrupt, wrong);
  return description;
}

}  // namespace dolmen::object
