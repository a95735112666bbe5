// SPDX-License-Identifier: Apache-2.0
//
// Who looks at all replicas of one group after each step of any of them, and says what must not be:
// one judge for every simulated world (README.md has the table of what it sees where). It remembers
// what it saw of each, so that it can also say what one that crashed has to bring back.
//
// Threads: one. Cost: of a step that changed nothing, some comparisons; else by entry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "log/replica.hpp"
#include "sim/log_checks.hpp"

namespace dolmen::sim {

struct JudgedGroup {
  log::Configuration first;
  /// In memory: what a leader counts at another may be in a lane there, and not in its log yet.
  bool is_direct = false;
  /// … but is in its log after each step of its own.
  bool takes_in_at_once = false;
  /// A replica is looked at after each event, not after some of them.
  bool one_event_a_step = false;
  /// A command's first eight bytes name it.
  bool names_commands = false;
};

class GroupJudge {
 public:
  /// One life of one replica.
  using Life = std::size_t;

  explicit GroupJudge(JudgedGroup group) : group_(std::move(group)) {
    configurations_.push_back({0, group_.first});
  }

  /// A replica was made of what its disk or memory held. It is looked at, too.
  Life begins(const log::Replica& replica);
  /// It did something.
  void look_at(Life life, const log::Replica& replica);
  /// This is the state behind the entry at `index`, decided or not, of who executed it (I10).
  void executed(log::Index index, std::uint64_t state);

  [[nodiscard]] LogChecks& checks() noexcept { return checks_; }
  [[nodiscard]] const std::string& violation() const noexcept { return checks_.violation(); }

 private:
  /// A configuration, or the proof that the one before is decided.
  struct Mark {
    log::Index index;
    bool is_settled;
  };
  struct Seen {
    log::ReplicaId id{};
    bool is_replaced = false;  ///< another life of it has begun
    log::Epoch epoch = 0;
    log::Epoch led = 0;
    log::Index stable = 0;
    log::Position base{};
    log::Position end{};
    std::vector<log::Epoch> origins{};  ///< of its log, by index - 1; 0: not seen
    std::vector<Mark> marks{};
  };
  /// An entry that was in some log.
  struct Known {
    log::Epoch origin;
    log::Epoch before;  ///< origin of the one before it
    std::uint64_t sum;
    LogChecks::CommandId command;
    std::optional<log::Configuration> configuration{};
  };
  struct Configured {
    log::Index index;
    log::Configuration configuration;
  };
  /// The last entry of its own epoch that a leader counts somebody for; and the last decided one.
  struct Counted {
    log::Position last{};
    log::Position decided{};
    /// A later leader took `last` away before it was decided: then others may decide it later on.
    bool is_taken_away = false;
  };

  void fail(const Seen& seen, const std::string& what);
  void look_at_log(Seen& seen, const log::Replica& replica);
  void look_at_entry(Seen& seen, const log::Replica& replica, log::Index index);
  void look_at_stable(Seen& seen, const log::Replica& replica);
  void look_at_leader(Seen& seen, const log::Replica& replica);
  void look_at_what_is_forgotten(const Seen& seen, const log::Replica& replica);
  /// Whom a leader counts.
  void look_at_counts(const Seen& seen, const log::Replica& replica);
  /// Whether it has what it is counted for; `had_its_turn`: since then.
  void look_at_what_was_counted(const Seen& seen, bool had_its_turn);
  /// Something was decided that nobody knew to be.
  void look_at_decision(const Seen& seen, const log::Replica& replica, log::Index before);
  [[nodiscard]] const Known* known(log::Position place) const;
  [[nodiscard]] log::Position decided(log::Index index) const {
    return {checks_.origin_at(index), index};
  }
  [[nodiscard]] const Seen* current(log::ReplicaId id) const;
  [[nodiscard]] static bool holds(const Seen& seen, log::Position place);
  /// It leads and asks nobody: what it proposes it may decide and forget in one step.
  [[nodiscard]] static bool is_alone(const log::Replica& replica);
  /// Whether a majority of these holds the decided entry, as far as `decider` may know.
  [[nodiscard]] bool is_held(const log::Configuration& configuration, log::Index index,
                             const Seen& decider, const log::Replica& replica) const;

  const JudgedGroup group_;
  LogChecks checks_;
  std::vector<Seen> lives_;
  std::map<log::ReplicaId, Life> current_;
  std::vector<std::vector<Known>> known_;   ///< by index - 1
  std::vector<Configured> configurations_;  ///< that were decided
  std::vector<log::Epoch> decided_in_;      ///< by index - 1: not before this epoch was known
  std::map<log::ReplicaId, Counted> counted_;
  /// Where its log ended when it left that epoch for one without a leader yet.
  std::map<std::pair<log::ReplicaId, log::Epoch>, log::Position> left_;
  std::vector<std::optional<std::uint64_t>> states_;  ///< by index - 1
};

}  // namespace dolmen::sim
