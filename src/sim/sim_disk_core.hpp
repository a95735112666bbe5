// SPDX-License-Identifier: Apache-2.0
//
// What a SimDisk, its files and its locks share: the model, the trace, the faults. Every call of
// the sys interfaces is one function here, run under one mutex; files may outlive the disk.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "sim/disk_faults.hpp"
#include "sim/disk_model.hpp"
#include "sim/sim_disk.hpp"

namespace dolmen::sim {

class SimDiskCore {
 public:
  SimDiskCore(DiskModel model, std::uint64_t seed, std::string name);

  [[nodiscard]] Result<InodeId> open(std::string_view name, sys::OpenMode mode);
  void close(InodeId inode);
  [[nodiscard]] Result<std::vector<std::string>> list();
  [[nodiscard]] Result<void> remove(std::string_view name);
  [[nodiscard]] Result<void> rename(std::string_view from, std::string_view to);
  [[nodiscard]] Result<void> sync_directory();
  [[nodiscard]] Result<std::uint64_t> free_bytes();

  [[nodiscard]] Result<std::size_t> read(InodeId inode, const std::string& name,
                                         std::uint64_t offset, base::MutableBytes out);
  [[nodiscard]] Result<void> write(InodeId inode, const std::string& name, std::uint64_t offset,
                                   base::Bytes bytes);
  [[nodiscard]] Result<void> sync(InodeId inode, const std::string& name);
  [[nodiscard]] Result<std::uint64_t> size(InodeId inode, const std::string& name);
  [[nodiscard]] Result<void> resize(InodeId inode, const std::string& name, std::uint64_t bytes);
  [[nodiscard]] Result<void> allocate(InodeId inode, const std::string& name, std::uint64_t offset,
                                      std::uint64_t bytes);
  [[nodiscard]] Result<void> punch(InodeId inode, const std::string& name, std::uint64_t offset,
                                   std::uint64_t bytes);
  [[nodiscard]] Result<std::uint64_t> allocated_bytes(InodeId inode, const std::string& name);

  [[nodiscard]] Result<void> lock(std::string_view name, sys::LockMode mode, std::string_view owner,
                                  std::string* holder);
  void unlock(const std::string& name, sys::LockMode mode);

  [[nodiscard]] std::unique_lock<std::mutex> guard() const { return std::unique_lock(mutex_); }

  // Requires: guard() is held.
  void apply(DiskOp op);
  [[nodiscard]] std::uint64_t free_sectors() const noexcept;

  const std::string disk_name;
  DiskModel model;
  DiskFaults faults;
  std::optional<DiskHistory> history;
  std::uint64_t op_count = 0;
  std::uint64_t trace_hash = 0;
  std::uint64_t power_off_at = ~std::uint64_t{0};
  std::uint64_t capacity_sectors = std::uint64_t{1} << 40;
  SimClock* clock = nullptr;
  DiskLatency latency;

 private:
  struct Lock {
    int shared = 0;
    bool exclusive = false;
    std::string owner;
  };

  // Each requires: mutex_ is held.
  [[nodiscard]] Result<void> begin(FaultOn on, std::string_view name, std::uint64_t latency_ns,
                                   std::optional<DiskFault>* write_fault = nullptr);
  [[nodiscard]] Result<void> power(std::string_view name) const;
  void trace(FaultOn on, InodeId inode, std::uint64_t offset, std::uint64_t bytes,
             std::uint64_t contents);
  void write_sectors(InodeId inode, const std::string& name, std::uint64_t offset,
                     base::Bytes bytes);
  void forget_unreachable();
  [[nodiscard]] Result<InodeId> create(std::string_view name);

  mutable std::mutex mutex_;
  base::Random random_;
  std::map<InodeId, int> open_counts_;
  std::map<std::string, Lock, std::less<>> locks_;
};

}  // namespace dolmen::sim
