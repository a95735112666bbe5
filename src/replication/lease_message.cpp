// SPDX-License-Identifier: Apache-2.0
#include "replication/lease_message.hpp"

namespace dolmen::replication {

namespace {

constexpr std::uint64_t kDriftMaxPpm = 500'000;

std::unexpected<Error> damaged_lease() { return fail(Errc::corrupt, "a message about a lease"); }

}  // namespace

std::vector<std::byte> encode(const AskLease& ask) {
  base::ByteWriter out;
  out.put(ask.number);
  out.put(ask.epoch);
  return out.release();
}

std::vector<std::byte> encode(const LeaseTold& told) {
  base::ByteWriter out;
  out.put(told.number);
  out.put(told.left_ns);
  out.put(told.drift_ppm);
  return out.release();
}

Result<AskLease> decode_ask_lease(base::Bytes body) {
  base::ByteReader in(body);
  const AskLease ask{.number = in.get<std::uint64_t>(), .epoch = in.get<std::uint64_t>()};
  if (!in.finished() || ask.epoch == 0 || ask.epoch > log::kEpochMax) return damaged_lease();
  return ask;
}

Result<LeaseTold> decode_lease_told(base::Bytes body) {
  base::ByteReader in(body);
  const LeaseTold told{.number = in.get<std::uint64_t>(),
                       .left_ns = in.get<std::uint64_t>(),
                       .drift_ppm = in.get<std::uint64_t>()};
  if (!in.finished() || told.left_ns > kLeaseMaxNs || told.drift_ppm > kDriftMaxPpm) {
    return damaged_lease();
  }
  return told;
}

}  // namespace dolmen::replication
