// SPDX-License-Identifier: Apache-2.0
//
// What the suites need of the machine: its description, pinning, memory and disk use, cold caches,
// a folder of their own, and processes of their own (the running program again, `bench --child …`).
//
// Thread contract: Pinned belongs to the thread that made it; the rest may be called from any
// thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sched.h>

#include <nlohmann/json.hpp>

namespace dolmen::bench {

/// CPU, cores, memory, kernel, filesystem of `directory`, library version, whether pointers are
/// checked.
[[nodiscard]] nlohmann::ordered_json machine_facts(const std::string& directory);
/// "ext4", "tmpfs", …
[[nodiscard]] std::string filesystem_of(const std::string& directory);

/// Puts the calling thread, and processes that it starts, ahead of every ordinary thread while it
/// lives, so that a busy machine disturbs less. Does nothing unless allow(true) was called.
class RealTime {
 public:
  RealTime();
  ~RealTime();
  RealTime(const RealTime&) = delete;
  RealTime& operator=(const RealTime&) = delete;
  /// From now on, for every RealTime. False if this process may not.
  static bool allow(bool on);
};

/// Keeps the calling thread on one core while it lives: no migration, no wake across cores.
class Pinned {
 public:
  Pinned();
  explicit Pinned(int core);
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  RealTime real_time_;
  cpu_set_t before_{};
};

/// The cores that the calling thread may run on, ascending; at least one.
[[nodiscard]] std::vector<int> allowed_cores();

/// Runnable threads of the whole machine, averaged over a minute.
[[nodiscard]] double machine_load();

/// Bytes of memory that this process answers for (proportional set size): private memory whole,
/// pages mapped twice or shared counted once.
[[nodiscard]] std::uint64_t memory_bytes();
/// The private, unevictable part of it.
[[nodiscard]] std::uint64_t anonymous_bytes();

/// Allocated (not apparent) bytes of every file below `path`.
[[nodiscard]] std::uint64_t disk_bytes(const std::string& path);
/// Writes out every file below `path` and takes it out of the page cache.
void drop_caches(const std::string& path);
/// Reads every file below `path` into the page cache.
void warm_caches(const std::string& path);

/// A folder of the suite's own, removed with everything in it.
class Folder {
 public:
  /// Throws Failure.
  explicit Folder(const std::string& path);
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::string below(const std::string& name) const { return path_ + "/" + name; }
  /// Removes one entry below, with everything in it.
  void remove(const std::string& name) const;

 private:
  std::string path_;
};

struct ChildOutcome {
  std::string output;  ///< its stdout
  int signal = 0;      ///< that ended it, or 0
};

/// Runs this program again as `bench --child <arguments>` and waits. Throws Failure when it exits
/// with an error; a child that was killed is the caller's to judge.
ChildOutcome run_child(const std::vector<std::string>& arguments);
/// Ends this process like a crash: SIGKILL, nothing flushed, no destructor.
[[noreturn]] void die();

}  // namespace dolmen::bench
