// SPDX-License-Identifier: Apache-2.0
//
// A directory of files in memory that behaves as badly as sys/disk.hpp allows, and repeatably so:
// what a crash may leave, which calls fail, how long they take and how much room there is are all
// decided by the caller and a seed. README.md in this folder shows a whole crash campaign.
//
// Threads: any; calls are serialised. Deterministic when the calls come in a fixed order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/disk_faults.hpp"
#include "sim/disk_model.hpp"
#include "sys/clock.hpp"
#include "sys/disk.hpp"

namespace dolmen::sim {

class SimDiskCore;

/// All changes since record() was called, from which every moment can be made again.
struct DiskHistory {
  DiskModel start;
  std::uint64_t first_op = 0;  ///< op_count() at the start
  std::vector<DiskOpPtr> ops;
};

/// How long calls take, in virtual time; each between half and the whole of the figure.
struct DiskLatency {
  std::uint64_t read_ns = 0;
  std::uint64_t write_ns = 0;
  std::uint64_t sync_ns = 0;
};

class SimDisk final : public sys::Disk {
 public:
  explicit SimDisk(std::uint64_t seed, std::string name = "simulated disk");
  /// A disk as a crash left it; see DiskModel::crash.
  SimDisk(DiskModel model, std::uint64_t seed, std::string name = "simulated disk");
  ~SimDisk() override;
  SimDisk(const SimDisk&) = delete;
  SimDisk& operator=(const SimDisk&) = delete;

  Result<std::unique_ptr<sys::File>> open(std::string_view name, sys::OpenMode mode) override;
  Result<std::vector<std::string>> list() override;
  Result<void> remove(std::string_view name) override;
  Result<void> rename(std::string_view from, std::string_view to) override;
  Result<void> sync_directory() override;
  Result<std::uint64_t> free_bytes() override;
  Result<std::unique_ptr<sys::FileLock>> try_lock(std::string_view name, sys::LockMode mode,
                                                  std::string_view owner,
                                                  std::string* holder) override;
  std::string describe() const override;

  // Crashes.
  /// A copy of the state, for crash() at this moment and for comparisons. Cost: microseconds.
  [[nodiscard]] DiskModel model() const;
  /// A new disk with what a crash at this moment leaves. Locks are gone; this disk goes on.
  [[nodiscard]] std::unique_ptr<SimDisk> crash(const CrashPlan& plan, std::uint64_t seed = 0) const;
  /// From now on every call fails and changes nothing: the program that used the disk unwinds.
  void power_off();
  /// power_off() happens by itself before change number `op_count` + 1.
  void power_off_at(std::uint64_t op_count);

  // The trace.
  /// Changes made so far; a crash state is named by this number and a plan.
  [[nodiscard]] std::uint64_t op_count() const;
  /// Over every call with its arguments, contents and outcome: equal for equal runs.
  [[nodiscard]] std::uint64_t trace_hash() const;
  /// Keeps every change from now on.
  void record();
  /// What was kept since record(). Requires: record() was called.
  [[nodiscard]] DiskHistory history() const;

  // Faults.
  void inject(const DiskFault& fault);
  void set_fault_rates(const DiskFaultRates& rates);
  void clear_faults();
  /// Calls that a fault on FaultOn::any counts.
  [[nodiscard]] std::uint64_t fallible_calls() const;
  /// Room for contents, in bytes, counted in sectors; the default is practically endless.
  void set_capacity_bytes(std::uint64_t bytes);
  [[nodiscard]] std::uint64_t used_bytes() const;
  /// Damages stored contents, cached ones too. Requires: the file exists.
  void flip_bit(std::string_view name, std::uint64_t offset, unsigned bit);
  /// `clock` outlives the disk.
  void set_latency(sys::Clock& clock, const DiskLatency& latency);

 private:
  std::shared_ptr<SimDiskCore> core_;
};

}  // namespace dolmen::sim
