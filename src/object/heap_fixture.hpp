// SPDX-License-Identifier: Apache-2.0
//
// For tests of the heap: object memory, and a WriteLog that knows every byte that may have changed.
// Threads: one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/assert.hpp>

#include "object/heap.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::object::test {

/// Zero-filled, page-aligned, sparse.
class ObjectMemory {
 public:
  explicit ObjectMemory(unsigned capacity_log2)
      : bytes_(std::max(std::size_t{4096}, std::size_t{1} << capacity_log2)) {
    sys::Memory& memory = *sys::linux_env().memory;
    const auto address = memory.reserve(bytes_, sys::kPageBytes);
    DOLMEN_ASSERT(address.has_value());
    base_ = *address;
    DOLMEN_ASSERT(memory.activate(base_, bytes_).has_value());
  }
  ObjectMemory(const ObjectMemory&) = delete;
  ObjectMemory& operator=(const ObjectMemory&) = delete;
  ~ObjectMemory() { sys::linux_env().memory->release(base_, bytes_); }
  [[nodiscard]] std::byte* base() const noexcept { return base_; }

 private:
  std::size_t bytes_;
  std::byte* base_ = nullptr;
};

class NoLog final : public WriteLog {
 public:
  void log(const void*, std::size_t) override {}
};

/// Fails when a byte changed that was not logged before; takes changes back.
class CheckedLog final : public WriteLog {
 public:
  CheckedLog(std::byte* base, std::size_t bytes)
      : base_(base), before_(base, base + bytes), logged_(bytes) {}

  void log(const void* address, std::size_t bytes) override {
    const auto* at = static_cast<const std::byte*>(address);
    DOLMEN_ASSERT(at >= base_ && bytes <= before_.size() &&
                  static_cast<std::size_t>(at - base_) <= before_.size() - bytes);
    const auto offset = static_cast<std::size_t>(at - base_);
    for (std::size_t i = offset; i < offset + bytes; ++i) {
      if (!logged_[i]) {
        EXPECT_EQ(base_[i], before_[i]) << "byte " << i << " changed before it was logged";
      }
      logged_[i] = true;
    }
    images_.push_back({offset, {at, at + bytes}});
  }
  /// Writing of the caller's own, into an allocation.
  void note(std::size_t offset, std::size_t bytes) { log(base_ + offset, bytes); }

  void expect_complete() const {
    for (std::size_t i = 0; i < before_.size(); ++i) {
      if (base_[i] != before_[i]) {
        ASSERT_TRUE(logged_[i]) << "byte " << i << " changed and was not logged";
      }
    }
  }
  void commit() {
    expect_complete();
    std::memcpy(before_.data(), base_, before_.size());
    forget();
  }
  void abort() {
    for (auto image = images_.rbegin(); image != images_.rend(); ++image) {
      std::ranges::copy(image->bytes, base_ + image->offset);
    }
    for (std::size_t i = 0; i < before_.size(); ++i) {
      ASSERT_EQ(base_[i], before_[i]) << "byte " << i << " after the abort";
    }
    forget();
  }

 private:
  struct Image {
    std::size_t offset;
    std::vector<std::byte> bytes;
  };
  void forget() {
    images_.clear();
    logged_.assign(logged_.size(), false);
  }

  std::byte* base_;
  std::vector<std::byte> before_;
  std::vector<bool> logged_;
  std::vector<Image> images_;
};

/// Keeps as few pre-images as a transaction may: none of free memory, unless it was freed
/// meanwhile.
class FrugalLog final : public WriteLog {
 public:
  void log(const void* address, std::size_t bytes) override {
    const auto* at = static_cast<const std::byte*>(address);
    images_.push_back({const_cast<std::byte*>(at), {at, at + bytes}});
  }
  void log_fresh(const void* address, std::size_t bytes) override {
    const auto* at = static_cast<const std::byte*>(address);
    for (const auto& [begin, length] : freed_) {
      const std::byte* const from = std::max(at, begin);
      const std::byte* const to = std::min(at + bytes, begin + length);
      if (from < to) log(from, static_cast<std::size_t>(to - from));
    }
  }
  void freed(const void* address, std::size_t bytes) override {
    freed_.push_back({static_cast<const std::byte*>(address), bytes});
  }
  void abort() {
    for (auto image = images_.rbegin(); image != images_.rend(); ++image) {
      std::memcpy(image->at, image->bytes.data(), image->bytes.size());
    }
    commit();
  }
  void commit() {
    images_.clear();
    freed_.clear();
  }

 private:
  struct Image {
    std::byte* at;
    std::vector<std::byte> bytes;
  };
  std::vector<Image> images_;
  std::vector<std::pair<const std::byte*, std::size_t>> freed_;
};

/// A seed whose nonce says `number`.
inline ObjectIdSeed seed_of(std::uint64_t number) {
  ObjectIdSeed seed;
  std::memcpy(seed.nonce.data(), &number, sizeof number);
  return seed;
}

}  // namespace dolmen::object::test
