// SPDX-License-Identifier: Apache-2.0
#include "fabric/ofi_buffers.hpp"

#include <utility>

#include "fabric/ofi_format.hpp"

namespace dolmen::fabric {

Result<OfiBuffers::Number> OfiBuffers::take() {
  if (free_.empty()) DOLMEN_CHECK(grow());
  const Number number = free_.back();
  free_.pop_back();
  return number;
}

Result<void> OfiBuffers::grow() {
  Chunk chunk{.bytes = std::vector<std::byte>(kInChunk * kOfiPieceBytes), .registered = nullptr};
  DOLMEN_TRY(chunk.registered, port_->register_memory(chunk.bytes));
  const auto first = static_cast<Number>(size());
  chunks_.push_back(std::move(chunk));
  for (Number i = kInChunk; i > 0; --i) free_.push_back(first + i - 1);
  return {};
}

MutableBytes OfiBuffers::bytes(Number number) noexcept {
  return MutableBytes(chunks_[number / kInChunk].bytes)
      .subspan(number % kInChunk * kOfiPieceBytes, kOfiPieceBytes);
}

const sys::OfiMemory& OfiBuffers::memory(Number number) const noexcept {
  return *chunks_[number / kInChunk].registered;
}

void OfiBuffers::unregister() noexcept {
  for (Chunk& chunk : chunks_) chunk.registered.reset();
}

}  // namespace dolmen::fabric
