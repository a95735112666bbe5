// SPDX-License-Identifier: Apache-2.0
#include "node/region_lease.hpp"

#include <algorithm>

#include "base/hooks.hpp"
#include "log/replica.hpp"

namespace dolmen::node {

void RegionLease::begin(log::Epoch epoch) {
  epoch_ = epoch;
  asked_ns_ = 0;
  next_ns_ = 0;
  until_ns_ = 0;
}

std::optional<replication::AskLease> RegionLease::ask(std::uint64_t now_ns) {
  if (epoch_ == 0 || now_ns < next_ns_) return std::nullopt;
  asked_ns_ = now_ns;
  next_ns_ = now_ns + kAgainNs;
  return replication::AskLease{.number = ++number_, .epoch = epoch_};
}

// It counts from the question: the member looked at its clock after that.
void RegionLease::told(std::uint64_t now_ns, const replication::LeaseTold& told) {
  if (asked_ns_ == 0 || told.number != number_) return;
  const std::uint64_t from_ns = DOLMEN_PLANTED("node.lease_from_answer") ? now_ns : asked_ns_;
  const std::uint64_t length_ns = log::Replica::lent_ns(told.left_ns, told.drift_ppm);
  until_ns_ = std::max(until_ns_, from_ns + length_ns);
  next_ns_ = told.left_ns == 0 ? now_ns + kNoneNs
                               : std::max(asked_ns_ + length_ns / 2, now_ns + 1'000'000);
  asked_ns_ = 0;
}

}  // namespace dolmen::node
