// SPDX-License-Identifier: Apache-2.0
//
// A page as of a commit: one mechanism for views and checkpoints.
//
// Preserve at commit: right after its record got index i, and still holding its locks, a
// transaction keeps a version [epoch, i) of each page it changed if a snapshot s with epoch <= s <
// i may live. A reader at s takes such a version if there is one; else it copies the running page,
// takes back what a transaction without an index, or with one above s, did to it, looks for a
// version again, and accepts if the object's sequence did not change meanwhile.
#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "object/arena.hpp"
#include "txn/space_core.hpp"
#include "txn/view_core.hpp"

namespace dolmen::detail {

using store::Index;
using store::kPageBytes;
using store::PageKey;
using txn::HomeObject;
using txn::kLineBytes;
using txn::PageMeta;
using txn::PagePool;
using txn::PageState;
using txn::Transaction;
using txn::UndoLine;

namespace {

constexpr int kOptimisticTries = 256;

/// Copies memory that a writer may be changing at the same time; whether the copy is good is
/// decided afterwards, by the object's sequence. Word by word and not instrumented: the race is the
/// protocol.
__attribute__((no_sanitize("thread"), noinline)) void racing_copy(std::byte* to,
                                                                  const std::byte* from,
                                                                  std::size_t bytes) noexcept {
  const auto* source = reinterpret_cast<const volatile std::uint64_t*>(from);
  for (std::size_t word = 0; word < bytes / sizeof(std::uint64_t); ++word) {
    const std::uint64_t value = source[word];
    __builtin_memcpy(to + word * sizeof value, &value, sizeof value);  // `to` may be unaligned
  }
}

/// Puts the pre-images of an undo list into a copy of the page. At most one line per line of a
/// page, so a list that is being recycled cannot hold us.
__attribute__((no_sanitize("thread"))) void apply_undo(const PageMeta& meta, std::byte* page,
                                                       std::uint32_t page_bytes) noexcept {
  const UndoLine* line = meta.undo.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < txn::kLinesPerPage && line != nullptr; ++i) {
    const std::uint32_t number = *const_cast<const volatile std::uint32_t*>(&line->line);
    if (number < page_bytes / kLineBytes) {
      racing_copy(page + std::size_t{number} * kLineBytes, line->bytes, kLineBytes);
    }
    line = line->next.load(std::memory_order_acquire);
  }
}

/// Holds transactions off one stripe until it ends. Owned by the guard, not by thread or space: two
/// readers of one object do not share it.
class StripeGuard {
 public:
  StripeGuard(txn::LockTable& locks, std::uint16_t stripe) noexcept
      : locks_(locks), stripe_(stripe) {}
  ~StripeGuard() {
    if (held_) locks_.unlock_and_wake(stripe_, this);
  }
  StripeGuard(const StripeGuard&) = delete;
  StripeGuard& operator=(const StripeGuard&) = delete;
  void try_lock() noexcept {
    held_ = held_ || locks_.try_lock(stripe_, this, txn::registered_thread_line());
  }

 private:
  txn::LockTable& locks_;
  const std::uint16_t stripe_;
  bool held_ = false;
};

}  // namespace

Result<bool> SpaceCore::find_version(const PageKey& key, Index index, base::MutableBytes out) {
  if (DOLMEN_PLANTED("txn.view_ignores_version")) return false;
  return versions_.find(key, index, out);
}

Result<void> SpaceCore::page_as_of(HomeObject& object, std::uint32_t page, Index index,
                                   base::MutableBytes out) {
  const PageKey key{object.id(), page};
  PageMeta& meta = object.page(page);
  const txn::UndoFollower following;
  StripeGuard hold(*locks_, txn::LockTable::stripe_of(key.object));
  for (int attempt = 0;; ++attempt) {
    if ((attempt >= kOptimisticTries && attempt % 16 == 0) ||
        DOLMEN_BUGGIFY("txn.page_copy_locks")) {
      // Commits to this object outrun us: hold them off for one copy. The holder may be this very
      // thread (a view read inside a transaction), whose own commit cannot be in the way.
      hold.try_lock();
    }
    DOLMEN_TRY(const bool was_kept, find_version(key, index, out));
    if (was_kept) return {};
    const std::uint64_t sequence = object.sequence.load(std::memory_order_acquire);
    const PageState state = object.page_state(page);
    if (state == PageState::absent || state == PageState::damaged) {
      // Never changed since opening: the store has it, in whatever checkpoint, until one erases the
      // object; before that it becomes a version (preserve_erased).
      DOLMEN_STEP("txn.absent_page");
      DOLMEN_CHECK(store_->read_page(key, out));
      std::atomic_thread_fence(std::memory_order_acquire);
      DOLMEN_TRY(const bool is_kept, find_version(key, index, out));
      if (is_kept) return {};
      // Once it is there, it may be changed, and a checkpoint may take that on before its commit is
      // finished here.
      const PageState now = object.page_state(page);
      if (now == PageState::absent || now == PageState::damaged) return versions_.usable(index);
      continue;
    }
    if (state == PageState::lost) {
      return fail(Errc::corrupt, interned("page " + std::to_string(page) + " of object " +
                                          key.object.to_string()));
    }
    racing_copy(out.data(), object.page_address(page), out.size());
    std::atomic_thread_fence(std::memory_order_acquire);
    DOLMEN_STEP("txn.page_copied");
    const Transaction* writer = object.writer.load(std::memory_order_acquire);
    if (writer != nullptr) {
      const Index assigned = writer->index.load(std::memory_order_acquire);
      if ((assigned == 0 || assigned > index) &&
          !DOLMEN_PLANTED("txn.checkpoint_takes_running_page")) {
        apply_undo(meta, out.data(), static_cast<std::uint32_t>(out.size()));
      }
    }
    DOLMEN_TRY(const bool is_kept, find_version(key, index, out));
    if (is_kept) return {};
    std::atomic_thread_fence(std::memory_order_acquire);
    if (object.sequence.load(std::memory_order_relaxed) == sequence) {
      return versions_.usable(index);
    }
    DOLMEN_PROBE("txn.page_as_of_retry");
  }
}

void SpaceCore::preserve_versions(Transaction& transaction, Index index) noexcept {
  // As of the append: a snapshot made since then sees this commit, but older ones still need what
  // was before.
  const Index newest = transaction.newest_snapshot;  // plus one; 0 = none
  if (newest == 0) return;
  DOLMEN_ASSERT_CMP(newest, <=, index);
  for (const txn::TouchedPage& touched : transaction.pages) {
    if (touched.object->fresh) continue;  // nobody could see it before
    PageMeta& meta = touched.object->page(touched.page);
    const Index epoch = meta.epoch.load(std::memory_order_relaxed);
    if (epoch >= newest) continue;
    if (DOLMEN_PLANTED("txn.version_not_preserved")) continue;
    const std::uint32_t bytes = touched.object->page_bytes();
    try {
      PagePool::Page page = versions_.new_page(bytes);
      std::memcpy(page.get(), touched.object->page_address(touched.page), bytes);
      apply_undo(meta, page.get(), bytes);
      versions_.keep(PageKey{touched.object->id(), touched.page}, epoch, index, std::move(page),
                     bytes);
    } catch (const std::bad_alloc&) {
      // The commit has happened.
      versions_.give_up(epoch, index, Error(Errc::out_of_memory, "a page for views"));
    }
  }
}

/// 0: none that has its index.
Index SpaceCore::erasing_commit(const HomeObject& image) noexcept {
  for (;;) {
    const Index erased = image.erased.load(std::memory_order_acquire);
    if (erased != txn::kUncommitted) return erased;
    const Transaction* const writer = image.writer.load(std::memory_order_acquire);
    const Index assigned = writer == nullptr ? 0 : writer->index.load(std::memory_order_acquire);
    // Still so: then that was the eraser's.
    if (image.erased.load(std::memory_order_acquire) == txn::kUncommitted) return assigned;
  }
}

void SpaceCore::preserve_erased(const std::vector<ObjectId>& erased) {
  if (erased.empty()) return;
  const MapUser user(*this);
  const Index oldest = versions_.oldest_snapshot();
  std::vector<std::pair<HomeObject*, Index>> images;  // and the commits that ended them
  {
    const base::Lock guard(map_mutex_);
    const auto add = [&](HomeObject* image) {
      const Index end = erasing_commit(*image);
      if (end > oldest) images.emplace_back(image, end);
    };
    for (const ObjectId& id : erased) {
      const auto [first, last] = former_.equal_range(id);
      for (auto entry = first; entry != last; ++entry) add(entry->second);
      // Its commit has its index, but is not finished yet.
      if (HomeObject* const current = find_mapped(id)) add(current);
    }
  }
  for (const auto& [image, end] : images) {
    const auto stored = store_->page_count(image->id());
    const std::uint32_t pages =
        stored ? std::min(*stored, image->page_count()) : image->page_count();
    for (std::uint32_t page = 0; page < pages; ++page) {
      PageMeta& meta = image->page(page);
      const PageState state = image->page_state(page);
      if (state == PageState::present || state == PageState::lost) continue;
      const std::uint32_t bytes = image->page_bytes();
      PagePool::Page contents = versions_.new_page(bytes);
      const base::MutableBytes out(contents.get(), bytes);
      const PageKey key{image->id(), page};
      if (versions_.contains(key, end - 1)) continue;  // a checkpoint that failed came this far
      DOLMEN_PROBE("txn.erased_page_preserved");
      if (!store_->read_page(key, out)) {
        meta.state.store(PageState::lost, std::memory_order_release);
      } else if (std::ranges::any_of(out, [](std::byte byte) { return byte != std::byte{0}; })) {
        versions_.keep(key, 0, end, std::move(contents), bytes);
      }
    }
  }
}

Result<void> SpaceCore::read_page_as_of(const PageKey& key, Index as_of, base::MutableBytes out) {
  const MapUser user(*this);
  if (HomeObject* object = find_image(key.object, as_of)) {
    return page_as_of(*object, key.page, as_of, out);
  }
  return store_->read_page(key, out);
}

Result<std::unique_ptr<ViewCore>> SpaceCore::open_view(const ReadOptions& options) {
  if (const auto state = usable(); !state) {
    return std::unexpected(state.error());
  }
  auto view = std::make_unique<ViewCore>(*this);
  store_->with_append_lock(
      [](void* argument, Index last) { static_cast<ViewCore*>(argument)->take_snapshot(last); },
      view.get());
  if (options.level == Level::durable) DOLMEN_CHECK(wait_observed());
  return view;
}

ViewCore::ViewCore(SpaceCore& core) noexcept : core_(core) {}

void ViewCore::take_snapshot(Index last) {
  core_.versions().add_snapshot(last, txn::Holder::view);
  index_ = last;
  holds_snapshot_ = true;
}

ViewCore::~ViewCore() {
  // In a forked child the slots are not here.
  if (!holds_snapshot_ || core_.forked()) return;
  for (auto& [id, object] : objects_) {
    Mapping& mapping = mapping_of(object->base);
    mapping.kind = 0;
    delete[] mapping.table.load(std::memory_order_relaxed);
    core_.free_slot(object->base);
  }
  core_.versions().remove_snapshot(index_, txn::Holder::view);
  core_.collect_images(index_);
}

Result<void> ViewCore::usable() const {
  if (core_.forked()) return fail(Errc::forked, "view");
  store::Store& store = core_.store();
  if (store.failed() && index_ > store.durable_index()) return fail(Errc::store_failed, "view");
  return core_.versions().usable(index_);
}

Result<ViewObject*> ViewCore::map(const ObjectId& id) {
  DOLMEN_CHECK(usable());
  const base::Lock guard(mutex_);
  const auto found = objects_.find(id);
  if (found != objects_.end()) return found->second.get();
  const SpaceCore::MapUser user(core_);
  DOLMEN_TRY(HomeObject* const home, core_.image_at(id, index_));
  const unsigned capacity_log2 = home->capacity_log2();
  const bool demand = !core_.eager(capacity_log2);
  // Memory first: a slot that is taken finds its place.
  decltype(objects_) one;
  one.emplace(id, std::make_unique<ViewObject>());
  auto node = one.extract(one.begin());
  objects_.reserve(objects_.size() + 1);
  DOLMEN_TRY(std::byte* const base, core_.allocate_slot(capacity_log2, demand));
  SpaceCore::OwnedSlot slot(core_, base);
  if (!demand) {
    DOLMEN_CHECK(load_pages(base, home->page_count(), home->page_bytes(),
                            [&](std::uint32_t page, base::MutableBytes out) {
                              return core_.page_as_of(*home, page, index_, out);
                            }));
  }
  DOLMEN_CHECK(core_.close_slot(base));
  slot.release();
  ViewObject* const object = node.mapped().get();
  object->view = this;
  object->home = home;
  object->base = base;
  Mapping& mapping = mapping_of(base);
  mapping.capacity_log2 = static_cast<std::uint8_t>(capacity_log2);
  mapping.id = id;
  mapping.space = &core_;
  mapping.record = object;
  mapping.view_stamp = static_cast<std::uint16_t>((index_ % 0xFFFEu) + 1);
  translation_of(base).stamp().store(~std::uint64_t{0}, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  mapping.kind = 2;
  objects_.insert(std::move(node));
  return object;
}

bool ViewCore::fault(ViewObject& object, std::uintptr_t address) noexcept {
  constexpr std::size_t kUnitBytesMax = 64 * 1024;
  sys::Memory& memory = *core_.env().memory;
  const std::size_t unit = memory.fault_unit_bytes(core_.options().fault_driver);
  alignas(64) std::byte buffer[kUnitBytesMax];
  const auto base = reinterpret_cast<std::uintptr_t>(object.base);
  const std::uintptr_t begin = address & ~(unit - 1);
  for (std::size_t done = 0; done < unit; done += kPageBytes) {
    const auto page = static_cast<std::uint32_t>((begin + done - base) / kPageBytes);
    const auto read = or_out_of_memory([&] {
      return core_.page_as_of(*object.home, page, index_,
                              base::MutableBytes(buffer + done, kPageBytes));
    });
    if (!read) {
      DOLMEN_PROBE("txn.damaged_view_page");
      std::memset(buffer + done, 0, kPageBytes);
      object.damaged.store(true, std::memory_order_release);
      damage_.note(read.error());
      note_damage(read.error());
    }
  }
  return memory.fill(reinterpret_cast<std::byte*>(begin), base::Bytes(buffer, unit)).has_value();
}

}  // namespace dolmen::detail
