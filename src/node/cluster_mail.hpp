// SPDX-License-Identifier: Apache-2.0
//
// A node's part in mail between groups (docs/mail.md): a courier for each group that it leads. What
// couriers say goes to who was last heard to lead the group that it is for, and, unless that one
// answers soon, to all its members; whoever does not lead it drops it. What arrives is believed if
// it is of a member of the group that it speaks for.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "cluster/courier.hpp"
#include "cluster/root.hpp"
#include "node/mail_part.hpp"
#include "replication/member.hpp"

namespace dolmen::node {

struct ClusterMailOptions {
  cluster::CourierOptions courier{};
  /// Of each group: most bytes of mails that are proposed and not decided; more come again.
  std::size_t proposed_bytes_max = 16u << 20;
  /// Of what is on its way within this node; more comes again.
  std::size_t local_bytes_max = 16u << 20;
  /// Who leads a group is looked for at all its members when it was silent for so long.
  std::uint64_t elsewhere_ns = 40'000'000;
};

class ClusterMail {
 public:
  /// All outlive it; `map` may be replaced at any time.
  ClusterMail(cluster::NodeNumber self, const fabric::Endpoint& endpoint,
              const cluster::RootState& map, const ClusterMailOptions& options)
      : self_(self), endpoint_(endpoint), map_(map), options_(options) {}

  /// This node has a replica of the group, and `part` is in its machine: until forget().
  void host(cluster::GroupNumber group, MailPart& part) {
    forget(group);
    boxes_[group].part = &part;
  }
  void forget(cluster::GroupNumber group) { boxes_.erase(group); }

  /// Of another node; hostile until it was looked at.
  void hear(std::uint64_t now_ns, const fabric::NodeName& from, const ObjectId& group,
            base::Bytes body);
  /// Does what can be done now; false: there was nothing.
  [[nodiscard]] bool turn(std::uint64_t now_ns, replication::Member& member);
  [[nodiscard]] std::uint64_t next_wakeup_ns() const noexcept;

  /// Mails, of all groups; whoever shows them is all that they are for.
  struct Meter {
    std::uint64_t sent = 0;
    std::uint64_t again = 0;     ///< of these: that had been sent before, by the same courier
    std::uint64_t received = 0;  ///< also again
  };
  [[nodiscard]] const Meter& meter() const noexcept { return meter_; }
  struct Outbox {
    std::uint64_t mails = 0;  ///< that are not acknowledged
    std::uint64_t bytes = 0;
  };
  /// Nothing: there is no replica here that has one.
  [[nodiscard]] std::optional<Outbox> outbox(cluster::GroupNumber group) const;

  /// As of MailPart::Find.
  [[nodiscard]] static Result<cluster::GroupId> find(const cluster::RootState& map,
                                                     std::string_view name, std::uint64_t number);

 private:
  struct Box {
    MailPart* part = nullptr;
    std::uint64_t life = 0;     ///< of the part, when the courier began
    std::uint64_t changes = 0;  ///< … that the courier knows
    std::uint64_t serial = 0;   ///< of the courier
    std::size_t proposed_bytes = 0;
    std::map<cluster::GroupId, cluster::MailSequence> sent{};  ///< by the courier, the last ones
    std::optional<cluster::Courier> courier{};
  };
  /// Another group, as far as its leader is looked for.
  struct Place {
    cluster::NodeNumber leader = 0;     ///< who was heard last; 0: nobody
    std::uint64_t silent_since_ns = 0;  ///< 0: nothing is waited for
  };

  [[nodiscard]] std::optional<cluster::GroupNumber> number_of(const cluster::GroupId& group) const;
  [[nodiscard]] bool may_speak(cluster::NodeNumber node, cluster::GroupNumber group) const;
  void deliver(std::uint64_t now_ns, const cluster::MailMessage& message);
  [[nodiscard]] bool look_after(std::uint64_t now_ns, replication::Member& member,
                                cluster::GroupNumber number, Box& box);
  void send(std::uint64_t now_ns, replication::Member& member, const cluster::MailMessage& message);
  void count(Box& box, const cluster::MailMessage& message);
  void propose(replication::Member& member, cluster::GroupNumber number, Box& box,
               cluster::MailChange change);

  const cluster::NodeNumber self_;
  const fabric::Endpoint& endpoint_;
  const cluster::RootState& map_;
  const ClusterMailOptions options_;
  std::map<cluster::GroupNumber, Box> boxes_{};
  std::map<cluster::GroupNumber, Place> places_{};  ///< of groups of the map
  std::vector<cluster::MailMessage> local_{};       ///< to groups that this node may lead
  std::size_t local_bytes_ = 0;
  std::uint64_t serial_ = 0;
  std::uint64_t now_ns_ = 0;
  Meter meter_{};
};

}  // namespace dolmen::node
