// SPDX-License-Identifier: Apache-2.0
//
// The client of an ordered index: which shard a key is in, ranges that are in several, and what is
// asked by message.
#include <algorithm>
#include <utility>

#include <dolmen/ordered_index.hpp>

#include "node/index_request.hpp"
#include "node/ordered_machine.hpp"
#include "node/ordered_reads.hpp"

namespace dolmen {

namespace {

using cluster::IndexChange;
using cluster::IndexOutcome;
using cluster::OrderedPage;
using cluster::OrderedRange;

/// Of keys and values in a page.
constexpr std::size_t kScanBytesMax = std::size_t{1} << 20;

}  // namespace

std::size_t OrderedIndex::Impl::part_of(Bytes key) const {
  const auto is_above = [&](const Value& split) {
    return std::ranges::lexicographical_compare(key, split);
  };
  return static_cast<std::size_t>(std::ranges::find_if(splits, is_above) - splits.begin());
}

Result<bool> OrderedIndex::Impl::change(Bytes key, const IndexChange& change, IndexOutcome wanted,
                                        std::chrono::milliseconds patience) {
  DOLMEN_TRY(const auto reply,
             changed.make(parts[part_of(key)].client, node::index_change(change), patience));
  return node::index_outcome(reply, wanted);
}

Result<OrderedPage> OrderedIndex::Impl::ask(std::size_t part, OrderedRange range, std::size_t limit,
                                            std::chrono::milliseconds patience) {
  ++counts.asked;
  node::IndexRequest request;
  request.scan = node::IndexScan{
      .range = std::move(range),
      .limit = static_cast<std::uint32_t>(std::min(limit, std::size_t{0xFFFFFFFF}))};
  DOLMEN_TRY(
      const auto reading,
      parts[part].client.read(node::encode(request), parts[part].reads->asking_level(), patience));
  return node::decode_index_page(reading.result);
}

Result<void> OrderedIndex::Impl::add(const node::GroupPlan& plan, std::uint64_t number,
                                     const IndexOptions& options) {
  auto reads = std::make_unique<node::OrderedReads>(options, counts);
  DOLMEN_CHECK(reads->open(plan, number, options.spin));
  node::OrderedReads* const its = reads.get();
  parts.push_back({its, node::ClientOf::of(std::move(reads))});
  return {};
}

Result<OrderedIndex> OrderedIndex::make(const ReplicatedGroup& group,
                                        std::span<const std::uint64_t> shards,
                                        std::span<const Value> splits,
                                        const IndexOptions& options) {
  if (shards.empty()) return fail(Errc::invalid_argument, "an index without shards");
  if (splits.size() + 1 != shards.size()) {
    return fail(Errc::invalid_argument, "splits of an index, one less than shards", splits.size());
  }
  for (std::size_t i = 0; i < splits.size(); ++i) {
    if (splits[i].empty() || splits[i].size() > cluster::kRecordKeyBytesMax ||
        (i > 0 && splits[i] <= splits[i - 1])) {
      return fail(Errc::invalid_argument, "splits of an index, that rise", i);
    }
  }
  DOLMEN_TRY(const node::GroupPlan plan, node::plan(group));
  auto impl = std::make_unique<Impl>();
  impl->splits.assign(splits.begin(), splits.end());
  for (const std::uint64_t number : shards) DOLMEN_CHECK(impl->add(plan, number, options));
  return OrderedIndex(std::move(impl));
}

OrderedIndex::OrderedIndex(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
OrderedIndex::OrderedIndex(OrderedIndex&&) noexcept = default;
OrderedIndex& OrderedIndex::operator=(OrderedIndex&&) noexcept = default;
OrderedIndex::~OrderedIndex() = default;

IndexCounts OrderedIndex::counts() const noexcept { return impl_->counts; }
CallId OrderedIndex::last_call() const noexcept { return impl_->changed.call; }
ReplicatedCommit OrderedIndex::last_commit() const noexcept { return impl_->changed.commit; }

Result<IndexStats> OrderedIndex::stats(std::chrono::milliseconds patience) {
  return node::stats_in(impl_->parts, patience);
}

Result<CallOutcome> OrderedIndex::outcome(const CallId& call, std::chrono::milliseconds patience) {
  return node::outcome_in(impl_->parts, call, patience);
}

Result<std::optional<OrderedIndex::Value>> OrderedIndex::get(Bytes key,
                                                             std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), 0));
  const std::size_t part = impl_->part_of(key);
  const std::uint64_t deadline_ns = node::RegionReads::deadline_in(patience);
  DOLMEN_TRY(auto answer, impl_->parts[part].reads->read(key, deadline_ns));
  if (answer) return std::move(*answer);
  ++impl_->counts.asked;
  DOLMEN_TRY(const auto reading,
             impl_->parts[part].client.read(node::index_question(key),
                                            impl_->parts[part].reads->asking_level(), patience));
  return node::decode_index_value(reading.result);
}

Result<bool> OrderedIndex::put(Bytes key, Bytes value, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), value.size()));
  return impl_->change(key, IndexChange::put(key, value), IndexOutcome::created, patience);
}

Result<bool> OrderedIndex::erase(Bytes key, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(node::check_record(key.size(), 0));
  return impl_->change(key, IndexChange::erase(key), IndexOutcome::erased, patience);
}

Result<OrderedIndex::Page> OrderedIndex::scan(const Range& range, std::size_t limit, Moment moment,
                                              std::chrono::milliseconds patience) {
  for (const std::size_t key : {range.from.size(), range.to ? range.to->size() : 0}) {
    // The first one behind a key has one byte more.
    if (key > cluster::kRecordKeyBytesMax + 1) return fail(Errc::too_large, "a key", key);
  }
  OrderedRange rest{.from = {range.from.begin(), range.from.end()},
                    .is_backward = range.is_backward};
  if (range.to) rest.to.emplace(range.to->begin(), range.to->end());
  Page page;
  page.is_last = rest.to && *rest.to <= rest.from;
  if (page.is_last || limit == 0) return page;
  const std::uint64_t deadline_ns = node::RegionReads::deadline_in(patience);
  const std::size_t first = impl_->part_of(rest.from);
  const std::size_t last = rest.to ? impl_->part_of(*rest.to) : impl_->splits.size();
  std::size_t part = rest.is_backward ? last : first;
  std::size_t bytes = 0;
  for (;;) {
    const std::size_t more = limit - page.entries.size();
    std::optional<OrderedPage> found;
    if (!rest.is_backward && moment == Moment::each) {
      DOLMEN_TRY(found,
                 impl_->parts[part].reads->scan(rest, more, kScanBytesMax - bytes, deadline_ns));
    }
    if (!found) {
      const std::uint64_t now_ns = node::RegionReads::now_ns();
      const std::chrono::milliseconds left((std::max(deadline_ns, now_ns) - now_ns) / 1'000'000);
      DOLMEN_TRY(found, impl_->ask(part, rest, more, left));
    }
    if (found->entries.empty() && !found->is_last) {
      return fail(Errc::corrupt, "a page of an index");
    }
    for (cluster::OrderedEntry& entry : found->entries) {
      bytes += entry.key.size() + entry.value.size();
      page.entries.push_back({std::move(entry.key), std::move(entry.value)});
    }
    const bool is_end = found->is_last && part == (rest.is_backward ? first : last);
    page.is_last = is_end;
    if (is_end || page.entries.size() >= limit || bytes >= kScanBytesMax) return page;
    // A page of one moment is one shard's; an empty one says nothing.
    if (moment == Moment::one && !page.entries.empty()) return page;
    if (found->is_last) {
      part = rest.is_backward ? part - 1 : part + 1;
    } else if (rest.is_backward) {
      rest.to = page.entries.back().key;
    } else {
      rest.from = page.entries.back().key;
      rest.from.push_back(std::byte{0});
    }
  }
}

}  // namespace dolmen
