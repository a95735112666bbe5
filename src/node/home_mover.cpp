// SPDX-License-Identifier: Apache-2.0
#include "node/home_mover.hpp"

#include <algorithm>

#include "node/replicated_group.hpp"

namespace dolmen::node {

void HomeMover::host(cluster::GroupNumber group, const HomePart& part) {
  boxes_.insert_or_assign(group, Box{.part = &part});
}

bool HomeMover::turn(std::uint64_t now_ns, replication::Member& member) {
  now_ns_ = now_ns;
  bool busy = false;
  for (auto& [number, box] : boxes_) {
    if (box.changes == box.part->changes() && now_ns < box.due_ns) continue;
    if (box.asked != 0 && now_ns < box.due_ns) continue;
    if (!member.leads(group_of(number))) {
      box.asked = 0;
      box.due_ns = now_ns + kAgainNs;
      // Who does not lead is not woken up for it.
      if (!box.part->wants_parts()) box.due_ns = kNever;
      continue;
    }
    box.changes = box.part->changes();
    box.asked = 0;
    box.due_ns = kNever;
    if (!box.part->wants_parts()) continue;
    busy = true;
    box.asked = ++requests_;
    box.due_ns = now_ns + kLostNs;
    member.submit(group_of(number), parts_request(),
                  [this, number, asked = box.asked](const replication::Executor::Outcome& outcome) {
                    const auto found = boxes_.find(number);
                    if (found == boxes_.end() || found->second.asked != asked) return;
                    Box& its = found->second;
                    its.asked = 0;
                    const bool is_done = outcome.status == replication::ReplyStatus::done;
                    its.due_ns = is_done ? now_ns_ : now_ns_ + kAgainNs;
                  });
  }
  return busy;
}

std::uint64_t HomeMover::next_wakeup_ns() const noexcept {
  std::uint64_t next = kNever;
  for (const auto& [number, box] : boxes_) next = std::min(next, box.due_ns);
  return next;
}

}  // namespace dolmen::node
