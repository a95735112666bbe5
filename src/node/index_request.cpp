// SPDX-License-Identifier: Apache-2.0
//
// What clients of an index send, and are told.
#include "node/index_request.hpp"

#include <algorithm>

#include "node/shard_machine.hpp"

namespace dolmen::node {

namespace {

using cluster::IndexCommand;
using cluster::IndexKind;
using cluster::IndexOutcome;

constexpr std::uint8_t kAsks = 1;
constexpr std::uint8_t kChanges = 2;
constexpr std::uint8_t kScans = 3;
constexpr std::uint8_t kStats = 4;
constexpr std::uint8_t kHasEnd = 1;
constexpr std::uint8_t kIsBackward = 2;

base::Bytes take_sized_key(base::ByteReader& in) {
  const auto bytes = in.get<std::uint32_t>();
  // The first key behind the longest one has one byte more.
  if (bytes > cluster::kRecordKeyBytesMax + 1) in.fail();
  return in.take(bytes);
}

void put_sized_key(base::ByteWriter& out, base::Bytes key) {
  out.put(static_cast<std::uint32_t>(key.size()));
  out.put_bytes(key);
}

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a request to an index"); }

}  // namespace

std::vector<std::byte> encode(const IndexRequest& request) {
  base::ByteWriter out;
  if (request.asked) {
    out.put(kAsks);
    out.put_bytes(*request.asked);
    return out.release();
  }
  if (request.scan) {
    const cluster::OrderedRange& range = request.scan->range;
    out.put(kScans);
    out.put(static_cast<std::uint8_t>((range.to ? kHasEnd : 0) |
                                      (range.is_backward ? kIsBackward : 0)));
    out.put(request.scan->limit);
    put_sized_key(out, range.from);
    if (range.to) put_sized_key(out, *range.to);
    return out.release();
  }
  if (request.asks_stats) return index_stats_question();
  DOLMEN_ASSERT_CMP(request.changes.size(), <=, kIndexChangesMax);
  out.put(kChanges);
  out.put(request.release);
  for (const IndexCommand& change : request.changes) {
    const auto bytes = encode_index_command(change, IndexKind::records);
    out.put(static_cast<std::uint32_t>(bytes.size()));
    out.put_bytes(bytes);
  }
  return out.release();
}

Result<IndexRequestView> view_index_request(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto kind = in.get<std::uint8_t>();
  IndexRequestView request;
  if (kind == kAsks) {
    const base::Bytes key = in.take(in.remaining());
    if (in.failed() || !cluster::is_possible_record(key.size(), 0)) return damaged();
    request.asked = key;
    return request;
  }
  if (kind == kScans) {
    IndexScan scan;
    const auto flags = in.get<std::uint8_t>();
    scan.limit = in.get<std::uint32_t>();
    const base::Bytes from = take_sized_key(in);
    scan.range.from.assign(from.begin(), from.end());
    if ((flags & kHasEnd) != 0) {
      const base::Bytes to = take_sized_key(in);
      scan.range.to.emplace(to.begin(), to.end());
    }
    scan.range.is_backward = (flags & kIsBackward) != 0;
    if (in.failed() || in.remaining() != 0 || flags > (kHasEnd | kIsBackward)) return damaged();
    request.scan = std::move(scan);
    return request;
  }
  request.asks_stats = is_index_stats_question(bytes);
  if (request.asks_stats) return request;
  if (kind != kChanges) return damaged();
  request.release = in.get<log::Index>();
  request.changes = in.take(in.remaining());
  if (in.failed()) return damaged();
  base::ByteReader rest(request.changes);
  while (rest.remaining() > 0) {
    if (request.count == kIndexChangesMax) return damaged();
    const base::Bytes one = rest.take(rest.get<std::uint32_t>());
    if (rest.failed()) return damaged();
    const auto change = cluster::view_index_command(one, IndexKind::records);
    if (!change) return damaged();
    if (change->kind != IndexCommand::Kind::put && change->kind != IndexCommand::Kind::erase) {
      return damaged();
    }
    ++request.count;
  }
  return request;
}

Result<IndexRequest> decode_index_request(base::Bytes bytes) {
  DOLMEN_TRY(IndexRequestView seen, view_index_request(bytes));
  IndexRequest request;
  if (seen.asked) request.asked.emplace(seen.asked->begin(), seen.asked->end());
  request.scan = std::move(seen.scan);
  request.asks_stats = seen.asks_stats;
  request.release = seen.release;
  base::ByteReader in(seen.changes);
  while (in.remaining() > 0) {
    const base::Bytes one = in.take(in.get<std::uint32_t>());
    DOLMEN_TRY(IndexCommand change, cluster::decode_index_command(one, IndexKind::records));
    request.changes.push_back(std::move(change));
  }
  return request;
}

std::vector<std::byte> with_release(base::Bytes request, log::Index release) {
  DOLMEN_ASSERT(!request.empty() && request[0] == std::byte{kChanges});
  std::vector<std::byte> bytes(request.begin(), request.end());
  base::store(base::MutableBytes(bytes), 1, release);
  return bytes;
}

Result<std::optional<std::vector<std::byte>>> decode_index_value(base::Bytes reply) {
  if (reply.empty() || reply[0] > std::byte{1}) return damaged();
  const bool is_there = reply[0] == std::byte{1};
  if (!is_there && reply.size() > 1) return damaged();
  if (!is_there) return std::nullopt;
  return std::vector<std::byte>(reply.begin() + 1, reply.end());
}

Result<std::optional<std::vector<std::byte>>> take_index_value(std::vector<std::byte>&& reply) {
  std::vector<std::byte> bytes = std::move(reply);
  if (bytes.empty() || bytes[0] != std::byte{1}) return decode_index_value(bytes);
  bytes.erase(bytes.begin());
  return bytes;
}

Result<std::vector<IndexOutcome>> decode_index_outcomes(base::Bytes reply, std::size_t count) {
  if (reply.size() != count) return damaged();
  std::vector<IndexOutcome> outcomes;
  for (const std::byte one : reply) {
    if (one >= std::byte{static_cast<std::uint8_t>(IndexOutcome::done)}) return damaged();
    outcomes.push_back(static_cast<IndexOutcome>(one));
  }
  return outcomes;
}

std::vector<std::byte> encode_index_value(const std::optional<std::vector<std::byte>>& value) {
  base::ByteWriter out;
  out.put(std::uint8_t{value.has_value()});
  if (value) out.put_bytes(*value);
  return out.release();
}

std::vector<std::byte> encode_index_page(const cluster::OrderedPage& page) {
  base::ByteWriter out;
  // The last one that was taken may be larger than there is room for.
  std::size_t bytes = 0;
  std::size_t count = 0;
  for (const cluster::OrderedEntry& entry : page.entries) {
    bytes += entry.key.size() + entry.value.size();
    if (count > 0 && bytes > kPageBytesMax) break;
    ++count;
  }
  out.put(std::uint8_t{page.is_last && count == page.entries.size()});
  for (std::size_t i = 0; i < count; ++i) {
    put_sized_key(out, page.entries[i].key);
    out.put(static_cast<std::uint32_t>(page.entries[i].value.size()));
    out.put_bytes(page.entries[i].value);
  }
  return out.release();
}

Result<cluster::OrderedPage> decode_index_page(base::Bytes reply) {
  base::ByteReader in(reply);
  cluster::OrderedPage page;
  const auto is_last = in.get<std::uint8_t>();
  while (!in.failed() && in.remaining() > 0) {
    const base::Bytes key = take_sized_key(in);
    const base::Bytes value = in.take(in.get<std::uint32_t>());
    if (in.failed()) return damaged();
    page.entries.push_back(
        {.key = {key.begin(), key.end()}, .value = {value.begin(), value.end()}});
  }
  if (in.failed() || is_last > 1) return damaged();
  page.is_last = is_last == 1;
  return page;
}

std::vector<std::byte> index_stats_question() { return {std::byte{kStats}}; }

bool is_index_stats_question(base::Bytes query) noexcept {
  return query.size() == 1 && query[0] == std::byte{kStats};
}

std::vector<std::byte> encode_index_stats(const IndexShardStats& stats) {
  base::ByteWriter out;
  for (const std::uint64_t one :
       {stats.keys, stats.table_bytes_used, stats.table_bytes, stats.record_bytes_live,
        stats.record_bytes_used, stats.record_bytes}) {
    out.put(one);
  }
  return out.release();
}

Result<IndexShardStats> decode_index_stats(base::Bytes reply) {
  base::ByteReader in(reply);
  IndexShardStats stats;
  for (std::uint64_t* const one :
       {&stats.keys, &stats.table_bytes_used, &stats.table_bytes, &stats.record_bytes_live,
        &stats.record_bytes_used, &stats.record_bytes}) {
    *one = in.get<std::uint64_t>();
  }
  if (!in.finished() || stats.table_bytes_used > stats.table_bytes ||
      stats.record_bytes_live > stats.record_bytes_used ||
      stats.record_bytes_used > stats.record_bytes) {
    return damaged();
  }
  return stats;
}

IndexShardStats stats_of(const cluster::HashIndex& table) noexcept {
  const cluster::IndexStatistics now = table.statistics();
  const std::uint64_t used = std::uint64_t{now.buckets_live} + now.buckets_retired;
  return {.keys = now.keys,
          .table_bytes_used = used * cluster::kBucketBytes,
          .table_bytes = (used + now.buckets_free) * cluster::kBucketBytes,
          .record_bytes_live = now.record_bytes,
          .record_bytes_used =
              std::min<std::uint64_t>(now.heap_bytes_used, table.geometry().heap_bytes),
          .record_bytes = table.geometry().heap_bytes};
}

IndexShardStats stats_of(const cluster::OrderedTree& table) noexcept {
  const cluster::OrderedStatistics now = table.statistics();
  const std::uint64_t used = std::uint64_t{now.nodes_live} + now.nodes_retired;
  return {.keys = now.keys,
          .table_bytes_used = used * cluster::kNodeBytes,
          .table_bytes = (used + now.nodes_free) * cluster::kNodeBytes,
          .record_bytes_live = now.record_bytes,
          .record_bytes_used =
              std::min<std::uint64_t>(now.heap_bytes_used, table.geometry().heap_bytes),
          .record_bytes = table.geometry().heap_bytes};
}

std::unexpected<Error> refused_request(const char* what) {
  return fail(Errc::invalid_argument, what);
}

Result<void> check_record(std::size_t key_bytes, std::size_t value_bytes) {
  if (cluster::is_possible_record(key_bytes, value_bytes)) return {};
  return fail(Errc::too_large, "a key and its value", key_bytes + value_bytes);
}

std::unexpected<Error> index_full() { return fail(Errc::no_space, "a shard of an index"); }

std::vector<std::byte> index_question(base::Bytes key) {
  base::ByteWriter out;
  out.reserve(1 + key.size());
  out.put(kAsks);
  out.put_bytes(key);
  return out.release();
}

std::vector<std::byte> index_changes(std::span<const cluster::IndexChange> changes) {
  DOLMEN_ASSERT_CMP(changes.size(), <=, kIndexChangesMax);
  std::size_t bytes = 9;
  for (const cluster::IndexChange& change : changes) {
    bytes += 9 + change.key.size() + change.value.size();
  }
  base::ByteWriter out;
  out.reserve(bytes);
  out.put(kChanges);
  out.put(log::Index{0});
  for (const cluster::IndexChange& change : changes) {
    const std::size_t at = out.size();
    out.put(std::uint32_t{0});
    put_index_command(out, change, IndexKind::records);
    out.patch(at, static_cast<std::uint32_t>(out.size() - at - 4));
  }
  return out.release();
}

Result<void> index_has_room(base::Bytes reply, std::size_t count) {
  DOLMEN_TRY(const auto outcomes, decode_index_outcomes(reply, count));
  if (std::ranges::find(outcomes, IndexOutcome::no_space) != outcomes.end()) return index_full();
  return {};
}

Result<bool> index_outcome(base::Bytes reply, IndexOutcome wanted) {
  DOLMEN_TRY(const auto outcomes, decode_index_outcomes(reply, 1));
  if (outcomes[0] == IndexOutcome::no_space) return index_full();
  return outcomes[0] == wanted;
}

}  // namespace dolmen::node
