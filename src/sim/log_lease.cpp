// SPDX-License-Identifier: Apache-2.0
//
// Who reads what a leader has decided without asking it: a lease is asked for, and then its memory
// is looked at, whatever has become of its process meanwhile. What is believed has to hold all that
// anybody was told before the read began.
#include <algorithm>

#include "sim/log_run.hpp"

namespace dolmen::sim {

namespace {
constexpr std::uint64_t kWayMaxNs = 5 * kMs;
}  // namespace

void LogRun::use_leases() {
  // In some runs longer than any patience.
  const std::uint64_t longest_ns = lease_random_.below(2) == 0 ? 80 * kMs : 400 * kMs;
  replica_options_.lease_ns = 20 * kMs + lease_random_.below(longest_ns);
  // Clocks go on at 1 to 1.2 times the world's: that far from what is between them.
  replica_options_.drift_ppm = has(kDrift) ? 100'000 : lease_random_.below(1000);
}

void LogRun::schedule_leased_read() {
  queue_.after(1 + lease_random_.below(15 * kMs), [this] {
    if (queue_.now_ns() > proposals_end_ns_ || !checks_.violation().empty()) return;
    ask_for_lease();
    schedule_leased_read();
  });
}

void LogRun::schedule_hand_over() {
  queue_.after(1 + hand_over_random_.below(400 * kMs), [this] {
    if (queue_.now_ns() > options_.faulty_ns || !checks_.violation().empty()) return;
    if (const Node* const leading = leading_node()) {
      on(node_of(leading->replica->self()), leading->life, [this](Node& node) {
        node.replica->hand_over(local_ns(node));
        ++hand_overs_;
      });
    }
    schedule_hand_over();
  });
}

void LogRun::ask_for_lease() {
  // Whoever thinks that it leads: also one whom the others have forgotten.
  std::vector<std::size_t> leading;
  for (std::size_t number = 0; number < nodes_.size(); ++number) {
    const auto& replica = nodes_[number].replica;
    if (replica && replica->role() == log::Role::leader) leading.push_back(number);
  }
  if (leading.empty()) return;
  const std::size_t number = leading[lease_random_.below(leading.size())];
  LeaseReader reader{.drift_ppm = has(kDrift) ? lease_random_.below(200'000) : 0,
                     .number = number,
                     .life = nodes_[number].life};
  reader.asked_ns = local_ns(reader.drift_ppm);
  queue_.after(lease_random_.below(kWayMaxNs), [this, reader] {
    on(reader.number, reader.life, [this, reader](Node& node) {
      const std::uint64_t now_ns = local_ns(node);
      const std::uint64_t until_ns = node.replica->lease_until_ns(now_ns);
      if (until_ns <= now_ns) return;
      // What it answers itself, at once.
      if (node.replica->stable() < checks_.acknowledged_index()) {
        return checks_.fail("a leader with a lease lacks what somebody was told (X3)");
      }
      ++leased_reads_;
      LeaseReader with = reader;
      with.epoch = node.replica->epoch();
      with.until_ns =
          reader.asked_ns + log::Replica::lent_ns(until_ns - now_ns, replica_options_.drift_ppm);
      queue_.after(lease_random_.below(kWayMaxNs), [this, with] {
        for (int reads = 0; reads < 4; ++reads) read_by(with);
      });
    });
  });
}

// One that comes late does not count, however early it began.
void LogRun::read_by(const LeaseReader& reader) {
  const std::uint64_t patience_ns = 5 * replica_options_.lease_ns / 4;
  queue_.after(lease_random_.below(patience_ns), [this, reader] {
    const log::Index told = checks_.acknowledged_index();
    queue_.after(lease_random_.below(kWayMaxNs), [this, reader, told] {
      // Its memory can be read while its process is there, standing still or not.
      const Node* const node = process(reader.number, reader.life);
      if (node == nullptr) return;
      const log::Index seen = node->stable;
      queue_.after(lease_random_.below(kWayMaxNs), [this, reader, told, seen] {
        if (local_ns(reader.drift_ppm) >= reader.until_ns) return;
        ++leased_reads_;
        if (seen < told) checks_.fail("a read by a lease lacks what somebody was told (X3)");
      });
    });
  });
}

}  // namespace dolmen::sim
