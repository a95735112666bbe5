// SPDX-License-Identifier: Apache-2.0
//
// What a SimDisk, its files and its locks share: the model, the trace, the faults. Every call of
// the sys interfaces is one function here, run under one mutex; files may outlive the disk.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/mutex.hpp"
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

  void apply(DiskOp op) DOLMEN_REQUIRES(mutex);
  [[nodiscard]] std::uint64_t free_sectors() const noexcept DOLMEN_REQUIRES(mutex);

  const std::string disk_name;
  mutable base::Mutex mutex;
  DiskModel model DOLMEN_GUARDED_BY(mutex);
  DiskFaults faults DOLMEN_GUARDED_BY(mutex);
  std::optional<DiskHistory> history DOLMEN_GUARDED_BY(mutex);
  std::uint64_t op_count DOLMEN_GUARDED_BY(mutex) = 0;
  std::uint64_t trace_hash DOLMEN_GUARDED_BY(mutex) = 0;
  std::uint64_t power_off_at DOLMEN_GUARDED_BY(mutex) = ~std::uint64_t{0};
  std::uint64_t capacity_sectors DOLMEN_GUARDED_BY(mutex) = std::uint64_t{1} << 40;
  sys::Clock* clock DOLMEN_GUARDED_BY(mutex) = nullptr;
  DiskLatency latency DOLMEN_GUARDED_BY(mutex);

 private:
  struct Lock {
    int shared = 0;
    bool exclusive = false;
    std::string owner;
  };

  [[nodiscard]] Result<void> begin(FaultOn on, std::string_view name, std::uint64_t latency_ns,
                                   std::optional<DiskFault>* write_fault = nullptr)
      DOLMEN_REQUIRES(mutex);
  [[nodiscard]] Result<void> power(std::string_view name) const DOLMEN_REQUIRES(mutex);
  void trace(FaultOn on, InodeId inode, std::uint64_t offset, std::uint64_t bytes,
             std::uint64_t contents) DOLMEN_REQUIRES(mutex);
  void write_sectors(InodeId inode, const std::string& name, std::uint64_t offset,
                     base::Bytes bytes) DOLMEN_REQUIRES(mutex);
  void forget_unreachable() DOLMEN_REQUIRES(mutex);
  [[nodiscard]] Result<InodeId> create(std::string_view name) DOLMEN_REQUIRES(mutex);

  base::Random random_ DOLMEN_GUARDED_BY(mutex);
  std::map<InodeId, int> open_counts_ DOLMEN_GUARDED_BY(mutex);
  std::map<std::string, Lock, std::less<>> locks_ DOLMEN_GUARDED_BY(mutex);
};

}  // namespace dolmen::sim
