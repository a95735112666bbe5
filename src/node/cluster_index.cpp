// SPDX-License-Identifier: Apache-2.0
//
// Indexes of a cluster, as their clients make and find them.
#include <array>
#include <utility>

#include <dolmen/cluster.hpp>
#include <dolmen/index.hpp>

#include "node/cluster_client.hpp"
#include "node/index_machine.hpp"
#include "node/index_reads.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

Result<void> Cluster::create_index(std::string_view name, std::uint32_t shards, std::uint32_t size,
                                   const IndexShardOptions& each,
                                   std::chrono::milliseconds patience) {
  if (!cluster::is_index_name(name)) {
    return fail(Errc::invalid_argument, "an index's name: 1 to 59 characters, no blank and no /");
  }
  if (shards < 1 || shards > cluster::kIndexShardsMax) {
    return fail(Errc::invalid_argument, "shards of an index: 1 to 256", shards);
  }
  DOLMEN_CHECK(node::IndexMachine::geometry_of(each));
  std::uint64_t seed = each.seed;
  while (seed == 0) {
    std::array<std::byte, 8> random{};
    sys::linux_env().entropy->fill(random);
    seed = base::load<std::uint64_t>(random);
  }
  DOLMEN_TRY(const cluster::RootReply reply,
             impl_->tell(cluster::root::CreateIndex{.name = std::string(name),
                                                    .size = size,
                                                    .shards = shards,
                                                    .seed = seed,
                                                    .bucket_bytes = each.bucket_bytes,
                                                    .record_bytes = each.record_bytes},
                         patience));
  if (reply.is_ok()) return {};
  if (reply.status == cluster::RootStatus::name_taken) {
    return fail(Errc::already_exists,
                interned(std::string(name) + ": an index with other shards or sizes, or another "
                                             "group, has this name"),
                reply.value);
  }
  return fail(Errc::invalid_argument, interned(std::string(cluster::text(reply.status))),
              reply.value);
}

Result<Index> Cluster::index(std::string_view name, const IndexOptions& options,
                             std::chrono::milliseconds patience) {
  DOLMEN_TRY(const auto shards, impl_->known<std::vector<cluster::GroupNumber>>(
                                    patience, [&](const cluster::RootState& map) {
                                      return map.index_named(name);
                                    }));
  if (shards.empty()) return fail(Errc::not_found, interned("an index called " + std::string(name)));
  auto impl = std::make_unique<Index::Impl>();
  for (const cluster::GroupNumber number : shards) {
    DOLMEN_CHECK(impl->add(node::plan_of(impl_->map, number, impl_->self), number, options));
  }
  return Index(std::move(impl));
}

}  // namespace dolmen
