// SPDX-License-Identifier: Apache-2.0
//
// The open suite's data, and its LMDB peer. Records have 8-byte keys and 1,000-byte values.
//
// Thread contract: each function runs alone in a process of its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace dolmen::bench {

using OpenValue = std::array<std::byte, 1000>;
/// Below this many records an input counts as small.
inline constexpr std::uint64_t kOpenSmallRecords = 1u << 16;

/// A value that names its record, different in every byte of every version.
inline OpenValue open_value(std::uint64_t record, std::uint64_t version) noexcept {
  OpenValue value;
  std::memset(value.data(), static_cast<int>((record * 31 + version) & 0xFF), value.size());
  std::memcpy(value.data(), &record, sizeof(record));
  return value;
}
inline bool is_value_of(const void* value, std::uint64_t record) noexcept {
  return std::memcmp(value, &record, sizeof(record)) == 0;
}

struct OpenOutcome {
  double ms = 0;
  std::uint64_t tail_bytes = 0;
  std::uint64_t tail_bytes_max = 0;
};

void build_lmdb(const std::string& path, std::uint64_t records);
/// Some durable commits; ends the process.
void touch_lmdb(const std::string& path, std::uint64_t records);
OpenOutcome open_and_read_lmdb(const std::string& path, std::uint64_t record,
                               std::uint64_t records);

}  // namespace dolmen::bench
