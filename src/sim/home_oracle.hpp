// SPDX-License-Identifier: Apache-2.0
//
// Inside of node_world.hpp: what the directory's log decided, entry by entry as soon as anybody
// knew it, and what somebody was told of it; and whether a look-up may have come to what it says.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "cluster/directory.hpp"
#include "log/replica.hpp"
#include "node/directory_machine.hpp"
#include "replication/executor.hpp"
#include "sim/mail_bank.hpp"

namespace dolmen::sim {

class HomeOracle {
 public:
  /// What whoever looks the object up from now on may not fall behind.
  struct Told {
    cluster::MoveCounter counter = 0;  ///< of a home that the directory has logged
    bool is_erased = false;
  };

  HomeOracle(cluster::GroupNumber self, std::uint32_t buckets)
      : machine_(self, buckets), executor_(machine_) {
    machine_.reset();
  }

  /// After each step of a node: a replica of the directory's group.
  void look_at(const log::Replica& replica);
  /// … of a group with objects: what it knows to be logged may have been told to anybody. Of the
  /// objects whose shard this is.
  void look_at(const MailBank& bank, const std::function<bool(const ObjectId&)>& is_own);

  /// Any object that was published. Nothing: there is none yet.
  [[nodiscard]] std::optional<ObjectId> pick(base::Random& random) const;
  [[nodiscard]] Told told(const ObjectId& id) const;
  /// Of a look-up that ends now, and began when told() said `before`. Empty: it may say that, and
  /// whoever looks up from now on may not fall behind it.
  [[nodiscard]] std::string judge(const ObjectId& id, const Told& before,
                                  const std::optional<cluster::DirectoryEntry>& found);

 private:
  struct Known {
    std::map<cluster::MoveCounter, cluster::GroupNumber> homes{};  ///< that were decided
    bool is_erased = false;
    Told told{};
  };
  Known& know(const ObjectId& id);
  void take(const log::Entry& entry);

  node::DirectoryMachine machine_;
  replication::Executor executor_;
  bool has_gap_ = false;  ///< entries were cut before they were seen
  std::map<ObjectId, Known> known_;
  std::vector<ObjectId> ids_;
};

}  // namespace dolmen::sim
