// SPDX-License-Identifier: Apache-2.0
//
// What the node that leads the root group does about the cluster (docs/cluster.md): it declares
// nodes lost and back, begins the changes that the planner asks for, has them carried out, and ends
// them. It is made when the node begins to lead and thrown away when it does not lead any more: all
// that has to survive is in the state. Without input or output; time comes with each call.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/root.hpp"
#include "cluster/root_planner.hpp"

namespace dolmen::cluster {

struct RootControllerOptions {
  std::uint64_t lost_ns = 5'000'000'000;  ///< who was silent for so long is lost
  std::uint64_t back_ns = 1'000'000'000;  ///< who was heard for so long is back
  /// No change begins before: who lives and who holds what has to be heard first.
  std::uint64_t plan_after_ns = 1'000'000'000;
  std::uint64_t repeat_ns = 500'000'000;  ///< a proposal that changed nothing is made again
  std::uint64_t retry_ns =
      100'000'000;  ///< the first pause after a failed order, doubled each time
  std::uint64_t retry_max_ns = 10'000'000'000;
  std::uint32_t failures_max = 8;  ///< orders that failed; then the change is given up
  PlanOptions plan{};
};

/// The members of a group are to be changed, with ReplicatedClient or like it: `add` is added, then
/// `leave` is removed; if they are the same, it is replaced in its place. All of it may have
/// happened before, wholly or in part. To stop is to change no voter, to take `add` away if it is a
/// learner yet, and to say who votes. Exactly one report follows each order. One that takes long
/// because a new member gets a lot of data has not failed.
struct ChangeOrder {
  GroupNumber group = 0;
  log::Index since = 0;
  NodeNumber add = 0;     ///< 0: nobody
  std::string address{};  ///< of `add`
  NodeNumber leave = 0;   ///< 0: nobody
  bool is_stop = false;
  friend bool operator==(const ChangeOrder&, const ChangeOrder&) = default;
};

/// What became of an order. `members` are the voters as the group said after it, settled, in its
/// own log at `as_of`.
struct ChangeReport {
  GroupNumber group = 0;
  log::Index since = 0;
  bool is_done = false;
  log::Index as_of = 0;
  std::vector<root::Seat> members{};  ///< ascending
};

struct RootActions {
  std::vector<RootCommand> proposals{};  ///< into the log of the root group
  std::vector<ChangeOrder> orders{};
};

class RootController {
 public:
  explicit RootController(std::uint64_t now_ns, const RootControllerOptions& options = {})
      : options_(options), began_ns_(now_ns) {}

  /// The node lives, with this life of its disk (0: it does not say). Its own node, too.
  void heard(NodeNumber node, NodeLife life, std::uint64_t now_ns);
  /// The groups of which the node has data, a member or not: all of them, each time.
  void holds(NodeNumber node, const std::vector<GroupNumber>& groups);
  /// A group said who votes in it, settled, at `as_of` of its own log. Members ascending. Who says
  /// it knows at least of itself whether it votes with the disk that it has; what several say of
  /// one index is put together.
  void observed(GroupNumber group, log::Index as_of, const std::vector<root::Seat>& members);
  /// Of an order of this controller. One that does not fit any is ignored.
  void finished(const ChangeReport& report, std::uint64_t now_ns);
  /// To be called often (every 50 ms, and after each report), with the state as it is applied. Time
  /// does not go back. Cost: the size of the state.
  [[nodiscard]] RootActions tick(std::uint64_t now_ns, const RootState& state);

 private:
  struct Heard {
    NodeLife life = 0;
    std::uint64_t first_ns = 0;  ///< since the last silence
    std::uint64_t last_ns = 0;
  };
  struct Job {
    ChangeOrder order{};
    bool is_running = false;
    std::uint32_t failures = 0;
    std::uint64_t next_ns = 0;
    std::optional<root::EndChange> end{};
    std::uint32_t ends_proposed = 0;
  };
  struct Observed {
    log::Index as_of = 0;
    std::vector<root::Seat> members{};
  };

  void watch_nodes(std::uint64_t now_ns, const RootState& state, RootActions& actions);
  void drive_changes(std::uint64_t now_ns, const RootState& state, RootActions& actions);
  [[nodiscard]] bool is_hopeless(const RootState& state, const RootGroup& group,
                                 std::uint32_t failures) const;
  void drive(std::uint64_t now_ns, Job& job, RootActions& actions);
  void correct(std::uint64_t now_ns, const RootState& state, RootActions& actions);
  /// Unless it was proposed a moment ago. True: it was proposed now.
  bool propose(std::uint64_t now_ns, RootCommand command, RootActions& actions);

  RootControllerOptions options_;
  std::uint64_t began_ns_;
  std::map<NodeNumber, Heard> heard_{};
  Holdings holdings_{};
  std::map<GroupNumber, Observed> observed_{};
  std::map<GroupNumber, Job> jobs_{};
  std::map<std::vector<std::byte>, std::uint64_t> proposed_{};  ///< commands, and when
};

}  // namespace dolmen::cluster
