// SPDX-License-Identifier: Apache-2.0
//
// Memory for the recovered log tail. Tens of MiB are read into it at once, and the first touch of
// small pages would cost more than the reading: it is one reservation that asks the system for huge
// pages. Where that is refused, and for what does not fit, it comes from the heap. Not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/bytes.hpp"
#include "sys/memory.hpp"

namespace dolmen::store {

class TailMemory {
 public:
  /// For `block_count` blocks of `block_bytes`. `memory` may be null.
  TailMemory(sys::Memory* memory, std::size_t block_bytes, std::size_t block_count);
  ~TailMemory();
  TailMemory(const TailMemory&) = delete;
  TailMemory& operator=(const TailMemory&) = delete;

  /// The next block, uninitialised; it stays in place as long as this object.
  [[nodiscard]] base::MutableBytes next_block();
  /// Any number of bytes besides the blocks.
  [[nodiscard]] base::MutableBytes allocate(std::size_t bytes);

 private:
  sys::Memory* const memory_;
  const std::size_t block_bytes_;
  std::size_t stride_ = 0;          // of the blocks in the reservation
  std::size_t reserved_bytes_ = 0;  // 0: none
  std::byte* reserved_ = nullptr;
  std::size_t used_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> heap_;
};

}  // namespace dolmen::store
