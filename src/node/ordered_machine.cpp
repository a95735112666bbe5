// SPDX-License-Identifier: Apache-2.0
#include "node/ordered_machine.hpp"

#include <utility>

#include "sys/linux/linux.hpp"

namespace dolmen::node {

Result<cluster::OrderedGeometry> OrderedMachine::geometry_of(const OrderedShardOptions& options) {
  const auto geometry = cluster::ordered_geometry_for(options.node_bytes, options.record_bytes);
  if (geometry && options.grace.count() >= 0) return *geometry;
  // Which of the two it is: with the least of the other.
  if (cluster::ordered_geometry_for(options.node_bytes, 64) && options.grace.count() >= 0) {
    return fail(Errc::invalid_argument, "record_bytes of an ordered index", options.record_bytes);
  }
  return fail(Errc::invalid_argument, "node_bytes of an ordered index", options.node_bytes);
}

}  // namespace dolmen::node

namespace dolmen {

Result<OrderedIndexShard> OrderedIndexShard::make(const OrderedShardOptions& options) {
  DOLMEN_TRY(const auto geometry, node::OrderedMachine::geometry_of(options));
  const auto grace_ns = static_cast<std::uint64_t>(options.grace.count()) * 1'000'000;
  return OrderedIndexShard(
      std::make_unique<node::OrderedMachine>(*sys::linux_env().clock, geometry, grace_ns));
}

OrderedIndexShard::OrderedIndexShard(std::unique_ptr<node::OrderedMachine> machine) noexcept
    : machine_(std::move(machine)) {}
OrderedIndexShard::OrderedIndexShard(OrderedIndexShard&&) noexcept = default;
OrderedIndexShard& OrderedIndexShard::operator=(OrderedIndexShard&&) noexcept = default;
OrderedIndexShard::~OrderedIndexShard() = default;

StateMachine& OrderedIndexShard::machine() noexcept { return *machine_; }

}  // namespace dolmen
