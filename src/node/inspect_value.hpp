// SPDX-License-Identifier: Apache-2.0
//
// Values of stored objects as data, found through the type descriptions that the space keeps: no
// program's struct is needed. Every step is bounded, whatever the bytes are: hostile ones give an
// error or a shortened value.
//
// Threads: values; a ValueReader is one thread's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "object/heap.hpp"
#include "object/type_table.hpp"

namespace dolmen::node {

struct Value {
  enum class Kind : std::uint8_t {
    null,     ///< a null pointer or link
    boolean,  ///< natural is 0 or 1
    integer,
    natural,
    real,
    text,     ///< string, char and arrays of char
    bytes,    ///< text holds hexadecimal digits
    pointer,  ///< to `text` (a type's name) at `offset` of `object`
    list,
    record,   ///< names[i] is the field of items[i]
    map,      ///< items are key, value, key, value …
    omitted,  ///< a value of type `text` with parts of its own, below ValueLimits::depth
  };

  Kind kind = Kind::null;
  std::int64_t integer = 0;
  std::uint64_t natural = 0;
  double real = 0;
  std::string text;
  ObjectId object;
  std::uint64_t offset = 0;
  std::uint64_t total =
      0;  ///< elements or entries there are, or bytes of a text; items may be fewer
  std::vector<std::string> names;
  std::vector<Value> items;
};

inline constexpr unsigned kValueDepthMax = 200;

struct ValueLimits {
  std::uint64_t elements = 20;      ///< shown of each list, map or array
  std::uint64_t text_bytes = 4096;  ///< shown of each text
  std::uint64_t values = 200'000;   ///< altogether; more is the error `limit`
  unsigned depth = 16;              ///< levels of structs, arrays and containers in each other
};

class ValueReader {
 public:
  /// Requires: all outlive the reader; `types` keeps the invariants of object/type_table.hpp.
  ValueReader(const object::HeapReader& heap, const ObjectId& id,
              const object::TypeDescription& types, const ValueLimits& limits) noexcept
      : heap_(heap), id_(id), types_(types), limits_(limits), left_(limits.values) {}

  /// The value of types[type] at `offset`. Errors: corrupt (detail = offset), limit.
  [[nodiscard]] Result<Value> read(std::uint16_t type, std::uint64_t offset);
  /// `count` of them side by side.
  [[nodiscard]] Result<Value> read_many(std::uint16_t type, std::uint64_t offset,
                                        std::uint64_t count);

 private:
  [[nodiscard]] Result<Value> scalar(const object::TypeEntry& type, std::uint64_t offset) const;
  [[nodiscard]] Result<Value> record(const object::TypeEntry& type, std::uint64_t offset);
  [[nodiscard]] Result<Value> pointer(const object::TypeEntry& type, std::uint64_t offset) const;
  [[nodiscard]] Result<Value> link(const object::TypeEntry& type, std::uint64_t offset) const;
  [[nodiscard]] Result<Value> string(std::uint64_t offset) const;
  [[nodiscard]] Result<Value> vector(const object::TypeEntry& type, std::uint64_t offset);
  [[nodiscard]] Result<Value> hash_map(const object::TypeEntry& type, std::uint64_t offset);
  [[nodiscard]] Result<Value> ordered_map(const object::TypeEntry& type, std::uint64_t offset);
  [[nodiscard]] Result<Value> text(std::uint64_t offset, std::uint64_t bytes) const;
  [[nodiscard]] Result<Value> hex(std::uint64_t offset, std::uint64_t bytes) const;
  [[nodiscard]] Result<void> entry(const object::TypeEntry& map, std::uint64_t key,
                                   std::uint64_t value, Value& into);
  [[nodiscard]] const object::TypeEntry* entry_of(std::uint16_t type) const noexcept;
  [[nodiscard]] bool holds(std::uint64_t offset, std::uint64_t bytes) const noexcept;
  template <class T>
  [[nodiscard]] T load(std::uint64_t offset) const noexcept;

  const object::HeapReader& heap_;
  ObjectId id_;
  const object::TypeDescription& types_;
  ValueLimits limits_;
  std::uint64_t left_;
  unsigned depth_ = 0;
};

}  // namespace dolmen::node
