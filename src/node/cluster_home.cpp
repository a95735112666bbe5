// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_home.hpp"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include <dolmen/cluster.hpp>

#include "cluster/home.hpp"
#include "node/cluster_client.hpp"
#include "node/directory_machine.hpp"
#include "node/home_part.hpp"
#include "node/replicated_group.hpp"
#include "node/space_effect.hpp"

namespace dolmen {

namespace node {

namespace {

constexpr std::uint64_t kLookAgainNs = 2'000'000;

/// Until the directory has logged them.
Result<void> wait_until_told(ReplicatedClient& client, const std::vector<ObjectId>& objects,
                             std::uint64_t deadline_ns) {
  const std::vector<std::byte> ids = encode_ids(objects);
  for (;;) {
    const auto told = query_space(client, kToldQuery, ids, left_until(deadline_ns));
    if (told && *told == std::vector{std::byte{1}}) return {};
    if (!told && told.error().code() != Errc::timed_out && told.error().code() != Errc::busy) {
      return std::unexpected(told.error());
    }
    if (now_ns() >= deadline_ns) {
      return fail(Errc::connection_lost,
                  "it is done, and the directory may not know yet what it published");
    }
    sys::linux_env().clock->sleep_ns(kLookAgainNs);
  }
}

}  // namespace

Result<std::vector<std::byte>> call_until_told(ReplicatedClient& client, base::Bytes call,
                                               std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = deadline_in(patience);
  DOLMEN_TRY(const auto bytes, client.call(call, patience));
  DOLMEN_TRY(const UntoldReply reply, decode_untold_reply(bytes));
  if (!reply.objects.empty()) DOLMEN_CHECK(wait_until_told(client, reply.objects, deadline_ns));
  return decode_reply(reply.reply);
}

}  // namespace node

Result<ReplicatedClient*> Cluster::Impl::client_of(cluster::GroupNumber number,
                                                   std::uint64_t deadline_ns) {
  const auto found = group_clients.find(number);
  if (found != group_clients.end()) return &found->second;
  DOLMEN_CHECK(group(number, deadline_ns));
  DOLMEN_TRY(auto client, node::ClientOf::make(node::plan_of(map, number, self), number));
  return &group_clients.emplace(number, std::move(client)).first->second;
}

Result<void> Cluster::create_directory(std::uint32_t size, std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  DOLMEN_CHECK(impl_->refresh(deadline_ns));
  const std::size_t shards = impl_->map.shards().size();
  for (std::uint32_t shard = 0; shard < shards; ++shard) {
    if (impl_->map.shards()[shard] != 0) continue;
    const cluster::root::CreateGroup create{.kind = cluster::GroupKind::index,
                                            .name = "directory-" + std::to_string(shard),
                                            .size = size};
    DOLMEN_TRY(const cluster::RootReply made, impl_->tell(create, node::left_until(deadline_ns)));
    // Made before, by a call that was cut short, or by somebody else's group: then it is refused.
    if (!made.is_ok() && made.status != cluster::RootStatus::name_taken) {
      return fail(Errc::invalid_argument, interned(std::string(cluster::text(made.status))),
                  made.value);
    }
    const auto number = static_cast<cluster::GroupNumber>(made.value);
    DOLMEN_TRY(const cluster::RootReply assigned,
               impl_->tell(cluster::root::AssignShard{.shard = shard, .group = number},
                           node::left_until(deadline_ns)));
    if (assigned.status == cluster::RootStatus::wrong_kind) {
      return fail(Errc::already_exists, interned("another group called " + create.name), number);
    }
    if (!assigned.is_ok()) {
      return fail(Errc::invalid_argument, interned(std::string(cluster::text(assigned.status))),
                  assigned.value);
    }
  }
  return {};
}

Result<std::uint32_t> Cluster::home(const ObjectId& object, std::chrono::milliseconds patience) {
  if (object.is_null()) return fail(Errc::invalid_argument, "no object");
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  // Empty: not all of them are served.
  DOLMEN_TRY(
      const auto shards,
      impl_->known<std::vector<cluster::GroupNumber>>(patience, [](const cluster::RootState& map) {
        const auto& all = map.shards();
        const bool are_all = std::ranges::find(all, cluster::GroupNumber{0}) == all.end();
        return are_all ? all : std::vector<cluster::GroupNumber>{};
      }));
  if (shards.empty()) return fail(Errc::unsupported, "the cluster has no directory");
  const auto bits = static_cast<std::uint32_t>(std::bit_width(shards.size()) - 1);
  DOLMEN_TRY(ReplicatedClient* const client,
             impl_->client_of(shards[cluster::shard_of(object, bits)], deadline_ns));
  DOLMEN_TRY(const ReplicatedReading reading,
             client->read(node::encode_ids({object}), ReadLevel::linearizable,
                          node::left_until(deadline_ns)));
  DOLMEN_TRY(const auto entry, node::decode_directory_answer(reading.result));
  if (!entry) return fail(Errc::not_found, "an object that the directory knows");
  return entry->group;
}

Result<std::vector<std::byte>> Cluster::call(const ObjectId& object, std::string_view function,
                                             std::span<const std::byte> arguments,
                                             std::chrono::milliseconds patience) {
  if (function.size() > node::kFunctionNameMax) {
    return fail(Errc::invalid_argument, "a function's name", function.size());
  }
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  DOLMEN_TRY(const cluster::GroupNumber group, home(object, patience));
  DOLMEN_TRY(ReplicatedClient* const client, impl_->client_of(group, deadline_ns));
  const std::vector<std::byte> call =
      node::encode(node::SpaceCall{.function = function, .arguments = arguments});
  const std::vector<std::byte> at = node::encode(node::AtObject{.object = object, .call = call});
  return node::call_until_told(
      *client, node::encode(node::SpaceCall{.function = node::kAtFunction, .arguments = at}),
      node::left_until(deadline_ns));
}

}  // namespace dolmen
