// SPDX-License-Identifier: Apache-2.0
//
// Objects to judge histories by: register, counter, log, and any of them by key. An operation's
// result is entered when it is known, and left as it is while it is not. Threads: a model belongs
// to one check at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sim/linearizability.hpp"

namespace dolmen::sim {

/// One number.
class RegisterModel {
 public:
  using State = std::uint64_t;
  enum class Kind : std::uint8_t { read, write, compare_swap };
  struct Operation {
    Kind kind = Kind::read;
    std::uint64_t expected = 0;  ///< of a compare_swap
    std::uint64_t value = 0;     ///< written, put in its place; read: the result
    bool swapped = false;        ///< the result of a compare_swap
    bool operator==(const Operation&) const = default;
  };
  [[nodiscard]] static Operation read(std::uint64_t result = 0) { return {Kind::read, 0, result}; }
  [[nodiscard]] static Operation write(std::uint64_t value) { return {Kind::write, 0, value}; }
  [[nodiscard]] static Operation compare_swap(std::uint64_t expected, std::uint64_t value,
                                              bool swapped = false) {
    return {Kind::compare_swap, expected, value, swapped};
  }

  explicit RegisterModel(std::uint64_t initial = 0) : initial_(initial) {}
  [[nodiscard]] State initial() const { return initial_; }
  [[nodiscard]] std::optional<State> step(State state, const Operation& operation,
                                          bool result_known) const {
    switch (operation.kind) {
      case Kind::read:
        if (result_known && operation.value != state) return std::nullopt;
        return state;
      case Kind::write:
        return operation.value;
      case Kind::compare_swap: {
        const bool swaps = state == operation.expected;
        if (result_known && swaps != operation.swapped) return std::nullopt;
        return swaps ? operation.value : state;
      }
    }
    DOLMEN_UNREACHABLE("no such operation");
  }
  [[nodiscard]] bool only_looks(const Operation& operation, bool result_known) const {
    return operation.kind == Kind::read ||
           (operation.kind == Kind::compare_swap && result_known && !operation.swapped);
  }
  [[nodiscard]] std::size_t hash(State state) const { return std::hash<State>{}(state); }
  [[nodiscard]] std::string text(const Operation& operation, bool result_known) const {
    const std::string value = std::to_string(operation.value);
    switch (operation.kind) {
      case Kind::read:
        return "read gives " + (result_known ? value : std::string("?"));
      case Kind::write:
        return "write " + value;
      case Kind::compare_swap:
        return "replace " + std::to_string(operation.expected) + " by " + value + " gives " +
               (!result_known       ? "?"
                : operation.swapped ? "true"
                                    : "false");
    }
    DOLMEN_UNREACHABLE("no such operation");
  }
  [[nodiscard]] std::string text(State state) const { return std::to_string(state); }

 private:
  std::uint64_t initial_;
};

/// A number that grows; adding 0 reads it.
class CounterModel {
 public:
  using State = std::uint64_t;
  struct Operation {
    std::uint64_t added = 0;
    std::uint64_t value = 0;  ///< the result: the value after it
    bool operator==(const Operation&) const = default;
  };

  [[nodiscard]] State initial() const { return 0; }
  [[nodiscard]] std::optional<State> step(State state, const Operation& operation,
                                          bool result_known) const {
    const State after = state + operation.added;
    if (result_known && operation.value != after) return std::nullopt;
    return after;
  }
  [[nodiscard]] bool only_looks(const Operation& operation, bool /*result_known*/) const {
    return operation.added == 0;
  }
  [[nodiscard]] std::size_t hash(State state) const { return std::hash<State>{}(state); }
  [[nodiscard]] std::string text(const Operation& operation, bool result_known) const {
    return "add " + std::to_string(operation.added) + " gives " +
           (result_known ? std::to_string(operation.value) : "?");
  }
  [[nodiscard]] std::string text(State state) const { return std::to_string(state); }
};

/// A total order: values are appended and get the next place, counted from 1; places are read.
/// Keeps every order that a check has met, in some 40 bytes per value.
class LogModel {
 public:
  using State = std::uint32_t;  ///< of the last entry; 0: nothing was appended
  enum class Kind : std::uint8_t { append, read, length };
  struct Operation {
    Kind kind = Kind::append;
    std::uint64_t value = 0;  ///< appended; read: the result, 0 where there is no such place
    std::uint64_t place = 0;  ///< append, length: the result; read: which
    bool operator==(const Operation&) const = default;
  };
  [[nodiscard]] static Operation append(std::uint64_t value, std::uint64_t place = 0) {
    return {Kind::append, value, place};
  }
  [[nodiscard]] static Operation read(std::uint64_t place, std::uint64_t value = 0) {
    return {Kind::read, value, place};
  }
  [[nodiscard]] static Operation length(std::uint64_t places = 0) {
    return {Kind::length, 0, places};
  }

  [[nodiscard]] State initial() const { return 0; }
  [[nodiscard]] std::optional<State> step(State state, const Operation& operation,
                                          bool result_known) {
    const std::uint64_t places = entries_[state].place;
    switch (operation.kind) {
      case Kind::append:
        if (result_known && operation.place != places + 1) return std::nullopt;
        return appended(state, operation.value);
      case Kind::read:
        if (result_known && operation.value != value_at(state, operation.place)) {
          return std::nullopt;
        }
        return state;
      case Kind::length:
        if (result_known && operation.place != places) return std::nullopt;
        return state;
    }
    DOLMEN_UNREACHABLE("no such operation");
  }
  [[nodiscard]] bool only_looks(const Operation& operation, bool /*result_known*/) const {
    return operation.kind != Kind::append;
  }
  [[nodiscard]] std::size_t hash(State state) const { return std::hash<State>{}(state); }
  [[nodiscard]] std::string text(const Operation& operation, bool result_known) const {
    const std::string value = std::to_string(operation.value);
    const std::string place = std::to_string(operation.place);
    switch (operation.kind) {
      case Kind::append:
        return "append " + value + " gives place " + (result_known ? place : "?");
      case Kind::read:
        return "read place " + place + " gives " + (result_known ? value : "?");
      case Kind::length:
        return "length gives " + (result_known ? place : std::string("?"));
    }
    DOLMEN_UNREACHABLE("no such operation");
  }
  [[nodiscard]] std::string text(State state) const {
    if (state == 0) return "empty";
    return std::to_string(entries_[state].place) + " long, the last " +
           std::to_string(entries_[state].value);
  }

 private:
  /// Logs that share their beginnings share its entries.
  struct Entry {
    std::uint64_t value = 0;
    std::uint64_t place = 0;
    State before = 0;
    State far_before = 0;  ///< halves the way to any place, about
  };
  struct Hash {
    std::size_t operator()(const std::pair<State, std::uint64_t>& key) const {
      return (key.second + key.first * 0x9E3779B97F4A7C15ull) * 0xBF58476D1CE4E5B9ull;
    }
  };

  State appended(State before, std::uint64_t value) {
    const auto [known, is_new] =
        known_.emplace(std::pair{before, value}, static_cast<State>(entries_.size()));
    if (is_new) {
      const Entry& last = entries_[before];
      const Entry& far = entries_[last.far_before];
      const bool is_even = last.place - far.place == far.place - entries_[far.far_before].place;
      entries_.push_back({value, last.place + 1, before, is_even ? far.far_before : before});
    }
    return known->second;
  }
  [[nodiscard]] std::uint64_t value_at(State state, std::uint64_t place) const {
    if (place == 0 || place > entries_[state].place) return 0;
    while (entries_[state].place != place) {
      const State far = entries_[state].far_before;
      state = entries_[far].place >= place ? far : entries_[state].before;
    }
    return entries_[state].value;
  }

  std::vector<Entry> entries_{1};
  std::unordered_map<std::pair<State, std::uint64_t>, State, Hash> known_;
};

/// Many objects of one kind, each with its key; every operation is on one of them.
template <SequentialModel M>
class KeyedModel {
 public:
  using State = typename M::State;
  struct Operation {
    std::uint64_t key = 0;
    typename M::Operation inner{};
    bool operator==(const Operation&) const = default;
  };

  explicit KeyedModel(M inner = M()) : inner_(std::move(inner)) {}
  [[nodiscard]] std::uint64_t key(const Operation& operation) const { return operation.key; }
  [[nodiscard]] State initial() { return inner_.initial(); }
  [[nodiscard]] std::optional<State> step(const State& state, const Operation& operation,
                                          bool result_known) {
    return inner_.step(state, operation.inner, result_known);
  }
  [[nodiscard]] bool only_looks(const Operation& operation, bool result_known) const {
    return inner_.only_looks(operation.inner, result_known);
  }
  [[nodiscard]] std::size_t hash(const State& state) const { return inner_.hash(state); }
  [[nodiscard]] std::string text(const Operation& operation, bool result_known) const {
    return "key " + std::to_string(operation.key) + " " +
           inner_.text(operation.inner, result_known);
  }
  [[nodiscard]] std::string text(const State& state) const { return inner_.text(state); }

 private:
  M inner_;
};

using MapModel = KeyedModel<RegisterModel>;

}  // namespace dolmen::sim
