// SPDX-License-Identifier: Apache-2.0
#include "node/ordered_reads.hpp"

#include <utility>

#include "node/shard_machine.hpp"

namespace dolmen::node {

Result<bool> OrderedReads::learn_region(std::uint64_t region_bytes, std::uint64_t deadline_ns) {
  DOLMEN_TRY(const auto front, fetch(0, cluster::kGeometryBytes, deadline_ns));
  if (!front) return false;
  const auto found = cluster::decode_ordered_geometry(*front, region_bytes);
  if (!found) return false;
  if (geometry_ != *found) {
    geometry_ = *found;
    hints_.emplace(*found);
  }
  return is_led();
}

/// One look-up, until it is over.
template <class Lookup, class Make, class Take>
Result<void> OrderedReads::read_one(const Make& make, const Take& take, std::uint64_t deadline_ns) {
  DOLMEN_TRY(const bool is_by_loads, is_loaded(deadline_ns));
  if (is_by_loads) return load_one(make, take, deadline_ns);
  constexpr std::size_t kOne = 0;
  return read_all(
      std::span(&kOne, 1), [&](std::size_t /*which*/) { return std::make_unique<Lookup>(make()); },
      [&](std::size_t /*which*/, Reader& reader) { take(static_cast<Lookup&>(reader)); },
      deadline_ns);
}

Result<std::optional<std::optional<OrderedReads::Value>>> OrderedReads::read(
    base::Bytes key, std::uint64_t deadline_ns) {
  using cluster::LookupState;
  std::optional<std::optional<Value>> answer;
  const auto make = [&] {
    return cluster::OrderedLookup(*geometry_, kIndexEpoch, *hints_, key, level(), led_epoch());
  };
  const auto take = [&](const cluster::OrderedLookup& lookup) {
    if (lookup.state() == LookupState::found) answer.emplace(lookup.value());
    if (lookup.state() == LookupState::absent) answer.emplace(std::nullopt);
  };
  DOLMEN_CHECK(read_one<cluster::OrderedLookup>(make, take, deadline_ns));
  if (answer) ++counts->one_sided;
  return answer;
}

Result<std::optional<cluster::OrderedPage>> OrderedReads::scan(const cluster::OrderedRange& range,
                                                               std::size_t limit, std::size_t bytes,
                                                               std::uint64_t deadline_ns) {
  std::optional<cluster::OrderedPage> answer;
  const auto make = [&] {
    return cluster::OrderedScan(*geometry_, kIndexEpoch, *hints_, range, limit, bytes, level(),
                                led_epoch());
  };
  const auto take = [&](cluster::OrderedScan& scan) {
    if (scan.state() == cluster::LookupState::found) answer = std::move(scan.page());
  };
  DOLMEN_CHECK(read_one<cluster::OrderedScan>(make, take, deadline_ns));
  if (answer) ++counts->one_sided;
  return answer;
}

}  // namespace dolmen::node
