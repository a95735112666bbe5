// SPDX-License-Identifier: Apache-2.0
//
// A member that is about to end: others are to lead at once what it leads.
#include "replication/member.hpp"

namespace dolmen::replication {

// Whoever leads next is waited for, so that clients are told of it and nothing that was said is
// lost with the process; for as long as a silence takes to be noticed, for there may be nobody.
bool Member::hand_over() {
  look_at_clock();
  bool leads = false;
  bool knows_next = true;
  for (auto& [group, hosting] : groups_) {
    log::Replica& replica = hosting.replica;
    replica.hand_over(now_ns());
    leads |= replica.is_handing_over();
    knows_next &= !replica.has_leases() || replica.leader().has_value();
  }
  if (leads) handed_over_until_ns_ = now_ns() + options_.replica.silence_ns;
  return !leads && (knows_next || now_ns() >= handed_over_until_ns_);
}

}  // namespace dolmen::replication
