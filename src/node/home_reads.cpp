// SPDX-License-Identifier: Apache-2.0
#include "node/home_reads.hpp"

#include <array>
#include <cstddef>
#include <memory>

#include "node/directory_machine.hpp"

namespace dolmen::node {

using cluster::LookupState;

cluster::IndexLookup HomeReads::look_up(const ObjectId& id) {
  return {*geometry, kDirectoryEpoch, *hints, id, level(), led_epoch(), candidates()};
}

Result<HomeReads::Answered> HomeReads::read(const ObjectId& id, IndexReads reads,
                                            std::uint64_t deadline_ns) {
  options.reads = reads;
  Answered answered;
  const auto take = [&](cluster::IndexLookup& lookup) {
    const bool is_found = lookup.state() == LookupState::found;
    if (!is_found && lookup.state() != LookupState::absent) return;
    if (is_found) {
      const cluster::DirectoryEntry entry = cluster::entry_of(lookup.home());
      // No group has that number: it is no entry.
      if (entry.group == 0 || entry.counter == 0) return;
      answered.entry = entry;
    }
    ++counts->one_sided;
    answered.is_settled = true;
  };
  DOLMEN_TRY(const bool is_by_loads, is_loaded(deadline_ns));
  if (is_by_loads) {
    DOLMEN_CHECK(load_one([&] { return look_up(id); }, take, deadline_ns));
    return answered;
  }
  constexpr std::array<std::size_t, 1> kOne{0};
  DOLMEN_CHECK(read_all(
      kOne, [&](std::size_t) { return std::make_unique<cluster::IndexLookup>(look_up(id)); },
      [&](std::size_t, Reader& reader) { take(static_cast<cluster::IndexLookup&>(reader)); },
      deadline_ns));
  return answered;
}

}  // namespace dolmen::node
