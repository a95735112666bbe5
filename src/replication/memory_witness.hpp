// SPDX-License-Identifier: Apache-2.0
//
// A witness that is memory alone (docs/direct-path.md): the process that keeps it. For each group
// it makes the epoch word and the areas, which the servers reach by mapping them; from then on it
// only says that it is there, and asks to be taken in where an earlier life of it votes. It decides
// nothing and writes nothing, so that how fast it is woken matters to nobody.
//
// Threads: one, the endpoint's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "replication/envelope.hpp"
#include "replication/membership.hpp"
#include "sys/env.hpp"

namespace dolmen::replication {

struct MemoryWitnessOptions {
  /// Of one area; each server has two. A group's state may be half of that.
  std::size_t area_bytes = 32u << 20;
  /// One that is no voter yet asks for that so often.
  std::uint64_t join_ns = 20'000'000;
};

/// Errors: invalid_argument (another size than a multiple of 8 from 4 KiB to 1 GiB).
[[nodiscard]] Result<void> check_area_bytes(std::size_t bytes);

class MemoryWitness final : private fabric::Sink {
 public:
  /// `env` and `endpoint` outlive it. Errors: unsupported (an endpoint whose memory others cannot
  /// map), those of check_area_bytes().
  [[nodiscard]] static Result<std::unique_ptr<MemoryWitness>> make(
      const sys::Env& env, fabric::Endpoint& endpoint, const MemoryWitnessOptions& options);

  /// Its memory for a group, zeroed. `self` is an id that nobody had before. If it is not of
  /// `first`, it asks the leader for the seat of the earlier life of its node, and counts for
  /// nothing until then. The servers are those of `first`, in all their lives. Cost: two areas for
  /// each of them, whose pages are there at once. Errors: invalid_argument (the group has this
  /// node as a server, or none), out_of_memory, those of the endpoint.
  [[nodiscard]] Result<void> add(const GroupId& group, log::ReplicaId self,
                                 const log::Configuration& first);

  /// Does what can be done now; false: there was nothing. Errors: the endpoint's own.
  [[nodiscard]] Result<bool> turn();
  /// Until a turn may have something to do.
  [[nodiscard]] Result<void> wait();

  /// Whether some server knows, and knows to be decided, that it votes. The other one may not yet.
  [[nodiscard]] bool is_taken_in(const GroupId& group) const;
  /// Its epoch word; 0: no such group.
  [[nodiscard]] log::Epoch word(const GroupId& group) const;
  /// What its memory holds. Cost: it reads the areas.
  [[nodiscard]] std::optional<MemberStatus> status(const GroupId& group) const;

 private:
  struct Kept {
    log::ReplicaId self{};
    log::Configuration first{};
    base::MutableBytes directory{};
    std::vector<base::MutableBytes> areas{};
    std::vector<fabric::NodeId> servers{};
    Roster roster{};  ///< the latest that was heard
    std::uint64_t ask_at_ns = 0;
    [[nodiscard]] log::Epoch word() const;
    [[nodiscard]] bool is_taken_in() const;
  };

  MemoryWitness(const sys::Env& env, fabric::Endpoint& endpoint,
                const MemoryWitnessOptions& options)
      : env_(env), endpoint_(endpoint), options_(options) {}
  void on_connected(const fabric::NodeName& peer) override;
  void on_lost(const fabric::NodeName& peer, const Error& why) override;
  void on_refused(fabric::NodeId who, const Error& why) override;
  void on_message(const fabric::NodeName& from, base::Bytes message) override;
  void on_completed(fabric::OpId op, const Result<std::uint64_t>& former) override;

  [[nodiscard]] Result<void> make_areas(Kept& kept, fabric::NodeId server);
  void send(const fabric::NodeName& to, const Envelope& envelope, base::Bytes body);
  [[nodiscard]] Roster roster_of(const GroupId& group) const;
  [[nodiscard]] static MemberStatus status_of(const Kept& kept);

  const sys::Env& env_;
  fabric::Endpoint& endpoint_;
  const MemoryWitnessOptions options_;
  std::uint32_t next_region_ = 1;
  std::map<GroupId, Kept> groups_;
};

}  // namespace dolmen::replication
