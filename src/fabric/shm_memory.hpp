// SPDX-License-Identifier: Apache-2.0
//
// Access to memory that another process writes at any time: by atomic words, or by copies that are
// looked at only once they are private. Positions come from this side; none is read from there.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <dolmen/assert.hpp>

#include "base/bytes.hpp"

namespace dolmen::fabric::shm {

inline constexpr std::size_t kWordBytes = 8;

/// The word at `offset`. Requires: it lies within `memory`, aligned.
template <class T>
[[nodiscard]] std::atomic_ref<T> word_at(base::MutableBytes memory, std::size_t offset) noexcept {
  static_assert(std::atomic_ref<T>::is_always_lock_free, "a lock would be this process's own");
  DOLMEN_ASSERT(offset % sizeof(T) == 0 && offset <= memory.size() &&
                sizeof(T) <= memory.size() - offset);
  return std::atomic_ref<T>(*static_cast<T*>(static_cast<void*>(memory.data() + offset)));
}

namespace detail {
template <class T>
void store_one(std::byte* to, const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  std::atomic_ref<T>(*static_cast<T*>(static_cast<void*>(to)))
      .store(value, std::memory_order_relaxed);
}
template <class T>
void load_one(std::byte* to, const std::byte* from) noexcept {
  auto* const source = const_cast<std::byte*>(from);
  const T value = std::atomic_ref<T>(*static_cast<T*>(static_cast<void*>(source)))
                      .load(std::memory_order_relaxed);
  std::memcpy(to, &value, sizeof value);
}
/// Bytes up to the first aligned word of the shared side.
[[nodiscard]] inline std::size_t bytes_before_word(const std::byte* shared,
                                                   std::size_t bytes) noexcept {
  const std::size_t before = -std::bit_cast<std::uintptr_t>(shared) % kWordBytes;
  return before < bytes ? before : bytes;
}
}  // namespace detail

/// Copies to shared memory; nobody sees an aligned word there in pieces. Orders nothing.
inline void copy_to_shared(std::byte* to, base::Bytes bytes) noexcept {
  const std::byte* from = bytes.data();
  const std::byte* const end = from + bytes.size();
  for (std::size_t left = detail::bytes_before_word(to, bytes.size()); left > 0; --left) {
    detail::store_one<std::uint8_t>(to++, from++);
  }
  for (; static_cast<std::size_t>(end - from) >= kWordBytes; to += kWordBytes, from += kWordBytes) {
    detail::store_one<std::uint64_t>(to, from);
  }
  while (from != end) detail::store_one<std::uint8_t>(to++, from++);
}

/// Copies from shared memory, aligned words in one piece. Orders nothing.
inline void copy_from_shared(base::MutableBytes into, const std::byte* from) noexcept {
  std::byte* to = into.data();
  std::byte* const end = to + into.size();
  for (std::size_t left = detail::bytes_before_word(from, into.size()); left > 0; --left) {
    detail::load_one<std::uint8_t>(to++, from++);
  }
  for (; static_cast<std::size_t>(end - to) >= kWordBytes; to += kWordBytes, from += kWordBytes) {
    detail::load_one<std::uint64_t>(to, from);
  }
  while (to != end) detail::load_one<std::uint8_t>(to++, from++);
}

}  // namespace dolmen::fabric::shm
