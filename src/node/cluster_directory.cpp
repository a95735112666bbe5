// SPDX-License-Identifier: Apache-2.0
//
// The directory of a cluster, as its clients make it and look at it as a whole.
#include <algorithm>
#include <bit>
#include <string>
#include <utility>
#include <vector>

#include <dolmen/cluster.hpp>

#include "node/cluster_client.hpp"
#include "node/index_changed.hpp"

namespace dolmen {

namespace {

constexpr std::uint32_t kShardsOfNew = 4;
constexpr std::uint32_t kShardsMax = 1u << cluster::kDirectoryBitsMax;

}  // namespace

Result<void> Cluster::create_directory(const DirectoryOptions& options,
                                       std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  std::uint32_t shards = options.shards;
  if (shards > kShardsMax || (shards != 0 && !std::has_single_bit(shards))) {
    return fail(Errc::invalid_argument, "shards of a directory: a power of two, 1 to 256", shards);
  }
  if (shards == 0) {
    DOLMEN_CHECK(impl_->refresh(deadline_ns));
    const auto there = static_cast<std::uint32_t>(impl_->map.shards().size());
    shards = impl_->map.has_directory() ? there : kShardsOfNew;
  }
  const auto bits = static_cast<std::uint32_t>(std::countr_zero(shards));
  DOLMEN_TRY(const cluster::RootReply made,
             impl_->tell(cluster::root::CreateDirectory{.bits = bits, .size = options.size},
                         node::left_until(deadline_ns)));
  if (made.is_ok()) return {};
  if (made.status == cluster::RootStatus::other_shards) {
    return fail(Errc::already_exists, "a directory, for ever of as many shards as it has",
                made.value);
  }
  if (made.status == cluster::RootStatus::name_taken) {
    const cluster::RootGroup* const other =
        impl_->map.group(static_cast<cluster::GroupNumber>(made.value));
    const std::string name = other == nullptr ? std::string("directory-…") : other->name;
    return fail(Errc::already_exists, interned("another group called " + name), made.value);
  }
  return fail(Errc::invalid_argument, interned(std::string(cluster::text(made.status))),
              made.value);
}

Result<std::vector<cluster::GroupNumber>> Cluster::Impl::directory_shards(
    std::chrono::milliseconds patience) {
  DOLMEN_TRY(auto shards,
             known<std::vector<cluster::GroupNumber>>(patience, [](const cluster::RootState& all) {
               const auto& served = all.shards();
               const bool are_all =
                   std::ranges::find(served, cluster::GroupNumber{0}) == served.end();
               return are_all ? served : std::vector<cluster::GroupNumber>{};
             }));
  if (!shards.empty()) return shards;
  return fail(Errc::unsupported,
              "the cluster has no directory: Cluster::create_directory(), or `dolmen "
              "directory create`, makes one");
}

Result<std::vector<DirectoryShard>> Cluster::directory(std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  DOLMEN_TRY(const auto groups, impl_->directory_shards(patience));
  std::vector<DirectoryShard> shards;
  for (const cluster::GroupNumber group : groups) {
    // However many do not answer, the others have their part of what is left.
    const auto left = static_cast<std::int64_t>(groups.size() - shards.size());
    const std::uint64_t its_end_ns = node::deadline_in(node::left_until(deadline_ns) / left);
    DirectoryShard shard{.group = group};
    if (const auto client = impl_->client_of(group, its_end_ns)) {
      const auto stats = node::ask_stats(**client, node::left_until(its_end_ns));
      shard.has_answered = stats.has_value();
      if (stats) shard.stats = *stats;
    }
    shards.push_back(shard);
  }
  return shards;
}

}  // namespace dolmen
