// SPDX-License-Identifier: Apache-2.0
//
// What must hold in a group of replicas, looked at from outside, by who sees all of them at once.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "log/replica.hpp"

namespace dolmen::sim {

/// Configurations that count for who knows this log and nothing else.
[[nodiscard]] std::vector<log::Configuration> counting_in(const log::Configuration& first,
                                                          const log::DurableState& log);

/// Whether a log as it was found says what `whole` says; it may have forgotten more of it.
[[nodiscard]] bool means(const log::DurableState& found, const log::DurableState& whole);

class LogChecks {
 public:
  using CommandId = std::uint64_t;

  /// Entries that a replica has just learned to be stable, in order: the same everywhere (I1), each
  /// command once (I2), places without gaps (I9).
  void learned_stable(std::size_t node, const log::Entry& entry);
  struct Learned {
    log::Position place;
    CommandId command = 0;  ///< 0: it has none, or it says nothing
    std::uint64_t sum = 0;  ///< sum_of() the entry
  };
  void learned_stable(std::size_t node, const Learned& entry);
  /// The next one is decided, and nobody ever sees what it says. Not for who calls installed().
  void learned_unseen(log::Epoch origin);
  /// A replica took over a snapshot that stands for the entries up to `index`: of decided ones, and
  /// of the state that they make (I10).
  void installed(log::Index index, std::uint64_t state_hash);
  /// A replica became leader: the only one of its epoch (I4).
  void leads(std::size_t node, log::Epoch epoch);
  /// A client was told that its command is decided there; `is_durable`: whether disks of a majority
  /// hold it (I11). Whatever was acknowledged before the client sent it stands before it (P1).
  void acknowledged(CommandId command, log::Position where, log::Index acknowledged_at_invocation,
                    bool is_durable);
  /// At the end: nothing acknowledged is missing.
  void finished(log::Index stable_everywhere);
  void fail(const std::string& what) {
    if (violation_.empty()) violation_ = what;
  }

  [[nodiscard]] const std::string& violation() const noexcept { return violation_; }
  /// The highest index that was acknowledged to anybody.
  [[nodiscard]] log::Index acknowledged_index() const noexcept { return acknowledged_index_; }
  [[nodiscard]] std::size_t leaders() const noexcept { return leaders_.size(); }

  [[nodiscard]] static CommandId command_of(const log::Entry& entry);
  [[nodiscard]] static std::uint64_t sum_of(const log::Entry& entry) {
    return base::checksum64(entry.payload, entry.index);
  }
  /// How many entries are known to be decided.
  [[nodiscard]] log::Index decided() const noexcept { return decided_.size(); }
  /// Requires: 0 < index <= decided().
  [[nodiscard]] log::Epoch origin_at(log::Index index) const { return decided_[index - 1].origin; }
  /// Who was seen to lead that epoch.
  [[nodiscard]] std::optional<std::size_t> leader_of(log::Epoch epoch) const {
    const auto found = leaders_.find(epoch);
    return found == leaders_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  struct Decided {
    log::Epoch origin;
    CommandId command;
    std::uint64_t state_hash;  ///< behind it
    std::uint64_t sum;
    bool is_unseen = false;
  };
  std::vector<Decided> decided_;  ///< by index - 1
  std::map<CommandId, log::Index> places_;
  std::map<log::Epoch, std::size_t> leaders_;
  log::Index acknowledged_index_ = 0;
  std::string violation_;
};

}  // namespace dolmen::sim
