// SPDX-License-Identifier: Apache-2.0
#include "store/root.hpp"

#include <algorithm>
#include <optional>
#include <span>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/commit_record.hpp"
#include "store/log_format.hpp"

namespace dolmen::store {

namespace {

constexpr std::uint64_t kMagic = 0x544F4F524D4C4F44;  // "DOLMROOT"
constexpr std::uint64_t kSeed = 0x646F6C6D656E2E31;   // "dolmen.1"
/// Of what is counted up: nobody gets there, and there is room to go on.
constexpr std::uint64_t kNumberMax = std::uint64_t{1} << 62;
constexpr std::size_t kChecksumAt = kRootSlotBytes - 8;
constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kContentsAt = 120;
constexpr std::size_t kSegmentsAt = 128;
constexpr std::size_t kSegmentEntryBytes = 24;
static_assert(kSegmentsAt + kLogSegmentsMax * kSegmentEntryBytes <= kChecksumAt,
              "the list of segments fits the slot");

bool is_zero(base::Bytes bytes) noexcept {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

bool plausible(const Root& root) noexcept {
  if (root.generation == 0 || root.space.is_null() || root.next_incarnation == 0 ||
      !valid_segment_bytes(root.segment_bytes) || root.durable_index < root.checkpoint_index) {
    return false;
  }
  if (std::max({root.generation, root.next_incarnation, root.durable_index}) > kNumberMax) {
    return false;
  }
  std::uint64_t incarnation = 0;
  Index first = 0;
  std::array<std::uint32_t, kLogSegmentsMax> files;  // no memory: this is noexcept
  std::size_t count = 0;
  if (root.segments.size() > files.size()) return false;
  for (const SegmentRef& segment : root.segments) {
    if (segment.incarnation <= incarnation || segment.first_index <= first ||
        segment.incarnation >= root.next_incarnation || segment.file > kSegmentFileMax ||
        segment.first_index > kNumberMax) {
      return false;
    }
    files[count++] = segment.file;
    incarnation = segment.incarnation;
    first = segment.first_index;
  }
  const std::span listed(files.data(), count);
  std::ranges::sort(listed);
  if (std::ranges::adjacent_find(listed) != listed.end()) return false;
  return root.segments.empty() || root.segments.front().first_index <= root.checkpoint_index + 1;
}

/// Whether `slot` may hold `generation` (0 = zeros) while `newest` is in force.
bool expected_in_slot(unsigned slot, std::uint64_t generation, std::uint64_t newest) noexcept {
  if (slot / 2 * 2 != root_pair(newest)) return generation == newest - 1;
  // Crash window: between the two writes of a switch, a slot of the pair holds the one before last.
  return generation == newest || generation == (newest >= 2 ? newest - 2 : 0);
}

}  // namespace

void encode_root(const Root& root, base::MutableBytes out) noexcept {
  DOLMEN_ASSERT(out.size() == kRootSlotBytes);
  DOLMEN_ASSERT_CMP(root.segments.size(), <=, kLogSegmentsMax);
  std::memset(out.data(), 0, out.size());
  base::store(out, 0, kMagic);
  base::store(out, kVersionAt, kRootVersion);
  base::store(out, 12, static_cast<std::uint32_t>(kRootSlotBytes));
  base::store(out, 16, root.space.high);
  base::store(out, 24, root.space.low);
  base::store(out, 32, root.generation);
  base::store(out, 40, root.next_incarnation);
  base::store(out, 48, root.created_wall_ns);
  base::store(out, 56, root.checkpoint_index);
  base::store(out, 64, root.durable_index);
  base::store(out, 72, root.tree);
  base::store(out, 104, root.tail_bytes_max);
  base::store(out, 112, root.segment_bytes);
  base::store(out, 116, static_cast<std::uint32_t>(root.segments.size()));
  base::store(out, kContentsAt, root.contents);
  std::size_t at = kSegmentsAt;
  for (const SegmentRef& segment : root.segments) {
    base::store(out, at, segment.incarnation);
    base::store(out, at + 8, segment.first_index);
    base::store(out, at + 16, segment.file);
    at += kSegmentEntryBytes;
  }
  base::store(out, kChecksumAt, base::checksum64(out.first(kChecksumAt), kSeed));
}

Result<Root> decode_root(base::Bytes slot) {
  if (slot.size() != kRootSlotBytes || base::load<std::uint64_t>(slot) != kMagic ||
      base::load<std::uint64_t>(slot, kChecksumAt) !=
          base::checksum64(slot.first(kChecksumAt), kSeed)) {
    return fail(Errc::corrupt, "root slot");
  }
  if (base::load<std::uint32_t>(slot, kVersionAt) != kRootVersion) {
    return fail(Errc::version_unsupported, "space", base::load<std::uint32_t>(slot, kVersionAt));
  }
  Root root;
  root.space = ObjectId{base::load<std::uint64_t>(slot, 16), base::load<std::uint64_t>(slot, 24)};
  root.generation = base::load<std::uint64_t>(slot, 32);
  root.next_incarnation = base::load<std::uint64_t>(slot, 40);
  root.created_wall_ns = base::load<std::uint64_t>(slot, 48);
  root.checkpoint_index = base::load<std::uint64_t>(slot, 56);
  root.durable_index = base::load<std::uint64_t>(slot, 64);
  root.tree = base::load<TreeRoot>(slot, 72);
  root.tail_bytes_max = base::load<std::uint64_t>(slot, 104);
  root.segment_bytes = base::load<std::uint32_t>(slot, 112);
  const auto contents = base::load<std::uint32_t>(slot, kContentsAt);
  if (contents > static_cast<std::uint32_t>(Contents::journal)) {
    return fail(Errc::corrupt, "root slot: what the log holds", contents);
  }
  root.contents = static_cast<Contents>(contents);
  const auto count = base::load<std::uint32_t>(slot, 116);
  if (count > kLogSegmentsMax) return fail(Errc::corrupt, "root slot: segment count", count);
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t at = kSegmentsAt + k * kSegmentEntryBytes;
    root.segments.push_back({.file = base::load<std::uint32_t>(slot, at + 16),
                             .incarnation = base::load<std::uint64_t>(slot, at),
                             .first_index = base::load<std::uint64_t>(slot, at + 8)});
  }
  if (!plausible(root)) return fail(Errc::corrupt, "root slot: contents", root.generation);
  return root;
}

Result<RootChoice> choose_root(base::Bytes file) {
  std::array<std::optional<Root>, kRootSlots> roots;
  std::array<bool, kRootSlots> zero{};
  bool magic_seen = false;
  std::uint32_t other_version = 0;
  RootChoice choice;
  for (unsigned slot = 0; slot < kRootSlots; ++slot) {
    if (file.size() < (slot + 1) * kRootSlotBytes) continue;
    const base::Bytes bytes = file.subspan(slot * kRootSlotBytes, kRootSlotBytes);
    zero[slot] = is_zero(bytes);
    magic_seen |= base::load<std::uint64_t>(bytes) == kMagic;
    auto root = decode_root(bytes);
    if (!root && root.error().code() == Errc::version_unsupported) {
      other_version = base::load<std::uint32_t>(bytes, kVersionAt);
    }
    if (!root || slot / 2 * 2 != root_pair(root->generation)) continue;
    roots[slot] = std::move(*root);
    if (roots[slot]->generation > choice.root.generation) {
      choice.root = *roots[slot];
    }
  }
  if (choice.root.generation == 0) {
    if (other_version != 0) return fail(Errc::version_unsupported, "space", other_version);
    if (magic_seen) return fail(Errc::corrupt, "space: no root slot verifies");
    return fail(Errc::not_a_space, "space: no root slot");
  }
  unsigned bad_count = 0;
  for (unsigned slot = 0; slot < kRootSlots; ++slot) {
    const std::uint64_t generation = roots[slot] ? roots[slot]->generation : 0;
    const bool readable = roots[slot] || zero[slot];
    choice.bad[slot] = !readable || !expected_in_slot(slot, generation, choice.root.generation) ||
                       (roots[slot] && roots[slot]->space != choice.root.space);
    bad_count += choice.bad[slot] ? 1 : 0;
  }
  if (bad_count > 1) return fail(Errc::corrupt, "space: root slots that do not verify", bad_count);
  return choice;
}

}  // namespace dolmen::store
