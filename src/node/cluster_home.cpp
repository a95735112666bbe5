// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_home.hpp"

#include <algorithm>
#include <bit>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <dolmen/cluster.hpp>

#include "cluster/home.hpp"
#include "node/cluster_client.hpp"
#include "node/directory_machine.hpp"
#include "node/home_part.hpp"
#include "node/home_reads.hpp"
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

Result<std::variant<Elsewhere, std::vector<std::byte>>> call_at_home(
    ReplicatedClient& client, base::Bytes call, std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = deadline_in(patience);
  DOLMEN_TRY(const auto bytes, client.call(call, patience));
  DOLMEN_TRY(const auto elsewhere, decode_elsewhere(bytes));
  if (elsewhere) return *elsewhere;
  DOLMEN_TRY(const UntoldReply reply, decode_untold_reply(bytes));
  if (!reply.objects.empty()) DOLMEN_CHECK(wait_until_told(client, reply.objects, deadline_ns));
  DOLMEN_TRY(auto result, decode_reply(reply.reply));
  return result;
}

Result<std::vector<std::byte>> call_until_told(ReplicatedClient& client, base::Bytes call,
                                               std::chrono::milliseconds patience) {
  DOLMEN_TRY(auto told, call_at_home(client, call, patience));
  if (auto* const result = std::get_if<std::vector<std::byte>>(&told)) return std::move(*result);
  return fail(Errc::not_found, "an object that lives in this space");
}

void HomeHints::learn(const ObjectId& object, cluster::GroupNumber group) {
  if (!groups_.insert_or_assign(object, group).second) return;
  order_.push_back(object);
  // What was forgotten, and learned again, may go a little early.
  while (order_.size() > kHintsMax) {
    groups_.erase(order_.front());
    order_.pop_front();
  }
}

void HomeHints::forget(const ObjectId& object) { groups_.erase(object); }

}  // namespace node

Result<ReplicatedClient*> Cluster::Impl::client_of(cluster::GroupNumber number,
                                                   std::uint64_t deadline_ns) {
  const auto found = group_clients.find(number);
  if (found != group_clients.end()) return &found->second;
  DOLMEN_CHECK(group(number, deadline_ns));
  DOLMEN_TRY(auto client, node::ClientOf::make(node::plan_of(map, number, self), number));
  return &group_clients.emplace(number, std::move(client)).first->second;
}

Result<Cluster::Impl::HomeShard*> Cluster::Impl::home_shard(cluster::GroupNumber number,
                                                            std::uint64_t deadline_ns) {
  const auto found = home_shards.find(number);
  if (found != home_shards.end()) return &found->second;
  DOLMEN_CHECK(group(number, deadline_ns));
  auto reads = std::make_unique<node::HomeReads>(home_counts);
  DOLMEN_CHECK(reads->open(node::plan_of(map, number, self), number, std::chrono::microseconds(0)));
  node::HomeReads* const its = reads.get();
  HomeShard shard{.reads = its, .client = node::ClientOf::of(std::move(reads))};
  return &home_shards.emplace(number, std::move(shard)).first->second;
}

IndexCounts Cluster::home_counts() const noexcept { return impl_->home_counts; }

Result<std::uint32_t> Cluster::home(const ObjectId& object, std::chrono::milliseconds patience,
                                    IndexReads reads) {
  if (object.is_null()) return fail(Errc::invalid_argument, "no object");
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  DOLMEN_TRY(const auto shards, impl_->directory_shards(patience));
  const auto bits = static_cast<std::uint32_t>(std::bit_width(shards.size()) - 1);
  DOLMEN_TRY(Impl::HomeShard* const shard,
             impl_->home_shard(shards[cluster::shard_of(object, bits)], deadline_ns));
  DOLMEN_TRY(const auto read, shard->reads->read(object, reads, deadline_ns));
  std::optional<cluster::DirectoryEntry> entry = read.entry;
  if (!read.is_settled) {
    ++impl_->home_counts.asked;
    DOLMEN_TRY(const ReplicatedReading reading,
               shard->client.read(node::encode_ids({object}), shard->reads->asking_level(),
                                  node::left_until(deadline_ns)));
    DOLMEN_TRY(entry, node::decode_directory_answer(reading.result));
  }
  if (!entry) return fail(Errc::not_found, "an object that the directory knows");
  return entry->group;
}

Result<std::vector<std::byte>> Cluster::call(const ObjectId& object, std::string_view function,
                                             std::span<const std::byte> arguments,
                                             std::chrono::milliseconds patience) {
  if (function.size() > node::kFunctionNameMax) {
    return fail(Errc::invalid_argument, "a function's name", function.size());
  }
  if (object.is_null()) return fail(Errc::invalid_argument, "no object");
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  const std::vector<std::byte> inside =
      node::encode(node::SpaceCall{.function = function, .arguments = arguments});
  const std::vector<std::byte> at = node::encode(node::AtObject{.object = object, .call = inside});
  const std::vector<std::byte> call =
      node::encode(node::SpaceCall{.function = node::kAtFunction, .arguments = at});
  constexpr std::uint64_t kPauseMaxNs = 16'000'000;
  std::uint64_t pause_ns = 1'000'000;
  IndexReads reads = IndexReads::hint;
  impl_->last_call = {};
  for (;;) {
    const auto hint = impl_->hints.find(object);
    cluster::GroupNumber group = hint.value_or(0);
    if (!hint) {
      // Who does not have it says so; then it is looked up as of now.
      DOLMEN_TRY(group, home(object, node::left_until(deadline_ns), reads));
      reads = IndexReads::linearizable;
      impl_->hints.learn(object, group);
    }
    const auto client = impl_->client_of(group, deadline_ns);
    if (!client) {
      impl_->hints.forget(object);
      if (!hint || node::now_ns() >= deadline_ns) return std::unexpected(client.error());
      continue;
    }
    // What nobody knows the end of is nobody else's to execute.
    auto told = node::call_at_home(**client, call, node::left_until(deadline_ns));
    impl_->last_call = (*client)->last_call();
    if (!told) return std::unexpected(told.error());
    impl_->last_commit = (*client)->last_commit();
    if (auto* const result = std::get_if<std::vector<std::byte>>(&*told)) return std::move(*result);
    const node::Elsewhere elsewhere = std::get<node::Elsewhere>(*told);
    impl_->hints.forget(object);
    if (elsewhere.answer == cluster::HomeAnswer::erased) {
      return fail(Errc::not_found, "an object that was erased");
    }
    if (elsewhere.answer == cluster::HomeAnswer::moved) {
      impl_->hints.learn(object, elsewhere.group);
    } else if (elsewhere.answer == cluster::HomeAnswer::frozen) {
      impl_->hints.learn(object, group);
    }
    if (node::now_ns() >= deadline_ns) {
      return fail(Errc::busy, "an object that moves: not executed; come again after milliseconds:",
                  kPauseMaxNs / 1'000'000);
    }
    // The first one to say that it has moved, or that a hint was old, is not waited for.
    const bool is_quick = elsewhere.answer == cluster::HomeAnswer::moved ||
                          (elsewhere.answer == cluster::HomeAnswer::not_here && hint);
    if (is_quick && pause_ns == 1'000'000) {
      pause_ns += 1;
      continue;
    }
    sys::linux_env().clock->sleep_ns(pause_ns);
    pause_ns = std::min(pause_ns * 2, kPauseMaxNs);
  }
}

}  // namespace dolmen
