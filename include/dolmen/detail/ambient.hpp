// SPDX-License-Identifier: Apache-2.0
//
// The ambient section of this thread, and the out-of-line entry points that pointers and containers
// call. A section never suspends, so a thread has at most one; that is why containers can look like
// the standard ones and need no transaction argument.
//
// Internal: everything in dolmen::detail may change between versions.
#pragma once

#include <cstddef>
#include <cstdint>

#include <dolmen/detail/arena.hpp>
#include <dolmen/error.hpp>

namespace dolmen {
struct TypeInfo;
}

namespace dolmen::detail {

enum class SectionKind : std::uint8_t { none, transact, read, read_all };

struct Ambient {
  /// Inline foreign dereferences in home mappings are allowed where Translation::stamp() >= this:
  /// the space's current table version in a read_all section, else the maximum (views' mappings
  /// have the maximum).
  std::uint64_t stamp = ~std::uint64_t{0};
  /// Low 15 bits go into transient pointers; changes with every section of this thread.
  std::uint16_t section_stamp = 1;
  SectionKind kind = SectionKind::none;
  void* section = nullptr;  ///< the txn layer's Section
};

#if defined(__clang__) || defined(__GNUC__)
[[gnu::tls_model("initial-exec")]]
#endif
extern thread_local constinit Ambient ambient;

// The compiler is told that following a pointer changes nothing that the program sees, so that a
// loop over ptr keeps its pointer in a register. clang would take it as a promise not to throw.
#if defined(__clang__)
#define DOLMEN_DETAIL_PURE
#else
#define DOLMEN_DETAIL_PURE gnu::pure,
#endif

/// Everything the inline dereference does not settle: null, first use of a FOT index, scope,
/// checks. `at` is where the pointer is stored, `type` what it points to. Throws AccessError.
[[ DOLMEN_DETAIL_PURE gnu::cold, gnu::noinline ]] const void* resolve_slow(
    std::uint64_t bits, const void* at, const TypeInfo& (*type)());
/// A dereference with every check (DOLMEN_CHECKED). Throws AccessError.
const void* resolve_checked(std::uint64_t bits, const void* at, const TypeInfo& (*type)());

/// Checked code marks the transient pointers it makes with its section; the library may be built
/// without.
inline constexpr bool kStampTransients = DOLMEN_CHECKED != 0;

/// Where a pointer lies, as a number: it may not be constructed yet.
[[gnu::always_inline]] inline std::uintptr_t place(const void* address) noexcept {
  return reinterpret_cast<std::uintptr_t>(address);
}
/// Pointer bits to store at `to` for what `bits`, read at `from`, points to. Never checks scope.
/// Throws AccessError: outside_arena, wrong_space, deleted, fot_full, object_full, no_transaction.
std::uint64_t rebase_slow(std::uint64_t bits, const void* from, std::uintptr_t to, bool stamp);
/// Pointer bits to store at `to` for an address inside the arena (or, off the arena, any address).
std::uint64_t encode_address(const void* address, std::uintptr_t to, bool stamp = kStampTransients);

/// Identity of what pointer bits lead to; null id for null. For links, comparison and hashing.
struct Target {
  ObjectId object;
  std::uint64_t offset = 0;
  friend constexpr auto operator<=>(const Target&, const Target&) = default;
};
Target target_of(std::uint64_t bits, const void* at);

/// Prepares [address, address + bytes) for being changed in the ambient transaction: keeps its
/// pre-image. Does nothing off the arena. Throws AccessError: no_transaction, not_named, too_large,
/// read_only.
void log_write_slow(const void* address, std::size_t bytes);
[[gnu::always_inline]] inline void log_write(const void* address, std::size_t bytes) {
  if (in_arena(address)) log_write_slow(address, bytes);
}
/// Locks the object of `address` for the ambient transaction if its scope allows it, and logs.
void open_for_edit(const void* address, std::size_t bytes);

/// Memory for `count` elements of a stored type in the object that holds `near`, or from the heap
/// when `near` is off the arena. Zero-filled. In the arena it is logged: write freely until commit.
/// `type` must outlive the process (type_info<T>() does). Throws AccessError: object_full,
/// too_large.
void* allocate(const void* near, const TypeInfo& (*type)(), std::size_t element_bytes,
               std::size_t count);
/// Gives back what allocate() returned. `bytes` = element_bytes * count as allocated.
void deallocate(void* memory, std::size_t bytes) noexcept(false);
/// Bytes that an allocate(near, …) of `bytes` bytes really gives (for growing containers).
[[nodiscard]] std::size_t allocation_bytes(const void* near, std::size_t bytes) noexcept;

[[noreturn, gnu::cold, gnu::noinline]] void throw_error(Errc code, const char* context = "",
                                                        std::uint64_t detail = 0);

/// Base of the object that foreign pointer bits lead to, if all that is settled inline holds; else
/// 0.
[[gnu::always_inline]] inline std::uintptr_t foreign_base(std::uint64_t bits, const void* at) {
  Translation& translation = translation_of(at);
  if (translation.stamp().load(std::memory_order_relaxed) < ambient.stamp) [[unlikely]]
    return 0;
  const std::uint32_t index = fot_index(bits);
  if (index - 1 < kNearIndices - 1) [[likely]] {
    return translation.words[index].load(std::memory_order_relaxed);
  }
  const Mapping& mapping = mapping_of(at);
  if (index >= mapping.table_size.load(std::memory_order_acquire)) return 0;
  return __atomic_load_n(mapping.table.load(std::memory_order_relaxed) + index, __ATOMIC_RELAXED);
}

/// Inline dereference. `type` is a function pointer so that T may be incomplete at declaration.
[[gnu::always_inline]] inline const void* resolve(std::uint64_t bits, const void* at,
                                                  const TypeInfo& (*type)()) {
#if DOLMEN_CHECKED
  return resolve_checked(bits, at, type);
#else
  if (bits - 1 < kOffsetMask) [[likely]] {
    return reinterpret_cast<const void*>(base_of(at) + bits);
  }
  if (is_plain_transient(bits)) return reinterpret_cast<const void*>(bits);
  if (is_foreign(bits)) [[likely]] {
    const std::uintptr_t base = foreign_base(bits, at);
    if (base != 0) [[likely]]
      return reinterpret_cast<const void*>(base + (bits & kOffsetMask));
  }
  const void* const target = resolve_slow(bits, at, type);
  // A use: a call of a pure function without one may be left out, and with it the exception.
  asm volatile("" : : "r"(target));
  return target;
#endif
}

/// Pointer bits for a copy at `to`.
[[gnu::always_inline]] inline std::uint64_t rebase(std::uint64_t bits, const void* from,
                                                   std::uintptr_t to) {
  if (bits == 0) return 0;
#if !DOLMEN_CHECKED
  if (!in_arena(to)) {
    if (bits <= kOffsetMask) return base_of(from) + bits;
    if (is_plain_transient(bits)) return bits;
    if (is_foreign(bits)) {
      const std::uintptr_t base = foreign_base(bits, from);
      if (base != 0) [[likely]]
        return base + (bits & kOffsetMask);
    }
  }
#endif
  return rebase_slow(bits, from, to, kStampTransients);
}

}  // namespace dolmen::detail
