// SPDX-License-Identifier: Apache-2.0
#include "node/ordered_machine.hpp"

#include <utility>

#include "sys/linux/linux.hpp"

namespace dolmen::node {

Result<cluster::OrderedGeometry> OrderedMachine::geometry_of(const OrderedShardOptions& options) {
  const std::size_t nodes = options.node_bytes / cluster::kNodeBytes;
  if (nodes < 2 || nodes > cluster::kTreeNodesMax || options.grace.count() < 0) {
    return fail(Errc::invalid_argument, "node_bytes of an ordered index", options.node_bytes);
  }
  const cluster::OrderedGeometry geometry{.table = {0x646F6C6D656E, 2},
                                          .heap_bytes = options.record_bytes / 64 * 64,
                                          .node_count = static_cast<std::uint32_t>(nodes)};
  if (options.record_bytes / 64 * 64 > cluster::kHeapBytesMax ||
      !geometry.is_possible(geometry.region_bytes())) {
    return fail(Errc::invalid_argument, "record_bytes of an ordered index", options.record_bytes);
  }
  return geometry;
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
