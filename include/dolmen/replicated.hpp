// SPDX-License-Identifier: Apache-2.0
//
// A state machine kept the same by a group of members: processes on one or several hosts, of which
// a majority has to be there. What a client was told is on the disks of a majority, and survives
// whatever a minority of them suffers. docs/replicated.md shows a whole program.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/state_machine.hpp>

namespace dolmen {

/// A group, as members and clients know it.
struct ReplicatedGroup {
  /// "192.0.2.7:7400" or "[2001:db8::7]:7400" of member 1, 2, …: the same everywhere. Numeric: no
  /// names are looked up.
  std::vector<std::string> members;
  /// A file of 64 hexadecimal digits that only members and clients can read. Whoever has it may do
  /// anything; connections are encrypted with it.
  std::string key_file;
  /// Which of the members, 1, 2, …, are witnesses: they keep what clients were told like the
  /// others, count in majorities, and have no state machine, so that they cost little but a disk.
  /// The same for all members, when their directories are made; later the group's log knows.
  std::vector<std::uint32_t> witnesses{};
};

struct ReplicatedOptions {
  ReplicatedGroup group;
  std::uint32_t member = 0;  ///< which of them this is: 1, 2, …
  std::string directory;     ///< where it keeps its journal
  /// How long the loop looks for work itself before it lets the system wake it: lower latency for a
  /// core.
  std::chrono::microseconds spin{0};
};

/// A member. Threads: run() on one; stop() from any, and from a signal handler.
class Replicated {
 public:
  /// Makes a new member's journal, once in its life. A member that lost its directory must not do
  /// this again under the same number: it would have forgotten what it promised. Errors:
  /// already_exists, invalid_argument, io_error, no_space.
  [[nodiscard]] static Result<void> create(const ReplicatedOptions& options);
  /// Opens the journal and listens. `machine` outlives it, and is reset or restored here. Errors:
  /// not_found (create() it first), held, corrupt, invalid_argument, already_exists (somebody
  /// listens at that address), io_error.
  [[nodiscard]] static Result<Replicated> start(const ReplicatedOptions& options,
                                                StateMachine& machine);
  /// The same for a witness, which any program can run: it knows nothing of the state machine.
  /// Errors: as of start(), and invalid_argument where the group has this member as a server, as
  /// start() has where it is a witness.
  [[nodiscard]] static Result<Replicated> start_witness(const ReplicatedOptions& options);
  Replicated(Replicated&&) noexcept;
  Replicated& operator=(Replicated&&) noexcept;
  ~Replicated();

  /// Serves until stop(). Errors: store_failed, no_space, io_error: the member is of no more use,
  /// and start() will find what its disk holds.
  [[nodiscard]] Result<void> run();
  void stop() noexcept;

 private:
  struct Impl;
  [[nodiscard]] static Result<Replicated> start(const ReplicatedOptions& options,
                                                StateMachine* machine);
  explicit Replicated(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

struct ReplicatedStatus {
  std::uint32_t member = 0;
  bool is_reached = false;  ///< the rest is only known then
  std::string role{};       ///< "leader", "candidate", "follower"
  std::uint64_t epoch = 0;
  std::uint32_t leader = 0;  ///< member; 0: it knows of none
  std::uint64_t first_index = 0;
  std::uint64_t last_index = 0;
  std::uint64_t stable_index = 0;
  std::uint64_t applied_index = 0;  ///< of a witness: 0
  std::vector<std::uint32_t> voters{};
  std::vector<std::uint32_t> learners{};
  std::vector<std::uint32_t> witnesses{};  ///< of the voters
  /// Of a leader: how many entries each member lacks that it has.
  struct Lag {
    std::uint32_t member = 0;
    std::uint64_t entries = 0;
  };
  std::vector<Lag> lag{};
};

/// Sends commands to whoever leads. Each is executed once, whatever fails meanwhile, or else the
/// error says that this is not known. Threads: one at a time.
class ReplicatedClient {
 public:
  /// Errors: invalid_argument, io_error. It connects when it is used.
  [[nodiscard]] static Result<ReplicatedClient> make(const ReplicatedGroup& group);
  ReplicatedClient(ReplicatedClient&&) noexcept;
  ReplicatedClient& operator=(ReplicatedClient&&) noexcept;
  ~ReplicatedClient();

  /// What the state machine answered. Errors: timed_out (whether it was or will be executed is not
  /// known, unless the group could not be reached at all), connection_lost (the group forgot this
  /// client, or refused the command after an attempt that nobody answered: also not known),
  /// invalid_argument (the state machine, or its size, refused it; nothing happened).
  [[nodiscard]] Result<std::vector<std::byte>> call(
      std::span<const std::byte> command,
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// How each member is, as far as it answers within `patience`.
  [[nodiscard]] Result<std::vector<ReplicatedStatus>> status(
      std::chrono::milliseconds patience = std::chrono::seconds(1));

 private:
  struct Impl;
  explicit ReplicatedClient(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dolmen
