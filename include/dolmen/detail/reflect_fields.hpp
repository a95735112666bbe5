// SPDX-License-Identifier: Apache-2.0
//
// What the language does not tell: how many fields an aggregate has, their types, names and places.
// Count by brace probing (an array is one field), types and addresses by structured bindings on an
// object that is declared and never defined, names from the text of that address as a template
// argument. Others than plain aggregates say it themselves with DOLMEN_FIELDS
// (<dolmen/reflect.hpp>).
//
// Thread contract: compile time only; nothing here leaves a symbol or an instruction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include <dolmen/detail/reflect_name.hpp>

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wundefined-var-template"
#pragma clang diagnostic ignored "-Wundefined-internal"
#endif

// DOLMEN_LIST_3(X) is X(f1), X(f2), X(f3).
// clang-format off
#define DOLMEN_LIST_1(X) X(f1)
#define DOLMEN_LIST_2(X) DOLMEN_LIST_1(X), X(f2)
#define DOLMEN_LIST_3(X) DOLMEN_LIST_2(X), X(f3)
#define DOLMEN_LIST_4(X) DOLMEN_LIST_3(X), X(f4)
#define DOLMEN_LIST_5(X) DOLMEN_LIST_4(X), X(f5)
#define DOLMEN_LIST_6(X) DOLMEN_LIST_5(X), X(f6)
#define DOLMEN_LIST_7(X) DOLMEN_LIST_6(X), X(f7)
#define DOLMEN_LIST_8(X) DOLMEN_LIST_7(X), X(f8)
#define DOLMEN_LIST_9(X) DOLMEN_LIST_8(X), X(f9)
#define DOLMEN_LIST_10(X) DOLMEN_LIST_9(X), X(f10)
#define DOLMEN_LIST_11(X) DOLMEN_LIST_10(X), X(f11)
#define DOLMEN_LIST_12(X) DOLMEN_LIST_11(X), X(f12)
#define DOLMEN_LIST_13(X) DOLMEN_LIST_12(X), X(f13)
#define DOLMEN_LIST_14(X) DOLMEN_LIST_13(X), X(f14)
#define DOLMEN_LIST_15(X) DOLMEN_LIST_14(X), X(f15)
#define DOLMEN_LIST_16(X) DOLMEN_LIST_15(X), X(f16)
#define DOLMEN_LIST_17(X) DOLMEN_LIST_16(X), X(f17)
#define DOLMEN_LIST_18(X) DOLMEN_LIST_17(X), X(f18)
#define DOLMEN_LIST_19(X) DOLMEN_LIST_18(X), X(f19)
#define DOLMEN_LIST_20(X) DOLMEN_LIST_19(X), X(f20)
#define DOLMEN_LIST_21(X) DOLMEN_LIST_20(X), X(f21)
#define DOLMEN_LIST_22(X) DOLMEN_LIST_21(X), X(f22)
#define DOLMEN_LIST_23(X) DOLMEN_LIST_22(X), X(f23)
#define DOLMEN_LIST_24(X) DOLMEN_LIST_23(X), X(f24)
#define DOLMEN_LIST_25(X) DOLMEN_LIST_24(X), X(f25)
#define DOLMEN_LIST_26(X) DOLMEN_LIST_25(X), X(f26)
#define DOLMEN_LIST_27(X) DOLMEN_LIST_26(X), X(f27)
#define DOLMEN_LIST_28(X) DOLMEN_LIST_27(X), X(f28)
#define DOLMEN_LIST_29(X) DOLMEN_LIST_28(X), X(f29)
#define DOLMEN_LIST_30(X) DOLMEN_LIST_29(X), X(f30)
#define DOLMEN_LIST_31(X) DOLMEN_LIST_30(X), X(f31)
#define DOLMEN_LIST_32(X) DOLMEN_LIST_31(X), X(f32)
#define DOLMEN_EACH_COUNT(X)                                                                   \
  X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) \
  X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32)
// clang-format on

namespace dolmen::detail {

/// The most fields that a record may have.
inline constexpr std::size_t kFieldsMax = 32;
inline constexpr std::size_t kFieldsUncountable = static_cast<std::size_t>(-1);

// ---- Counting
// -------------------------------------------------------------------------------------

// What stands for any field is meant to turn into it unasked.
// NOLINTBEGIN(google-explicit-constructor)
struct AnyLvalue {
  template <class U>
  constexpr operator U&() const noexcept;
};
struct AnyRvalue {
  template <class U>
  constexpr operator U&&() const noexcept;
};
template <class T>
struct AnyBaseOf {
  template <class U>
    requires(std::is_base_of_v<U, T> && !std::is_same_v<U, T>)
  constexpr operator U&() const noexcept;
};
// NOLINTEND(google-explicit-constructor)

/// The first element of aggregate T is a base class.
template <class T>
inline constexpr bool kHasBase = requires { T{AnyBaseOf<T>{}}; };

/// T{ {}, {}, … } with N braces, and `Any` behind them, is well formed. Braces initialise every
/// field, arrays too, and never spill into the next one as an expression in an array would.
template <class T, std::size_t N, class... Any>
consteval bool accepts_braces() {
#define DOLMEN_BRACES(f) \
  {                      \
  }
#define DOLMEN_REFLECT_PROBE(n)                                       \
  if constexpr (N == n) {                                             \
    return requires { T{DOLMEN_LIST_##n(DOLMEN_BRACES), Any{}...}; }; \
  } else
  // clang-format off
  DOLMEN_EACH_COUNT(DOLMEN_REFLECT_PROBE)
  if constexpr (N == 0) {
    return requires { T{Any{}...}; };
  } else {
    return false;
  }
  // clang-format on
#undef DOLMEN_REFLECT_PROBE
#undef DOLMEN_BRACES
}

template <class T, class Any, std::size_t... I>
consteval bool accepts_any(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), Any{})...}; };
}
template <class T, class Any, std::size_t... I, std::size_t... J>
consteval bool accepts_brace_among(std::index_sequence<I...>, std::index_sequence<J...>) {
  return requires { T{(static_cast<void>(I), Any{})..., {}, (static_cast<void>(J), Any{})...}; };
}

template <class T, class Any, std::size_t N>
consteval std::size_t most_expressions() {
  if constexpr (N == 0 || accepts_any<T, Any>(std::make_index_sequence<N>{})) {
    return N;
  } else {
    return most_expressions<T, Any, N - 1>();
  }
}

// An array takes several of the expressions, so that fewer fit behind a `{}` in its place.
template <class T, class Any, std::size_t Total, std::size_t Before, std::size_t After>
consteval std::size_t fields_from() {
  if constexpr (Before >= Total) {
    return 0;
  } else if constexpr (accepts_brace_among<T, Any>(std::make_index_sequence<Before>{},
                                                   std::make_index_sequence<After>{})) {
    constexpr std::size_t next = Total - After;
    return 1 + fields_from<T, Any, Total, next, (next < Total ? Total - next - 1 : 0)>();
  } else if constexpr (After > 0) {
    return fields_from<T, Any, Total, Before, After - 1>();
  } else {
    constexpr std::size_t next = Before + 1;
    return 1 + fields_from<T, Any, Total, next, (next < Total ? Total - next - 1 : 0)>();
  }
}

// Only for types with a field that `{}` does not initialise: a reference, a class without a default
// constructor. 0 if there are more expressions than this search tries.
template <class T, class Any>
consteval std::size_t count_by_conversion() {
  constexpr std::size_t total = most_expressions<T, Any, kFieldsMax>();
  return fields_from<T, Any, total, 0, (total > 0 ? total - 1 : 0)>();
}

template <class T, std::size_t N = 0>
consteval std::size_t count_by_braces() {
  if constexpr (N < kFieldsMax && accepts_braces<T, N + 1>()) {
    return count_by_braces<T, N + 1>();
  } else {
    return N;
  }
}

template <class T>
consteval std::size_t count_fields() {
  constexpr std::size_t braces = count_by_braces<T>();
  constexpr bool more =
      accepts_braces<T, braces, AnyLvalue>() || accepts_braces<T, braces, AnyRvalue>();
  if constexpr (accepts_braces<T, braces>() && !more) {
    return braces;
  } else if constexpr (braces == kFieldsMax) {
    return kFieldsMax + 1;
  } else {
    constexpr std::size_t left = count_by_conversion<T, AnyLvalue>();
    constexpr std::size_t right = count_by_conversion<T, AnyRvalue>();
    constexpr std::size_t most = left > right ? left : right;
    return most == 0 ? kFieldsUncountable : most;
  }
}

/// Of aggregate T: its fields, above kFieldsMax for more than that, or kFieldsUncountable.
template <class T>
inline constexpr std::size_t kFieldCount = count_fields<T>();

// ---- Types and addresses
// --------------------------------------------------------------------------

template <class... Types>
struct TypeList {
  static constexpr std::size_t kSize = sizeof...(Types);
};

template <class T>
struct Fake {
  T value;
};
/// Never defined: only the addresses of its fields are used, and only at compile time.
template <class T>
extern Fake<T> fake;

template <std::size_t I, class P>
struct PointerSlot {
  P pointer;
};
template <class Indices, class... Pointers>
struct PointerTuple;
template <std::size_t... I, class... Pointers>
struct PointerTuple<std::index_sequence<I...>, Pointers...> : PointerSlot<I, Pointers>... {};
template <std::size_t I, class P>
consteval P pick(const PointerSlot<I, P>& slot) {
  return slot.pointer;
}
template <class... Pointers>
consteval auto tie_pointers(Pointers... pointers) {
  return PointerTuple<std::index_sequence_for<Pointers...>, Pointers...>{{pointers}...};
}

/// The declared types of aggregate T's N fields, references included.
template <class T, std::size_t N>
consteval auto bound_types() {
#define DOLMEN_SAME(f) f
#define DOLMEN_DECLTYPE(f) decltype(f)
#define DOLMEN_TYPES(n)                                   \
  if constexpr (N == n) {                                 \
    auto& [DOLMEN_LIST_##n(DOLMEN_SAME)] = fake<T>.value; \
    return TypeList<DOLMEN_LIST_##n(DOLMEN_DECLTYPE)>{};  \
  } else
  // clang-format off
  DOLMEN_EACH_COUNT(DOLMEN_TYPES)
  return TypeList<>{};
  // clang-format on
#undef DOLMEN_TYPES
#undef DOLMEN_DECLTYPE
}

template <class T, std::size_t N>
consteval auto bound_pointers() {
#define DOLMEN_ADDRESS(f) __builtin_addressof(f)
#define DOLMEN_POINTERS(n)                                \
  if constexpr (N == n) {                                 \
    auto& [DOLMEN_LIST_##n(DOLMEN_SAME)] = fake<T>.value; \
    return tie_pointers(DOLMEN_LIST_##n(DOLMEN_ADDRESS)); \
  } else
  // clang-format off
  DOLMEN_EACH_COUNT(DOLMEN_POINTERS)
  return tie_pointers();
  // clang-format on
#undef DOLMEN_POINTERS
#undef DOLMEN_ADDRESS
#undef DOLMEN_SAME
}

template <class T, std::size_t I>
consteval auto bound_pointer() {
  return pick<I>(bound_pointers<T, kFieldCount<T>>());
}

// ---- Names
// ----------------------------------------------------------------------------------------

template <auto Pointer>
consteval const char* raw_field_text() {
  return __PRETTY_FUNCTION__;
}

/// The identifier at the end of a pointer's text: "… = &fake.value.next]", "… &Page::next)]".
template <auto Pointer>
consteval std::string_view field_text() {
  std::string_view text = raw_field_text<Pointer>();
  while (!is_word(text.back())) text.remove_suffix(1);
  std::size_t begin = text.size();
  while (begin > 0 && is_word(text[begin - 1])) --begin;
  return text.substr(begin);
}

// ---- Fields given by DOLMEN_FIELDS
// ----------------------------------------------------------------

/// Argument by which the function that DOLMEN_FIELDS declares is found.
template <class T>
struct FieldsOf {};

template <auto Member, std::size_t Offset>
struct GivenField;
template <class T, class Class, T Class::* Member, std::size_t Offset>
struct GivenField<Member, Offset> {
  using Type = T;
  static constexpr std::size_t kOffset = Offset;
  static consteval std::string_view name() { return field_text<Member>(); }
};
template <class... Given>
struct GivenFields {
  using Types = TypeList<typename Given::Type...>;
  static constexpr std::size_t kSize = sizeof...(Given);
};

template <class T>
concept HasMemberFields = requires(T& t) { t.dolmen_fields(FieldsOf<T>{}); };
template <class T>
concept HasFreeFields = requires { dolmen_fields(FieldsOf<T>{}); };
template <class T>
concept HasGivenFields = HasMemberFields<T> || HasFreeFields<T>;

template <class T>
consteval auto given_fields() {
  if constexpr (HasMemberFields<T>) {
    return decltype(std::declval<T&>().dolmen_fields(FieldsOf<T>{})){};
  } else {
    return decltype(dolmen_fields(FieldsOf<T>{})){};
  }
}

// ---- Places
// ---------------------------------------------------------------------------------------

constexpr std::size_t round_up(std::size_t value, std::size_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

struct FieldPlace {
  std::size_t offset = 0;
  std::size_t size = 0;
  std::size_t align = 1;
};
template <std::size_t N>
struct Places {
  std::array<FieldPlace, N == 0 ? 1 : N> at{};
  bool natural = true;  ///< nothing but alignment between the fields and behind them
};

/// Where fields of these types lie when nothing but their alignment moves them; whether they do is
/// asked of the compiler, field by field, with `kLiesAt`.
template <class T, class... Fields>
consteval Places<sizeof...(Fields)> natural_places(TypeList<Fields...>) {
  Places<sizeof...(Fields)> places{{{FieldPlace{0, sizeof(Fields), alignof(Fields)}...}}};
  std::size_t end = 0;
  std::size_t align = 1;
  for (std::size_t i = 0; i < sizeof...(Fields); ++i) {
    FieldPlace& place = places.at[i];
    place.offset = round_up(end, place.align);
    end = place.offset + place.size;
    align = place.align > align ? place.align : align;
  }
  end = end == 0 ? 1 : end;  // an empty class has one byte
  places.natural = align <= alignof(T) && round_up(end, alignof(T)) == sizeof(T);
  return places;
}

/// The places that DOLMEN_FIELDS measured. A gap that alignment does not explain is a forgotten
/// field; in a type that asks for more alignment than its fields, a gap below that alignment is
/// allowed.
template <class T, class... Given>
consteval Places<sizeof...(Given)> given_places(GivenFields<Given...>) {
  Places<sizeof...(Given)> places{{{FieldPlace{Given::kOffset, sizeof(typename Given::Type),
                                               alignof(typename Given::Type)}...}}};
  std::size_t align = 1;
  for (std::size_t i = 0; i < sizeof...(Given); ++i) {
    if (places.at[i].align > align) align = places.at[i].align;
  }
  const bool overaligned = alignof(T) > align;
  std::size_t end = 0;
  for (std::size_t i = 0; i <= sizeof...(Given); ++i) {
    const bool last = i == sizeof...(Given);
    const std::size_t begin = last ? sizeof(T) : places.at[i].offset;
    const std::size_t expected =
        last ? round_up(end == 0 ? 1 : end, align) : round_up(end, places.at[i].align);
    const bool covered = overaligned ? begin >= end && begin - end < alignof(T) : begin == expected;
    places.natural = places.natural && covered;
    if (!last) end = begin + places.at[i].size;
  }
  return places;
}

#if !defined(__clang__)
extern int never_defined;
#endif

/// The field at `Pointer` of fake<T> lies at `Offset`. Both ways rest on the compiler's folding of
/// addresses: clang knows how many bytes follow an address; g++ calls an expression constant
/// exactly if the comparison folds to true.
template <class T, auto Pointer, std::size_t Offset>
inline constexpr bool kLiesAt =
#if defined(__clang__)
    sizeof(Fake<T>) - __builtin_object_size(Pointer, 0) == Offset;
#else
    __builtin_constant_p(static_cast<const char*>(static_cast<const void*>(Pointer)) -
                                     static_cast<const char*>(static_cast<const void*>(&fake<T>)) ==
                                 static_cast<std::ptrdiff_t>(Offset)
                             ? 1
                             : never_defined) != 0;
#endif

template <class T, std::size_t... I>
consteval bool lies_naturally(std::index_sequence<I...>) {
  [[maybe_unused]] constexpr auto places = natural_places<T>(bound_types<T, kFieldCount<T>>());
  return (kLiesAt<T, bound_pointer<T, I>(), places.at[I].offset> && ...);
}

// ---- One view of both kinds
// -----------------------------------------------------------------------

/// Fields of a record: T's own aggregate fields, or those that DOLMEN_FIELDS names.
template <class T>
struct Fields {
  static constexpr bool kGiven = false;
  static constexpr std::size_t kSize = kFieldCount<T>;
  using Types = decltype(bound_types<T, kSize>());
  static consteval auto places() { return natural_places<T>(Types{}); }
  /// Requires: no field is a reference or a bit-field.
  static consteval bool places_hold() {
    return lies_naturally<T>(std::make_index_sequence<kSize>{});
  }
  template <std::size_t I>
  static consteval std::string_view name() {
    return field_text<bound_pointer<T, I>()>();
  }
};

template <class T>
  requires HasGivenFields<T>
struct Fields<T> {
  using Given = decltype(given_fields<T>());
  static constexpr bool kGiven = true;
  static constexpr std::size_t kSize = Given::kSize;
  using Types = typename Given::Types;
  static consteval auto places() { return given_places<T>(Given{}); }
  static consteval bool places_hold() { return true; }
  template <std::size_t I>
  static consteval std::string_view name() {
    return nth_name<I>(Given{});
  }

 private:
  template <std::size_t I, class First, class... Rest>
  static consteval std::string_view nth_name(GivenFields<First, Rest...>) {
    if constexpr (I == 0) {
      return First::name();
    } else {
      return nth_name<I - 1>(GivenFields<Rest...>{});
    }
  }
};

}  // namespace dolmen::detail

#undef DOLMEN_EACH_COUNT
#if defined(__clang__)
#pragma clang diagnostic pop
#endif
