// SPDX-License-Identifier: Apache-2.0
//
// The disk of a simulated replica: a journal (replication/journal.hpp) on a disk that keeps its
// contract and no more.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "replication/journal.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"

namespace dolmen::sim {

class LogDisk {
 public:
  LogDisk(log::ReplicaId self, const log::Configuration& first, std::uint64_t seed);
  LogDisk(const LogDisk&) = delete;
  LogDisk& operator=(const LogDisk&) = delete;

  void append(const std::vector<log::Record>& records);
  void sync();
  /// Whether so much was appended that it has to be cut before it fills what there may be.
  [[nodiscard]] bool checkpoint_due() const { return journal_->checkpoint_due(); }
  /// Cuts the journal; `state` is what everything appended makes.
  void checkpoint(log::DurableState state);
  /// Loses power with some of what was not synced, and gives what is found then.
  log::DurableState crash();

 private:
  log::DurableState open();

  base::Random random_;
  SimClock clock_;
  SimEntropy entropy_;
  SimProcess process_{1};
  const log::ReplicaId self_;
  const log::Configuration first_;
  std::unique_ptr<SimDisk> disk_;
  std::unique_ptr<replication::Journal> journal_;
};

}  // namespace dolmen::sim
