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

void Index::Impl::Shard::take(cluster::IndexLookup& lookup, Answered& answered) {
  const bool is_found = lookup.state() == LookupState::found;
  if (!is_found && lookup.state() != LookupState::absent) return;
  ++counts->one_sided;
  if (lookup.round_trips() == 1) ++counts->in_one_round;
  answered.is_settled = true;
  if (is_found) answered.value = lookup.take_value();
}

cluster::IndexLookup& Index::Impl::Shard::look_up_again(Bytes key) {
  if (single) {
    single->start(*geometry, node::kIndexEpoch, *hints, key, level(), led_epoch(), candidates());
  } else {
    single.emplace(look_up(key));
  }
  return *single;
}

bool Index::Impl::Shard::read_at_once(Bytes key, Answered& answered) {
  return load_at_once([&]() -> cluster::IndexLookup& { return look_up_again(key); },
                      [&](cluster::IndexLookup& lookup) { take(lookup, answered); });
}

Result<Index::Impl::Shard::Answered> Index::Impl::Shard::read(Bytes key, std::uint64_t now_ns,
                                                              std::uint64_t deadline_ns) {
  Answered answered;
  DOLMEN_TRY(const bool is_by_loads, is_loaded(deadline_ns));
  if (is_by_loads) {
    DOLMEN_CHECK(load_one([&]() -> cluster::IndexLookup& { return look_up_again(key); },
                          [&](cluster::IndexLookup& lookup) { take(lookup, answered); },
                          deadline_ns));
    return answered;
  }
  DOLMEN_CHECK(read_one([&]() -> Reader& { return look_up_again(key); },
                        [&](Reader& /*reader*/) { take(*single, answered); }, now_ns, deadline_ns));
  return answered;
}

Result<void> Index::Impl::Shard::read_many(std::span<const Bytes> keys,
                                           std::span<const std::size_t> wanted,
                                           std::span<Answered> answered,
                                           std::uint64_t deadline_ns) {
  DOLMEN_TRY(const bool is_by_loads, is_loaded(deadline_ns));
  if (!is_by_loads) {
    return read_all(
        wanted,
        [&](std::size_t key) { return std::make_unique<cluster::IndexLookup>(look_up(keys[key])); },
        [&](std::size_t key, Reader& reader) {
          take(static_cast<cluster::IndexLookup&>(reader), answered[key]);
        },
        deadline_ns);
  }
  for (const std::size_t key : wanted) {
    if (read_at_once(keys[key], answered[key])) continue;
    DOLMEN_CHECK(load_one([&]() -> cluster::IndexLookup& { return look_up_again(keys[key]); },
                          [&](cluster::IndexLookup& lookup) { take(lookup, answered[key]); },
                          deadline_ns));
  }
  return {};
}

}  // namespace dolmen
