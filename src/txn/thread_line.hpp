// SPDX-License-Identifier: Apache-2.0
//
// Who is inside which space, one cache line per thread. Readers and writers find each other by
// publishing what they do in their own line, then (after a full fence) looking at the others': no
// shared counter is written on the read path (BRAVO, Dice and Kogan, ATC'19).
//
// Lines are never freed: a thread that ends gives its line back for the next one.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace dolmen::detail {
class SpaceCore;
}

namespace dolmen::txn {

class Transaction;

inline constexpr std::size_t kReadStripesMax = 6;

struct alignas(128) ThreadLine {
  /// Space whose objects the thread reads as a whole (read(everything)).
  std::atomic<const detail::SpaceCore*> reading_all{nullptr};
  /// Space of which it reads the stripes named below.
  std::atomic<const detail::SpaceCore*> reading{nullptr};
  std::array<std::atomic<std::uint16_t>, kReadStripesMax> stripes{};  ///< stripe + 1, 0 = none
  /// Space in which it runs a transaction.
  std::atomic<const detail::SpaceCore*> writing{nullptr};
  /// When the section began, in that space's epochs. Set before the section is published above.
  std::atomic<std::uint64_t> epoch{0};
  std::atomic<bool> taken{false};
  Transaction* transaction = nullptr;  ///< the thread's one, made on first use, kept for ever
  ThreadLine* next = nullptr;
};

/// This thread's line; registered on first use.
[[nodiscard]] ThreadLine& thread_line();

/// The same if it is registered already, else null. Allocates nothing: for the fault handler.
[[nodiscard]] const ThreadLine* registered_thread_line() noexcept;

/// First line of the list of all; follow `next`.
[[nodiscard]] ThreadLine* all_thread_lines() noexcept;

/// While one lives, undo lines that its thread may find are not freed. Of the process, since a
/// thread's undo lines serve transactions in any space; a counter, since the arena's fault handler
/// may not register a thread's line.
class UndoFollower {
 public:
  UndoFollower() noexcept;
  ~UndoFollower();
  UndoFollower(const UndoFollower&) = delete;
  UndoFollower& operator=(const UndoFollower&) = delete;
  /// Whether a thread may be following an undo list that it found before this call.
  [[nodiscard]] static bool any() noexcept;
};

}  // namespace dolmen::txn
