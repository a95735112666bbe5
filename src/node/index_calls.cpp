// SPDX-License-Identifier: Apache-2.0
//
// What a client of an index has under way at once.
#include <algorithm>
#include <utility>

#include "node/index_reads.hpp"
#include "node/index_request.hpp"

namespace dolmen {

using cluster::IndexCommand;
using cluster::IndexOutcome;

Result<void> Index::begin_get(Bytes key, GetTold when_done, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), 0));
  Impl::Part& part = impl_->part_of(key);
  if (part.shard->is_mapped()) {
    DOLMEN_TRY(Impl::Shard::Answered answered,
               part.shard->read(key, Impl::Shard::deadline_in(patience)));
    if (answered.is_settled) {
      impl_->read.emplace_back(std::move(when_done), std::move(answered.value));
      return {};
    }
  }
  ++impl_->counts.asked;
  return part.client.begin_read(
      node::index_question(key),
      [when_done = std::move(when_done)](Result<ReplicatedReading> reading) {
        if (!reading) return when_done(std::unexpected(reading.error()));
        when_done(node::decode_index_value(reading->result));
      },
      ReadLevel::linearizable, patience);
}

Result<void> Index::Impl::begin_change(Bytes key, const IndexCommand& command, IndexOutcome wanted,
                                       ChangeTold when_done, std::chrono::milliseconds patience) {
  return part_of(key).client.begin_call(
      node::index_change(command),
      [wanted, when_done = std::move(when_done)](Result<ReplicatedAnswer> answer) {
        if (!answer) return when_done(std::unexpected(answer.error()));
        when_done(node::index_outcome(answer->result, wanted));
      },
      patience);
}

Result<void> Index::begin_put(Bytes key, Bytes value, ChangeTold when_done,
                              std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), value.size()));
  return impl_->begin_change(key, IndexCommand::put(key, value), IndexOutcome::created,
                             std::move(when_done), patience);
}

Result<void> Index::begin_erase(Bytes key, ChangeTold when_done,
                                std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), 0));
  return impl_->begin_change(key, IndexCommand::erase(key), IndexOutcome::erased,
                             std::move(when_done), patience);
}

Result<std::size_t> Index::go_on(std::chrono::milliseconds wait) {
  // Each shard has connections of its own; of several one is waited for, not for long.
  constexpr std::uint64_t kTurnNs = 100'000;
  const std::uint64_t until_ns = Impl::Shard::deadline_in(wait);
  for (;;) {
    std::size_t count = 0;
    for (std::size_t left = impl_->read.size(); left > 0; --left) {
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
    for (Impl::Shard* const shard : busy) {
      DOLMEN_TRY(const std::size_t told, shard->go_on(is_alone ? until_ns : 0));
      count += told;
    }
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
