// SPDX-License-Identifier: Apache-2.0
#include "node/index_reads.hpp"

#include <algorithm>
#include <memory>

#include "node/index_machine.hpp"

namespace dolmen {

namespace {

using cluster::LookupState;

/// A directory up to so long is read as a whole, once.
constexpr std::uint32_t kDirectoryDepthMax = 14;
constexpr std::size_t kRememberedMax = std::size_t{16} << 20;

}  // namespace

Result<bool> Index::Impl::Shard::learn_region(std::uint64_t region_bytes,
                                              std::uint64_t deadline_ns) {
  DOLMEN_TRY(const auto front, fetch(0, cluster::kGeometryBytes, deadline_ns));
  const auto found = front ? cluster::decode_geometry(*front, region_bytes)
                           : Result<cluster::IndexGeometry>(fail(Errc::connection_lost, "a read"));
  if (!found || found->kind != cluster::IndexKind::records) {
    return false;
  }
  if (geometry != *found) {
    geometry = *found;
    hints.emplace(*found);
  }
  // Where reads are loads a second one costs less than one in vain.
  hints->places().remember(is_mapped() ? 0 : std::min(options.remembered, kRememberedMax));
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

cluster::IndexLookup Index::Impl::Shard::look_up(Bytes key) {
  const auto candidates =
      is_mapped() ? cluster::Candidates::in_turn : cluster::Candidates::together;
  return {*geometry, node::kIndexEpoch, *hints, key, level(), led_epoch(), candidates};
}

Result<Index::Impl::Shard::Answered> Index::Impl::Shard::read(Bytes key,
                                                              std::uint64_t deadline_ns) {
  Answered answered;
  constexpr std::size_t kOne = 0;
  DOLMEN_CHECK(
      read_many(std::span(&key, 1), std::span(&kOne, 1), std::span(&answered, 1), deadline_ns));
  return answered;
}

Result<void> Index::Impl::Shard::read_many(std::span<const Bytes> keys,
                                           std::span<const std::size_t> wanted,
                                           std::span<Answered> answered,
                                           std::uint64_t deadline_ns) {
  const auto take = [&](std::size_t key, cluster::IndexLookup& lookup) {
    const bool is_found = lookup.state() == LookupState::found;
    if (!is_found && lookup.state() != LookupState::absent) return;
    ++counts->one_sided;
    if (lookup.round_trips() == 1) ++counts->in_one_round;
    answered[key] = {.is_settled = true};
    if (is_found) answered[key].value = lookup.take_value();
  };
  DOLMEN_TRY(const bool is_by_loads, is_loaded(deadline_ns));
  if (!is_by_loads) {
    return read_all(
        wanted,
        [&](std::size_t key) { return std::make_unique<cluster::IndexLookup>(look_up(keys[key])); },
        [&](std::size_t key, Reader& reader) {
          take(key, static_cast<cluster::IndexLookup&>(reader));
        },
        deadline_ns);
  }
  for (const std::size_t key : wanted) {
    DOLMEN_CHECK(load_one([&] { return look_up(keys[key]); },
                          [&](cluster::IndexLookup& lookup) { take(key, lookup); }, deadline_ns));
  }
  return {};
}

}  // namespace dolmen
