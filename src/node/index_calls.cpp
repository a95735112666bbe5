// SPDX-License-Identifier: Apache-2.0
//
// What a client of an index has under way at once.
#include <algorithm>
#include <utility>

#include "node/index_reads.hpp"
#include "node/index_request.hpp"

namespace dolmen {

using cluster::IndexChange;
using cluster::IndexOutcome;

Result<void> Index::begin_get(Bytes key, GetTold when_done, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), 0));
  Impl::Part& part = impl_->part_of(key);
  Impl::Shard::Answered answered;
  if (!part.shard->read_at_once(key, answered) && part.shard->endpoint->traits().mapped) {
    const std::uint64_t now_ns = Impl::Shard::now_ns();
    const std::uint64_t deadline_ns = Impl::Shard::deadline_in(patience, now_ns);
    DOLMEN_TRY(const bool is_by_loads, part.shard->is_loaded(deadline_ns));
    if (is_by_loads) {
      DOLMEN_TRY(answered, part.shard->read(key, now_ns, deadline_ns));
    }
  }
  if (answered.is_settled) {
    impl_->read.emplace_back(std::move(when_done), std::move(answered.value));
    return {};
  }
  ++impl_->counts.asked;
  // As ReplicatedClient::begin_read(), with one thing less to tell.
  return part.shard->calls.begin_read(
      node::index_question(key), node::level_of(part.shard->asking_level()),
      Impl::Shard::deadline_in(patience),
      [when_done = std::move(when_done)](Result<node::Calls::Outcome> outcome) {
        if (!outcome) return when_done(std::unexpected(outcome.error()));
        when_done(node::take_index_value(std::move(outcome->result)));
      });
}

Result<void> Index::Impl::begin_change(Bytes key, const IndexChange& change, IndexOutcome wanted,
                                       ChangeTold when_done, std::chrono::milliseconds patience) {
  ReplicatedClient& client = part_of(key).client;
  return client.begin_call(
      node::index_change(change),
      [this, &client, wanted, when_done = std::move(when_done)](Result<ReplicatedAnswer> answer) {
        changed.note(client, answer.has_value());
        if (!answer) return when_done(std::unexpected(answer.error()));
        when_done(node::index_outcome(answer->result, wanted));
      },
      patience);
}

Result<void> Index::begin_put(Bytes key, Bytes value, ChangeTold when_done,
                              std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), value.size()));
  return impl_->begin_change(key, IndexChange::put(key, value), IndexOutcome::created,
                             std::move(when_done), patience);
}

Result<void> Index::begin_erase(Bytes key, ChangeTold when_done,
                                std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), 0));
  return impl_->begin_change(key, IndexChange::erase(key), IndexOutcome::erased,
                             std::move(when_done), patience);
}

Result<void> Index::begin_put_many(std::span<const std::pair<Bytes, Bytes>> pairs,
                                   PutsTold when_done, std::chrono::milliseconds patience) {
  std::vector<std::pair<Impl::Part*, std::vector<IndexChange>>> batches;
  for (Impl::Part& part : impl_->parts) {
    std::vector<IndexChange> changes;
    std::size_t bytes = 0;
    for (const auto& [key, value] : pairs) {
      DOLMEN_CHECK(node::check_record(key.size(), value.size()));
      if (impl_->part_of(key).shard != part.shard) continue;
      changes.push_back(IndexChange::put(key, value));
      bytes += key.size() + value.size();
    }
    const bool is_one = changes.size() == 1;
    if (changes.size() > node::kIndexChangesMax || (!is_one && bytes > node::kIndexBatchBytes)) {
      return fail(Errc::too_large, "puts of one shard at once", changes.size());
    }
    if (part.client.under_way() >= node::Calls::kCallsMax) {
      return fail(Errc::busy, "calls of a client under way: go_on() first");
    }
    if (!changes.empty()) batches.emplace_back(&part, std::move(changes));
  }
  /// Told when the last shard has answered.
  struct Waiting {
    std::size_t left;
    Result<void> first{};
    PutsTold when_done;
  };
  auto waiting = std::make_shared<Waiting>(
      Waiting{.left = std::max<std::size_t>(batches.size(), 1), .when_done = std::move(when_done)});
  const auto answered = [waiting](const Result<void>& one) {
    if (!one && waiting->first) waiting->first = one;
    if (--waiting->left == 0) waiting->when_done(waiting->first);
  };
  for (const auto& [part, changes] : batches) {
    DOLMEN_CHECK(part->client.begin_call(
        node::index_changes(changes),
        [answered, impl = impl_.get(), &client = part->client,
         count = changes.size()](const Result<ReplicatedAnswer>& answer) {
          impl->changed.note(client, answer.has_value());
          if (!answer) return answered(std::unexpected(answer.error()));
          answered(node::index_has_room(answer->result, count));
        },
        patience));
  }
  if (batches.empty()) {
    impl_->read.emplace_back([answered](const auto&) { answered({}); }, std::nullopt);
  }
  return {};
}

Result<std::size_t> Index::go_on(std::chrono::milliseconds wait) {
  // Each shard has connections of its own; of several one is waited for, not for long.
  constexpr std::uint64_t kTurnNs = 100'000;
  const std::uint64_t until_ns = Impl::Shard::deadline_in(wait);
  for (;;) {
    std::size_t count = 0;
    for (std::size_t left = impl_->read.size(); left > 0 && !impl_->read.empty(); --left) {
      auto [told, value] = std::move(impl_->read.front());
      impl_->read.pop_front();
      ++count;
      told(std::move(value));
    }
    std::vector<Impl::Shard*> busy;
    for (const Impl::Part& part : impl_->parts) {
      if (part.client.under_way() > 0) busy.push_back(part.shard);
    }
    const bool is_alone = busy.size() == 1 && count == 0;
    // One without connections is not in the way of the others.
    Result<void> gone_on;
    for (Impl::Shard* const shard : busy) {
      const Result<std::size_t> told = shard->go_on(is_alone ? until_ns : 0);
      if (told) count += *told;
      if (!told && gone_on) gone_on = std::unexpected(told.error());
    }
    if (count == 0) DOLMEN_CHECK(gone_on);
    const std::uint64_t now_ns = Impl::Shard::now_ns();
    if (count > 0 || busy.empty() || now_ns >= until_ns) return count;
    if (is_alone) continue;
    Impl::Shard* const next = busy[impl_->next_part++ % busy.size()];
    DOLMEN_TRY(const std::size_t told, next->go_on(std::min(until_ns, now_ns + kTurnNs)));
    if (told > 0) return told;
  }
}

std::size_t Index::under_way() const noexcept {
  std::size_t count = impl_->read.size();
  for (const Impl::Part& part : impl_->parts) count += part.client.under_way();
  return count;
}

}  // namespace dolmen
