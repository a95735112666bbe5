// SPDX-License-Identifier: Apache-2.0
//
// The root in force, and the only way to replace it. Before the first switch, and before anything
// is used again that only older roots need, the root that was read is made durable and what a crash
// left unfinished is repaired. A switch writes both slots of the new generation.
//
// Invariants:
//   1. At any moment at most one slot of the file does not verify.
//   2. Segments that a switch dropped are reported only after the switch is durable.
//   3. After a failed switch every further one fails: which root a recovery finds is then unknown.
//
// Threads: any; a switch holds the keeper's mutex while it writes. Calls nothing outside but the
// file.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/mutex.hpp"
#include "store/root.hpp"
#include "sys/disk.hpp"

namespace dolmen::store {

inline constexpr std::string_view kRootFile = "space";
inline constexpr std::string_view kNewRootFile = "space.new";
/// The root of a space that is being filled and must not be opened yet.
inline constexpr std::string_view kUnfinishedRootFile = "space.unfinished";

/// Gives the root file `from` the name under which a space is found. Durable on return; on an error
/// it has its former name.
[[nodiscard]] Result<void> publish_root(sys::Disk& disk, std::string_view from);

class RootKeeper {
 public:
  /// Writes a fresh root file for generation 1 (not yet durable under its name).
  [[nodiscard]] static Result<void> write_first(sys::File& file, const Root& root);
  /// Reads and chooses. Errors: not_a_space, version_unsupported, corrupt, io_error.
  [[nodiscard]] static Result<RootChoice> read(sys::File& file);

  /// Adds the slots of `file` that do not verify to the report, but for `unfinished` ones. Beside a
  /// writer: a slot counts only when it is bad as often as it is looked at, for it may be written
  /// meanwhile. Errors: io_error.
  [[nodiscard]] static Result<void> verify_file(sys::File& file,
                                                const std::array<bool, kRootSlots>& unfinished,
                                                ScrubReport& report);

  RootKeeper(std::unique_ptr<sys::File> file, RootChoice choice);

  [[nodiscard]] Root root() const;
  [[nodiscard]] std::size_t segment_count() const noexcept { return segment_count_.load(); }
  [[nodiscard]] std::uint64_t sync_count() const noexcept { return sync_count_.load(); }
  [[nodiscard]] bool failed() const noexcept { return failed_.load(); }

  /// Listed segments that begin above `end` hold no record; the next switch drops them.
  void drop_segments_above(Index end);

  /// Makes what was only read durable, in both of its slots, before anything that an older root may
  /// need is used again: a killed process may have left this root in the system's cache alone.
  /// Errors: store_failed.
  [[nodiscard]] Result<void> settle();

  /// Reads the slots again; adds what does not verify, and did when it was opened, to the report.
  /// Errors: io_error.
  [[nodiscard]] Result<void> verify(ScrubReport& report);

  /// Makes the root that `change` gives the one in force, and appends to `dropped` the files that
  /// it no longer lists. Errors: store_failed (detail = of the first failure).
  [[nodiscard]] Result<void> switch_root(const std::function<void(Root&)>& change,
                                         std::vector<std::uint32_t>* dropped);

  /// From now on what is written waits for sync(): of a space that nobody opens before.
  void defer_syncs();
  /// Makes durable what waits, and defers no more. Errors: store_failed (detail = of the failure).
  [[nodiscard]] Result<void> sync();

 private:
  [[nodiscard]] Result<void> write_slot(unsigned slot, base::Bytes bytes) DOLMEN_REQUIRES(mutex_);
  [[nodiscard]] Result<void> copy_twin(unsigned slot) DOLMEN_REQUIRES(mutex_);
  [[nodiscard]] Result<void> write_pair(const Root& root) DOLMEN_REQUIRES(mutex_);
  [[nodiscard]] Result<void> settle_read_root() DOLMEN_REQUIRES(mutex_);

  mutable base::Mutex mutex_;
  const std::unique_ptr<sys::File> file_;
  RootChoice choice_ DOLMEN_GUARDED_BY(mutex_);
  Index recovered_end_ DOLMEN_GUARDED_BY(mutex_) = ~Index{0};
  bool defers_syncs_ DOLMEN_GUARDED_BY(mutex_) = false;
  bool settled_ DOLMEN_GUARDED_BY(mutex_) = false;  // the root in force is certainly in both slots
  std::atomic<std::size_t> segment_count_;
  std::atomic<std::uint64_t> sync_count_{0};
  std::atomic<bool> failed_{false};
};

}  // namespace dolmen::store
