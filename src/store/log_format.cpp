// SPDX-License-Identifier: Apache-2.0
#include "store/log_format.hpp"

#include <array>
#include <charconv>

#include "base/checksum.hpp"
#include "base/hooks.hpp"
#include "store/root.hpp"

namespace dolmen::store {

namespace {

constexpr std::uint64_t kSegmentMagic = 0x314745534D4C4F44;  // "DOLMSEG1"
constexpr std::uint64_t kSegmentSeed = 0x7365676D656E7431;
constexpr std::uint64_t kRecordSeed = 0x7265636F72642E31;
constexpr std::size_t kHeaderChecksumAt = kSegmentHeaderBytes - 8;
constexpr std::size_t kCoveredHeaderBytes = 24;
constexpr std::string_view kPrefix = "log/";
constexpr std::size_t kDigits = 6;

std::uint64_t header_checksum(const std::byte* header, std::uint64_t payload_sum,
                              std::uint64_t seed) noexcept {
  std::array<std::byte, kCoveredHeaderBytes + 8> covered;
  std::memcpy(covered.data(), header, kCoveredHeaderBytes);
  std::memcpy(covered.data() + kCoveredHeaderBytes, &payload_sum, 8);
  return base::checksum64(covered, seed);
}

}  // namespace

std::uint64_t record_seed(const ObjectId& space, const SegmentRef& segment) noexcept {
  if (DOLMEN_PLANTED("store.unseeded_checksum")) return kRecordSeed;
  const std::uint64_t incarnation =
      DOLMEN_PLANTED("store.no_new_incarnation") ? 0 : segment.incarnation;
  return base::mix_seed(base::mix_seed(base::mix_seed(kRecordSeed, space.high), space.low),
                        incarnation);
}

std::uint64_t payload_checksum(base::Bytes payload) noexcept {
  return base::checksum64(payload, kRecordSeed);
}

void encode_record_header(const RecordHeader& header, std::uint64_t payload_sum, std::uint64_t seed,
                          std::byte* out) noexcept {
  const base::MutableBytes bytes(out, kRecordHeaderBytes);
  base::store(bytes, 0, header.payload_bytes);
  base::store(bytes, 4, static_cast<std::uint16_t>(header.kind));
  base::store(bytes, 6, std::uint16_t{0});
  base::store(bytes, 8, header.index);
  base::store(bytes, 16, header.durable_index);
  base::store(bytes, kCoveredHeaderBytes, header_checksum(out, payload_sum, seed));
}

std::optional<RecordHeader> plausible_record(base::Bytes bytes, Index index_min,
                                             std::uint64_t room) noexcept {
  const auto kind = base::load<std::uint32_t>(bytes, 4);  // and the two zero bytes
  if (kind - 1 > 2) return std::nullopt;
  RecordHeader header;
  header.payload_bytes = base::load<std::uint32_t>(bytes);
  header.kind = static_cast<RecordKind>(kind);
  header.index = base::load<std::uint64_t>(bytes, 8);
  header.durable_index = base::load<std::uint64_t>(bytes, 16);
  if (header.index < index_min || header.durable_index >= header.index ||
      record_bytes(header.payload_bytes) > room) {
    return std::nullopt;
  }
  return header;
}

bool verify_record(base::Bytes bytes, const RecordHeader& header, std::uint64_t seed) noexcept {
  const base::Bytes payload = bytes.subspan(kRecordHeaderBytes, header.payload_bytes);
  return base::load<std::uint64_t>(bytes, kCoveredHeaderBytes) ==
         header_checksum(bytes.data(), payload_checksum(payload), seed);
}

void encode_segment_header(const ObjectId& space, const SegmentRef& segment,
                           std::uint32_t segment_bytes, base::MutableBytes out) noexcept {
  std::memset(out.data(), 0, out.size());
  base::store(out, 0, kSegmentMagic);
  base::store(out, 8, kLogVersion);
  base::store(out, 12, segment_bytes);
  base::store(out, 16, space.high);
  base::store(out, 24, space.low);
  base::store(out, 32, segment.incarnation);
  base::store(out, 40, segment.first_index);
  base::store(out, kHeaderChecksumAt, base::checksum64(out.first(kHeaderChecksumAt), kSegmentSeed));
}

bool verify_segment_header(base::Bytes header, const ObjectId& space, const SegmentRef& segment,
                           std::uint32_t segment_bytes) noexcept {
  std::array<std::byte, kSegmentHeaderBytes> expected;
  encode_segment_header(space, segment, segment_bytes, expected);
  return header.size() == expected.size() &&
         std::memcmp(header.data(), expected.data(), expected.size()) == 0;
}

std::string segment_name(std::uint32_t file) {
  std::string digits = std::to_string(file);
  if (digits.size() < kDigits) digits.insert(0, kDigits - digits.size(), '0');
  return std::string(kPrefix) + digits;
}

std::optional<std::uint32_t> parse_segment_name(std::string_view name) noexcept {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size());
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.size() < kDigits || error != std::errc{} || end != digits.data() + digits.size() ||
      number > kSegmentFileMax) {
    return std::nullopt;
  }
  return number;
}

}  // namespace dolmen::store
