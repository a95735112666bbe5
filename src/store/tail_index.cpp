// SPDX-License-Identifier: Apache-2.0
#include "store/tail_index.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/commit_record.hpp"

namespace dolmen::store {

namespace {

constexpr std::size_t kFirstSlots = 1024;

// The tables' hashes: ids are random already, but may come from hostile bytes; pages are
// consecutive.
std::size_t hash_of(const ObjectId& id) noexcept {
  return static_cast<std::size_t>(base::mix_seed(id.high, id.low));
}
std::size_t hash_of(std::uint64_t key) noexcept {
  return static_cast<std::size_t>((key ^ (key >> 32)) * 0x9E3779B97F4A7C15ull >> 20);
}

void zero_from(base::MutableBytes page, std::uint64_t page_offset, std::uint64_t bytes) noexcept {
  if (bytes >= page_offset + page.size()) return;
  const std::size_t keep = bytes > page_offset ? bytes - page_offset : 0;
  std::memset(page.data() + keep, 0, page.size() - keep);
}

}  // namespace

std::uint32_t TailIndex::ordinal_of(const ObjectId& id) {
  // Records in a row mostly change the same object.
  if (last_ordinal_ < objects_.size() && objects_[last_ordinal_].id == id) return last_ordinal_;
  if ((objects_.size() + 1) * 2 > ordinals_.size()) grow_ordinals();
  const std::size_t mask = ordinals_.size() - 1;
  std::size_t at = hash_of(id) & mask;
  while (ordinals_[at] != kNone) {
    if (objects_[ordinals_[at]].id == id) return last_ordinal_ = ordinals_[at];
    at = (at + 1) & mask;
  }
  last_ordinal_ = static_cast<std::uint32_t>(objects_.size());
  ordinals_[at] = last_ordinal_;
  objects_.push_back(Object{.id = id});
  return last_ordinal_;
}

void TailIndex::grow_ordinals() {
  ordinals_.assign(std::max(kFirstSlots, ordinals_.size() * 2), kNone);
  const std::size_t mask = ordinals_.size() - 1;
  for (std::size_t k = 0; k < objects_.size(); ++k) {
    std::size_t at = hash_of(objects_[k].id) & mask;
    while (ordinals_[at] != kNone) at = (at + 1) & mask;
    ordinals_[at] = static_cast<std::uint32_t>(k);
  }
}

const TailIndex::Object* TailIndex::find(const ObjectId& id) const noexcept {
  if (ordinals_.empty()) return nullptr;
  const std::size_t mask = ordinals_.size() - 1;
  for (std::size_t at = hash_of(id) & mask; ordinals_[at] != kNone; at = (at + 1) & mask) {
    if (objects_[ordinals_[at]].id == id) return &objects_[ordinals_[at]];
  }
  return nullptr;
}

TailIndex::Slot& TailIndex::slot_for(std::uint64_t key) {
  if ((slot_count_ + 1) * 2 > slots_.size()) grow_slots();
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash_of(key) & mask;
  while (slots_[at].key != key) {
    if (slots_[at].head == kNone) {
      slots_[at].key = key;
      ++slot_count_;
      break;
    }
    at = (at + 1) & mask;
  }
  return slots_[at];
}

void TailIndex::grow_slots() {
  std::vector<Slot> grown(std::max(kFirstSlots, slots_.size() * 4));
  const std::size_t mask = grown.size() - 1;
  for (const Slot& slot : slots_) {
    if (slot.head == kNone) continue;
    std::size_t at = hash_of(slot.key) & mask;
    while (grown[at].head != kNone) at = (at + 1) & mask;
    grown[at] = slot;
  }
  slots_ = std::move(grown);
}

const TailIndex::Slot* TailIndex::find_slot(std::uint64_t key) const noexcept {
  if (slots_.empty()) return nullptr;
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = hash_of(key) & mask; slots_[at].head != kNone; at = (at + 1) & mask) {
    if (slots_[at].key == key) return &slots_[at];
  }
  return nullptr;
}

Result<void> TailIndex::add(base::Bytes payload) {
  base::CommitRecordReader reader(payload);
  base::CommitSection section;
  base::CommitRun run;
  while (reader.next_section(section)) {
    const std::size_t known_count = objects_.size();
    const std::uint32_t ordinal = ordinal_of(section.object);
    const auto floor = static_cast<std::uint32_t>(entries_.size());
    Object& object = objects_[ordinal];
    switch (section.kind) {
      case base::ChangeKind::write:
        while (reader.next_run(run)) DOLMEN_CHECK(add_run(ordinal, run.offset, run.bytes));
        break;
      case base::ChangeKind::create:
      case base::ChangeKind::erase:
        object.fresh = true;
        object.erased = section.kind == base::ChangeKind::erase;
        object.born |= !object.erased && objects_.size() > known_count;
        object.capacity_log2 = static_cast<std::uint8_t>(section.capacity_log2);
        object.floor = floor;
        object.page_limit = 0;
        break;
      case base::ChangeKind::resize: {
        const std::uint64_t bytes = std::uint64_t{1} << section.capacity_log2;
        object.resized = true;
        object.capacity_log2 = static_cast<std::uint8_t>(section.capacity_log2);
        object.page_limit = std::min<std::uint32_t>(
            object.page_limit, static_cast<std::uint32_t>((bytes + kPageBytes - 1) / kPageBytes));
        resizes_.push_back({.ordinal = ordinal, .floor = floor, .bytes = bytes});
        break;
      }
    }
  }
  if (reader.failed()) return fail(Errc::corrupt, "commit record");
  return {};
}

Result<void> TailIndex::add_run(std::uint32_t ordinal, std::uint32_t offset, base::Bytes bytes) {
  if (bytes.empty()) return {};
  Object& object = objects_[ordinal];
  const auto end = static_cast<std::uint64_t>(offset) + bytes.size();
  const auto first = offset / kPageBytes;
  const auto last = static_cast<std::uint32_t>((end - 1) / kPageBytes);
  for (std::uint32_t page = first; page <= last; ++page) {
    const auto number = static_cast<std::uint32_t>(entries_.size());
    if (number == kNone) return fail(Errc::limit, "log tail ranges");
    entries_.push_back({.run = bytes.data() - base::kRunHeaderBytes, .next = kNone});
    Slot& slot = slot_for(std::uint64_t{ordinal} << 32 | page);
    if (slot.head == kNone || slot.last < object.floor) {
      slot.head = number;
    } else {
      entries_[slot.last].next = number;
    }
    slot.last = number;
  }
  object.page_limit = std::max(object.page_limit, last + 1);
  return {};
}

void TailIndex::apply(const Object& object, std::uint32_t page,
                      base::MutableBytes out) const noexcept {
  const auto ordinal = static_cast<std::uint32_t>(&object - objects_.data());
  const std::uint64_t page_offset = std::uint64_t{page} * kPageBytes;
  auto resize = object.resized ? resizes_.begin() : resizes_.end();
  const auto cut_until = [&](std::uint32_t entry) {
    for (; resize != resizes_.end() && resize->floor <= entry; ++resize) {
      if (resize->ordinal == ordinal && resize->floor >= object.floor) {
        zero_from(out, page_offset, resize->bytes);
      }
    }
  };
  const Slot* const slot = find_slot(std::uint64_t{ordinal} << 32 | page);
  std::uint32_t at = slot == nullptr || slot->last < object.floor ? kNone : slot->head;
  for (; at != kNone; at = entries_[at].next) {
    cut_until(at);
    const base::Bytes header(entries_[at].run, base::kRunHeaderBytes);
    const auto offset = base::load<std::uint32_t>(header);
    const std::uint64_t end = std::uint64_t{offset} + base::load<std::uint32_t>(header, 4);
    const std::uint64_t from = std::max<std::uint64_t>(offset, page_offset);
    const std::uint64_t to = std::min<std::uint64_t>(end, page_offset + out.size());
    if (from >= to) continue;  // beyond a small object's only page
    std::memcpy(out.data() + (from - page_offset),
                entries_[at].run + base::kRunHeaderBytes + (from - offset), to - from);
  }
  cut_until(kNone);
}

std::vector<PageKey> TailIndex::changed_pages() const {
  std::vector<PageKey> pages;
  pages.reserve(slot_count_);
  for (const Slot& slot : slots_) {
    if (slot.head == kNone) continue;
    const Object& object = objects_[slot.key >> 32];
    const auto page = static_cast<std::uint32_t>(slot.key);
    if (object.erased || slot.last < object.floor || page >= object.page_limit) continue;
    pages.push_back({.object = object.id, .page = page});
  }
  return pages;
}

}  // namespace dolmen::store
