// SPDX-License-Identifier: Apache-2.0
#include "log/snapshot.hpp"

#include <utility>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"

namespace dolmen::log {

namespace {

constexpr std::size_t kChecksumBytes = 8;

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a snapshot of a replica"); }

}  // namespace

Result<SnapshotPtr> Snapshot::make(const SnapshotPlace& place, base::Bytes state) {
  const std::vector<std::byte> configuration = encode(place.configuration);
  base::ByteWriter out;
  out.put(kSnapshotMagic);
  out.put(static_cast<std::uint16_t>(kSnapshotVersion));
  out.put(std::uint16_t{0});
  out.put(place.last.origin);
  out.put(place.last.index);
  out.put(place.configured_at);
  out.put(place.settled_at);
  out.put(static_cast<std::uint32_t>(configuration.size()));
  out.put(std::uint32_t{0});
  out.put_bytes(configuration);
  const std::size_t state_offset = out.bytes().size();
  if (state.size() > kSnapshotBytesMax - state_offset - kChecksumBytes) {
    return fail(Errc::too_large, "a snapshot of a replica", state.size());
  }
  out.put_bytes(state);
  out.put(base::checksum64(out.bytes(), kSnapshotSeed));
  const std::shared_ptr<Snapshot> snapshot(new Snapshot);
  snapshot->place_ = place;
  snapshot->state_offset_ = state_offset;
  snapshot->state_bytes_ = state.size();
  snapshot->bytes_ = out.release();
  return snapshot;
}

Result<SnapshotPtr> Snapshot::decode(std::vector<std::byte> bytes) {
  if (bytes.size() > kSnapshotBytesMax || bytes.size() < kChecksumBytes) return damaged();
  const base::Bytes body = base::Bytes(bytes).first(bytes.size() - kChecksumBytes);
  if (base::load<std::uint64_t>(bytes, body.size()) != base::checksum64(body, kSnapshotSeed)) {
    return damaged();
  }
  base::ByteReader in(body);
  if (in.get<std::uint32_t>() != kSnapshotMagic) return damaged();
  if (const auto version = in.get<std::uint16_t>(); version != kSnapshotVersion && !in.failed()) {
    return fail(Errc::version_unsupported, "a snapshot of a replica", version);
  }
  const bool is_spare_used = in.get<std::uint16_t>() != 0;
  SnapshotPlace place;
  place.last.origin = in.get<std::uint64_t>();
  place.last.index = in.get<std::uint64_t>();
  place.configured_at = in.get<std::uint64_t>();
  place.settled_at = in.get<std::uint64_t>();
  const auto configuration_bytes = in.get<std::uint32_t>();
  if (is_spare_used || in.get<std::uint32_t>() != 0) return damaged();
  auto configuration = decode_configuration(in.take(configuration_bytes));
  if (in.failed() || !configuration) return damaged();
  place.configuration = std::move(*configuration);
  const auto& [last, configured_at, settled_at, _] = place;
  if (last.origin == 0 || last.origin > kEpochMax) return damaged();
  if (last.index == 0 || last.index > kIndexMax) return damaged();
  if (configured_at > last.index || settled_at > last.index) return damaged();
  if (settled_at != 0 && (configured_at == 0 || settled_at <= configured_at)) return damaged();
  const std::shared_ptr<Snapshot> snapshot(new Snapshot);
  snapshot->place_ = std::move(place);
  snapshot->state_offset_ = in.position();
  snapshot->state_bytes_ = in.remaining();
  snapshot->bytes_ = std::move(bytes);
  return snapshot;
}

}  // namespace dolmen::log
