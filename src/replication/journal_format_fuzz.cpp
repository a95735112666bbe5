// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as what a store gave back, its checksums notwithstanding: what a decoder accepts is
// exactly what its encoder makes, and what apply() accepts a replica can start from. The input: a
// byte that says what the rest is; of several things each has its length, 4 bytes, in front.
// Snapshots are given the checksum that fits them.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "replication/journal_format.hpp"

namespace {

using namespace dolmen;

enum class Input : std::uint8_t { batches, checkpoint, catalog };

base::Bytes take_item(base::ByteReader& in) {
  const auto bytes = in.get<std::uint32_t>();
  return in.take(std::min<std::size_t>(bytes, in.remaining()));
}

/// The bytes with a checksum that fits them in place of their last.
std::vector<std::byte> sealed(base::Bytes bytes) {
  std::vector<std::byte> result(bytes.begin(), bytes.end());
  if (result.size() < 8) return result;
  const base::Bytes body = base::Bytes(result).first(result.size() - 8);
  base::store(base::MutableBytes(result), body.size(), base::checksum64(body, log::kSnapshotSeed));
  return result;
}

// The parts of a batch, with every snapshot among them sealed.
std::vector<std::byte> seal_batch(base::Bytes bytes) {
  constexpr std::size_t kHeadBytes = 24;
  constexpr auto kSnapshotPart = std::byte{3};
  std::vector<std::byte> result(bytes.begin(), bytes.end());
  for (std::size_t at = kHeadBytes; at + 8 <= result.size();) {
    const std::size_t length = base::load<std::uint32_t>(result, at + 4);
    if (length > result.size() - at - 8) break;
    if (result[at] == kSnapshotPart) {
      std::ranges::copy(sealed(base::Bytes(result).subspan(at + 8, length)),
                        result.begin() + static_cast<std::ptrdiff_t>(at + 8));
    }
    at += 8 + length;
  }
  return result;
}

void start_replica(const replication::Hosted& hosted) {
  log::Replica replica(hosted.self, hosted.first, {}, hosted.state, 1, 0);
  replica.tick(replica.next_wakeup_ns());
  DOLMEN_ASSERT(replica.end().index == hosted.state.base.index + hosted.state.entries.size());
}

std::optional<replication::Batch> try_batch(base::Bytes bytes) {
  auto batch = replication::decode_batch(bytes);
  if (!batch) return std::nullopt;
  const bool is_new = batch->self != log::ReplicaId{};
  const std::vector<std::byte> again =
      batch->is_removed ? replication::encode_removed_replica(batch->group)
      : is_new          ? replication::encode_new_replica(batch->group, batch->self, batch->first)
                        : replication::encode_records(batch->group, batch->records);
  DOLMEN_ASSERT(std::ranges::equal(again, bytes));
  return std::move(*batch);
}

/// Batches of one replica, one after the other, upon `hosted`.
void replay(base::ByteReader& in, replication::Hosted hosted) {
  while (in.remaining() > 0) {
    const std::vector<std::byte> bytes = seal_batch(take_item(in));
    const auto batch = try_batch(bytes);
    if (!batch) return;
    for (const log::Record& record : batch->records) {
      if (!replication::apply(hosted.state, record)) return start_replica(hosted);
    }
    // Whatever apply() let through is a state that a checkpoint can keep.
    const auto again =
        replication::decode_hosted(replication::encode_hosted(hosted), hosted.state.snapshot);
    DOLMEN_ASSERT(again && again->state.entries == hosted.state.entries);
  }
  start_replica(hosted);
}

void try_checkpoint(base::ByteReader& in) {
  const std::vector<std::byte> kept = sealed(take_item(in));
  log::SnapshotPtr snapshot;
  if (!kept.empty()) {
    auto decoded = log::Snapshot::decode(kept);
    if (!decoded) return;
    snapshot = std::move(*decoded);
  }
  const base::Bytes bytes = take_item(in);
  auto hosted = replication::decode_hosted(bytes, std::move(snapshot));
  if (!hosted) return;
  DOLMEN_ASSERT(std::ranges::equal(replication::encode_hosted(*hosted), bytes));
  start_replica(*hosted);
  replay(in, std::move(*hosted));
}

void try_catalog(base::Bytes bytes) {
  const auto groups = replication::decode_catalog(bytes);
  if (groups) DOLMEN_ASSERT(std::ranges::equal(replication::encode_catalog(*groups), bytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const base::Bytes all = std::as_bytes(std::span(data, size));
  // As they are: nothing that is only sealed here.
  (void)replication::decode_batch(all);
  (void)replication::decode_hosted(all, nullptr);
  base::ByteReader in(all);
  switch (static_cast<Input>(in.get<std::uint8_t>())) {
    case Input::batches:
      replay(in, {.self = log::ReplicaId{1}, .first = {.voters = {log::ReplicaId{1}}}});
      break;
    case Input::checkpoint:
      try_checkpoint(in);
      break;
    case Input::catalog:
      try_catalog(in.take(in.remaining()));
      break;
  }
  return 0;
}
