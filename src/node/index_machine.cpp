// SPDX-License-Identifier: Apache-2.0
#include "node/index_machine.hpp"

#include <utility>

#include "sys/linux/linux.hpp"

namespace dolmen::node {

Result<cluster::IndexGeometry> IndexMachine::geometry_of(const IndexShardOptions& options) {
  const auto geometry =
      cluster::geometry_for(options.bucket_bytes, options.record_bytes, options.seed);
  if (geometry && options.grace.count() >= 0) return *geometry;
  // Which of the two it is: with the least of the other.
  if (cluster::geometry_for(options.bucket_bytes, 0, 0) && options.grace.count() >= 0) {
    return fail(Errc::invalid_argument, "record_bytes of an index", options.record_bytes);
  }
  return fail(Errc::invalid_argument, "bucket_bytes of an index", options.bucket_bytes);
}

}  // namespace dolmen::node

namespace dolmen {

Result<IndexShard> IndexShard::make(const IndexShardOptions& options) {
  DOLMEN_TRY(const auto geometry, node::IndexMachine::geometry_of(options));
  const auto grace_ns = static_cast<std::uint64_t>(options.grace.count()) * 1'000'000;
  return IndexShard(
      std::make_unique<node::IndexMachine>(*sys::linux_env().clock, geometry, grace_ns));
}

IndexShard::IndexShard(std::unique_ptr<node::IndexMachine> machine) noexcept
    : machine_(std::move(machine)) {}
IndexShard::IndexShard(IndexShard&&) noexcept = default;
IndexShard& IndexShard::operator=(IndexShard&&) noexcept = default;
IndexShard::~IndexShard() = default;

StateMachine& IndexShard::machine() noexcept { return *machine_; }

}  // namespace dolmen
