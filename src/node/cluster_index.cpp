// SPDX-License-Identifier: Apache-2.0
//
// Indexes of a cluster, of both kinds, as their clients make and find them.
#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dolmen/cluster.hpp>
#include <dolmen/index.hpp>
#include <dolmen/ordered_index.hpp>

#include "node/cluster_client.hpp"
#include "node/index_machine.hpp"
#include "node/index_reads.hpp"
#include "node/metrics_text.hpp"
#include "node/ordered_machine.hpp"
#include "node/ordered_reads.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

namespace {

/// Memory that a node's host can give to tables, as far as its figures say. Of earlier versions it
/// is known what the machine has.
std::optional<std::uint64_t> room_in(const std::string& figures) {
  const auto samples = node::parse_metrics(figures);
  if (!samples) return std::nullopt;
  const auto value_of = [&](std::string_view name) -> std::optional<std::uint64_t> {
    const auto found = std::ranges::find(*samples, name, &node::MetricSample::name);
    // Of a node, which may say anything.
    const bool is_told = found != samples->end() && found->value >= 0 && found->value < 0x1p63;
    return is_told ? std::optional(static_cast<std::uint64_t>(found->value)) : std::nullopt;
  };
  if (const auto room = value_of("dolmen_memory_room_bytes")) return room;
  const auto machine = value_of("dolmen_memory_machine_bytes");
  return machine == std::uint64_t{0} ? std::nullopt : machine;  // 0: not known
}

/// Nodes that share one memory.
struct HostRoom {
  std::uint64_t nodes = 0;
  std::optional<std::uint64_t> bytes{};
};

}  // namespace

Result<void> Cluster::Impl::check_room(const cluster::root::CreateIndex& command,
                                       std::uint64_t table_bytes, std::uint64_t deadline_ns) {
  DOLMEN_TRY(const auto texts, figures(deadline_ns));
  std::uint64_t nodes = 0;
  std::map<std::string, HostRoom> hosts;
  for (const auto& [number, one] : map.nodes()) {
    if (map.node(number) == nullptr || one.is_lost) continue;
    ++nodes;
    HostRoom& host = hosts[one.address.substr(0, one.address.rfind(':'))];
    ++host.nodes;
    const auto text = texts.find(number);
    if (text == texts.end()) continue;
    if (const auto room = room_in(text->second)) {
      host.bytes = std::min(host.bytes.value_or(*room), *room);
    }
  }
  const std::uint64_t seats = std::min<std::uint64_t>(command.size, nodes);
  if (seats == 0) return {};
  // They are spread evenly over the nodes.
  const std::uint64_t tables_of_each = (command.shards * seats + nodes - 1) / nodes;
  std::uint64_t too_small = 0;
  std::string said;
  for (const auto& [name, host] : hosts) {
    const std::uint64_t wanted = host.nodes * tables_of_each * table_bytes;
    if (!host.bytes || *host.bytes >= wanted) continue;
    too_small += host.nodes;
    said += (said.empty() ? "" : ", ") + name + " would need " + std::to_string(wanted >> 20) +
            " MiB for " + std::to_string(host.nodes * tables_of_each) + " of them and can give " +
            std::to_string(*host.bytes >> 20) + " MiB";
  }
  // Where they are put those decide that have one, as long as they are a majority.
  if (too_small == 0 || nodes - too_small > seats / 2) return {};
  return fail(Errc::out_of_memory,
              interned("each shard is a table of " + std::to_string(table_bytes >> 20) +
                       " MiB in the memory of its nodes: " + said),
              table_bytes);
}

Result<void> Cluster::Impl::make_index(const cluster::root::CreateIndex& command,
                                       std::uint64_t table_bytes,
                                       std::chrono::milliseconds patience) {
  if (!cluster::is_index_name(command.name)) {
    return fail(Errc::invalid_argument, "an index's name: 1 to 59 characters, no blank and no /");
  }
  if (command.shards < 1 || command.shards > cluster::kIndexShardsMax) {
    return fail(Errc::invalid_argument, "shards of an index: 1 to 256", command.shards);
  }
  DOLMEN_CHECK(node::check_size(command.size));
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  DOLMEN_CHECK(refresh(deadline_ns));
  if (map.index_named(command.name).empty()) {
    DOLMEN_CHECK(check_room(command, table_bytes, deadline_ns));
  }
  DOLMEN_TRY(const cluster::RootReply reply, tell(command, node::left_until(deadline_ns)));
  if (reply.is_ok()) return {};
  if (reply.status == cluster::RootStatus::name_taken) {
    return fail(Errc::already_exists,
                interned(command.name + ": an index with other shards or sizes, or another "
                                        "group, has this name"),
                reply.value);
  }
  return fail(Errc::invalid_argument, interned(std::string(cluster::text(reply.status))),
              reply.value);
}

Result<std::vector<cluster::GroupNumber>> Cluster::Impl::find_index(
    std::string_view name, cluster::TableKind table, std::chrono::milliseconds patience) {
  DOLMEN_TRY(auto shards,
             known<std::vector<cluster::GroupNumber>>(
                 patience, [&](const cluster::RootState& all) { return all.index_named(name); }));
  if (shards.empty()) {
    return fail(Errc::not_found, interned("an index called " + std::string(name)));
  }
  if (map.group(shards[0])->shape->table == table) return shards;
  const char* const what = table == cluster::TableKind::hash
                               ? ": an ordered index, to be opened as one"
                               : ": an index without an order, to be opened as one";
  return fail(Errc::wrong_type, interned(std::string(name) + what));
}

Result<void> Cluster::create_index(std::string_view name, std::uint32_t shards, std::uint32_t size,
                                   const IndexShardOptions& each,
                                   std::chrono::milliseconds patience) {
  DOLMEN_TRY(const cluster::IndexGeometry geometry, node::IndexMachine::geometry_of(each));
  std::uint64_t seed = each.seed;
  while (seed == 0) {
    std::array<std::byte, 8> random{};
    sys::linux_env().entropy->fill(random);
    seed = base::load<std::uint64_t>(random);
  }
  return impl_->make_index({.name = std::string(name),
                            .size = size,
                            .shards = shards,
                            .seed = seed,
                            .bucket_bytes = each.bucket_bytes,
                            .record_bytes = each.record_bytes},
                           geometry.region_bytes(), patience);
}

Result<Index> Cluster::index(std::string_view name, const IndexOptions& options,
                             std::chrono::milliseconds patience) {
  DOLMEN_TRY(const auto shards, impl_->find_index(name, cluster::TableKind::hash, patience));
  auto impl = std::make_unique<Index::Impl>();
  for (const cluster::GroupNumber number : shards) {
    DOLMEN_CHECK(impl->add(node::plan_of(impl_->map, number, impl_->self), number, options));
  }
  return Index(std::move(impl));
}

Result<void> Cluster::create_ordered_index(std::string_view name,
                                           std::span<const OrderedIndex::Value> splits,
                                           std::uint32_t size, const OrderedShardOptions& each,
                                           std::chrono::milliseconds patience) {
  DOLMEN_TRY(const cluster::OrderedGeometry geometry, node::OrderedMachine::geometry_of(each));
  if (splits.size() >= cluster::kIndexShardsMax) {
    return fail(Errc::invalid_argument, "splits of an index: at most 255", splits.size());
  }
  cluster::root::CreateIndex command{.name = std::string(name),
                                     .size = size,
                                     .shards = static_cast<std::uint32_t>(splits.size()) + 1,
                                     .bucket_bytes = each.node_bytes,
                                     .record_bytes = each.record_bytes,
                                     .table = cluster::TableKind::ordered};
  for (const OrderedIndex::Value& split : splits) {
    std::string& text = command.splits.emplace_back();
    for (const std::byte byte : split) text += static_cast<char>(byte);
  }
  if (!cluster::are_splits(command.splits)) {
    return fail(Errc::invalid_argument,
                "splits of an index: they rise, and have 1 to 128 bytes each, 6144 together");
  }
  return impl_->make_index(command, geometry.region_bytes(), patience);
}

Result<OrderedIndex> Cluster::ordered_index(std::string_view name, const IndexOptions& options,
                                            std::chrono::milliseconds patience) {
  DOLMEN_TRY(const auto shards, impl_->find_index(name, cluster::TableKind::ordered, patience));
  auto impl = std::make_unique<OrderedIndex::Impl>();
  for (const cluster::GroupNumber number : shards) {
    const OrderedIndex::Bytes from = OrderedIndex::of(impl_->map.group(number)->shape->from);
    if (number != shards.front()) impl->splits.emplace_back(from.begin(), from.end());
    DOLMEN_CHECK(impl->add(node::plan_of(impl_->map, number, impl_->self), number, options));
  }
  return OrderedIndex(std::move(impl));
}

}  // namespace dolmen
