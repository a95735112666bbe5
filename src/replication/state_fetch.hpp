// SPDX-License-Identifier: Apache-2.0
//
// Of one replica that was sent a snapshot which refers to a state that its machine does not have:
// gets it from another member, part by part, with several questions under way. Whom it asked it
// goes on asking while answers come, also when another one leads by then; after that it begins
// anew, with the leader.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include <dolmen/state_machine.hpp>

#include "log/snapshot.hpp"
#include "replication/state_message.hpp"
#include "replication/state_server.hpp"
#include "sys/clock.hpp"

namespace dolmen::replication {

class StateFetch {
 public:
  /// `machine` and `entropy` outlive it.
  StateFetch(StateMachine& machine, const StateTransferOptions& options, sys::Entropy& entropy,
             const log::SnapshotPtr& wanted, base::Bytes reference);

  /// The leader speaks of another one now.
  void want(const log::SnapshotPtr& wanted, base::Bytes reference);
  [[nodiscard]] const log::SnapshotPtr& wanted() const noexcept { return latest_.snapshot; }
  /// A part, or what became of it.
  void take(std::uint64_t now_ns, log::ReplicaId from, const StatePart& part);

  using Ask = std::function<void(log::ReplicaId from, const AskState& ask)>;
  /// Takes in what has arrived, and asks for what is missing; `leader`: null where nobody is known
  /// to lead. False: there was nothing to do. Errors: of the machine's disk.
  [[nodiscard]] Result<bool> go_on(std::uint64_t now_ns, log::ReplicaId leader, const Ask& ask);
  /// The latest one of which the machine has the state; null: none yet.
  [[nodiscard]] log::SnapshotPtr arrived() const;
  void begin_again();
  /// Of what arrived().
  [[nodiscard]] StatePages pages() const { return sink_ ? sink_->pages() : StatePages(); }
  /// Its machine is writing.
  [[nodiscard]] bool is_waiting() const noexcept { return is_waiting_; }

 private:
  struct Wanted {
    log::SnapshotPtr snapshot;
    std::vector<std::byte> reference;
  };
  struct Part {
    std::uint64_t asked_ns = 0;
    bool is_here = false;
    std::vector<std::byte> question{};
    std::vector<std::byte> bytes{};
  };
  [[nodiscard]] Result<void> begin(std::uint64_t now_ns, log::ReplicaId leader);
  [[nodiscard]] Result<bool> store_parts();
  /// … for what is missing; false: for nothing new.
  [[nodiscard]] Result<bool> ask_on(std::uint64_t now_ns, const Ask& ask);

  StateMachine& machine_;
  const StateTransferOptions options_;
  sys::Entropy& entropy_;
  Wanted latest_;
  Wanted fetched_;  ///< what `sink_` is for
  std::unique_ptr<StateSink> sink_;
  log::ReplicaId source_{};
  std::uint64_t transfer_ = 0;
  std::uint64_t heard_ns_ = 0;
  std::uint64_t not_before_ns_ = 0;  ///< a new beginning
  std::uint64_t next_ = 0;           ///< the first part that the machine has not taken
  std::uint64_t end_ = ~std::uint64_t{0};
  std::map<std::uint64_t, Part> parts_;          ///< from `next_` on
  std::vector<std::vector<std::byte>> spare_{};  ///< memory for parts to come
  bool is_gone_ = false;
  bool is_waiting_ = false;
  bool is_done_ = false;
};

}  // namespace dolmen::replication
