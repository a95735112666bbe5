// SPDX-License-Identifier: Apache-2.0
#include "node/index_reads.hpp"

#include <memory>

#include "node/index_machine.hpp"

namespace dolmen {

namespace {

using cluster::LookupState;

}  // namespace

cluster::IndexLookup Index::Impl::Shard::look_up(Bytes key) {
  return {*geometry, node::kIndexEpoch, *hints, key, level(), led_epoch(), candidates()};
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
