// SPDX-License-Identifier: Apache-2.0
//
// What the body of a section takes, told from its signature: a generic one is never instantiated
// to find out.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>

namespace dolmen::detail {

template <class... Parameters>
using ParameterList = std::tuple<std::type_identity<std::remove_cvref_t<Parameters>>...>;

/// The parameters of a callable with one signature; of any other, none.
template <class Function, class = void>
struct Parameters {
  using list = ParameterList<>;
};
template <class Function>
struct Parameters<Function, std::void_t<decltype(&Function::operator())>>
    : Parameters<decltype(&Function::operator())> {};
template <class R, class... P, bool kNoexcept>
struct Parameters<R (*)(P...) noexcept(kNoexcept)> {
  using list = ParameterList<P...>;
};
template <class R, class... P, bool kNoexcept>
struct Parameters<R(P...) noexcept(kNoexcept)> {
  using list = ParameterList<P...>;
};
template <class R, class C, class... P, bool kNoexcept>
struct Parameters<R (C::*)(P...) noexcept(kNoexcept)> {
  using list = ParameterList<P...>;
};
template <class R, class C, class... P, bool kNoexcept>
struct Parameters<R (C::*)(P...) const noexcept(kNoexcept)> {
  using list = ParameterList<P...>;
};

/// Whether the body's parameter `kAt` is a `Wanted`, by value or reference.
template <class Body, std::size_t kAt, class Wanted>
constexpr bool takes() {
  using List = typename Parameters<std::remove_cvref_t<Body>>::list;
  if constexpr (kAt < std::tuple_size_v<List>) {
    return std::is_same_v<typename std::tuple_element_t<kAt, List>::type, Wanted>;
  } else {
    return false;
  }
}

}  // namespace dolmen::detail
