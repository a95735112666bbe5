// SPDX-License-Identifier: Apache-2.0
#include "log/witness_area.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"

namespace dolmen::log {

namespace {

constexpr std::size_t kChecksumAt = 48;

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "the header of a witness's area"); }

}  // namespace

void encode_area_header(base::MutableBytes area, const AreaHeader& header) {
  base::ByteWriter out;
  out.put(kAreaMagic);
  out.put(kAreaVersion);
  out.put(static_cast<std::uint64_t>(header.owner));
  out.put(static_cast<std::uint64_t>(header.writer));
  out.put(header.name.epoch);
  out.put(header.snapshot_bytes);
  out.put(header.name.number);
  out.put(std::uint32_t{0});
  DOLMEN_ASSERT_CMP(out.size(), ==, kChecksumAt);
  out.put(base::checksum64(out.bytes(), kAreaMagic));
  out.pad_to(kAreaHeaderBytes);
  std::ranges::copy(out.bytes(), area.begin());
}

Result<AreaHeader> decode_area_header(base::Bytes area) {
  if (area.size() < kAreaHeaderBytes) return damaged();
  alignas(std::uint64_t) std::array<std::byte, kAreaHeaderBytes> front;
  copy_shared(front, area.first(kAreaHeaderBytes));
  base::ByteReader in(front);
  if (in.get<std::uint32_t>() != kAreaMagic) return damaged();
  const auto version = in.get<std::uint32_t>();
  AreaHeader header;
  header.owner = ReplicaId{in.get<std::uint64_t>()};
  header.writer = ReplicaId{in.get<std::uint64_t>()};
  header.name.epoch = in.get<std::uint64_t>();
  header.snapshot_bytes = in.get<std::uint64_t>();
  header.name.number = in.get<std::uint32_t>();
  bool is_spare = in.get<std::uint32_t>() != 0;
  if (in.get<std::uint64_t>() !=
      base::checksum64(base::Bytes(front).first(kChecksumAt), kAreaMagic)) {
    return damaged();
  }
  if (version != kAreaVersion) {
    return fail(Errc::version_unsupported, "the header of a witness's area", version);
  }
  is_spare |= in.get<std::uint64_t>() != 0;
  const bool is_named = header.owner != kNobody && header.writer != kNobody &&
                        header.name.number != 0 && header.name.epoch != 0 &&
                        header.name.epoch <= kEpochMax;
  const bool is_sized = header.snapshot_bytes <= kSnapshotBytesMax &&
                        area_base_bytes(header.snapshot_bytes) <= area.size();
  if (is_spare || !is_named || !is_sized) return damaged();
  return header;
}

std::optional<AreaLog> read_area(base::Bytes area) {
  const auto header = decode_area_header(area);
  if (!header) return std::nullopt;
  AreaLog log{.header = *header};
  std::size_t offset = area_base_bytes(header->snapshot_bytes);
  if (header->snapshot_bytes != 0) {
    std::vector<std::byte> bytes(offset - kAreaHeaderBytes);
    copy_shared(bytes, area.subspan(kAreaHeaderBytes, bytes.size()));
    bytes.resize(header->snapshot_bytes);
    auto snapshot = Snapshot::decode(std::move(bytes));
    if (!snapshot || (*snapshot)->last().origin > header->name.epoch) return std::nullopt;
    log.snapshot = std::move(*snapshot);
  }
  Position end = log.end();
  const std::size_t whole_words = area.size() / 8 * 8;
  for (;;) {
    auto found =
        decode_lane_entry(area.first(whole_words), offset, header->name.epoch, end.index + 1);
    if (!found || found->entry.origin < end.origin) return log;
    offset += found->bytes;
    end = found->entry.position();
    log.stable = std::max(log.stable, std::min(found->stable, end.index));
    log.entries.push_back(std::move(found->entry));
  }
}

}  // namespace dolmen::log
