// SPDX-License-Identifier: Apache-2.0
//
// A view: every object as of one commit, each mapped into a slot of its own on first use, its pages
// made on first touch from the running image, its undo and its versions (see snapshots.cpp).
// Nothing that a writer waits for is held.
//
// Threads: any number may read through one view.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <unordered_map>

#include "base/mutex.hpp"
#include "txn/space_core.hpp"

namespace dolmen::detail {

/// Record behind a view's mapping (Mapping::record, kind 2).
struct ViewObject {
  ViewCore* view = nullptr;
  txn::HomeObject* home = nullptr;
  std::byte* base = nullptr;
  std::atomic<bool> damaged{false};
  std::vector<std::unique_ptr<std::uintptr_t[]>> retired_tables;  ///< the core's table mutex
};

/// The first damage that was met, from any thread and inside a fault handler.
class DamageNote {
 public:
  void note(const Error& error) noexcept {
    int nothing = 0;
    if (!state_.compare_exchange_strong(nothing, 1, std::memory_order_acq_rel)) return;
    error_ = error;
    state_.store(2, std::memory_order_release);
  }
  [[nodiscard]] std::optional<Error> get() const noexcept {
    const int state = state_.load(std::memory_order_acquire);
    if (state == 0) return std::nullopt;
    return state == 2 ? error_ : Error(Errc::corrupt, "a page of the view");
  }

 private:
  std::atomic<int> state_{0};
  Error error_{Errc::corrupt};
};

class ViewCore {
 public:
  explicit ViewCore(SpaceCore& core) noexcept;
  ~ViewCore();
  ViewCore(const ViewCore&) = delete;
  ViewCore& operator=(const ViewCore&) = delete;

  /// Decides what the view shows. Requires: called once, in the append critical section, with the
  /// last index.
  void take_snapshot(store::Index last);

  /// The object as of the view's commit. Errors: not_found, corrupt, out_of_memory.
  [[nodiscard]] Result<ViewObject*> map(const ObjectId& id);
  [[nodiscard]] bool fault(ViewObject& object, std::uintptr_t address) noexcept;
  /// Damage that reading through this view met: what was read may be zeros in its place.
  [[nodiscard]] std::optional<Error> damage() const noexcept { return damage_.get(); }
  [[nodiscard]] store::Index index() const noexcept { return index_; }
  /// Errors: store_failed, if the view shows what may never become durable; no_space, io_error or
  /// out_of_memory, if what it needs could not be kept.
  [[nodiscard]] Result<void> usable() const;
  [[nodiscard]] SpaceCore& core() const noexcept { return core_; }

 private:
  SpaceCore& core_;
  store::Index index_ = 0;
  bool holds_snapshot_ = false;
  DamageNote damage_;
  base::Mutex mutex_;
  std::unordered_map<ObjectId, std::unique_ptr<ViewObject>> objects_ DOLMEN_GUARDED_BY(mutex_);
};

/// Fills a plain slot page by page; pages of zeros are not touched, so that they cost no memory.
template <class ReadPage>
[[nodiscard]] Result<void> load_pages(std::byte* base, std::uint32_t page_count,
                                      std::uint32_t page_bytes, ReadPage read_page) {
  alignas(8) std::byte buffer[store::kPageBytes];
  for (std::uint32_t page = 0; page < page_count; ++page) {
    const base::MutableBytes out(buffer, page_bytes);
    DOLMEN_CHECK(read_page(page, out));
    if (std::ranges::all_of(out, [](std::byte byte) { return byte == std::byte{0}; })) continue;
    std::memcpy(base + std::size_t{page} * store::kPageBytes, buffer, page_bytes);
  }
  return {};
}

/// A page that a fault handler needs: there is nobody to throw to.
template <class ReadPage>
[[nodiscard]] Result<void> or_out_of_memory(ReadPage read_page) noexcept {
  try {
    return read_page();
  } catch (const std::bad_alloc&) {
    return fail(Errc::out_of_memory, "reading a page");
  }
}

/// Installs the arena's one fault handler; gives the driver in force (the first caller's choice).
[[nodiscard]] Result<sys::FaultDriver> install_arena_faults(sys::Memory& memory,
                                                            sys::FaultDriver driver);
/// Marks the ambient section as having read a page that could not be verified.
void note_damage(const Error& error) noexcept;

}  // namespace dolmen::detail
