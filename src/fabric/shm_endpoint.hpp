// SPDX-License-Identifier: Apache-2.0
//
// The endpoint behind open_shm(). Its parts: progress (shm.cpp), who is there (shm_members.cpp),
// regions and operations (shm_regions.cpp).
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fabric/fabric.hpp"
#include "fabric/shm.hpp"
#include "fabric/shm_layout.hpp"
#include "fabric/shm_link.hpp"
#include "fabric/shm_regions.hpp"
#include "sys/env.hpp"
#include "sys/shared_memory.hpp"

namespace dolmen::fabric::shm {

/// The words of a node through which others wake it and draw its attention.
class Door {
 public:
  Door(std::unique_ptr<sys::SharedObject> header, std::unique_ptr<sys::Bell> bell) noexcept
      : header_(std::move(header)), bell_(std::move(bell)) {}
  /// To be called after what the other may be waiting for was published; see RingWriter::put().
  void nudge() noexcept;
  /// Asks it to look who is in the directory.
  void knock() noexcept;
  [[nodiscard]] bool has_left() const noexcept;
  /// Its process is being ended. It may still store, but says nothing more that need be waited for.
  [[nodiscard]] bool is_ending() const noexcept;
  /// It says so, and would say otherwise before its next life can begin.
  [[nodiscard]] bool surely_lives() const noexcept;
  /// Tells it that a later life of its node is known.
  void supersede(std::uint64_t incarnation) noexcept;

 private:
  std::unique_ptr<sys::SharedObject> header_;
  std::unique_ptr<sys::Bell> bell_;
};

/// Another node, in one life.
struct Peer {
  Peer(const NodeCard& its_card, Door its_door, std::uint64_t its_token) noexcept
      : card(its_card), door(std::move(its_door)), token(its_token) {}

  NodeCard card;
  Door door;
  std::uint64_t token;                // of the watch on its process
  std::unique_ptr<Link> link;         // the current one
  std::unique_ptr<Link> last_link;    // of one that is being ended: unmapped when it has
  std::vector<RemoteRegion> regions;  // mapped so far
  std::uint64_t last_number = 0;      // of its links (acceptor) or ours (dialer)
  std::uint64_t retry_ns = 0;         // when to dial again
  std::optional<Errc> closing;        // this side ends the link: to be reported
  bool connected = false;             // and reported so
  bool rings = false;                 // something was sent of which it was not told yet
  bool ended = false;                 // its process is dead: no store of it comes any more
  bool hopeless = false;              // it refused for ever
  bool forgotten = false;             // introduced no more: dropped when its link has ended
  bool dropped = false;               // to be taken off the list
};

class ShmEndpoint final : public Endpoint {
 public:
  ShmEndpoint(const sys::Env& env, std::unique_ptr<sys::SharedDirectory> directory,
              const ShmOptions& options, std::unique_ptr<sys::OwnBell> bell,
              std::unique_ptr<sys::OwnObject> header, std::unique_ptr<sys::LifeMark> life);
  ~ShmEndpoint() override;

  NodeName self() const noexcept override { return options_.self; }
  const Traits& traits() const noexcept override { return traits_; }
  std::optional<NodeName> connected(NodeId node) const noexcept override;
  Result<void> send(const NodeName& to, std::span<const Bytes> parts) override;
  Result<MutableBytes> make_region(RegionId region, std::size_t bytes) override;
  Result<void> close_region(RegionId region) override;
  Result<void> grant(RegionId region, NodeId node, Rights rights) override;
  Result<void> revoke(RegionId region, NodeId node) override;
  Result<void> write(OpId op, const Place& place, Bytes bytes, Level level) override;
  Result<void> read(OpId op, const Place& place, MutableBytes into) override;
  Result<void> compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                std::uint64_t desired) override;
  Result<void> fetch_add(OpId op, const Place& place, std::uint64_t delta) override;
  Result<MutableBytes> map(const NodeName& target, RegionId region) override;
  void unmap(const NodeName& target, RegionId region) noexcept override;
  Result<bool> poll(Sink& sink) override;
  Result<void> wait(std::uint64_t until_ns) override;
  void wake() noexcept override;
  void disconnect(NodeId node) noexcept override;
  bool lives(const NodeName& target) const noexcept override;

  // For who joins it with another endpoint (joined_endpoint.hpp).

  /// Connects with this one from here on, until forget(), after which the next poll() reports a
  /// connection lost that was there. Requires: by_introduction.
  void introduce(const NodeName& name);
  void forget(const NodeName& name) noexcept;
  /// Whether operations on that region can be done here, as far as its owner granted it.
  [[nodiscard]] bool reaches(const NodeName& target, RegionId region, const Rights& needed);
  /// The region is gone for whoever looks for it from now on; who has it mapped keeps it. And what
  /// the grants of one that is connected no more took of the table. Errors: not_found.
  [[nodiscard]] Result<void> let_go(RegionId region);
  void forget_grants(NodeId node) noexcept;
  void forget_grant(RegionId region, NodeId node) noexcept;
  /// What wait() does before it sleeps and behind it, for who sleeps otherwise: on bell(), and no
  /// longer than due_ns(). False: there is something to do.
  [[nodiscard]] bool has_work() noexcept {
    ring();
    return pending(false);
  }
  [[nodiscard]] bool arm() noexcept;
  [[nodiscard]] Result<void> disarm() noexcept;
  [[nodiscard]] std::uint64_t due_ns() const noexcept { return next_retry_ns(); }
  [[nodiscard]] Result<std::unique_ptr<sys::Socket>> bell() const { return bell_->watched(); }
  /// What lives() of this one says at others from now on is no: before what must not be done while
  /// it is believed to live. It is of no other use any more.
  void leave() noexcept;
  /// Whether the system tells others of this process's end by itself.
  [[nodiscard]] bool tells_its_end() const noexcept { return life_ != nullptr; }

 private:
  /// In a forked child, which has none of this memory: the names and connections are its parent's.
  [[nodiscard]] bool is_of_another_process() const noexcept { return env_.process->pid() != pid_; }
  // Progress.
  void ring() noexcept;
  [[nodiscard]] bool advance(Peer& peer, Sink& sink);
  [[nodiscard]] bool await_answer(Peer& peer, Sink& sink);
  [[nodiscard]] bool receive(Peer& peer, Sink& sink);
  [[nodiscard]] bool report_completions(Sink& sink);
  void end_link(Peer& peer, const Error& why, Errc to_peer, Sink& sink);
  [[nodiscard]] Result<void> hear_notices(std::uint64_t until_ns);
  [[nodiscard]] bool pending(bool about_to_sleep) noexcept;
  [[nodiscard]] std::uint64_t next_retry_ns() const noexcept;
  // Who is there.
  [[nodiscard]] Result<void> look_around(Sink& sink);
  void meet(const NodeName& name, Sink& sink);
  void accept(const LinkCard& named, Sink& sink);
  void dial(Peer& peer, Sink& sink);
  void step_down(Sink& sink);
  void supersede(const NodeName& name, std::uint64_t incarnation);
  void refuse(const NodeName& name, const Error& why, Sink& sink);
  [[nodiscard]] std::uint64_t latest_of(NodeId node) const noexcept;
  void note_connected(Peer& peer, Sink& sink);
  void reap_soon() noexcept;
  void reap_the_dead();
  [[nodiscard]] Result<Door> open_door(const NodeName& name, NodeCard& card);
  [[nodiscard]] Peer* find(NodeId node) const noexcept;
  [[nodiscard]] Peer* find_connected(const NodeName& name) const noexcept;
  [[nodiscard]] LinkLimits limits_of(const Peer& peer) const noexcept;
  // Regions.
  [[nodiscard]] Result<RemoteRegion*> region_of(Peer& peer, RegionId region);
  /// The bytes that an operation goes to. An error of the region is its completion; then none.
  [[nodiscard]] Result<std::optional<MutableBytes>> target_of(OpId op, const Place& place,
                                                              std::size_t bytes,
                                                              const Rights& needed);
  void complete(OpId op, const Result<std::uint64_t>& former);

  const sys::Env env_;
  const std::unique_ptr<sys::SharedDirectory> directory_;
  const ShmOptions options_;
  Traits traits_;
  const std::unique_ptr<sys::OwnBell> bell_;
  const std::unique_ptr<sys::OwnObject> header_;  // this node's, for others to find
  std::unique_ptr<sys::LifeMark> life_;           // in it; null: there was no thread for it
  const std::uint64_t pid_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<std::pair<NodeId, std::uint64_t>> latest_;  // highest life that was connected
  std::vector<NodeName> refused_;                         // reported once
  std::vector<NodeName> introduced_;
  std::deque<std::pair<OpId, Result<std::uint64_t>>> completions_;
  std::vector<OwnRegion> own_regions_;
  std::vector<RemoteRegion> kept_regions_;  // of lost nodes, handed out by map()
  std::vector<std::uint64_t> ended_;        // tokens
  std::uint64_t next_token_ = 1;
  std::uint64_t next_number_ = 1;
  std::uint64_t knocks_ = 0;  // as last looked after
  std::uint64_t polls_ = 0;
  std::uint64_t look_ns_ = 0;  // when to look again because something failed; 0: not
  std::uint64_t reap_ns_ = 0;  // when to take away what the dead left; 0: they left nothing
  bool look_ = true;
  bool rings_ = false;  // some peer's is set
  bool superseded_ = false;
  std::atomic<bool> woken_{false};
};

/// As open_shm().
[[nodiscard]] Result<std::unique_ptr<ShmEndpoint>> open(
    const sys::Env& env, std::unique_ptr<sys::SharedDirectory> directory,
    const ShmOptions& options);

}  // namespace dolmen::fabric::shm
