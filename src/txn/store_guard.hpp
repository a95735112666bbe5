// SPDX-License-Identifier: Apache-2.0
//
// The debug mode that catches stores past logging (docs/debugging.md). The pages of all images are
// closed to stores. A transaction opens a page when it logs the first range in it: all of the
// page's lines go into the undo list, so that whatever is stored there can be taken back, and the
// bytes that were announced are noted. At its end, whatever differs and was not announced is a
// stray store; then the page is closed again.
//
// A store to a closed page faults. If the running transaction holds the object, it has failed: the
// page is opened, and undone with the rest. Else nobody could take the store back: the process ends
// at it.
//
// Threads: like the Transaction that it belongs to.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <unordered_map>

#include <dolmen/error.hpp>

#include "sys/memory.hpp"
#include "txn/home_object.hpp"

namespace dolmen::txn {

class StoreGuard {
 public:
  explicit StoreGuard(sys::Memory& memory) noexcept : memory_(memory) {}

  [[nodiscard]] bool is_open(const HomeObject& object, std::uint32_t number) const {
    return pages_.contains(object.page_address(number));
  }
  /// Opens a page. Requires: its whole content is in its undo list, or the object is fresh.
  /// Errors: limit.
  [[nodiscard]] Result<void> open(HomeObject& object, std::uint32_t number);
  /// Notes that [begin, end) of the open page will change.
  /// Gives the first byte of it that was changed already, or null.
  [[nodiscard]] const std::byte* announce(const HomeObject& object, std::uint32_t number,
                                          std::size_t begin, std::size_t end);
  /// The first byte of all open pages that changed and was not announced, or null.
  [[nodiscard]] const std::byte* find_stray() const;
  /// Closes all pages.
  void close();

 private:
  struct Page {
    std::uint32_t bytes = 0;
    std::array<const std::byte*, kLinesPerPage> before{};  ///< null: zeros
    std::bitset<store::kPageBytes> announced;
  };
  [[nodiscard]] static const std::byte* first_stray(const Page& page, const std::byte* address,
                                                    std::size_t begin, std::size_t end);

  sys::Memory& memory_;
  std::unordered_map<const std::byte*, Page> pages_;  ///< open pages, by their address
};

}  // namespace dolmen::txn

namespace dolmen::detail {
/// Installs this process's handler of stores to closed pages, once.
[[nodiscard]] Result<void> install_store_guard(sys::Memory& memory);
/// `unlogged_store` at this place of an object.
[[nodiscard]] Error stray_store(const void* address) noexcept;
}  // namespace dolmen::detail
