// SPDX-License-Identifier: Apache-2.0
//
// One running transaction: which objects it holds, the pre-images of what it changes, and the
// commit record that the difference becomes. Redo is the 8-byte difference of pre-image and image
// at commit; undo is copied back on abort.
//
// Threads: belongs to one thread; `index` and the undo lists that hang off the pages are read by
// makers of snapshots on other threads. Transactions and undo lines are type-stable: recycled,
// never unmapped while the space lives.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/reflect.hpp>

#include "base/commit_record.hpp"
#include "txn/home_object.hpp"
#include "txn/store_guard.hpp"

namespace dolmen::txn {

/// Undo lines, handed out in order and taken back all at once.
class UndoPool {
 public:
  [[nodiscard]] UndoLine* take() {
    if (next_ == end_) [[unlikely]]
      next_chunk();
    return next_++;
  }
  /// The next `count` (at most a chunk's) calls of take() will not need memory.
  void make_room(std::size_t count) {
    if (static_cast<std::size_t>(end_ - next_) >= count) [[likely]]
      return;
    if (chunks_.size() < (next_ == nullptr ? 1 : chunk_ + 2)) add_chunk();
  }
  void reset() noexcept {
    if (!chunks_.empty()) use_chunk(0);
  }
  [[nodiscard]] std::size_t bytes() const noexcept {
    if (next_ == nullptr) return 0;
    const auto left = static_cast<std::size_t>(end_ - next_);
    return ((chunk_ + 1) * kLinesPerChunk - left) * sizeof(UndoLine);
  }
  /// Frees memory beyond a comfortable size. Requires: no snapshot reader is following undo lists.
  void trim();
  [[nodiscard]] bool oversized() const noexcept { return chunks_.size() > kChunksKept; }

 private:
  static constexpr std::size_t kLinesPerChunk = 1024;
  static constexpr std::size_t kChunksKept = 256;  // 20 MiB of pre-images
  void add_chunk();
  void next_chunk();
  void use_chunk(std::size_t chunk) noexcept {
    chunk_ = chunk;
    next_ = chunks_[chunk].get();
    end_ = next_ + kLinesPerChunk;
  }

  std::vector<std::unique_ptr<UndoLine[]>> chunks_;
  std::size_t chunk_ = 0;
  UndoLine* next_ = nullptr;
  UndoLine* end_ = nullptr;
};

/// So that the next push_back does not need memory.
template <class T>
void make_room_for_one(std::vector<T>& list) {
  if (list.size() == list.capacity()) list.reserve(std::max<std::size_t>(8, 2 * list.size()));
}

struct TouchedPage {
  HomeObject* object;
  std::uint32_t page;
};

/// An object that moves to a slot of another size.
struct Resized {
  HomeObject* old_image;
  HomeObject* new_image;
};

class Transaction {
 public:
  /// Forgets everything but its memory.
  void reset() noexcept;
  /// After reset(), where the pages of this memory are closed to stores.
  void guard(sys::Memory& memory);
  [[nodiscard]] bool guarded() const noexcept { return guard_ != nullptr; }

  /// Keeps the pre-images of the lines of [address, address + bytes). Requires: this transaction
  /// holds the object. Gives false when that would exceed `bytes_max`, the range is not in the
  /// object, or a guarded page cannot be opened: refusal() says which, and nothing may be
  /// committed.
  [[nodiscard]] bool log(HomeObject& object, const void* address, std::size_t bytes);
  [[nodiscard]] Error refusal();
  /// Writes the redo sections of all touched pages into `record`. Gives false, before it is whole,
  /// when pre-images and record exceed `bytes_max`.
  [[nodiscard]] bool encode_changes();
  /// Memory of pre-images and record.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return lines_.bytes() + record.size(); }
  /// Copies every pre-image back. The undo lists stay, for those who copied a page before.
  void undo();

  /// What was stored past logging; looked for before a commit. Requires: guarded().
  [[nodiscard]] std::optional<Error> find_stray_store() const;
  /// A store to a closed page of an object that this transaction holds: it has failed. Opens the
  /// page; gives false if the system refuses.
  [[nodiscard]] bool take_stray_store(HomeObject& object, const void* address);
  /// Closes the pages that this transaction opened, before others may have its objects. The
  /// transaction is no longer guarded then. Requires: guarded().
  void close_pages();

  [[nodiscard]] bool holds(const HomeObject& object) const noexcept {
    return object.writer.load(std::memory_order_relaxed) == this;
  }

  /// 0 until the commit record has its place in the log.
  std::atomic<Index> index{0};
  /// The newest snapshot when it got that place, plus one; 0 = there was none. Later ones see the
  /// commit.
  Index newest_snapshot = 0;

  std::vector<HomeObject*> open;       ///< locked, in the order of locking
  std::vector<std::uint16_t> stripes;  ///< locked stripes, each once
  std::vector<HomeObject*> created;
  std::vector<HomeObject*> erased;
  std::optional<Resized> resized;
  /// Cells of translation tables that lead where the tables will only lead after the commit.
  std::vector<std::pair<const std::byte*, std::uint32_t>> cells;
  std::vector<TouchedPage> pages;      ///< each page once
  std::vector<const TypeInfo*> types;  ///< types of allocations made, to be described in the space
  std::optional<Error> failure;        ///< an access failed; nothing may be committed
  std::vector<ObjectId> wanted;        ///< objects that a late lock did not get
  base::CommitRecordWriter record;
  std::uint64_t bytes_max = 256u << 20;
  [[nodiscard]] UndoPool& undo_pool() noexcept { return lines_; }

 private:
  [[nodiscard]] bool log_page(HomeObject& object, std::uint32_t number, std::uint32_t first_line,
                              std::uint32_t last_line);
  void encode_page(HomeObject& object, std::uint32_t number);
  void prefetch(std::size_t page) const noexcept;
  [[nodiscard]] bool log_guarded(HomeObject& object, std::size_t offset, std::size_t bytes);
  [[nodiscard]] bool open_page(HomeObject& object, std::uint32_t number);

  UndoPool lines_;
  std::unique_ptr<StoreGuard> guard_;    ///< null: stores are not guarded
  const HomeObject* section_ = nullptr;  ///< whose write section is open in `record`
};

}  // namespace dolmen::txn
