// SPDX-License-Identifier: Apache-2.0
//
// The running image of one object: where it is mapped, which transaction holds it, and per page the
// facts from which every past state that somebody still reads can be made.
//
// Invariants:
//   1. A line of a page is changed only after its pre-image is in the page's undo list.
//   2. `sequence` grows after every commit or abort that touched the object, after the undo lists
//      are empty again, and where there is no commit index also before that: who copied a page and
//      finds the sequence unchanged saw one state, or knows its undo.
//   3. `writer` is set exactly while a transaction holds the object's lock for writing.
//   4. A page that is absent was never changed since the space was opened.
//
// Threads: fields marked "holder" are the lock holder's; atomics are anybody's to read.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include <dolmen/detail/arena.hpp>
#include <dolmen/error.hpp>

#include "object/fot.hpp"
#include "store/store.hpp"

namespace dolmen::txn {

using store::Index;

class Transaction;

inline constexpr std::size_t kLineBytes = 64;
inline constexpr std::uint32_t kLinesPerPage = store::kPageBytes / kLineBytes;
/// An object or page version that has no commit index yet.
inline constexpr Index kUncommitted = ~Index{0};

/// Pre-image of one 64-byte line. Type-stable memory: a reader that follows a list while it is
/// recycled reads wrong bytes, never unmapped ones, and finds out by the sequence.
struct UndoLine {
  std::atomic<UndoLine*> next{nullptr};
  std::uint32_t line = 0;
  std::uint32_t unused = 0;
  alignas(8) std::byte bytes[kLineBytes];
};

/// Whether a page of an image is in memory. A damaged one could not be read and lies there as
/// zeros; a lost one cannot be read again, for its object was erased.
enum class PageState : std::uint32_t { absent, present, damaged, lost };

/// All zero bytes are the initial state.
struct PageMeta {
  std::atomic<Index> epoch{0};  ///< commit that last changed the page since opening; 0 = none
  std::atomic<UndoLine*> undo{nullptr};
  std::uint64_t logged = 0;                         ///< holder: lines with a pre-image
  std::atomic<PageState> state{PageState::absent};  ///< see HomeObject::page_state()
  std::uint32_t dirty_generation = 0;  ///< append section: checkpoint generation it is listed for
};
static_assert(sizeof(PageMeta) == 32, "part of the memory budget of small objects");
static_assert(std::is_trivially_destructible_v<PageMeta>);

struct FreePageMetas {
  void operator()(PageMeta* pages) const noexcept;
};
using PageMetas = std::unique_ptr<PageMeta[], FreePageMetas>;
/// Null if there is no memory.
[[nodiscard]] PageMetas make_page_metas(std::uint32_t count);

struct HomeObject {
  explicit HomeObject(std::byte* object_base) noexcept : base(object_base) {}
  ~HomeObject();
  HomeObject(const HomeObject&) = delete;
  HomeObject& operator=(const HomeObject&) = delete;

  [[nodiscard]] detail::Mapping& mapping() const noexcept { return detail::mapping_of(base); }
  [[nodiscard]] const ObjectId& id() const noexcept { return mapping().id; }
  [[nodiscard]] unsigned capacity_log2() const noexcept {
    return detail::class_of(reinterpret_cast<std::uintptr_t>(base));
  }
  [[nodiscard]] std::uint32_t page_bytes() const noexcept {
    return store::page_bytes(capacity_log2());
  }
  [[nodiscard]] std::uint32_t page_count() const noexcept {
    return 1u << (capacity_log2() < 12 ? 0 : capacity_log2() - 12);
  }
  [[nodiscard]] bool damaged() const noexcept {
    return damage.load(std::memory_order_acquire) != 0;
  }
  [[nodiscard]] PageMeta& page(std::uint32_t number) noexcept { return pages[number]; }
  [[nodiscard]] PageState page_state(std::uint32_t number) const noexcept {
    const PageState state = pages[number].state.load(std::memory_order_acquire);
    return state == PageState::absent && whole ? PageState::present : state;
  }
  [[nodiscard]] std::byte* page_address(std::uint32_t number) const noexcept {
    return base + std::size_t{number} * store::kPageBytes;
  }

  std::byte* base;
  std::atomic<std::uint64_t> sequence{0};
  std::atomic<Transaction*> writer{nullptr};
  std::atomic<Index> created{0};  ///< kUncommitted while its creator runs; 0 = before opening
  std::atomic<Index> erased{0};   ///< 0 = lives; kUncommitted while its eraser runs
  /// The commit with which another image took this one's place (resize); 0 = none did;
  /// kUncommitted while it is being made. That image's `created` is the same commit.
  std::atomic<Index> moved{0};
  /// Errc of the first page that could not be read, else 0. What a section sees of the object from
  /// then on may be zeros, and is not to be trusted.
  std::atomic<std::uint16_t> damage{0};
  PageMeta single;  ///< pages of an object that has one
  PageMeta* pages = &single;
  std::unique_ptr<object::FotIndex> fot_index;  ///< holder
  bool whole = false;  ///< set when made: every page was loaded or began as zeros, none is absent
  bool fresh = false;  ///< holder: created by the running transaction
  bool huge = false;   ///< holder: its memory is advised to lie in huge pages
  bool verified = false;  ///< holder: its heap was looked at; set for the catalog only
};

}  // namespace dolmen::txn
