// SPDX-License-Identifier: Apache-2.0
//
// One object's bytes outside the arena, put together page by page and then looked at as a whole:
// how a dump is verified on both sides. Used for one object after the other; takes the memory of
// the pages that were put in.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "store/store.hpp"
#include "sys/memory.hpp"

namespace dolmen::node {

class ObjectImage {
 public:
  /// `memory` outlives the image.
  explicit ObjectImage(sys::Memory& memory) noexcept : memory_(memory) {}
  ~ObjectImage();
  ObjectImage(const ObjectImage&) = delete;
  ObjectImage& operator=(const ObjectImage&) = delete;

  /// Forgets the former object. Errors: out_of_memory.
  [[nodiscard]] Result<void> begin(const store::ObjectInfo& object);
  /// Puts page `number` in; what is never put in reads as zeros.
  /// Requires: ascending numbers within the object; contents of one page.
  void add_page(std::uint32_t number, base::Bytes contents);

  [[nodiscard]] const store::ObjectInfo& object() const noexcept { return object_; }
  /// The numbers that were added.
  [[nodiscard]] const std::vector<std::uint32_t>& pages() const noexcept { return pages_; }
  /// `count` pages side by side.
  [[nodiscard]] base::Bytes page(std::uint32_t number, std::uint32_t count = 1) const noexcept;
  [[nodiscard]] std::uint64_t stored_bytes() const noexcept {
    return std::uint64_t{pages_.size()} * page_bytes_;
  }

  /// Everything an object says about itself: header and id, heap, foreign object table, root, and
  /// the types that it describes. Errors: corrupt, version_unsupported; the context says what.
  [[nodiscard]] Result<void> verify() const;

 private:
  void clear();

  sys::Memory& memory_;
  std::byte* base_ = nullptr;
  store::ObjectInfo object_;
  std::uint32_t page_bytes_ = 0;
  std::vector<std::uint32_t> pages_;
};

}  // namespace dolmen::node
