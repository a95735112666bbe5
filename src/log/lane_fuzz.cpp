// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a lane, also with checksums that fit them: what the decoders accept is exactly what
// the encoders make. The first byte chooses the epoch.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "log/lane.hpp"

namespace {

using namespace dolmen;

void check_header(base::Bytes lane) {
  const auto header = log::decode_lane_header(lane);
  if (!header) return;
  std::vector<std::byte> again(log::kLaneHeaderBytes);
  log::encode_lane_header(again, *header);
  DOLMEN_ASSERT(std::ranges::equal(again, lane.first(again.size())));
}

void check_entries(base::Bytes lane, log::Epoch epoch) {
  for (std::size_t offset = 0;;) {
    const auto found = log::decode_lane_entry(lane, offset, epoch, 0);
    if (!found) return;
    DOLMEN_ASSERT(offset + found->bytes <= lane.size());
    std::vector<std::byte> again(found->bytes);
    log::encode_lane_entry(again, found->entry, found->stable, epoch);
    DOLMEN_ASSERT(std::ranges::equal(again, lane.subspan(offset, found->bytes)));
    offset += found->bytes;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const log::Epoch epoch = 1 + data[0];
  std::vector<std::uint64_t> words(size / 8);  // a lane begins at a multiple of 8
  const base::MutableBytes lane = std::as_writable_bytes(std::span(words));
  std::ranges::copy(std::as_bytes(std::span(data, size)).first(lane.size()), lane.begin());
  check_header(lane);
  check_entries(lane, epoch);
  // Sealed, as far as the lengths lead.
  if (lane.size() >= log::kLaneHeaderBytes) {
    base::store(lane, 48, base::checksum64(lane.first(48), log::kLaneMagic));
    check_header(lane);
  }
  const std::uint64_t seed = base::mix_seed(log::kLaneMagic, epoch);
  for (std::size_t offset = 0; lane.size() - offset >= log::kLaneEntryHeaderBytes;) {
    const std::size_t bytes = log::lane_entry_bytes(base::load<std::uint32_t>(lane, offset + 32));
    if (bytes > lane.size() - offset) break;
    base::store(lane, offset, base::checksum64(lane.subspan(offset + 8, bytes - 8), seed));
    offset += bytes;
  }
  check_entries(lane, epoch);
  return 0;
}
