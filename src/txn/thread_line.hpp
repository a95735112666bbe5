// SPDX-License-Identifier: Apache-2.0
//
// Who is inside which space, one cache line per thread. Readers and writers find each other by
// publishing what they do in their own line, then looking at the others' (locks.hpp says which
// fence lies between): no shared counter is written on the read path (BRAVO, Dice and Kogan,
// ATC'19).
//
// Lines are never freed: a thread that ends gives its line back for the next one.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace dolmen::detail {
class SpaceCore;
}

namespace dolmen::txn {

struct HomeObject;
class Transaction;

/// Lock stripes that one line can name: four to a word, each plus one, 0 = none.
class ReadStripes {
 public:
  static constexpr std::size_t kMax = 8;

  /// Requires: at most kMax stripes. A release: who finds other stripes here than those of the
  /// section before has that section's reads behind it, also where it did not see it end.
  void publish(std::span<const std::uint16_t> stripes) noexcept {
    std::array<std::uint64_t, kWords> words{};
    for (std::size_t i = 0; i < stripes.size(); ++i) {
      words[i / kPerWord] |= (std::uint64_t{stripes[i]} + 1) << (i % kPerWord * 16);
    }
    for (std::size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_release);
  }
  [[nodiscard]] bool contain(std::uint16_t stripe) const noexcept {
    for (const auto& word : words_) {
      for (std::uint64_t rest = word.load(std::memory_order_acquire); rest != 0; rest >>= 16) {
        if ((rest & 0xFFFF) == std::uint64_t{stripe} + 1) return true;
      }
    }
    return false;
  }

 private:
  static constexpr std::size_t kPerWord = 4;
  static constexpr std::size_t kWords = kMax / kPerWord;
  std::array<std::atomic<std::uint64_t>, kWords> words_{};
};

struct alignas(128) ThreadLine {
  /// Space whose objects the thread reads as a whole (read(everything)).
  std::atomic<const detail::SpaceCore*> reading_all{nullptr};
  /// Space of which it reads the stripes named in `stripes`.
  std::atomic<const detail::SpaceCore*> reading{nullptr};
  ReadStripes stripes;
  /// Space in which it runs a transaction.
  std::atomic<const detail::SpaceCore*> writing{nullptr};
  /// When the section began, in that space's epochs. Set before the section is published above.
  std::atomic<std::uint64_t> epoch{0};
  std::atomic<bool> taken{false};
  ThreadLine* next = nullptr;

  // The owning thread's alone:
  std::uint32_t fenced_reads = 0;      ///< see LockTable::credit
  Transaction* transaction = nullptr;  ///< made on first use, kept for ever
  std::vector<HomeObject*> open;       ///< of the running read section
};

/// Registers the thread: its line until it ends.
[[nodiscard, gnu::cold]] ThreadLine& register_thread_line();

#if defined(__clang__) || defined(__GNUC__)
[[gnu::tls_model("initial-exec")]]
#endif
extern thread_local constinit ThreadLine* own_thread_line;

/// This thread's line; registered on first use.
[[nodiscard]] inline ThreadLine& thread_line() {
  ThreadLine* const line = own_thread_line;
  return line != nullptr ? *line : register_thread_line();
}

/// The same if it is registered already, else null. Allocates nothing: for the fault handler.
[[nodiscard]] inline const ThreadLine* registered_thread_line() noexcept { return own_thread_line; }

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
