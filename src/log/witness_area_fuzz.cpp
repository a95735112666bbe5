// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a witness's area, also with checksums that fit them: what is accepted is exactly
// what would be written for it.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "log/witness_area.hpp"

namespace {

using namespace dolmen;

void check(base::Bytes area) {
  const auto found = log::read_area(area);
  if (!found) return;
  const base::Bytes snapshot = found->snapshot ? found->snapshot->bytes() : base::Bytes{};
  DOLMEN_ASSERT_CMP(snapshot.size(), ==, found->header.snapshot_bytes);
  std::vector<std::byte> header(log::kAreaHeaderBytes);
  log::encode_area_header(header, found->header);
  DOLMEN_ASSERT(std::ranges::equal(header, area.first(header.size())));
  DOLMEN_ASSERT(std::ranges::equal(snapshot, area.subspan(log::kAreaHeaderBytes, snapshot.size())));
  log::Position before = found->snapshot ? found->snapshot->last() : log::Position{};
  std::size_t bytes = log::area_base_bytes(snapshot.size());
  for (const log::Entry& entry : found->entries) {
    DOLMEN_ASSERT_CMP(entry.index, ==, before.index + 1);
    DOLMEN_ASSERT(entry.origin >= before.origin && entry.origin <= found->header.name.epoch);
    before = entry.position();
    bytes += log::lane_entry_bytes(entry.payload.size());
  }
  DOLMEN_ASSERT_CMP(bytes, <=, area.size());
  DOLMEN_ASSERT_CMP(found->stable, <=, found->end().index);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint64_t> words(size / 8);  // an area begins at a multiple of 8
  const base::MutableBytes area = std::as_writable_bytes(std::span(words));
  std::ranges::copy(std::as_bytes(std::span(data, size)).first(area.size()), area.begin());
  check(area);
  if (area.size() < log::kAreaHeaderBytes) return 0;
  // Sealed, as far as the lengths lead.
  base::store(area, 48, base::checksum64(area.first(48), log::kAreaMagic));
  check(area);
  const auto header = log::decode_area_header(area);
  if (!header) return 0;
  std::size_t offset = log::area_base_bytes(header->snapshot_bytes);
  if (header->snapshot_bytes >= 8) {
    const base::MutableBytes snapshot = area.subspan(log::kAreaHeaderBytes, header->snapshot_bytes);
    base::store(snapshot, snapshot.size() - 8,
                base::checksum64(snapshot.first(snapshot.size() - 8), log::kSnapshotSeed));
  }
  const std::uint64_t seed = base::mix_seed(log::kLaneMagic, header->name.epoch);
  while (area.size() - offset >= log::kLaneEntryHeaderBytes) {
    const std::size_t bytes = log::lane_entry_bytes(base::load<std::uint32_t>(area, offset + 32));
    if (bytes > area.size() - offset) break;
    base::store(area, offset, base::checksum64(area.subspan(offset + 8, bytes - 8), seed));
    offset += bytes;
  }
  check(area);
  return 0;
}
