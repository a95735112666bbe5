// SPDX-License-Identifier: Apache-2.0
#include "store/page_node.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"

namespace dolmen::store {
namespace {

constexpr std::uint32_t kMagic = 0x4E545044;  // "DPTN"
constexpr std::uint16_t kVersion = 1;
constexpr std::uint64_t kNodeTag = 0x65646F6E;  // "node"
constexpr std::uint64_t kPageTag = 0x65676170;  // "page"
constexpr unsigned kPageBits = 24;
constexpr std::uint32_t kPageMask = (1u << kPageBits) - 1;
static_assert(kMaxPages <= kPageMask, "a key's word holds every page number");
static_assert((kNodeBytes - kNodeHeaderBytes) / (kNodeEntryBytes + kNodeIdBytes) < 256,
              "the number of an id in its node fits 8 bits");

// Where the four arrays of a node start; they follow the header without gaps.
struct Layout {
  std::size_t ids, checksums, locs, words, end;
  constexpr Layout(std::size_t count, std::size_t id_count) noexcept
      : ids(kNodeHeaderBytes),
        checksums(ids + kNodeIdBytes * id_count),
        locs(checksums + 8 * count),
        words(locs + 8 * count),
        end(words + 4 * count) {}
};

ObjectId load_id(base::Bytes bytes, std::size_t offset) noexcept {
  return {base::load<std::uint64_t>(bytes, offset), base::load<std::uint64_t>(bytes, offset + 8)};
}

const char* loc_defect(BlockLoc loc, unsigned level, std::uint32_t page) noexcept {
  if (!loc.well_formed()) return "a block is misaligned";
  if (level > 0) {
    return loc.size_log2() == kNodeSizeLog2 && loc.tag() == 0 ? nullptr : "a child is no node";
  }
  if (page > 0) {
    return loc.size_log2() == 3 && loc.tag() == 0 ? nullptr : "a page has a wrong size";
  }
  if (loc.tag() < base::kMinCapacityLog2 || loc.tag() > base::kMaxCapacityLog2) {
    return "an object has an unknown capacity class";
  }
  return loc.size_log2() == page_size_log2(loc.tag()) ? nullptr : "a first page has a wrong size";
}

}  // namespace

std::uint64_t node_seed(const ObjectId& space, unsigned level) noexcept {
  return base::mix_seed(base::mix_seed(base::mix_seed(kNodeTag, space.high), space.low), level);
}

std::uint64_t page_seed(const ObjectId& space, const PageKey& key) noexcept {
  std::uint64_t seed = base::mix_seed(base::mix_seed(kPageTag, space.high), space.low);
  seed = base::mix_seed(base::mix_seed(seed, key.object.high), key.object.low);
  return base::mix_seed(seed, key.page);
}

const char* node_defect(base::Bytes bytes, unsigned level) noexcept {
  if (bytes.size() != kNodeBytes) return "a node is cut off";
  if (base::load<std::uint32_t>(bytes) != kMagic) return "a node lacks its magic number";
  if (base::load<std::uint16_t>(bytes, 4) != kVersion) return "a node has an unknown version";
  if (base::load<std::uint8_t>(bytes, 6) != level) return "a node has a wrong level";
  if (base::load<std::uint8_t>(bytes, 7) != 0 || base::load<std::uint32_t>(bytes, 12) != 0) {
    return "reserved bytes of a node are set";
  }
  const std::size_t count = base::load<std::uint16_t>(bytes, 8);
  const std::size_t id_count = base::load<std::uint16_t>(bytes, 10);
  if (count == 0 || id_count == 0 || id_count > count) return "a node's counts do not fit";
  const Layout at(count, id_count);
  if (at.end > kNodeBytes) return "a node's counts do not fit";

  for (std::size_t i = 1; i < id_count; ++i) {
    const std::size_t offset = at.ids + kNodeIdBytes * i;
    if (!(load_id(bytes, offset - kNodeIdBytes) < load_id(bytes, offset))) {
      return "a node's ids do not ascend";
    }
  }
  std::uint32_t former = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto word = base::load<std::uint32_t>(bytes, at.words + 4 * i);
    // Ascending words whose id number grows by at most one, from 0 to the last: every id is used.
    const bool first = i == 0;
    const std::uint32_t id = word >> kPageBits;
    const bool ascends = first ? id == 0 : word > former && id <= (former >> kPageBits) + 1;
    if (!ascends || id >= id_count) return "a node's keys do not ascend";
    const std::uint32_t page = word & kPageMask;
    if (page >= kMaxPages) return "a page number is too high";
    const BlockLoc loc(base::load<std::uint64_t>(bytes, at.locs + 8 * i));
    if (const char* defect = loc_defect(loc, level, page)) return defect;
    former = word;
  }
  if ((former >> kPageBits) + 1 != id_count) return "a node holds an unused id";
  const base::Bytes rest = bytes.subspan(at.end);
  const bool clean = std::ranges::all_of(rest, [](std::byte b) { return b == std::byte{0}; });
  return clean ? nullptr : "unused bytes of a node are set";
}

void encode_node(std::span<const TreeEntry> entries, unsigned level, base::MutableBytes out) {
  DOLMEN_ASSERT_CMP(out.size(), ==, kNodeBytes);
  DOLMEN_ASSERT(!entries.empty() && level <= kMaxTreeLevel);
  std::size_t id_count = 1;
  for (std::size_t i = 1; i < entries.size(); ++i) {
    DOLMEN_ASSERT(entries[i - 1].key < entries[i].key);
    if (entries[i].key.object != entries[i - 1].key.object) ++id_count;
  }
  const Layout at(entries.size(), id_count);
  DOLMEN_ASSERT_CMP(at.end, <=, kNodeBytes);

  std::ranges::fill(out, std::byte{0});
  base::store(out, 0, kMagic);
  base::store(out, 4, kVersion);
  base::store(out, 6, static_cast<std::uint8_t>(level));
  base::store(out, 8, static_cast<std::uint16_t>(entries.size()));
  base::store(out, 10, static_cast<std::uint16_t>(id_count));
  std::uint32_t id = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const TreeEntry& entry = entries[i];
    if (i > 0 && entry.key.object != entries[i - 1].key.object) ++id;
    DOLMEN_ASSERT(entry.key.page < kMaxPages);
    DOLMEN_ASSERT(loc_defect(entry.loc, level, entry.key.page) == nullptr);
    base::store(out, at.ids + kNodeIdBytes * id, entry.key.object.high);
    base::store(out, at.ids + kNodeIdBytes * id + 8, entry.key.object.low);
    base::store(out, at.checksums + 8 * i, entry.checksum);
    base::store(out, at.locs + 8 * i, entry.loc.packed());
    base::store(out, at.words + 4 * i, id << kPageBits | entry.key.page);
  }
}

NodeView::NodeView(base::Bytes accepted) noexcept
    : bytes_(accepted),
      level_(base::load<std::uint8_t>(accepted, 6)),
      count_(base::load<std::uint16_t>(accepted, 8)),
      id_count_(base::load<std::uint16_t>(accepted, 10)) {}

std::uint32_t NodeView::word(std::size_t i) const noexcept {
  return base::load<std::uint32_t>(bytes_, Layout(count_, id_count_).words + 4 * i);
}

ObjectId NodeView::id(std::size_t i) const noexcept {
  return load_id(bytes_, kNodeHeaderBytes + kNodeIdBytes * i);
}

PageKey NodeView::key(std::size_t i) const noexcept {
  DOLMEN_ASSERT_CMP(i, <, count_);
  const std::uint32_t packed = word(i);
  return {id(packed >> kPageBits), packed & kPageMask};
}

TreeEntry NodeView::entry(std::size_t i) const noexcept {
  const Layout at(count_, id_count_);
  return {key(i), BlockLoc(base::load<std::uint64_t>(bytes_, at.locs + 8 * i)),
          base::load<std::uint64_t>(bytes_, at.checksums + 8 * i)};
}

std::size_t NodeView::count_up_to(const PageKey& key) const noexcept {
  // The last id that is not above the key's, then the last word with that id or a smaller one.
  std::size_t low = 0;
  for (std::size_t high = id_count_; low < high;) {
    const std::size_t middle = (low + high) / 2;
    if (id(middle) <= key.object) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return 0;
  const bool same = id(low - 1) == key.object;
  const auto number = static_cast<std::uint32_t>(low - 1);
  const std::uint32_t page = same ? std::min(key.page, kPageMask) : kPageMask;
  const std::uint32_t limit = number << kPageBits | page;
  std::size_t result = 0;
  for (std::size_t high = count_; result < high;) {
    const std::size_t middle = (result + high) / 2;
    if (word(middle) <= limit) {
      result = middle + 1;
    } else {
      high = middle;
    }
  }
  return result;
}

}  // namespace dolmen::store
