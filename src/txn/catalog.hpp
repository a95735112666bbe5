// SPDX-License-Identifier: Apache-2.0
//
// The space's own object: names of objects. An ordinary dolmen structure, so names are as atomic,
// durable and snapshot-consistent as everything else.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <dolmen/hash_map.hpp>
#include <dolmen/string.hpp>

#include "object/heap.hpp"
#include "object/object_header.hpp"

namespace dolmen::detail {
class ViewCore;
}

namespace dolmen::txn {

struct CatalogEntry {
  ObjectId object;
  std::uint64_t type_tag;  ///< of the object's root
};

struct Catalog {
  hash_map<string, CatalogEntry> by_name;
};

[[nodiscard]] ObjectIdSeed catalog_seed(const ObjectId& space) noexcept;

/// Whether the map of a catalog whose root lies at `root` can be followed: by who looks up, adds or
/// removes `name`, or, without one, by who walks through all. Errors: corrupt.
[[nodiscard]] Result<void> check_catalog(const object::HeapReader& heap, std::uint64_t root,
                                         std::optional<std::string_view> name);
/// The catalog as a view shows it, after that check. Errors: not_found, corrupt, layout_changed.
[[nodiscard]] Result<const Catalog*> catalog_of(detail::ViewCore& view,
                                                std::optional<std::string_view> name);

}  // namespace dolmen::txn
