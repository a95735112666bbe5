// SPDX-License-Identifier: Apache-2.0
//
// A program's own state, replicated: what a group of members keeps the same on all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>

namespace dolmen {

/// A state that a machine keeps on its own disk, as parts for another member: the state of one
/// moment, while the machine goes on. The machine outlives it.
class StateSource {
 public:
  virtual ~StateSource() = default;
  /// The part of this number, from 0 on; behind the last one it is empty. Nothing: it is not ready
  /// yet. The last 64 that were given can be had again. Errors end the transfer: closed (that state
  /// cannot be kept any longer), not_found (a part of long ago), the disk's own.
  [[nodiscard]] virtual Result<std::optional<std::vector<std::byte>>> part(
      std::uint64_t number) = 0;
  /// The part that answers the sink's question of this number; to no question it is part(number).
  /// The bytes come from another machine. Errors: as part(); corrupt (no question).
  [[nodiscard]] virtual Result<std::optional<std::vector<std::byte>>> answer(
      std::uint64_t number, std::span<const std::byte> question) {
    if (question.empty()) return part(number);
    return std::unexpected(Error(Errc::unsupported, "questions about a state"));
  }
  /// answer(), for who only sends the bytes: a source that keeps them for who asks again need not
  /// copy them. Null: it is not ready yet.
  [[nodiscard]] virtual Result<std::shared_ptr<const std::vector<std::byte>>> share(
      std::uint64_t number, std::span<const std::byte> question) {
    auto answered = answer(number, question);
    if (!answered) return std::unexpected(answered.error());
    if (!*answered) return nullptr;
    return std::make_shared<const std::vector<std::byte>>(std::move(**answered));
  }
};

/// Of a state that came to a member: how it got its pages.
struct StatePages {
  std::uint64_t received = 0;
  std::uint64_t kept = 0;  ///< the member had them
};

/// … and at the other member, until it is whole. Ended before, it has not happened.
class StateSink {
 public:
  virtual ~StateSink() = default;
  /// The next part; the empty one ends it. False: not now. Errors: corrupt (no part of such a
  /// state), the disk's own.
  [[nodiscard]] virtual Result<bool> take(std::span<const std::byte> part) = 0;
  /// take(), of a part whose memory may be kept: what is in `part` afterwards is no matter, if it
  /// was taken.
  [[nodiscard]] virtual Result<bool> take_over(std::vector<std::byte>& part) { return take(part); }
  /// Everything is here, durably, and restore() will find it. Errors: as take().
  [[nodiscard]] virtual Result<bool> is_done() = 0;
  /// What the source is asked with the part of this number, at most 2048 bytes: for a sink that
  /// says itself which parts it needs. Asked for once each, in order. Empty: for the next part.
  /// Nothing: there is no question before what was asked is here, or is stored. Errors: as take().
  [[nodiscard]] virtual Result<std::optional<std::vector<std::byte>>> question(
      std::uint64_t number) {
    (void)number;
    return std::optional(std::vector<std::byte>());
  }
  [[nodiscard]] virtual StatePages pages() const { return {}; }
};

/// Its state follows from the commands alone, in their order: apply() must not look at clocks,
/// random numbers, addresses or other state, on any member. What needs such things goes into
/// effect_of(), which runs at the leader only.
///
/// Threads: a member calls it from one thread. Exceptions end the member.
class StateMachine {
 public:
  using Bytes = std::span<const std::byte>;

  virtual ~StateMachine() = default;
  /// Executes a command and gives what its sender is told, once a majority has it durably.
  [[nodiscard]] virtual std::vector<std::byte> apply(Bytes command) = 0;
  /// The whole state. Cost: the loop of the member stands still meanwhile.
  [[nodiscard]] virtual std::vector<std::byte> snapshot() const = 0;
  /// Becomes what snapshot() told, possibly on another member. Errors: corrupt (a state that is
  /// none: the member ends).
  [[nodiscard]] virtual Result<void> restore(Bytes state) = 0;
  /// Becomes as it was made, before any command.
  virtual void reset() = 0;

  /// True: commands are executed at the leader as they come, ahead of being decided, so that
  /// effect_of() sees what earlier ones did; their results still wait. What is never decided is
  /// undone by restoring the last snapshot and executing again.
  [[nodiscard]] virtual bool executes_ahead() const { return false; }
  /// At the leader, before a request goes into the log: the command that goes there instead. Here
  /// a program may look at whatever it likes. An error refuses the request; nothing happens. After
  /// busy the client tries again, perhaps elsewhere.
  [[nodiscard]] virtual Result<std::vector<std::byte>> effect_of(Bytes request) {
    return std::vector<std::byte>(request.begin(), request.end());
  }

  /// Answers a query and changes nothing: asked by ReplicatedClient::read(), at the leader or, for
  /// stale reads, at any member. It sees the state after some entry of the log, and what it returns
  /// is told when that entry is decided. Errors: its own, which the client gets as
  /// invalid_argument; busy: not now, the client asks again, perhaps elsewhere.
  [[nodiscard]] virtual Result<std::vector<std::byte>> read(Bytes query) const {
    (void)query;
    return fail(Errc::invalid_argument, "this state machine answers no queries");
  }
  /// Called at the leader before read(), for what that needs and has to be made first. Errors: as
  /// of read().
  [[nodiscard]] virtual Result<void> prepare_read() { return {}; }

  // For a machine that keeps its state on a disk of its own: what is there is only to follow when
  // it cannot be taken back any more, and need not be made anew when the member starts again.

  /// True: it has a disk of its own, and needs a group that has its log on one too (durable).
  /// Its snapshots are references: they say which state it is, and restore() finds it on that disk.
  [[nodiscard]] virtual bool keeps_state() const { return false; }
  /// The part of a snapshot that says which state it is; at most 256 bytes, in the snapshot. What
  /// else is in it travels with the log.
  [[nodiscard]] virtual Bytes reference_in(Bytes state) const { return state; }
  /// Whether restore() would find this state, or a later one.
  [[nodiscard]] virtual bool has_state(Bytes reference) const {
    (void)reference;
    return true;
  }
  /// For a member that lacks it: this state, or a later one, in parts of at most about
  /// `part_bytes`. Errors: not_found (an older one is here), the disk's own.
  [[nodiscard]] virtual Result<std::unique_ptr<StateSource>> send_state(Bytes reference,
                                                                        std::size_t part_bytes) {
    (void)reference;
    (void)part_bytes;
    return std::unexpected(Error(Errc::unsupported, "a state machine without a disk"));
  }
  /// Whatever an earlier one left is gone. Nothing of it is used before restore().
  [[nodiscard]] virtual Result<std::unique_ptr<StateSink>> receive_state(Bytes reference) {
    (void)reference;
    return std::unexpected(Error(Errc::unsupported, "a state machine without a disk"));
  }
  /// apply(), with the command's place in the log; places ascend, with gaps.
  [[nodiscard]] virtual std::vector<std::byte> apply_at(std::uint64_t index, Bytes command) {
    (void)index;
    return apply(command);
  }
  /// apply_at(), and who asked for it: the number of the client whose key it came under, which its
  /// group's nodes have made sure of. 0: nobody in particular, as in a group whose members and
  /// clients share one key, or a node itself.
  [[nodiscard]] virtual std::vector<std::byte> apply_for(std::uint64_t client, std::uint64_t index,
                                                         Bytes command) {
    (void)client;
    return apply_at(index, command);
  }
  /// What was applied up to this place is decided: it is never undone. An error ends the member.
  [[nodiscard]] virtual Result<void> decided(std::uint64_t index) {
    (void)index;
    return {};
  }
  /// True: effect_of() and prepare_read() are not called before everything in the log is decided,
  /// and decided() is called again though nothing is new.
  [[nodiscard]] virtual bool waits_for_decided() const { return false; }
  /// snapshot(), called when everything applied is decided; of a machine that keeps its state,
  /// which is durable up to here then. Errors: too_large, and busy, not now (the log stays, and it
  /// is asked for again later); others end the member.
  [[nodiscard]] virtual Result<std::vector<std::byte>> try_snapshot() { return snapshot(); }

  // For a machine whose state lies in memory that clients read themselves, without asking.

  /// So much memory, a multiple of 8, the same during its life; 0: it has its own.
  [[nodiscard]] virtual std::size_t memory_bytes() const { return 0; }
  /// It is all zero, aligned to 64 bytes, and stays until the member ends or gives the group up.
  /// Called once, before reset() or restore(), unless memory_bytes() is 0. Others read it at any
  /// time: they see each word of 8 bytes as a whole, if it is stored so. What is not decided must
  /// not be seen there: a machine that executes_ahead() shows what decided() told it of, before
  /// that returns, and never takes any of it back.
  virtual void use_memory(std::span<std::byte> memory) { (void)memory; }
};

}  // namespace dolmen
