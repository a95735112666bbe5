// SPDX-License-Identifier: Apache-2.0
//
// Where page versions go that memory has no room for: slots of one page in a file that belongs to
// no durable state. Nothing of it is ever synced, and whoever opens the space next for writing
// removes what is left of it.
//
// Threads: read() from any, also inside the arena's fault handler, of slots that are in use; the
// rest from one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "store/store.hpp"
#include "sys/disk.hpp"

namespace dolmen::txn {

class SpillFile {
 public:
  using Make = std::function<Result<std::unique_ptr<sys::File>>()>;
  static constexpr std::uint32_t kSlotBytes = store::kPageBytes;

  /// Slots side by side.
  struct Run {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
  };

  /// `make` gives an empty file; called when the first page comes.
  explicit SpillFile(Make make) : make_(std::move(make)) {}

  /// Takes up to `count` (> 0) free slots, at least one.
  [[nodiscard]] Run take(std::uint32_t count);
  /// Fills the slots of a run. Errors: no_space, io_error; the slots hold anything then.
  [[nodiscard]] Result<void> write(const Run& run, base::Bytes pages);
  /// Frees slots, in any order, and gives their room on the disk back.
  void give_back(std::vector<std::uint32_t>& slots);
  /// Errors: io_error.
  [[nodiscard]] Result<void> read(std::uint32_t slot, base::MutableBytes out) const noexcept;

 private:
  void add_free(const Run& run);

  Make make_;
  std::unique_ptr<sys::File> file_;
  std::map<std::uint32_t, std::uint32_t> free_;  ///< first slot → count; runs never touch
  std::uint32_t free_count_ = 0;
  std::uint32_t end_ = 0;  ///< slots that the file has room for
};

}  // namespace dolmen::txn
