// SPDX-License-Identifier: Apache-2.0
#include "store/tail_memory.hpp"

namespace dolmen::store {

namespace {
constexpr std::size_t kHugeBytes = std::size_t{2} << 20;
}

TailMemory::TailMemory(sys::Memory* memory, std::size_t block_bytes, std::size_t block_count)
    : memory_(memory),
      block_bytes_(block_bytes),
      stride_((block_bytes + kHugeBytes - 1) / kHugeBytes * kHugeBytes) {
  if (memory_ == nullptr || block_bytes < kHugeBytes || block_count == 0) return;
  if (auto reserved = memory_->reserve(stride_ * block_count, kHugeBytes)) {
    reserved_ = *reserved;
    reserved_bytes_ = stride_ * block_count;
    memory_->advise_huge(reserved_, reserved_bytes_);
  }
}

TailMemory::~TailMemory() {
  if (reserved_ != nullptr) memory_->release(reserved_, reserved_bytes_);
}

base::MutableBytes TailMemory::next_block() {
  if (reserved_bytes_ - used_ >= stride_) {
    std::byte* const block = reserved_ + used_;
    used_ += stride_;
    if (memory_->activate(block, stride_)) return {block, block_bytes_};
  }
  return allocate(block_bytes_);
}

base::MutableBytes TailMemory::allocate(std::size_t bytes) {
  heap_.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
  return {heap_.back().get(), bytes};
}

}  // namespace dolmen::store
