// SPDX-License-Identifier: Apache-2.0
//
// What all containers share: where they live, pointers to their own storage, logged writes.
//
// A container and its storage have one home: one object, or the heap. Rules:
//   1. Whoever provides memory for a constructor has logged it; constructors never log their own
//   bytes.
//   2. Every other write to bytes that may be in an object is preceded by log_write of those bytes.
//   3. A stored value stays valid when its bytes move inside its home (`relocate`), and only there;
//      between homes it is copied.
//
// Threads: as the containers; a home is a value.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <dolmen/detail/ambient.hpp>
#include <dolmen/detail/arena.hpp>
#include <dolmen/ptr.hpp>
#include <dolmen/reflect.hpp>

namespace dolmen::detail {

static_assert(std::endian::native == std::endian::little, "stored containers are little-endian");

/// An index or key that is not there. Nothing has happened: a transaction's body may catch it and
/// go on, while other errors doom the transaction.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_absent(const char* what,
                                                                std::uint64_t index = 0) {
  throw AccessError(Error(Errc::out_of_bounds, what, index));
}

/// The object that an address lies in, or the heap.
class Home {
 public:
  [[gnu::always_inline]] explicit Home(const void* address) noexcept
      : base_(in_arena(address) ? base_of(address) : 0) {}

  [[nodiscard]] bool is_object() const noexcept { return base_ != 0; }
  friend bool operator==(Home, Home) noexcept = default;

  /// The address behind a location, whose bits above kAddressMask are the caller's.
  [[gnu::always_inline]] void* at(std::uint64_t location) const {
#if DOLMEN_CHECKED
    if (base_ != 0 && (location & kAddressMask) >> class_of(base_) != 0) {
      throw_error(Errc::corrupt, "a container points outside its object", location);
    }
#endif
    return reinterpret_cast<void*>(base_ + (location & kAddressMask));
  }
  /// Offset in the object, or the address itself on the heap.
  [[nodiscard]] std::uint64_t location_of(const void* address) const noexcept {
    return reinterpret_cast<std::uintptr_t>(address) - base_;
  }

 private:
  std::uintptr_t base_;
};

/// A container's pointer to its own storage: an offset in an object, a transient pointer on the
/// heap.
template <class T>
class raw_ptr {
 public:
  raw_ptr() = default;
  raw_ptr(const raw_ptr&) = delete;
  raw_ptr& operator=(const raw_ptr&) = delete;
  ~raw_ptr() = default;

  [[nodiscard]] bool is_null() const noexcept { return bits_ == 0; }
  [[gnu::always_inline]] T* get(Home home) const {
    return bits_ == 0 ? nullptr : static_cast<T*>(home.at(bits_));
  }
  /// For pointers that are never null in a sound container. Throws AccessError: corrupt.
  [[gnu::always_inline]] T* must(Home home) const {
    if (bits_ == 0) [[unlikely]]
      throw_error(Errc::corrupt, "a container lost its storage");
    return static_cast<T*>(home.at(bits_));
  }
  /// Requires: these 8 bytes are logged, `target` is null or in this home.
  void set(Home home, const T* target) noexcept {
    if (target == nullptr) {
      bits_ = 0;
    } else {
      bits_ = home.location_of(target) | (home.is_object() ? 0 : kTransientTag);
    }
  }
  /// Takes over the target of a pointer of the same home. Requires: both are logged.
  void take(raw_ptr& other) noexcept {
    bits_ = other.bits_;
    other.bits_ = 0;
  }
  void swap(raw_ptr& other) noexcept { std::swap(bits_, other.bits_); }

 private:
  std::uint64_t bits_ = 0;
};

/// Logs and changes one field.
template <class T>
void put(T& field, std::type_identity_t<T> value) {
  log_write(&field, sizeof(T));
  field = value;
}

/// Moves bytes of stored values inside one home. Requires: the destination is logged.
inline void relocate(void* to, const void* from, std::size_t bytes) noexcept {
  if (bytes != 0) std::memmove(to, from, bytes);
}
inline void log_and_relocate(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  log_write(to, bytes);
  std::memmove(to, from, bytes);
}

/// Bytes that held stored values and hold none now. Dead pointers are wiped, so that marking and
/// scanning an object never meet one.
template <class T>
void wipe(T* first, std::size_t count) {
  if constexpr (type_info<T>().holds_pointers) {
    if (count == 0 || !in_arena(first)) return;
    log_write(first, count * sizeof(T));
    std::memset(static_cast<void*>(first), 0, count * sizeof(T));
  }
}

template <class T>
T* allocate_array(const void* near, std::size_t count) {
  return static_cast<T*>(allocate(near, &type_info<T>, sizeof(T), count));
}
template <class T>
void deallocate_array(T* memory, std::size_t count) {
  deallocate(memory, count * sizeof(T));
}

/// Parentheses, as std::construct_at: aggregates are initialised field by field.
template <class T, class... Args>
T* construct(T* at, Args&&... args) {
  return ::new (static_cast<void*>(at)) T(std::forward<Args>(args)...);
}
template <class T>
void destroy_array(T* first, std::size_t count) {
  if constexpr (!std::is_trivially_destructible_v<T>) {
    for (std::size_t i = 0; i < count; ++i) std::destroy_at(first + i);
  }
}

/// Runs a destructor's work. In an object, an error there has doomed the transaction, whose abort
/// gives the memory back; a destructor has nobody to tell.
template <class F>
void quietly(F&& work) noexcept {
  try {
    work();
  } catch (const AccessError&) {  // NOLINT(bugprone-empty-catch)
  }
}

/// Undoes a step when the scope is left by an exception.
template <class F>
class Rollback {
 public:
  explicit Rollback(F undo) : undo_(std::move(undo)) {}
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  ~Rollback() {
    if (armed_) quietly(undo_);
  }
  void dismiss() noexcept { armed_ = false; }

 private:
  F undo_;
  bool armed_ = true;
};

/// Copy of values' bytes while their places are being rearranged inside one home.
class ByteBuffer {
 public:
  ByteBuffer(const void* from, std::size_t bytes)
      : heap_(bytes > sizeof(inline_) ? new std::byte[bytes] : nullptr), bytes_(bytes) {
    std::memcpy(data(), from, bytes);
  }
  void copy_to(void* to) const noexcept { std::memcpy(to, heap_ ? heap_.get() : inline_, bytes_); }

 private:
  std::byte* data() noexcept { return heap_ ? heap_.get() : inline_; }
  std::unique_ptr<std::byte[]> heap_;
  std::size_t bytes_;
  alignas(16) std::byte inline_[256];
};

/// Number of elements to make room for: at least `needed`, growing by half, all bytes of the
/// allocation.
inline std::size_t grown_capacity(const void* near, std::size_t element_bytes,
                                  std::size_t old_count, std::size_t needed, std::size_t count_max,
                                  const char* what) {
  if (needed > count_max) throw_error(Errc::limit, what, needed);
  const std::size_t doubled =
      old_count * element_bytes <= 4096 ? old_count * 2 : old_count + old_count / 2;
  const std::size_t least = element_bytes >= 16 ? 1 : 16 / element_bytes;
  std::size_t count = needed > doubled ? needed : doubled;
  count = count > least ? count : least;
  count = count < count_max ? count : count_max;
  const std::size_t room = allocation_bytes(near, count * element_bytes) / element_bytes;
  return room < count ? count : room < count_max ? room : count_max;
}

}  // namespace dolmen::detail

template <class T>
struct dolmen::StorableTraits<dolmen::detail::raw_ptr<T>> {
  static constexpr TypeKind kind = TypeKind::pointer;
  static constexpr std::string_view name = "local_ptr";
  using element = T;
};
