// SPDX-License-Identifier: Apache-2.0
//
// The client of an index: which shard a key is in, and what is asked by message.
#include <algorithm>
#include <utility>

#include <dolmen/index.hpp>

#include "node/index_machine.hpp"
#include "node/index_reads.hpp"
#include "node/index_request.hpp"

namespace dolmen {

namespace {

using cluster::IndexChange;
using cluster::IndexOutcome;

/// Not that of any shard's own hashes.
constexpr std::uint64_t kShardSeed = 0x5368617264;

}  // namespace

Index::Impl::Part& Index::Impl::part_of(Bytes key) {
  if (parts.size() == 1) return parts.front();
  const std::uint64_t hash = cluster::hash_of_key(key, kShardSeed).high >> 32;
  return parts[hash * parts.size() >> 32];
}

Result<Index> Index::make(const ReplicatedGroup& group, std::span<const std::uint64_t> shards,
                          const IndexOptions& options) {
  if (shards.empty()) return fail(Errc::invalid_argument, "an index without shards");
  DOLMEN_TRY(const node::GroupPlan plan, node::plan(group));
  auto impl = std::make_unique<Impl>();
  for (const std::uint64_t number : shards) DOLMEN_CHECK(impl->add(plan, number, options));
  return Index(std::move(impl));
}

Result<void> Index::Impl::add(const node::GroupPlan& plan, std::uint64_t number,
                              const IndexOptions& options) {
  auto shard = std::make_unique<Shard>(options, counts);
  DOLMEN_CHECK(shard->open(plan, number, options.spin));
  Shard* const its = shard.get();
  parts.push_back({its, node::ClientOf::of(std::move(shard))});
  return {};
}

Index::Index(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Index::Index(Index&&) noexcept = default;
Index& Index::operator=(Index&&) noexcept = default;
Index::~Index() = default;

IndexCounts Index::counts() const noexcept { return impl_->counts; }
CallId Index::last_call() const noexcept { return impl_->changed.call; }
ReplicatedCommit Index::last_commit() const noexcept { return impl_->changed.commit; }

Result<IndexStats> Index::stats(std::chrono::milliseconds patience) {
  return node::stats_in(impl_->parts, patience);
}

Result<CallOutcome> Index::outcome(const CallId& call, std::chrono::milliseconds patience) {
  return node::outcome_in(impl_->parts, call, patience);
}

Result<std::optional<Index::Value>> Index::get(Bytes key, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), 0));
  Impl::Part& part = impl_->part_of(key);
  Impl::Shard::Answered answered;
  if (!part.shard->read_at_once(key, answered)) {
    const std::uint64_t now_ns = Impl::Shard::now_ns();
    const std::uint64_t deadline_ns = Impl::Shard::deadline_in(patience, now_ns);
    DOLMEN_TRY(answered, part.shard->read(key, now_ns, deadline_ns));
  }
  if (answered.is_settled) return std::move(answered.value);
  ++impl_->counts.asked;
  DOLMEN_TRY(const auto reading,
             part.client.read(node::index_question(key), part.shard->asking_level(), patience));
  return node::decode_index_value(reading.result);
}

Result<bool> Index::put(Bytes key, Bytes value, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), value.size()));
  DOLMEN_TRY(const auto reply,
             impl_->changed.make(impl_->part_of(key).client,
                                 node::index_change(IndexChange::put(key, value)), patience));
  return node::index_outcome(reply, IndexOutcome::created);
}

Result<bool> Index::erase(Bytes key, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), 0));
  DOLMEN_TRY(const auto reply,
             impl_->changed.make(impl_->part_of(key).client,
                                 node::index_change(IndexChange::erase(key)), patience));
  return node::index_outcome(reply, IndexOutcome::erased);
}

Result<std::vector<std::optional<Index::Value>>> Index::get_many(
    std::span<const Bytes> keys, std::chrono::milliseconds patience) {
  for (const Bytes key : keys) DOLMEN_CHECK(node::check_record(key.size(), 0));
  const std::uint64_t deadline_ns = Impl::Shard::deadline_in(patience);
  std::vector<Impl::Shard::Answered> answered(keys.size());
  for (const Impl::Part& part : impl_->parts) {
    std::vector<std::size_t> wanted;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (impl_->part_of(keys[i]).shard == part.shard) wanted.push_back(i);
    }
    DOLMEN_CHECK(part.shard->read_many(keys, wanted, answered, deadline_ns));
  }
  std::vector<std::optional<Value>> values(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (answered[i].is_settled) {
      values[i] = std::move(answered[i].value);
    } else {
      DOLMEN_TRY(values[i], get(keys[i], patience));
    }
  }
  return values;
}

Result<void> Index::put_many(std::span<const std::pair<Bytes, Bytes>> pairs,
                             std::chrono::milliseconds patience) {
  for (const auto& [key, value] : pairs) DOLMEN_CHECK(node::check_record(key.size(), value.size()));
  for (Impl::Part& part : impl_->parts) {
    std::vector<IndexChange> batch;
    std::size_t bytes = 0;
    const auto send = [&]() -> Result<void> {
      if (batch.empty()) return {};
      DOLMEN_TRY(const auto reply,
                 impl_->changed.make(part.client, node::index_changes(batch), patience));
      const std::size_t count = batch.size();
      batch.clear();
      bytes = 0;
      return node::index_has_room(reply, count);
    };
    for (const auto& [key, value] : pairs) {
      if (impl_->part_of(key).shard != part.shard) continue;
      const std::size_t more = key.size() + value.size();
      if (batch.size() == node::kIndexChangesMax || bytes + more > node::kIndexBatchBytes) {
        DOLMEN_CHECK(send());
      }
      batch.push_back(IndexChange::put(key, value));
      bytes += more;
    }
    DOLMEN_CHECK(send());
  }
  return {};
}

}  // namespace dolmen
