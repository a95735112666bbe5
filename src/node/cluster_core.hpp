// SPDX-License-Identifier: Apache-2.0
//
// A node of a cluster at work (docs/cluster.md): one Member, with as many groups as the map says,
// and, where it leads the root group, the root group's controller. All of it in one loop, over a
// fabric, a clock and disks that are given: a whole cluster runs in one process under a seed.
//
// Invariant: a map is only ever replaced by a later one. What replicas there are is said by
// cluster/seats.hpp.
//
// Threads: one.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/index.hpp>

#include "cluster/root_controller.hpp"
#include "cluster/seats.hpp"
#include "node/cluster_mail.hpp"
#include "node/cluster_message.hpp"
#include "node/home_mover.hpp"
#include "node/home_part.hpp"
#include "node/root_machine.hpp"
#include "replication/member.hpp"

namespace dolmen::node {

/// What keeps the state of the groups that are not the root.
class GroupMachines {
 public:
  virtual ~GroupMachines() = default;
  /// Good until clear() or the end. Null: this node does not know the group's kind, and keeps its
  /// log alone. Errors: those of its disk; they end the node.
  [[nodiscard]] virtual Result<StateMachine*> open(cluster::GroupNumber number,
                                                   const cluster::RootGroup& group) = 0;
  /// The replica is gone: nobody uses the machine any more, nor what it kept.
  [[nodiscard]] virtual Result<void> clear(cluster::GroupNumber number) = 0;
  /// The replica is gone, and another one may come: what it kept may stay for that one, out of use,
  /// as long as there is room.
  [[nodiscard]] virtual Result<void> retire(cluster::GroupNumber number) { return clear(number); }
  /// A replica is to be made: nothing is there but what was retired, if that is of use.
  [[nodiscard]] virtual Result<void> prepare(cluster::GroupNumber number) { return clear(number); }
  /// Whether something is, out of use.
  [[nodiscard]] virtual bool has_retired(cluster::GroupNumber number) {
    (void)number;
    return false;
  }
  /// Called now and then: what was retired goes where the disk has become too full for it.
  virtual void make_room() {}
  /// Called once, before anything else: which groups exchange mail.
  virtual void use_mail(MailPart::Find find) { (void)find; }
  /// … and which groups serve the directory.
  virtual void use_directory(HomePart::Shards shards) { (void)shards; }
  /// What the machine that open() gave takes on the disk.
  [[nodiscard]] virtual std::uint64_t disk_bytes(cluster::GroupNumber number) {
    (void)number;
    return 0;
  }
  /// Of a table: how full it is here. Nothing: it keeps none, or none yet.
  [[nodiscard]] virtual std::optional<IndexShardStats> stats_of(cluster::GroupNumber number) {
    (void)number;
    return std::nullopt;
  }
  /// Of the machine that open() gave; null: its group exchanges none.
  [[nodiscard]] virtual MailPart* mail_of(cluster::GroupNumber number) {
    (void)number;
    return nullptr;
  }
  /// Likewise: what it knows of homes of objects.
  [[nodiscard]] virtual const HomePart* homes_of(cluster::GroupNumber number) {
    (void)number;
    return nullptr;
  }
};

struct ClusterCoreOptions {
  cluster::NodeNumber self = 0;
  cluster::NodeLife life = 0;
  ObjectId cluster{};
  /// Where nodes 1, 2, … are that found the cluster; none: this one joined it.
  std::vector<std::string> founders{};
  /// Founders' keys, in the same order, their cluster's owner, and its first clients; none: nobody
  /// has a key, and everybody is who he says.
  std::vector<cluster::NodeIdentity> founder_keys{};
  cluster::NodeIdentity owner{};
  std::vector<cluster::root::FirstClient> clients{};
  /// Of a founder: leases of the groups of the cluster that it may begin; what was begun with
  /// counts (RootState::lease_ms()). 0: none. The root group's are `member`'s: none.
  std::uint32_t lease_ms = 0;
  cluster::RootControllerOptions root{};
  replication::MemberOptions member{};
  ClusterMailOptions mail{};
  /// What the node says to whoever asks how it is (docs/metrics.md); empty: nothing.
  std::function<std::string()> metrics{};
  /// The map is asked for this often, which also says that this node is there.
  std::uint64_t ask_ns = 100'000'000;
  /// The command that begins the cluster is proposed again after this; what was ordered of a
  /// group's leader is ordered again after the first, and has failed after the second.
  std::uint64_t begin_ns = 500'000'000;
  std::uint64_t order_ns = 100'000'000;
  std::uint64_t order_patience_ns = 30'000'000'000;
};

class ClusterCore {
 public:
  /// Of what the node's directory holds: `disk` for the map alone. All outlive it.
  /// `on_addresses` is called when it is known of other places where nodes are. Errors: corrupt (a
  /// map that is none), superseded (the node was removed), those of hosting and of the disk.
  [[nodiscard]] static Result<std::unique_ptr<ClusterCore>> open(
      const sys::Env& env, fabric::Endpoint& endpoint, sys::Disk& disk,
      std::unique_ptr<replication::Journal> journal, GroupMachines& machines,
      std::function<void(const replication::Addresses&)> on_addresses,
      const ClusterCoreOptions& options);
  ClusterCore(const ClusterCore&) = delete;
  ClusterCore& operator=(const ClusterCore&) = delete;

  /// Does what can be done now; false: there was nothing. Errors end the node: those of
  /// Member::turn(), of the machines, and superseded (the node was removed).
  [[nodiscard]] Result<bool> turn();
  /// Until a turn may have something to do.
  [[nodiscard]] Result<void> wait() {
    return member_->wait(std::min({ask_at_ns_, mail_.next_wakeup_ns(), mover_.next_wakeup_ns()}));
  }
  [[nodiscard]] Result<void> close() { return member_->close(); }

  [[nodiscard]] const cluster::RootState& map() const noexcept { return map_; }
  /// Where the nodes are, as far as this one knows.
  [[nodiscard]] replication::Addresses addresses() const;
  [[nodiscard]] replication::Member& member() noexcept { return *member_; }
  [[nodiscard]] const ClusterMail& mail() const noexcept { return mail_; }
  /// What the root group's replica of this node has applied; not begun where there is none.
  [[nodiscard]] const cluster::RootState& root() const noexcept { return root_.state(); }

  /// The map in the directory of a node; not begun: there is none. Errors: corrupt, io_error.
  [[nodiscard]] static Result<cluster::RootState> read_map(sys::Disk& disk);
  /// Durable on return. Errors: io_error, no_space.
  [[nodiscard]] static Result<void> write_map(sys::Disk& disk, const cluster::RootState& map);
  /// The replicas of the root group that a cluster of so many founders begins with.
  [[nodiscard]] static log::Configuration founders(std::size_t count);

 private:
  struct Ordered {
    cluster::ChangeOrder order{};
    std::uint64_t since_ns = 0;
    std::uint64_t next_ns = 0;
    bool is_reported = false;
  };

  ClusterCore(const sys::Env& env, fabric::Endpoint& endpoint, sys::Disk& disk,
              GroupMachines& machines,
              std::function<void(const replication::Addresses&)> on_addresses,
              const ClusterCoreOptions& options)
      : env_(env),
        endpoint_(endpoint),
        disk_(disk),
        machines_(machines),
        on_addresses_(std::move(on_addresses)),
        options_(options),
        mail_(options.self, endpoint, map_, options.mail) {}

  // What the map says (cluster_core.cpp).
  [[nodiscard]] Result<void> adopt(cluster::RootState latest);
  [[nodiscard]] Result<void> follow_map();
  [[nodiscard]] std::map<cluster::GroupNumber, cluster::ReplicaLife> replicas() const;
  [[nodiscard]] Result<void> make(cluster::GroupNumber number, cluster::ReplicaLife life);
  [[nodiscard]] Result<void> host_found();
  [[nodiscard]] Result<void> host(cluster::GroupNumber number);
  [[nodiscard]] Result<void> drop(cluster::GroupNumber number);

  // The root group, and what its leader orders (cluster_root.cpp).
  void hear(const fabric::NodeName& from, const replication::Envelope& envelope, base::Bytes body);
  void hear_map(base::Bytes body);
  void hear_ask(const fabric::NodeName& from, base::Bytes body);
  void hear_order(const fabric::NodeName& from, base::Bytes body);
  void hear_report(base::Bytes body);
  void observe(cluster::NodeNumber from, const AskMap& ask);
  [[nodiscard]] AskMap asks() const;
  [[nodiscard]] std::optional<AskMap::Led> led(cluster::GroupNumber number) const;
  void ask_for_map();
  void say(cluster::NodeNumber to, replication::EnvelopeKind kind, base::Bytes body);
  void propose(const cluster::RootCommand& command);
  void begin();
  void lead(std::uint64_t now_ns);
  void give_orders(std::uint64_t now_ns);

  const sys::Env& env_;
  fabric::Endpoint& endpoint_;
  sys::Disk& disk_;
  GroupMachines& machines_;
  const std::function<void(const replication::Addresses&)> on_addresses_;
  const ClusterCoreOptions options_;
  cluster::RootState map_;  ///< the latest that is known; not begun: the founders are all there is
  RootMachine root_;        // outlives the member
  ClusterMail mail_;        // so does it
  HomeMover mover_{};       // likewise
  std::unique_ptr<replication::Member> member_;
  std::optional<cluster::RootController> controller_{};
  std::map<cluster::GroupNumber, Ordered> ordered_{};  ///< by this controller, and not reported yet
  bool has_reports_ = false;
  bool is_new_map_ = true;  ///< and nothing was done about it yet
  std::uint64_t ask_at_ns_ = 0;
  std::uint64_t begin_at_ns_ = 0;
  std::size_t asked_ = 0;           ///< how often one more node was asked
  std::optional<Error> failure_{};  ///< found within a call that cannot say so
};

}  // namespace dolmen::node
