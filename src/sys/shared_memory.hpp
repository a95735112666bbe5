// SPDX-License-Identifier: Apache-2.0
//
// Memory that several processes of one user have mapped, and how they wake each other and hear of
// each other's end. All of it has names in one directory, which lies in memory, belongs to the user
// and is closed to everybody else; whoever else made it, or could reach it, is refused.
//
// What a process made there ends with the process, however it ends: an object that is not published
// vanishes by itself, a published one can be reaped by anybody from then on (the system's word for
// "its maker is dead" is the lock that the maker held on it, never a number that could be given out
// again). Whoever has an object mapped keeps its memory.
//
// What lies in a mapped object is written by others at any time. Who wants a process to crash and
// runs as its user can have that (by cutting an object short, for one): the directory is one trust
// domain. After fork() the mappings are the parent's alone; descriptors, and so the maker's lock,
// are the child's too until it ends or becomes another program.
//
// Threads: a SharedDirectory from any thread; an OwnBell from one, but for ring(); the rest is
// immutable once made. Errors: not_found, already_exists, no_space (the memory is used up),
// out_of_memory, io_error (detail = errno), invalid_argument, unsupported.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "sys/network.hpp"

namespace dolmen::sys {

/// One process in its one life, as others on this host can check it.
struct ProcessMark {
  std::uint64_t pid = 0;
  std::uint64_t started = 0;  ///< clock ticks after the host's start: ids are given out again
  std::uint64_t space = 0;    ///< which process-id name space the id belongs to
  friend constexpr bool operator==(const ProcessMark&, const ProcessMark&) = default;
};

/// A mapped object; unmapped when this ends.
class SharedObject {
 public:
  virtual ~SharedObject() = default;
  /// Page-aligned; written by others at any time.
  [[nodiscard]] virtual base::MutableBytes memory() const noexcept = 0;
};

/// An object that this process made. Its name goes when this ends.
class OwnObject : public SharedObject {
 public:
  /// Gives it a name: until then nobody else sees it, from then on all of it. Requires: not
  /// published. Errors: already_exists, no_space.
  [[nodiscard]] virtual Result<void> publish(std::string_view name) = 0;
  /// Takes the name away again; who has it mapped keeps it.
  virtual void withdraw() noexcept = 0;
};

/// Ends the wait of the OwnBell of that name.
class Bell {
 public:
  virtual ~Bell() = default;
  /// From any thread; about a microsecond. A bell that rings already is not rung twice.
  virtual void ring() noexcept = 0;
};

/// What one thread waits for: its bell, and the end of processes.
class OwnBell : public Bell {
 public:
  /// From here on the end of `process` is reported by wait(), once, as `token`. When it has been
  /// reported no store of that process comes any more. Errors: not_found (it has ended already),
  /// already_exists (the token), unsupported (it lives in another process-id name space).
  [[nodiscard]] virtual Result<void> watch(const ProcessMark& process, std::uint64_t token) = 0;
  virtual void unwatch(std::uint64_t token) noexcept = 0;
  /// Returns when the bell rings or rang since the last wait, when a watched process has ended
  /// (appended to `ended`), when `until_ns` of the monotonic clock has come, or early. A past time:
  /// looks and returns, a quarter of a microsecond.
  [[nodiscard]] virtual Result<void> wait(std::uint64_t until_ns,
                                          std::vector<std::uint64_t>& ended) = 0;
  /// For a Poller, which finds it readable while wait() would return at once. Errors: limit.
  [[nodiscard]] virtual Result<std::unique_ptr<Socket>> watched() = 0;
};

enum class SharedAccess : std::uint8_t { read_only, read_write };

/// Set by the system in a word of mark_life().
inline constexpr std::uint32_t kLifeEnded = 0x40000000;

/// See SharedDirectory::mark_life().
class LifeMark {
 public:
  virtual ~LifeMark() = default;
};

class SharedDirectory {
 public:
  virtual ~SharedDirectory() = default;
  /// Zeroed memory without a name, all of it reserved. `bytes` is rounded up to whole pages.
  [[nodiscard]] virtual Result<std::unique_ptr<OwnObject>> create(std::size_t bytes) = 0;
  /// Maps a published object. Errors: not_found; invalid_argument: it is no object of this user
  /// alone, or smaller or larger than these limits.
  [[nodiscard]] virtual Result<std::unique_ptr<SharedObject>> open(std::string_view name,
                                                                   SharedAccess access,
                                                                   std::size_t bytes_min,
                                                                   std::size_t bytes_max) = 0;
  /// Names end with its process, or with it. Errors: already_exists.
  [[nodiscard]] virtual Result<std::unique_ptr<OwnBell>> make_bell(std::string_view name) = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<Bell>> open_bell(std::string_view name) = 0;
  [[nodiscard]] virtual Result<std::vector<std::string>> list() = 0;  ///< sorted
  /// Removes the object or bell if its maker is dead; gives whether it is gone.
  [[nodiscard]] virtual Result<bool> reap(std::string_view name) = 0;
  /// This process.
  [[nodiscard]] virtual Result<ProcessMark> self() = 0;
  /// Makes `word`, which lies in an own object, say that this process lives: soon it is neither 0
  /// nor has kLifeEnded. When the process is ended from outside the system sets that bit, a fifth
  /// of a millisecond later and before it takes the memory away, which is long before a watch()
  /// tells. Unlike then, stores of the process may still come. 0 once the result has ended in
  /// order. Costs a thread that sleeps. Errors: limit, out_of_memory,
  /// unsupported (under the thread sanitizer).
  [[nodiscard]] virtual Result<std::unique_ptr<LifeMark>> mark_life(std::uint32_t* word) = 0;
  /// Names the directory among all of this host in this life of its; the same for whoever opens it.
  [[nodiscard]] virtual Result<std::array<std::uint64_t, 2>> identity() = 0;
  /// For messages.
  [[nodiscard]] virtual std::string describe() const = 0;
};

}  // namespace dolmen::sys
