// SPDX-License-Identifier: Apache-2.0
//
// A type and everything reachable from it, as owned data: what a space keeps of a program's structs
// so that a later program, `inspect` and other languages can read them. Made from a TypeInfo at run
// time or decoded from the bytes of docs/formats/types.md.
//
// Thread contract: values and pure functions; safe from any thread.
// Invariants of a TypeDescription that describe_type() or decode_types() returned:
//   1. types is not empty; types[0] is the root; every index is below types.size() or kNoType.
//   2. A record's fields lie in it one behind the other; their names differ, their types are no
//   arrays.
//   3. What lies in a type by value nests at most kNestingMax deep: no type contains itself.
//   4. Each fingerprint is the one that <dolmen/reflect.hpp> defines over the rest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/reflect.hpp>

#include "base/bytes.hpp"

namespace dolmen::object {

inline constexpr std::uint16_t kNoType = 0xFFFF;

inline constexpr std::size_t kTypesMax = 4096;
inline constexpr std::size_t kTypeFieldsMax = 256;  // what is read; writers of today stop at 32
inline constexpr std::size_t kTypeNameBytesMax = 511;
inline constexpr std::size_t kNestingMax = 64;
inline constexpr std::uint32_t kTypeBytesMax = 1u << 30;

struct FieldDescription {
  std::string name;
  std::uint32_t offset = 0;
  std::uint32_t count = 1;       ///< elements of an array, else 1
  std::uint16_t type = kNoType;  ///< index of the element's type

  friend bool operator==(const FieldDescription&, const FieldDescription&) = default;
};

struct TypeEntry {
  std::string name;
  TypeKind kind = TypeKind::opaque;
  bool holds_pointers = false;
  std::uint32_t size = 0;
  std::uint32_t align = 1;
  std::uint32_t count = 1;  ///< elements, if kind is array, else 1
  std::uint32_t layout_version = 0;
  std::uint64_t fingerprint = 0;
  std::uint16_t element = kNoType;   ///< as TypeInfo::element
  std::uint16_t element2 = kNoType;  ///< as TypeInfo::element2
  std::vector<FieldDescription> fields;

  friend bool operator==(const TypeEntry&, const TypeEntry&) = default;
};

struct TypeDescription {
  std::vector<TypeEntry> types;

  friend bool operator==(const TypeDescription&, const TypeDescription&) = default;
};

/// `root` and all types reachable from it, breadth first: fields, then element, then element2.
///
/// Errors: limit (more than kTypesMax types, a name above kTypeNameBytesMax, deeper than
/// kNestingMax).
[[nodiscard]] Result<TypeDescription> describe_type(const TypeInfo& root);

/// What types[type].fingerprint must be, from its other members and the fingerprints of its parts.
///
/// Requires: the indices and the kind of types[type] are valid.
[[nodiscard]] std::uint64_t layout_fingerprint(const TypeDescription& description,
                                               std::uint16_t type);

/// The bytes of docs/formats/types.md. Equal types give equal bytes on every compiler.
///
/// Requires: a description that keeps the invariants above.
[[nodiscard]] std::vector<std::byte> encode_types(const TypeDescription& description);

/// encode_types(describe_type(root)).
[[nodiscard]] Result<std::vector<std::byte>> encode_type(const TypeInfo& root);

/// Reads what encode_types() wrote. Any bytes may be given: what breaks an invariant is refused.
///
/// Errors: corrupt, version_unsupported.
/// Cost:   linear in the bytes.
[[nodiscard]] Result<TypeDescription> decode_types(base::Bytes bytes);

}  // namespace dolmen::object
