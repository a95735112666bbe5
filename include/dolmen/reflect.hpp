// SPDX-License-Identifier: Apache-2.0
//
// What a stored type looks like, found by the compiler: `type_info<Page>()` gives name, size,
// fields with offsets and a fingerprint of the layout, for aggregates without a word from the user
// and for other classes by DOLMEN_FIELDS. `check_storable<T>()` refuses what cannot live in an
// object, with the remedy.
//
// Limits: 32 fields per record; no bit-fields, unions, base classes (but through DOLMEN_FIELDS).
// Thread contract: constant data, made at compile time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include <dolmen/detail/reflect_fields.hpp>
#include <dolmen/detail/reflect_name.hpp>
#include <dolmen/detail/reflect_rules.hpp>
#include <dolmen/storable_traits.hpp>

namespace dolmen {

struct TypeInfo;

struct FieldInfo {
  std::string_view name;
  std::uint32_t offset;  ///< from the record's begin
  std::uint32_t size;    ///< of the whole field: count * type->size
  std::uint32_t count;   ///< elements of an array (all dimensions multiplied), else 1
  const TypeInfo* type;  ///< of one element; never of kind array
};

struct TypeInfo {
  std::string_view name;  ///< "u32", "web::Page", "ptr<web::Page>"; equal on every compiler
  std::uint32_t size;
  std::uint32_t align;
  std::uint32_t count;  ///< elements, if kind is array, else 1
  TypeKind kind;
  bool holds_pointers;           ///< a ptr or a container lies somewhere in its bytes
  std::uint32_t layout_version;  ///< of a class with StorableTraits, else 0
  std::uint64_t fingerprint;     ///< of the layout; two records of equal fields share it
  std::uint64_t identity;        ///< of layout and name: tells such two apart; see type_identity()
  std::span<const FieldInfo> fields;  ///< of a record, in order of offset
  /// Pointee of a pointer or link, element of an array or container, key of a map, integer behind
  /// an enumeration; null if there is none. A function, so that types may refer to themselves.
  const TypeInfo& (*element)();
  const TypeInfo& (*element2)();  ///< mapped type of a map, else null
};

namespace detail {

template <class T>
struct TypeNameMaker;

template <class T>
consteval NameBuffer traits_name() {
  using Traits = StorableTraits<T>;
  NameBuffer name;
  name.append(Traits::name);
  if constexpr (requires { typename Traits::element; }) {
    name.push('<');
    name.append(StaticText<TypeNameMaker<std::remove_cv_t<typename Traits::element>>>::view);
    if constexpr (requires { typename Traits::element2; }) {
      name.push(',');
      name.append(StaticText<TypeNameMaker<std::remove_cv_t<typename Traits::element2>>>::view);
    }
    name.push('>');
  }
  return name;
}

template <class T>
struct TypeNameMaker {
  static consteval NameBuffer make() {
    if constexpr (Peeled<T>::kCount != 1 || !std::is_same_v<peeled_t<T>, T>) {
      NameBuffer name = TypeNameMaker<peeled_t<T>>::make();
      name.push('[');
      name.append_number(Peeled<T>::kCount);
      name.push(']');
      return name;
    } else if constexpr (HasTraits<T>) {
      return traits_name<T>();
    } else if constexpr (std::is_same_v<T, std::byte>) {
      NameBuffer name;
      name.append("byte");
      return name;
    } else {
      return normalised_type_text(compiler_type_text<T>());
    }
  }
};

}  // namespace detail

/// "bool", "char", "byte", "i8"…"u64", "f32", "f64", "ns::Page", "ptr<ns::Page>", "u8[16]". T may
/// be incomplete. Types local to a function have their bare name.
template <class T>
constexpr std::string_view type_name() {
  return detail::StaticText<detail::TypeNameMaker<std::remove_cv_t<T>>>::view;
}

/// Refuses, with a static_assert that names the rule and the remedy, a T that cannot live in an
/// object: raw pointers, references, virtual functions, standard library classes, … at any depth of
/// its fields. Call it in the bodies of members of templates whose parameter may still be
/// incomplete.
template <class T>
consteval void check_storable() {
  if constexpr (detail::rule_of<T>() != detail::Rule::ok) {
    static_assert(sizeof(detail::Explain<T>) > 0);
  }
}

/// T may live in an object. Requires: T is complete.
template <class T>
concept Storable = detail::rule_of<T>() == detail::Rule::ok;

template <class T>
constexpr const TypeInfo& type_info();

namespace detail {

// Not constexpr: the compilers instantiate its body last, when pointees are complete.
template <class T>
const TypeInfo& lazy_type_info() {
  return type_info<T>();
}

/// 64-bit FNV-1a. Integers enter as their little-endian bytes, strings as a u32 length and their
/// bytes.
class LayoutHash {
 public:
  constexpr void byte(std::uint8_t value) { state_ = (state_ ^ value) * 0x00000100000001B3u; }
  constexpr void u32(std::uint32_t value) {
    for (int i = 0; i < 4; ++i) byte(static_cast<std::uint8_t>(value >> (8 * i)));
  }
  constexpr void u64(std::uint64_t value) {
    u32(static_cast<std::uint32_t>(value));
    u32(static_cast<std::uint32_t>(value >> 32));
  }
  constexpr void string(std::string_view text) {
    u32(static_cast<std::uint32_t>(text.size()));
    for (const char c : text) byte(static_cast<std::uint8_t>(c));
  }
  [[nodiscard]] constexpr std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0xCBF29CE484222325u;
};

}  // namespace detail

/// FNV-1a over the name (with its u32 length in front) and the fingerprint: what tags of types
/// derive from.
constexpr std::uint64_t type_identity(std::string_view name, std::uint64_t fingerprint) {
  detail::LayoutHash hash;
  hash.string(name);
  hash.u64(fingerprint);
  return hash.value();
}

namespace detail {

template <class T>
consteval TypeKind kind_of() {
  if constexpr (!std::is_same_v<peeled_t<T>, T>)
    return TypeKind::array;
  else if constexpr (HasTraits<T>)
    return StorableTraits<T>::kind;
  else if constexpr (std::is_same_v<T, bool>)
    return TypeKind::boolean;
  else if constexpr (kIsCharacter<T>)
    return TypeKind::character;
  else if constexpr (std::is_floating_point_v<T>)
    return TypeKind::floating;
  else if constexpr (std::is_integral_v<T>)
    return std::is_signed_v<T> ? TypeKind::signed_integer : TypeKind::unsigned_integer;
  else if constexpr (std::is_same_v<T, std::byte>)
    return TypeKind::byte;
  else if constexpr (std::is_enum_v<T>)
    return TypeKind::enumeration;
  else
    return TypeKind::record;
}

template <class T>
struct TypeInfoOf;

template <class Record, class Types, class Indices>
struct FieldTable;
template <class Record, class... F, std::size_t... I>
struct FieldTable<Record, TypeList<F...>, std::index_sequence<I...>> {
  struct NamesMaker {  // all names in one text
    static consteval NameBuffer make() {
      NameBuffer names;
      (names.append(Fields<Record>::template name<I>()), ...);
      return names;
    }
  };
  static constexpr auto kFields = []() consteval {
    constexpr auto places = Fields<Record>::places();
    std::array<FieldInfo, sizeof...(F)> fields{
        FieldInfo{{},
                  static_cast<std::uint32_t>(places.at[I].offset),
                  static_cast<std::uint32_t>(places.at[I].size),
                  static_cast<std::uint32_t>(Peeled<std::remove_cv_t<F>>::kCount),
                  &TypeInfoOf<std::remove_cv_t<peeled_t<F>>>::kInfo}...};
    constexpr std::array<std::size_t, sizeof...(F)> sizes{
        Fields<Record>::template name<I>().size()...};
    std::size_t begin = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      fields[i].name = StaticText<NamesMaker>::view.substr(begin, sizes[i]);
      begin += sizes[i];
    }
    return fields;
  }();
  static constexpr std::span<const FieldInfo> kSpan{kFields};
};
template <class Record>
struct FieldTable<Record, TypeList<>, std::index_sequence<>> {
  static constexpr std::span<const FieldInfo> kSpan{};
};

template <class T>
consteval std::span<const FieldInfo> fields_of() {
  if constexpr (kind_of<T>() == TypeKind::record && kIsRecord<T>) {
    return FieldTable<T, typename Fields<T>::Types,
                      std::make_index_sequence<Fields<T>::kSize>>::kSpan;
  } else {
    return {};
  }
}

using TypeInfoFunction = const TypeInfo& (*)();

template <class T>
consteval TypeInfoFunction element_of() {
  if constexpr (kind_of<T>() == TypeKind::array) {
    return &lazy_type_info<std::remove_cv_t<peeled_t<T>>>;
  } else if constexpr (std::is_enum_v<T> && kind_of<T>() == TypeKind::enumeration) {
    return &lazy_type_info<std::underlying_type_t<T>>;
  } else if constexpr (requires { typename StorableTraits<T>::element; }) {
    using Element = std::remove_cv_t<typename StorableTraits<T>::element>;
    if constexpr (std::is_void_v<Element>) {
      return nullptr;
    } else {
      return &lazy_type_info<Element>;
    }
  } else {
    return nullptr;
  }
}

template <class T>
consteval TypeInfoFunction element2_of() {
  if constexpr (requires { typename StorableTraits<T>::element2; }) {
    return &lazy_type_info<std::remove_cv_t<typename StorableTraits<T>::element2>>;
  } else {
    return nullptr;
  }
}

template <class T>
consteval std::uint32_t layout_version_of() {
  if constexpr (requires { StorableTraits<T>::layout_version; }) {
    return StorableTraits<T>::layout_version;
  } else {
    return 0;
  }
}

/// The fingerprint of T is FNV-1a over: u8 kind, u32 size, u32 align, and then
///   record          u32 number of fields, for each: string name, u32 offset, u32 count, u64 its
///   type's array           u32 count, u64 of its element enumeration     u64 of its integer other
///   scalars   nothing more with traits     u32 layout_version, string name of T, as type_name<T>()
///   gives it; what it points to
///                   or contains takes part by that name only, so that the recursion ends
/// Names of records do not take part but through pointers: a renamed record is the same layout.
template <class T>
consteval std::uint64_t fingerprint_of() {
  LayoutHash hash;
  hash.byte(static_cast<std::uint8_t>(kind_of<T>()));
  hash.u32(static_cast<std::uint32_t>(sizeof(T)));
  hash.u32(static_cast<std::uint32_t>(alignof(T)));
  if constexpr (kind_of<T>() == TypeKind::array) {
    hash.u32(static_cast<std::uint32_t>(Peeled<T>::kCount));
    hash.u64(TypeInfoOf<std::remove_cv_t<peeled_t<T>>>::kInfo.fingerprint);
  } else if constexpr (HasTraits<T>) {
    hash.u32(layout_version_of<T>());
    hash.string(type_name<T>());
  } else if constexpr (kind_of<T>() == TypeKind::enumeration) {
    hash.u64(TypeInfoOf<std::underlying_type_t<T>>::kInfo.fingerprint);
  } else if constexpr (kind_of<T>() == TypeKind::record) {
    const std::span<const FieldInfo> fields = fields_of<T>();
    hash.u32(static_cast<std::uint32_t>(fields.size()));
    for (const FieldInfo& field : fields) {
      hash.string(field.name);
      hash.u32(field.offset);
      hash.u32(field.count);
      hash.u64(field.type->fingerprint);
    }
  }
  return hash.value();
}

template <class T>
consteval bool holds_pointers() {
  if constexpr (kind_of<T>() == TypeKind::array) {
    return TypeInfoOf<std::remove_cv_t<peeled_t<T>>>::kInfo.holds_pointers;
  } else if constexpr (HasTraits<T>) {
    return kind_of<T>() != TypeKind::link && kind_of<T>() != TypeKind::opaque;
  } else {
    for (const FieldInfo& field : fields_of<T>()) {
      if (field.type->holds_pointers) return true;
    }
    return false;
  }
}

template <class T>
struct TypeInfoOf {
  static_assert(std::is_same_v<T, std::remove_cv_t<T>>);
  static constexpr std::uint64_t kFingerprint = fingerprint_of<T>();
  static constexpr TypeInfo kInfo{type_name<T>(),
                                  static_cast<std::uint32_t>(sizeof(T)),
                                  static_cast<std::uint32_t>(alignof(T)),
                                  static_cast<std::uint32_t>(Peeled<T>::kCount),
                                  kind_of<T>(),
                                  holds_pointers<T>(),
                                  layout_version_of<T>(),
                                  kFingerprint,
                                  type_identity(type_name<T>(), kFingerprint),
                                  fields_of<T>(),
                                  element_of<T>(),
                                  element2_of<T>()};
};

/// Ends the list of messages behind a refused type.
struct NoTypeInfo {
  static constexpr TypeInfo kInfo{};
};

}  // namespace detail

/// The description of T, one per type and program. Requires: T is complete and Storable (checked),
/// and what it points to is complete at the end of the translation unit.
template <class T>
constexpr const TypeInfo& type_info() {
  check_storable<T>();
  return std::conditional_t<Storable<T>, detail::TypeInfoOf<std::remove_cv_t<T>>,
                            detail::NoTypeInfo>::kInfo;
}

}  // namespace dolmen

// A list of up to 32 names, expanded one by one: DOLMEN_EACH(M, T, a, b) is M(T, a), M(T, b).
#define DOLMEN_PARENS ()
#define DOLMEN_EXPAND(...) DOLMEN_EXPAND2(DOLMEN_EXPAND2(DOLMEN_EXPAND2(__VA_ARGS__)))
#define DOLMEN_EXPAND2(...) DOLMEN_EXPAND3(DOLMEN_EXPAND3(DOLMEN_EXPAND3(__VA_ARGS__)))
#define DOLMEN_EXPAND3(...) DOLMEN_EXPAND4(DOLMEN_EXPAND4(DOLMEN_EXPAND4(__VA_ARGS__)))
#define DOLMEN_EXPAND4(...) __VA_ARGS__
#define DOLMEN_EACH(macro, T, ...) \
  __VA_OPT__(DOLMEN_EXPAND(DOLMEN_EACH_STEP(macro, T, __VA_ARGS__)))
#define DOLMEN_EACH_STEP(macro, T, first, ...) \
  macro(T, first) __VA_OPT__(, DOLMEN_EACH_AGAIN DOLMEN_PARENS(macro, T, __VA_ARGS__))
#define DOLMEN_EACH_AGAIN() DOLMEN_EACH_STEP

#define DOLMEN_GIVEN_FIELD(T, field) ::dolmen::detail::GivenField<&T::field, offsetof(T, field)>

/// Names the fields of a type that is no plain aggregate, all of them, in order. Stands in the
/// public part of the class, or in its namespace directly behind it (then the fields must be
/// public):
///
///     class Page {
///      public:
///       explicit Page(double rank);
///       DOLMEN_FIELDS(Page, rank_, links_)
///      private: …
#define DOLMEN_FIELDS(T, ...)                                                                \
  [[maybe_unused]] constexpr auto dolmen_fields(::dolmen::detail::FieldsOf<T>) {             \
    return ::dolmen::detail::GivenFields<DOLMEN_EACH(DOLMEN_GIVEN_FIELD, T, __VA_ARGS__)>{}; \
  }
