// SPDX-License-Identifier: Apache-2.0
#include "log/lane.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/copy.hpp"
#include "base/hooks.hpp"

namespace dolmen::log {

namespace {

constexpr std::size_t kChecksumBytes = 8;
constexpr std::size_t kChecksumAt = 48;  ///< of the header's
/// Longer ones are checked in memory of their own.
constexpr std::size_t kSmallEntryBytes = 512;

std::uint64_t seed_of(Epoch epoch) noexcept { return base::mix_seed(kLaneMagic, epoch); }

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a lane's header"); }

struct Head {
  Index index;
  Epoch origin;
  Index stable;
  std::uint32_t payload_bytes;
  std::uint8_t kind;
};

bool is_possible(const Head& head, Epoch epoch) noexcept {
  return head.index != 0 && head.index <= kIndexMax && head.origin != 0 && head.origin <= epoch &&
         head.payload_bytes <= kPayloadBytesMax &&
         head.kind >= static_cast<std::uint8_t>(EntryKind::command) &&
         head.kind <= static_cast<std::uint8_t>(EntryKind::settled);
}

}  // namespace

void copy_shared(base::MutableBytes into, base::Bytes from) noexcept {
  for (std::size_t i = 0; i < into.size(); i += sizeof(std::uint64_t)) {
    const auto* const word =
        static_cast<const std::uint64_t*>(static_cast<const void*>(from.data() + i));
    base::store(into, i, __atomic_load_n(word, __ATOMIC_RELAXED));
  }
}

void encode_lane_header(base::MutableBytes lane, const LaneHeader& header) {
  base::ByteWriter out;
  out.put(kLaneMagic);
  out.put(kLaneVersion);
  out.put(static_cast<std::uint64_t>(header.owner));
  out.put(static_cast<std::uint64_t>(header.writer));
  out.put(header.name.epoch);
  out.put(header.bytes);
  out.put(header.name.number);
  out.put(std::uint32_t{0});
  DOLMEN_ASSERT_CMP(out.size(), ==, kChecksumAt);
  out.put(base::checksum64(out.bytes(), kLaneMagic));
  out.pad_to(kLaneHeaderBytes);
  std::ranges::copy(out.bytes(), lane.begin());
}

Result<LaneHeader> decode_lane_header(base::Bytes lane) {
  if (lane.size() < kLaneHeaderBytes) return damaged();
  alignas(std::uint64_t) std::array<std::byte, kLaneHeaderBytes> front;
  copy_shared(front, lane.first(kLaneHeaderBytes));
  base::ByteReader in(front);
  if (in.get<std::uint32_t>() != kLaneMagic) return damaged();
  const auto version = in.get<std::uint32_t>();
  LaneHeader header;
  header.owner = ReplicaId{in.get<std::uint64_t>()};
  header.writer = ReplicaId{in.get<std::uint64_t>()};
  header.name.epoch = in.get<std::uint64_t>();
  header.bytes = in.get<std::uint64_t>();
  header.name.number = in.get<std::uint32_t>();
  bool is_spare = in.get<std::uint32_t>() != 0;
  if (in.get<std::uint64_t>() !=
      base::checksum64(base::Bytes(front).first(kChecksumAt), kLaneMagic)) {
    return damaged();
  }
  if (version != kLaneVersion) return fail(Errc::version_unsupported, "a lane's header", version);
  is_spare |= in.get<std::uint64_t>() != 0;
  const bool is_named = header.owner != ReplicaId{} && header.writer != ReplicaId{} &&
                        header.name.number != 0 && header.name.epoch != 0 &&
                        header.name.epoch <= kEpochMax;
  const bool is_sized = header.bytes >= kLaneHeaderBytes && header.bytes % 8 == 0 &&
                        header.bytes <= kLaneBytesMax && header.bytes <= lane.size();
  if (is_spare || !is_named || !is_sized) return damaged();
  return header;
}

void encode_lane_entry(base::MutableBytes place, const Entry& entry, Index stable, Epoch epoch) {
  const std::size_t bytes = lane_entry_bytes(entry.payload.size());
  DOLMEN_ASSERT_CMP(bytes, <=, place.size());
  base::store(place, 8, entry.index);
  base::store(place, 16, entry.origin);
  base::store(place, 24, stable);
  base::store(place, 32, static_cast<std::uint32_t>(entry.payload.size()));
  base::store(place, 36, static_cast<std::uint32_t>(entry.kind));
  if (!entry.payload.empty()) {
    base::store(place, bytes - 8, std::uint64_t{0});
    base::copy_bytes(entry.payload, place.subspan(kLaneEntryHeaderBytes));
  }
  const base::Bytes body = base::Bytes(place).subspan(kChecksumBytes, bytes - kChecksumBytes);
  base::store(place, 0, base::checksum64(body, seed_of(epoch)));
}

std::optional<LaneEntry> decode_lane_entry(base::Bytes lane, std::size_t offset, Epoch epoch,
                                           Index index) {
  if (offset > lane.size() || lane.size() - offset < kLaneEntryHeaderBytes) return std::nullopt;
  std::array<std::byte, kLaneEntryHeaderBytes> front;
  copy_shared(front, lane.subspan(offset, kLaneEntryHeaderBytes));
  const auto kind = base::load<std::uint32_t>(front, 36);
  const Head head{.index = base::load<Index>(front, 8),
                  .origin = base::load<Epoch>(front, 16),
                  .stable = base::load<Index>(front, 24),
                  .payload_bytes = base::load<std::uint32_t>(front, 32),
                  .kind = static_cast<std::uint8_t>(kind)};
  if (kind > 0xFF || !is_possible(head, epoch)) return std::nullopt;
  if (index != 0 && head.index != index) return std::nullopt;
  const std::size_t bytes = lane_entry_bytes(head.payload_bytes);
  if (bytes > lane.size() - offset) return std::nullopt;
  // What is checked is a copy, which nobody changes any more.
  std::array<std::byte, kSmallEntryBytes> small;  // not zeroed: it is copied into
  std::vector<std::byte> large(bytes > small.size() ? bytes : 0);
  const base::MutableBytes whole =
      large.empty() ? base::MutableBytes(small).first(bytes) : base::MutableBytes(large);
  std::ranges::copy(front, whole.begin());
  copy_shared(whole.subspan(kLaneEntryHeaderBytes),
              lane.subspan(offset + kLaneEntryHeaderBytes, bytes - kLaneEntryHeaderBytes));
  const base::Bytes body = whole.subspan(kChecksumBytes);
  if (base::load<std::uint64_t>(whole) != base::checksum64(body, seed_of(epoch)) &&
      !DOLMEN_PLANTED("log.lane_unchecked")) {
    return std::nullopt;
  }
  const base::Bytes payload = whole.subspan(kLaneEntryHeaderBytes, head.payload_bytes);
  const bool is_padded = std::ranges::all_of(whole.subspan(kLaneEntryHeaderBytes + payload.size()),
                                             [](std::byte b) { return b == std::byte{0}; });
  LaneEntry found{.entry = {.origin = head.origin,
                            .index = head.index,
                            .kind = static_cast<EntryKind>(head.kind),
                            .payload = {payload.begin(), payload.end()}},
                  .stable = head.stable,
                  .bytes = bytes};
  if (!is_padded || !is_well_formed(found.entry)) return std::nullopt;
  return found;
}

}  // namespace dolmen::log
