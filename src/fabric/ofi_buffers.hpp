// SPDX-License-Identifier: Apache-2.0
//
// Buffers of the size of a piece, registered with a port, which grow to the most that were ever in
// use. Internal to the ofi endpoint.
//
// Thread contract: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "sys/ofi.hpp"

namespace dolmen::fabric {

class OfiBuffers {
 public:
  using Number = std::uint32_t;

  /// `port` outlives the registrations.
  explicit OfiBuffers(sys::OfiPort& port) noexcept : port_(&port) {}

  [[nodiscard]] std::size_t size() const noexcept { return chunks_.size() * kInChunk; }
  /// Errors: limit and others of OfiPort::register_memory().
  [[nodiscard]] Result<Number> take();
  void give(Number number) { free_.push_back(number); }
  /// Makes so many more. They are free.
  [[nodiscard]] Result<void> grow();
  [[nodiscard]] bool has_free() const noexcept { return !free_.empty(); }

  [[nodiscard]] MutableBytes bytes(Number number) noexcept;
  [[nodiscard]] const sys::OfiMemory& memory(Number number) const noexcept;
  /// Before the port ends. The memory stays as long as this object.
  void unregister() noexcept;

 private:
  static constexpr Number kInChunk = 64;
  struct Chunk {
    std::vector<std::byte> bytes;
    std::unique_ptr<sys::OfiMemory> registered;
  };

  sys::OfiPort* port_;
  std::vector<Chunk> chunks_;
  std::vector<Number> free_;
};

}  // namespace dolmen::fabric
