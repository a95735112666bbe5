// SPDX-License-Identifier: Apache-2.0
#include "node/hash_reads.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "cluster/index_memory.hpp"

namespace dolmen::node {

namespace {

/// A directory up to so long is read as a whole, once.
constexpr std::uint32_t kDirectoryDepthMax = 14;
constexpr std::size_t kRememberedMax = std::size_t{16} << 20;

}  // namespace

Result<bool> HashReads::learn_region(std::uint64_t region_bytes, std::uint64_t deadline_ns) {
  DOLMEN_TRY(const auto front, fetch(0, cluster::kGeometryBytes, deadline_ns));
  const auto found = front ? cluster::decode_geometry(*front, region_bytes)
                           : Result<cluster::IndexGeometry>(fail(Errc::connection_lost, "a read"));
  if (!found || found->kind != kind) return false;
  if (geometry != *found) {
    geometry = *found;
    hints.emplace(*found);
  }
  // Where reads are loads a second one costs less than one in vain; a home has no second one.
  const bool remembers = !is_mapped() && kind == cluster::IndexKind::records;
  hints->places().remember(remembers ? std::min(options.remembered, kRememberedMax) : 0);
  // Once: what of it is old says so where it leads.
  if (hints->depth()) return is_led();
  DOLMEN_TRY(const auto depth_word, fetch(cluster::kDepthAt, 8, deadline_ns));
  if (!depth_word) return is_led();
  const auto depth = base::load<std::uint32_t>(*depth_word);
  if (depth == 0 || depth > std::min<std::uint32_t>(kDirectoryDepthMax, geometry->depth_max)) {
    return is_led();
  }
  DOLMEN_TRY(const auto words, fetch(cluster::IndexGeometry::directory_word_at(depth, 0),
                                     std::size_t{4} << depth, deadline_ns));
  if (words) hints->learn_all(depth, *words);
  return is_led();
}

}  // namespace dolmen::node
