// SPDX-License-Identifier: Apache-2.0
//
// How a member that has an older image is told which pages the present one has, and asks for those
// that it lacks (docs/formats/replicated-space.md). A list says of each page what its bytes hash
// to: 128 bits, under a seed that the asker drew for this transfer.
//
// Decoders are bounded: hostile bytes give corrupt. Pure functions; safe from any thread.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "base/checksum.hpp"
#include "node/space_effect.hpp"
#include "store/store.hpp"

namespace dolmen::node {

/// Of one list, and of one question for pages: 16 MiB, and what one part has room for.
inline constexpr std::size_t kListedPagesMax = 4096;
inline constexpr std::size_t kAskedPagesMax = 60;

struct PageQuestion {
  enum class What : std::uint16_t {
    list = 1,   ///< the next list, which is number `list`
    pages = 2,  ///< these pages, as an image of them
    end = 3,    ///< nothing more: the answer is empty
  };
  What what = What::end;
  std::uint64_t seed = 0;               ///< of list: of its hashes
  std::uint64_t list = 0;               ///< of list: from 0 on, each once
  std::vector<store::PageKey> pages{};  ///< of pages: ascending, 1 to kAskedPagesMax
  friend bool operator==(const PageQuestion&, const PageQuestion&) = default;
};
[[nodiscard]] std::vector<std::byte> encode(const PageQuestion& question);
[[nodiscard]] Result<PageQuestion> decode_page_question(base::Bytes bytes);

/// What all lists together say: objects, pages, and their hashes in their order.
struct ListSum {
  std::uint64_t objects = 0;
  std::uint64_t pages = 0;
  base::Checksum128 hash{};
  friend bool operator==(const ListSum&, const ListSum&) = default;

  void add_object(const ObjectId& id, std::uint8_t capacity_log2) noexcept;
  void add_page(std::uint32_t number, const base::Checksum128& page) noexcept;

 private:
  void add(std::uint64_t a, std::uint64_t b, std::uint64_t c) noexcept;
};

/// What a page of these bytes is listed as.
[[nodiscard]] base::Checksum128 listed_hash(base::Bytes page, const store::PageKey& key,
                                            std::uint64_t seed) noexcept;

/// Some of the objects and pages of one moment, ascending from list to list; an object may go on in
/// the next one. Pages that are not in any are zeros.
struct PageList {
  struct Page {
    std::uint32_t number = 0;
    base::Checksum128 hash{};
    friend bool operator==(const Page&, const Page&) = default;
  };
  struct Object {
    ObjectId id;
    std::uint8_t capacity_log2 = 0;
    std::vector<Page> pages{};
    friend bool operator==(const Object&, const Object&) = default;
  };
  ImageHead head{};
  bool is_last = false;
  ListSum sum{};  ///< of all, in the last one
  std::vector<Object> objects{};
};
/// Requires: at most kListedPagesMax pages.
[[nodiscard]] std::vector<std::byte> encode(const PageList& list);
[[nodiscard]] Result<PageList> decode_page_list(base::Bytes bytes);
/// What it takes, about.
[[nodiscard]] std::size_t list_bytes(std::size_t objects, std::size_t pages) noexcept;

}  // namespace dolmen::node
