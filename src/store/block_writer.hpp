// SPDX-License-Identifier: Apache-2.0
//
// Puts blocks of one checkpoint into free places of the page file: gathers them, sorts them by
// place and writes neighbours together, no faster than asked.
//
// Not thread-safe: one per checkpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <dolmen/error.hpp>

#include "store/block_map.hpp"
#include "sys/clock.hpp"
#include "sys/disk.hpp"

namespace dolmen::store {

class BlockWriter {
 public:
  struct Pace {
    sys::Clock* clock = nullptr;
    std::uint64_t bytes_per_second_max = 0;  ///< 0 = no limit
    const std::function<bool()>* cancelled = nullptr;
    bool writes_back = false;  ///< what is written is begun to be brought to the disk at once
  };
  BlockWriter(sys::File& file, BlockMap& map, const Pace& pace);

  /// Allocates a block of this size and tag, and will write `bytes` to it: at the latest on
  /// flush(). Errors: no_space, io_error, aborted.
  [[nodiscard]] Result<BlockLoc> put(unsigned size_log2, unsigned tag, base::Bytes bytes);
  [[nodiscard]] Result<void> flush();
  /// Errors: aborted, when the checkpoint's owner has given it up.
  [[nodiscard]] Result<void> poll() const;

  /// What was allocated.
  [[nodiscard]] const std::vector<BlockRun>& fresh() const noexcept { return fresh_; }
  [[nodiscard]] std::uint64_t fresh_units() const noexcept { return fresh_units_; }
  [[nodiscard]] std::uint64_t bytes_written() const noexcept { return bytes_written_; }

 private:
  struct Gathered {
    BlockLoc loc;
    std::size_t at = 0;  // in gathered_bytes_
  };
  [[nodiscard]] Result<void> write(std::uint64_t offset, base::Bytes bytes);

  sys::File& file_;
  BlockMap& map_;
  Pace pace_;
  std::size_t write_bytes_max_;
  std::uint64_t start_ns_ = 0;
  std::vector<Gathered> gathered_;
  std::vector<std::byte> gathered_bytes_;
  std::vector<std::byte> staged_;
  std::vector<BlockRun> fresh_;
  std::uint64_t fresh_units_ = 0;
  std::uint64_t bytes_written_ = 0;
};

}  // namespace dolmen::store
