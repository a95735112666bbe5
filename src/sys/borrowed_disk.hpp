// SPDX-License-Identifier: Apache-2.0
//
// Another handle on a disk: who owns a Disk (a store) gets this one, the caller goes on using its
// own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sys/disk.hpp"

namespace dolmen::sys {

class BorrowedDisk : public Disk {
 public:
  /// Requires: `disk` outlives this handle.
  explicit BorrowedDisk(Disk& disk) noexcept : disk_(disk) {}
  Result<std::unique_ptr<File>> open(std::string_view name, OpenMode mode) override {
    return disk_.open(name, mode);
  }
  Result<std::vector<std::string>> list() override { return disk_.list(); }
  Result<void> remove(std::string_view name) override { return disk_.remove(name); }
  Result<void> rename(std::string_view from, std::string_view to) override {
    return disk_.rename(from, to);
  }
  Result<void> sync_directory() override { return disk_.sync_directory(); }
  Result<std::uint64_t> free_bytes() override { return disk_.free_bytes(); }
  Result<std::unique_ptr<FileLock>> try_lock(std::string_view name, LockMode mode,
                                             std::string_view owner, std::string* holder) override {
    return disk_.try_lock(name, mode, owner, holder);
  }
  std::string describe() const override { return disk_.describe(); }

 private:
  Disk& disk_;
};

}  // namespace dolmen::sys
