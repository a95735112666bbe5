// SPDX-License-Identifier: Apache-2.0
//
// The state machine of a simulated replica: its state is a hash over the entries that it executed,
// in order. It executes what its log holds, ahead of being decided, and can undo.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.hpp"
#include "base/checksum.hpp"
#include "base/random.hpp"
#include "log/snapshot.hpp"

namespace dolmen::sim {

/// `sum`: of the entry's payload and index.
[[nodiscard]] inline std::uint64_t hash_behind(std::uint64_t before, log::Epoch origin,
                                               std::uint64_t sum) {
  return base::mix_seed(base::mix_seed(before, origin), sum);
}
[[nodiscard]] inline std::uint64_t hash_behind(std::uint64_t before, const log::Entry& entry) {
  return hash_behind(before, entry.origin, base::checksum64(entry.payload, entry.index));
}

class LogMachine {
 public:
  [[nodiscard]] log::Index executed() const noexcept { return base_ + behind_.size(); }
  /// Of the last entry that was executed; nothing of it is known right after an install().
  [[nodiscard]] log::Position last() const noexcept {
    return behind_.empty() ? log::Position{} : behind_.back().position;
  }
  void execute(const log::Entry& entry) {
    behind_.push_back({entry.position(), hash_behind(hash_at(executed()), entry)});
  }
  /// Keeps what was executed up to `index`. Requires: not less than the last install()'s.
  void undo_behind(log::Index index) {
    if (index < executed()) behind_.resize(index - base_);
  }
  /// Requires: not less than the last install()'s or forget()'s.
  [[nodiscard]] std::uint64_t hash_at(log::Index index) const {
    return index == base_ ? base_hash_ : behind_[index - base_ - 1].hash;
  }
  /// Its state after `index`, with `padding` bytes that mean nothing.
  [[nodiscard]] std::vector<std::byte> state_at(log::Index index, std::size_t padding) const {
    std::vector<std::byte> state(sizeof(std::uint64_t) + padding);
    base::store(base::MutableBytes(state), 0, hash_at(index));
    return state;
  }
  [[nodiscard]] static std::uint64_t hash_in(const log::Snapshot& snapshot) {
    return base::load<std::uint64_t>(snapshot.state());
  }
  void install(const log::Snapshot& snapshot) {
    base_ = snapshot.last().index;
    base_hash_ = hash_in(snapshot);
    behind_.clear();
  }

 private:
  struct Executed {
    log::Position position;
    std::uint64_t hash;
  };
  log::Index base_ = 0;
  std::uint64_t base_hash_ = 0;
  std::vector<Executed> behind_;
};

}  // namespace dolmen::sim
