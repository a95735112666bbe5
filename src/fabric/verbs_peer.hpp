// SPDX-License-Identifier: Apache-2.0
//
// What a verbs endpoint keeps of one connected node. Internal to the endpoint.
//
// A lane is a queue of its own for the operations of one node on one region of another. The region
// is registered for that lane alone, in a domain of its own, so no other queue reaches it, and
// taking the queue's access away stops that node and that region and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "fabric/fabric.hpp"
#include "fabric/verbs_format.hpp"
#include "fabric/verbs_messages.hpp"
#include "sys/rdma.hpp"

namespace dolmen::fabric {

struct VerbsOperation {
  OpId op{};
  sys::RdmaWork::Kind kind = sys::RdmaWork::Kind::write;
  std::uint64_t offset = 0;
  Bytes from{};         ///< of a write
  MutableBytes into{};  ///< of a read
  std::uint64_t operand = 0;
  std::uint64_t desired = 0;
  std::uint64_t number = 0;  ///< counts the operations of this node
  unsigned refusals = 0;     ///< by a lane's queue
  /// Memory of the caller that was registered for this operation alone.
  std::unique_ptr<sys::RdmaMemory> registered{};

  [[nodiscard]] std::uint64_t bytes() const noexcept {
    switch (kind) {
      case sys::RdmaWork::Kind::write:
        return from.size();
      case sys::RdmaWork::Kind::read:
        return into.size();
      default:
        return sizeof(std::uint64_t);
    }
  }
  [[nodiscard]] bool Rights::* right() const noexcept {
    switch (kind) {
      case sys::RdmaWork::Kind::write:
        return &Rights::write;
      case sys::RdmaWork::Kind::read:
        return &Rights::read;
      default:
        return &Rights::atomic;
    }
  }
};

/// A lane at its user's side.
struct VerbsLane {
  static constexpr std::uint32_t kDepth = 64;
  /// Longer pieces of the caller's memory are registered and not copied.
  static constexpr std::size_t kSlotBytes = 4096;

  std::uint32_t id = 0;
  bool is_open = false;    ///< the answer came
  bool is_ending = false;  ///< takes nothing new
  Rights rights;
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
  std::uint32_t key = 0;
  std::size_t packet_bytes = 0;  ///< what lands is a whole number of these, but for the last
  std::vector<std::byte> slots;
  std::unique_ptr<sys::RdmaMemory> registered;
  std::unique_ptr<sys::RdmaQueue> queue;
  std::uint64_t next_slot = 0;
  std::deque<VerbsOperation> under_way;
  std::vector<VerbsOperation> refused;  ///< to be asked for again

  [[nodiscard]] bool allows(const VerbsOperation& operation) const noexcept {
    const std::uint64_t wanted = operation.bytes();
    return is_open && wanted > 0 && rights.*operation.right() && operation.offset <= bytes &&
           wanted <= bytes - operation.offset;
  }
};

/// A region of another node, as far as this node uses it.
struct VerbsRemote {
  std::deque<VerbsOperation> waiting;
  std::unique_ptr<VerbsLane> lane;
  /// The lane that is asked for. With an empty queue: only a verdict is.
  std::unique_ptr<VerbsLane> asked;
  std::uint64_t asked_until = 0;  ///< operations with lower numbers were there when it was asked
};

/// A lane at the side of the region's owner.
struct VerbsGranted {
  RegionId region{};
  Rights rights{};
  bool is_withdrawn = false;
  // Ends in the opposite order: the queue first.
  std::shared_ptr<std::byte> memory{};
  std::unique_ptr<sys::RdmaDomain> domain{};
  std::unique_ptr<sys::RdmaMemory> registered{};
  std::unique_ptr<sys::RdmaQueue> queue{};
};

struct VerbsPeer {
  NodeName name;
  std::unique_ptr<VerbsMessages> messages;
  bool is_connected = false;  ///< messages can be received: the other side was told
  bool is_open = false;       ///< and sent: reported by on_connected
  bool is_ended = false;      ///< this side ended it; nothing of it is reported but that
  std::optional<Error> failure;

  std::deque<VerbsControl> control;  ///< what tcp has not taken yet
  std::map<RegionId, VerbsRemote> remotes;
  std::uint32_t next_lane = 1;
  std::uint64_t next_number = 1;
  std::size_t operations = 0;
  std::map<std::uint32_t, VerbsGranted> granted;
  std::size_t withdrawn = 0;
};

}  // namespace dolmen::fabric
