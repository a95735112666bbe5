// SPDX-License-Identifier: Apache-2.0
//
// The rules of stored types and the messages that name a rule and its remedy. A rule is found for
// the innermost offending type; the instantiation trace above a message reads `FieldCheck<Page,
// FieldName<5>{"links"}, Link*>`, one line per record on the way to it.
//
// Thread contract: compile time only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include <dolmen/detail/reflect_fields.hpp>
#include <dolmen/storable_traits.hpp>

namespace dolmen::detail {

enum class Rule : std::uint8_t {
  ok,
  incomplete,
  reference,
  raw_pointer,
  function_pointer,
  member_pointer,
  unsupported,
  unionlike,
  polymorphic,
  standard_class,
  base_class,
  unlisted,
  too_many_fields,
  uncountable,
  irregular,
  incomplete_list,
  standard_layout,
  empty_array,
};

template <class T>
concept HasTraits = requires { StorableTraits<T>::kind; };
template <class T>
concept IsComplete = requires { sizeof(T); };

/// T with its array dimensions (T[N] and std::array alike) taken off and multiplied.
template <class T>
struct Peeled {
  using Type = T;
  static constexpr std::size_t kCount = 1;
};
template <class T, std::size_t N>
struct Peeled<T[N]> {
  using Type = typename Peeled<std::remove_cv_t<T>>::Type;
  static constexpr std::size_t kCount = N * Peeled<std::remove_cv_t<T>>::kCount;
};
template <class T, std::size_t N>
struct Peeled<std::array<T, N>> : Peeled<T[N]> {};
template <class T>
struct Peeled<std::array<T, 0>> {
  using Type = T;
  static constexpr std::size_t kCount = 0;
};
template <class T>
using peeled_t = std::remove_cv_t<typename Peeled<std::remove_cv_t<T>>::Type>;

template <class T>
inline constexpr bool kIsCharacter =
    std::is_same_v<T, char> || std::is_same_v<T, char8_t> || std::is_same_v<T, char16_t> ||
    std::is_same_v<T, char32_t> || std::is_same_v<T, wchar_t>;

template <class T>
consteval bool is_standard_class() {
  return compiler_type_text<T>().starts_with("std::");
}

/// What is wrong with T itself, its fields aside. Requires: no array, no cv.
template <class T>
consteval Rule own_rule() {
  if constexpr (std::is_reference_v<T>) {
    return Rule::reference;
  } else if constexpr (std::is_pointer_v<T>) {
    return std::is_function_v<std::remove_pointer_t<T>> ? Rule::function_pointer
                                                        : Rule::raw_pointer;
  } else if constexpr (std::is_member_pointer_v<T>) {
    return Rule::member_pointer;
  } else if constexpr (std::is_null_pointer_v<T>) {
    return Rule::raw_pointer;
  } else if constexpr (std::is_arithmetic_v<T>) {
    return sizeof(T) <= 8 ? Rule::ok : Rule::unsupported;
  } else if constexpr (std::is_enum_v<T>) {
    return Rule::ok;
  } else if constexpr (std::is_union_v<T>) {
    return Rule::unionlike;
  } else if constexpr (!std::is_class_v<T>) {
    return Rule::unsupported;
  } else if constexpr (!IsComplete<T>) {
    return Rule::incomplete;
  } else if constexpr (HasTraits<T>) {
    return std::is_standard_layout_v<T> ? Rule::ok : Rule::standard_layout;
  } else if constexpr (std::is_polymorphic_v<T>) {
    return Rule::polymorphic;
  } else if constexpr (is_standard_class<T>()) {
    return Rule::standard_class;
  } else if constexpr (HasGivenFields<T>) {
    return Rule::ok;
  } else if constexpr (!std::is_aggregate_v<T>) {
    return Rule::unlisted;
  } else if constexpr (kHasBase<T>) {
    return Rule::base_class;
  } else if constexpr (kFieldCount<T> == kFieldsUncountable) {
    return Rule::uncountable;
  } else {
    return kFieldCount<T> > kFieldsMax ? Rule::too_many_fields : Rule::ok;
  }
}

template <class T>
inline constexpr bool kIsRecord = std::is_class_v<T> && !HasTraits<T>;

template <class T>
consteval Rule rule_of();

template <class... F>
consteval Rule first_field_rule(TypeList<F...>) {
  Rule first = Rule::ok;
  static_cast<void>((((first = rule_of<F>()) == Rule::ok) && ...));
  return first;
}

/// What is wrong with a record whose fields are all well.
template <class T>
consteval Rule layout_rule() {
  if constexpr (!std::is_standard_layout_v<T>) {
    return Rule::standard_layout;
  } else if constexpr (!Fields<T>::places().natural) {
    return Fields<T>::kGiven ? Rule::incomplete_list : Rule::irregular;
  } else {
    return Fields<T>::places_hold() ? Rule::ok : Rule::irregular;
  }
}

template <class T>
struct RuleOf {
  static consteval Rule find() {
    if constexpr (own_rule<T>() != Rule::ok) {
      return own_rule<T>();
    } else if constexpr (kIsRecord<T>) {
      constexpr Rule field = first_field_rule(typename Fields<T>::Types{});
      if constexpr (field != Rule::ok) {
        return field;
      } else {
        return layout_rule<T>();
      }
    } else {
      return Rule::ok;
    }
  }
  static constexpr Rule kValue = find();
};

/// The first rule that T or anything inside it breaks.
template <class T>
consteval Rule rule_of() {
  if constexpr (Peeled<std::remove_cv_t<T>>::kCount == 0) {
    return Rule::empty_array;
  } else {
    return RuleOf<std::remove_cv_t<peeled_t<T>>>::kValue;
  }
}

// ---- Messages
// -------------------------------------------------------------------------------------

template <class T, Rule R>
struct TypeCheck {
  static_assert(
      R != Rule::incomplete,
      "dolmen: this stored type is declared but not defined here; include its definition");
  static_assert(
      R != Rule::reference,
      "dolmen: a stored type may not hold a reference; use dolmen::ptr<T> (same space) or "
      "dolmen::link<T>");
  static_assert(
      R != Rule::raw_pointer,
      "dolmen: a stored type may not hold a raw pointer; use dolmen::ptr<T> (same space) or "
      "dolmen::link<T>");
  static_assert(R != Rule::function_pointer,
                "dolmen: a stored type may not hold a function pointer (code moves between runs); "
                "store an enum or a number and choose the function from it");
  static_assert(
      R != Rule::member_pointer,
      "dolmen: a stored type may not hold a pointer to member (its value is the compiler's); "
      "store an enum or a number and choose the member from it");
  static_assert(
      R != Rule::unsupported,
      "dolmen: this fundamental type has no fixed layout on every machine; use an integer of "
      "at most 64 bits, float or double");
  static_assert(
      R != Rule::unionlike,
      "dolmen: a stored type may not be or hold a union (nobody could tell which member is "
      "alive); use an enum and separate fields, or specialise dolmen::StorableTraits as opaque");
  static_assert(
      R != Rule::polymorphic,
      "dolmen: a stored type may not have virtual functions (the vtable's address changes "
      "between runs); store an enum and switch, or keep the behaviour outside the data");
  static_assert(
      R != Rule::standard_class,
      "dolmen: a stored type may not hold a class of the standard library (its memory belongs "
      "to the process); use dolmen::string, dolmen::vector, dolmen::hash_map, "
      "dolmen::ordered_map, std::array or a struct of your own");
  static_assert(R != Rule::base_class,
                "dolmen: a stored type with a base class must name its fields, inherited ones too: "
                "DOLMEN_FIELDS(Type, a, b); or make the base a field");
  static_assert(
      R != Rule::unlisted,
      "dolmen: a stored class that is no aggregate (it has a constructor or private fields) "
      "must name its fields: DOLMEN_FIELDS(Type, a, b) in its public part, or directly behind "
      "it if its fields are public");
  static_assert(
      R != Rule::too_many_fields,
      "dolmen: a stored record may have at most 32 fields; group some into a struct of their "
      "own");
  static_assert(
      R != Rule::uncountable,
      "dolmen: the fields of this stored type cannot be told apart (one is a reference, or has "
      "no default constructor); replace it, or name the fields: DOLMEN_FIELDS(Type, a, b)");
  static_assert(
      R != Rule::irregular,
      "dolmen: a member of this stored type is not where its type's alignment puts it (alignas "
      "or packed on a member, a bit-field, [[no_unique_address]]); use whole integers, or name "
      "the fields: DOLMEN_FIELDS(Type, a, b)");
  static_assert(
      R != Rule::incomplete_list,
      "dolmen: DOLMEN_FIELDS of this stored type leaves bytes uncovered: a field is missing, "
      "is out of order, or padding made by alignas needs a field of its own");
  static_assert(
      R != Rule::standard_layout,
      "dolmen: a stored type must have standard layout: all its fields in one class and with "
      "one access (public, protected or private)");
  static_assert(R != Rule::empty_array, "dolmen: a stored array must have at least one element");
};

/// A field's name as a template argument, so that the compiler prints it.
template <std::size_t N>
struct FieldName {
  char text[N]{};
};

template <std::size_t N>
consteval FieldName<N> shrink(const NameBuffer& name) {
  FieldName<N> label;
  for (std::size_t i = 0; i + 1 < N; ++i) label.text[i] = name.text[i];
  return label;
}

// A reference has no address at compile time, so that its record's fields are told by number.
template <class Record, std::size_t I>
consteval NameBuffer field_label() {
  NameBuffer name;
  if constexpr (first_field_rule(typename Fields<Record>::Types{}) == Rule::reference) {
    name.append("field number ");
    name.append_number(I + 1);
  } else {
    name.append(Fields<Record>::template name<I>());
  }
  return name;
}

template <class T>
struct Explain;

template <class Record, auto Name, class Field>
struct FieldCheck : Explain<Field> {};
template <std::size_t I>
struct FieldIsFine {};
template <class... Checks>
struct AllChecks : Checks... {};

template <class Record, std::size_t I, class Field>
consteval auto explain_field() {
  if constexpr (rule_of<Field>() != Rule::ok) {
    constexpr NameBuffer label = field_label<Record, I>();
    return FieldCheck<Record, shrink<label.size + 1>(label), Field>{};
  } else {
    return FieldIsFine<I>{};
  }
}
template <class Record, class... F, std::size_t... I>
consteval auto explain_fields(TypeList<F...>, std::index_sequence<I...>) {
  return AllChecks<decltype(explain_field<Record, I, F>())...>{};
}

template <class T>
consteval auto explain() {
  if constexpr (Peeled<std::remove_cv_t<T>>::kCount == 0) {
    return TypeCheck<T, Rule::empty_array>{};
  } else if constexpr (!std::is_same_v<T, peeled_t<T>>) {
    return explain<peeled_t<T>>();
  } else if constexpr (own_rule<T>() != Rule::ok || !kIsRecord<T>) {
    return TypeCheck<T, own_rule<T>()>{};
  } else if constexpr (first_field_rule(typename Fields<T>::Types{}) != Rule::ok) {
    return explain_fields<T>(typename Fields<T>::Types{},
                             std::make_index_sequence<Fields<T>::kSize>{});
  } else {
    return TypeCheck<T, layout_rule<T>()>{};
  }
}

/// Instantiates the static_assert of every rule that T breaks, field by field.
template <class T>
struct Explain : decltype(explain<T>()) {};

}  // namespace dolmen::detail
