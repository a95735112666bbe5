// SPDX-License-Identifier: Apache-2.0
//
// A journal with a history that nobody but a replica would make, and what it must hold: for tests.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "replication/journal.hpp"

namespace dolmen::replication {

/// One replica's history, made up at random: records as a replica might make them.
class RecordMaker {
 public:
  RecordMaker(log::ReplicaId self, std::uint64_t seed) : random_(seed) {
    hosted_.self = self;
    hosted_.first = {.voters = {log::ReplicaId{1}, log::ReplicaId{2}, log::ReplicaId{3}}};
  }

  [[nodiscard]] const Hosted& hosted() const { return hosted_; }

  std::vector<log::Record> next() {
    std::vector<log::Record> records;
    for (std::uint64_t i = 0, count = 1 + random_.below(3); i < count; ++i) {
      records.push_back(one());
      hosted_.state.apply(records.back());
    }
    return records;
  }
  /// A replica that starts from `found` goes on from what it means, and knows no more.
  void restart(const Hosted& meant, const Hosted& found) {
    hosted_ = meant;
    hosted_.state = found.state;
  }
  /// As Replica::compact() does it.
  void compact() {
    log::DurableState& state = hosted_.state;
    const log::Index decided = snapshot_end();
    if (end() == decided) return;
    const log::Index last = decided + 1 + random_.below(end() - decided);
    state.snapshot = snapshot(state.entries[last - state.base.index - 1].position());
    const log::Index base = state.base.index + random_.below(last - state.base.index + 1);
    if (base == state.base.index) return;
    const log::Position new_base = state.entries[base - state.base.index - 1].position();
    state.entries.erase(
        state.entries.begin(),
        state.entries.begin() + static_cast<std::ptrdiff_t>(base - state.base.index));
    state.base = new_base;
  }

 private:
  [[nodiscard]] log::Index snapshot_end() const {
    return hosted_.state.snapshot ? hosted_.state.snapshot->last().index : 0;
  }
  [[nodiscard]] log::Index end() const {
    return hosted_.state.base.index + hosted_.state.entries.size();
  }
  log::SnapshotPtr snapshot(log::Position last) {
    const std::vector<std::byte> state(random_.below(9000), std::byte{0x5A});
    return log::Snapshot::make({.last = last, .configuration = hosted_.first}, state).value();
  }
  log::Record one() {
    log::DurableState& state = hosted_.state;
    if (state.epoch == 0 || random_.below(6) == 0) {
      return {.epoch = state.epoch + 1, .granted_to = log::ReplicaId{1 + random_.below(3)}};
    }
    if (random_.below(20) == 0) {
      const log::Index index = snapshot_end() + 1 + random_.below(end() - snapshot_end() + 3);
      return {.snapshot = snapshot({.origin = state.epoch, .index = index})};
    }
    const log::Index decided = snapshot_end();
    log::Index index = end() + 1;
    if (end() > decided && random_.below(5) == 0) {
      index = decided + 1 + random_.below(end() - decided);
    }
    std::vector<std::byte> payload(random_.below(300));
    for (std::byte& byte : payload) byte = static_cast<std::byte>(random_());
    return {.entry = log::Entry{.origin = state.epoch, .index = index, .payload = payload}};
  }

  base::Random random_;
  Hosted hosted_;
};

}  // namespace dolmen::replication
