// SPDX-License-Identifier: Apache-2.0
//
// The bytes of the log. A segment is a file of fixed size: one header block, then records at
// multiples of 8. Recycled segments still hold the valid records of an earlier life, so every
// record's checksum is seeded with (space, incarnation) and covers its index: only the record that
// belongs here verifies. docs/formats/log.md has the tables.
//
// Pure functions over bytes; safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "store/store.hpp"

namespace dolmen::store {

struct SegmentRef;

inline constexpr std::uint32_t kLogVersion = 1;
inline constexpr std::uint32_t kSegmentHeaderBytes = 4096;
inline constexpr std::uint32_t kRecordHeaderBytes = 32;
inline constexpr std::uint32_t kRecordAlignment = 8;
inline constexpr std::uint32_t kSegmentBytesMin = 8u << 10;
inline constexpr std::uint32_t kSegmentBytesMax = 1u << 30;
inline constexpr std::uint32_t kSegmentFileMax = 999'999'999;

[[nodiscard]] constexpr bool valid_segment_bytes(std::uint64_t bytes) noexcept {
  return bytes >= kSegmentBytesMin && bytes <= kSegmentBytesMax && bytes % 4096 == 0;
}

/// A transaction is one `whole` record, or `part`s closed by a `last_part`.
enum class RecordKind : std::uint16_t { whole = 1, part = 2, last_part = 3 };

struct RecordHeader {
  std::uint32_t payload_bytes = 0;
  RecordKind kind = RecordKind::whole;
  Index index = 0;
  Index durable_index = 0;  ///< everything up to here was durable when the record was appended
};

/// Room that a record takes.
[[nodiscard]] constexpr std::uint64_t record_bytes(std::uint64_t payload_bytes) noexcept {
  return kRecordHeaderBytes + ((payload_bytes + kRecordAlignment - 1) & ~std::uint64_t{7});
}

[[nodiscard]] std::uint64_t record_seed(const ObjectId& space, const SegmentRef& segment) noexcept;
[[nodiscard]] std::uint64_t payload_checksum(base::Bytes payload) noexcept;

/// Requires: out has kRecordHeaderBytes.
void encode_record_header(const RecordHeader& header, std::uint64_t payload_sum, std::uint64_t seed,
                          std::byte* out) noexcept;

/// The header at the start of `bytes`, if its fields can be those of a record with an index of at
/// least `index_min` that ends within `room`. Cheap; the checksum is not looked at. Requires:
/// bytes.size() >= kRecordHeaderBytes.
[[nodiscard]] std::optional<RecordHeader> plausible_record(base::Bytes bytes, Index index_min,
                                                           std::uint64_t room) noexcept;

/// Whether header and payload verify. Requires: bytes holds the whole record.
[[nodiscard]] bool verify_record(base::Bytes bytes, const RecordHeader& header,
                                 std::uint64_t seed) noexcept;

/// Requires: out.size() == kSegmentHeaderBytes.
void encode_segment_header(const ObjectId& space, const SegmentRef& segment,
                           std::uint32_t segment_bytes, base::MutableBytes out) noexcept;
[[nodiscard]] bool verify_segment_header(base::Bytes header, const ObjectId& space,
                                         const SegmentRef& segment,
                                         std::uint32_t segment_bytes) noexcept;

/// "log/000017".
[[nodiscard]] std::string segment_name(std::uint32_t file);
/// The number in a segment's name; nothing for other names.
[[nodiscard]] std::optional<std::uint32_t> parse_segment_name(std::string_view name) noexcept;

}  // namespace dolmen::store
