// SPDX-License-Identifier: Apache-2.0
//
// A node's part in objects that leave (docs/homes.md, In a cluster): where it leads a group it asks
// the group's machine to post parts, as often as some may be posted. That is all that a move needs
// of who leads; so the next one goes on with it.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <map>

#include "cluster/root.hpp"
#include "node/home_part.hpp"
#include "replication/member.hpp"

namespace dolmen::node {

class HomeMover {
 public:
  /// This node has a replica of the group, and `part` is in its machine: until forget().
  void host(cluster::GroupNumber group, const HomePart& part);
  void forget(cluster::GroupNumber group) { boxes_.erase(group); }
  /// Does what can be done now; false: there was nothing.
  [[nodiscard]] bool turn(std::uint64_t now_ns, replication::Member& member);
  [[nodiscard]] std::uint64_t next_wakeup_ns() const noexcept;

 private:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  /// What came to nothing is asked for again after this; what nobody answered, after that.
  static constexpr std::uint64_t kAgainNs = 2'000'000;
  static constexpr std::uint64_t kLostNs = 500'000'000;
  struct Box {
    const HomePart* part = nullptr;
    std::uint64_t changes = 0;      ///< as they were looked at last
    std::uint64_t asked = 0;        ///< which request is under way; 0: none
    std::uint64_t due_ns = kNever;  ///< whatever changed
  };

  std::map<cluster::GroupNumber, Box> boxes_{};
  std::uint64_t requests_ = 0;
  std::uint64_t now_ns_ = 0;
};

}  // namespace dolmen::node
