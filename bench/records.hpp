// SPDX-License-Identifier: Apache-2.0
//
// The records of the kv and footprint suites: 16-byte keys in random order, 100-byte values, both
// functions of the record's number, so that no system needs a table to know what it should hold.
//
// Thread contract: pure functions.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "base/random.hpp"
#include "bench/cycle.hpp"

namespace dolmen::bench {

using Key = std::array<std::byte, 16>;
using Value = std::array<std::byte, 100>;
inline constexpr std::size_t kRecordBytes = sizeof(Key) + sizeof(Value);

constexpr std::uint64_t mixed(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

inline Key key_of(std::uint64_t record) noexcept {
  const std::array<std::uint64_t, 2> words{mixed(record * 2 + 1), mixed(record * 2 + 2)};
  return std::bit_cast<Key>(words);
}

/// `version` 0 is what a store is filled with.
inline Value value_of(std::uint64_t record, std::uint64_t version) noexcept {
  std::array<std::uint64_t, 13> words{};
  std::uint64_t x = mixed(record * 0x9E3779B97F4A7C15ull + version + 1);
  for (std::uint64_t& word : words) word = (x += 0x9E3779B97F4A7C15ull) * 0xD1B54A32D192ED03ull;
  Value value;
  std::memcpy(value.data(), words.data(), value.size());
  return value;
}

/// What a reader makes of a value: touches its first and its last bytes.
inline std::uint64_t digest(const void* value) noexcept {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::memcpy(&first, value, 8);
  std::memcpy(&last, static_cast<const std::byte*>(value) + sizeof(Value) - 8, 8);
  return first ^ (last << 1);
}

/// The numbers 0 … count - 1 in random order.
inline std::vector<std::uint32_t> shuffled_records(std::size_t count, std::uint64_t seed) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  base::Random random(seed);
  shuffle(order, random);
  return order;
}

}  // namespace dolmen::bench
