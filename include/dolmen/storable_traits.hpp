// SPDX-License-Identifier: Apache-2.0
//
// How a type tells dolmen what it is when its fields do not: pointers, containers and opaque values
// specialise `StorableTraits`. Plain records need nothing, see <dolmen/reflect.hpp>.
//
// Thread contract: compile time only.
#pragma once

#include <cstdint>

namespace dolmen {

/// What a stored type is. Numbers are stable: they are stored (docs/formats/types.md).
enum class TypeKind : std::uint8_t {
  boolean = 1,
  signed_integer = 2,
  unsigned_integer = 3,
  floating = 4,
  character = 5,  ///< char, char8_t, char16_t, char32_t, wchar_t
  byte = 6,       ///< std::byte
  enumeration = 7,
  array = 8,
  record = 9,
  pointer = 10,  ///< dolmen::ptr<T>
  link = 11,     ///< dolmen::link<T>
  string = 12,
  vector = 13,
  hash_map = 14,
  ordered_map = 15,
  opaque = 16,  ///< bytes that only their own class understands
};

/// Specialise for a class whose private fields are not its meaning. T must be a standard-layout
/// class which stays valid when its bytes are copied to another address of the same object.
///
///     template <class K, class V>
///     struct StorableTraits<my_map<K, V>> {
///       static constexpr TypeKind kind = TypeKind::hash_map;
///       static constexpr std::string_view name = "my_map";  // shown and stored as "my_map<K,V>"
///       using element = K;                                  // optional: pointee, element, key
///       using element2 = V;                                 // optional: mapped type; needs
///       element static constexpr std::uint32_t layout_version = 2;  // optional: raise when the
///       class's own
///     };                                                    // bytes change their meaning; default
///     0
///
/// The element types may be incomplete where the class is used as a field; they are checked when
/// the class's members are used (call `check_storable<K>()` in their bodies) and when `type_info()`
/// of them is asked for.
template <class T>
struct StorableTraits {};

}  // namespace dolmen
