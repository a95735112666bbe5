// SPDX-License-Identifier: Apache-2.0
//
// The space's own object: names of objects. An ordinary dolmen structure, so names are as atomic,
// durable and snapshot-consistent as everything else.
#pragma once

#include <cstdint>

#include <dolmen/hash_map.hpp>
#include <dolmen/string.hpp>

#include "object/object_header.hpp"

namespace dolmen::txn {

struct CatalogEntry {
  ObjectId object;
  std::uint64_t type_tag;  ///< of the object's root
};

struct Catalog {
  hash_map<string, CatalogEntry> by_name;
};

[[nodiscard]] ObjectIdSeed catalog_seed(const ObjectId& space) noexcept;

}  // namespace dolmen::txn
