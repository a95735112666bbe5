// SPDX-License-Identifier: Apache-2.0
//
// The only way in which the heap touches an object: bounded loads, and logged, bounded stores. A
// load outside gives zeros; a store outside is left out and remembered, so that an operation on a
// corrupt heap ends in Errc::corrupt and never outside the object.
//
// Threads: like the object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "object/heap.hpp"

namespace dolmen::object::core {

class ObjectBytes {
 public:
  ObjectBytes(const std::byte* base, std::uint32_t capacity) noexcept
      : base_(base), capacity_(capacity) {}

  [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] bool holds(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    return bytes <= capacity_ && offset <= capacity_ - bytes;
  }
  template <class T>
  [[nodiscard]] T load(std::uint64_t offset) const noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (holds(offset, sizeof value)) [[likely]] {
      std::memcpy(static_cast<void*>(&value), base_ + offset, sizeof value);
    }
    return value;
  }

 protected:
  const std::byte* base_;
  std::uint32_t capacity_;
};

class EditableBytes : public ObjectBytes {
 public:
  EditableBytes(std::byte* base, std::uint32_t capacity, WriteLog& log) noexcept
      : ObjectBytes(base, capacity), writable_(base), log_(&log) {}

  template <class T>
  void store(std::uint64_t offset, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!may_write(offset, sizeof value)) return;
    log_->log(writable_ + offset, sizeof value);
    std::memcpy(writable_ + offset, static_cast<const void*>(&value), sizeof value);
  }
  /// For memory that was free until now.
  template <class T>
  void store_fresh(std::uint64_t offset, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!may_write(offset, sizeof value)) return;
    log_->log_fresh(writable_ + offset, sizeof value);
    std::memcpy(writable_ + offset, static_cast<const void*>(&value), sizeof value);
  }
  void zero_fresh(std::uint64_t offset, std::uint64_t bytes) {
    if (!may_write(offset, bytes)) return;
    log_->log_fresh(writable_ + offset, bytes);
    std::memset(writable_ + offset, 0, bytes);
  }
  void zero(std::uint64_t offset, std::uint64_t bytes) {
    if (!may_write(offset, bytes)) return;
    log_->log(writable_ + offset, bytes);
    std::memset(writable_ + offset, 0, bytes);
  }
  /// Tells the log that these bytes are free now.
  void free(std::uint64_t offset, std::uint64_t bytes) {
    if (may_write(offset, bytes)) log_->freed(writable_ + offset, bytes);
  }
  /// Requires: the ranges do not overlap.
  void copy_fresh(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) {
    if (bytes == 0 || !may_write(to, bytes) || !may_write(from, bytes)) return;
    log_->log_fresh(writable_ + to, bytes);
    std::memcpy(writable_ + to, writable_ + from, bytes);
  }
  /// Something would have been written outside the object.
  [[nodiscard]] bool failed() const noexcept { return failed_; }

 private:
  [[nodiscard]] bool may_write(std::uint64_t offset, std::uint64_t bytes) noexcept {
    if (holds(offset, bytes)) [[likely]]
      return true;
    failed_ = true;
    return false;
  }

  std::byte* writable_;
  WriteLog* log_;
  bool failed_ = false;
};

}  // namespace dolmen::object::core
