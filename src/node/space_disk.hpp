// SPDX-License-Identifier: Apache-2.0
//
// The directory of an image holds two spaces at times: the image, under the names that a space's
// files have, and one that is being received, under the same names with a prefix.
//
// Threads: as the disk.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "sys/borrowed_disk.hpp"

namespace dolmen::node {

inline constexpr std::string_view kStagedPrefix = "new.";
/// The root of a received space that takes the image's place: first what is in the way goes, and
/// then its files get their names.
inline constexpr std::string_view kClearingRoot = "switch.clear";
inline constexpr std::string_view kMovingRoot = "switch.move";

/// What the image's own store sees.
class ImageDisk final : public sys::BorrowedDisk {
 public:
  explicit ImageDisk(sys::Disk& disk) noexcept : BorrowedDisk(disk) {}
  Result<std::vector<std::string>> list() override {
    DOLMEN_TRY(auto names, BorrowedDisk::list());
    std::erase_if(names, [](const std::string& name) { return name.starts_with(kStagedPrefix); });
    return names;
  }
};

/// What that of a received space sees.
class StagedDisk final : public sys::BorrowedDisk {
 public:
  explicit StagedDisk(sys::Disk& disk) noexcept : BorrowedDisk(disk) {}
  Result<std::unique_ptr<sys::File>> open(std::string_view name, sys::OpenMode mode) override {
    return BorrowedDisk::open(staged(name), mode);
  }
  Result<std::vector<std::string>> list() override {
    DOLMEN_TRY(const auto names, BorrowedDisk::list());
    std::vector<std::string> own;
    for (const std::string& name : names) {
      if (name.starts_with(kStagedPrefix)) own.push_back(name.substr(kStagedPrefix.size()));
    }
    return own;
  }
  Result<void> remove(std::string_view name) override { return BorrowedDisk::remove(staged(name)); }
  Result<void> rename(std::string_view from, std::string_view to) override {
    return BorrowedDisk::rename(staged(from), staged(to));
  }
  Result<std::unique_ptr<sys::FileLock>> try_lock(std::string_view name, sys::LockMode mode,
                                                  std::string_view owner,
                                                  std::string* holder) override {
    return BorrowedDisk::try_lock(staged(name), mode, owner, holder);
  }

 private:
  static std::string staged(std::string_view name) {
    return std::string(kStagedPrefix).append(name);
  }
};

}  // namespace dolmen::node
