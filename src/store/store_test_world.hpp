// SPDX-License-Identifier: Apache-2.0
//
// What the store's tests share: a real directory to open stores in, commit records from a few
// words, and reading text back.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <stdlib.h>

#include <gtest/gtest.h>

#include "base/commit_record.hpp"
#include "store/store.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::store {

/// A commit record's payload, built by chaining.
class Change {
 public:
  Change& create(const ObjectId& object, unsigned capacity_log2) {
    writer_.create(object, capacity_log2);
    return *this;
  }
  Change& write(const ObjectId& object, std::uint32_t offset, std::string_view text) {
    writer_.write(object);
    writer_.run(offset, base::as_bytes(text));
    return *this;
  }
  Change& erase(const ObjectId& object) {
    writer_.erase(object);
    return *this;
  }
  Change& resize(const ObjectId& object, unsigned capacity_log2) {
    writer_.resize(object, capacity_log2);
    return *this;
  }
  // NOLINTNEXTLINE(google-explicit-constructor): a Change is passed where a payload is asked for
  operator base::Bytes() const noexcept { return writer_.bytes(); }

 private:
  base::CommitRecordWriter writer_;
};

/// A fresh directory, removed at the end.
class RealDirectory {
 public:
  RealDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "dolmen-store-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~RealDirectory() { std::filesystem::remove_all(path_); }
  RealDirectory(const RealDirectory&) = delete;
  RealDirectory& operator=(const RealDirectory&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] const sys::Env& env() const { return sys::linux_env(); }
  [[nodiscard]] std::unique_ptr<sys::Disk> disk() const {
    auto disk = sys::open_directory(path_.string(), sys::DirectoryMode::open_existing);
    EXPECT_TRUE(disk);
    return std::move(*disk);
  }
  [[nodiscard]] Result<std::unique_ptr<Store>> create(
      const CreateOptions& options = {.segment_bytes = 64u << 10, .tail_bytes_max = 256u << 10},
      const OpenOptions& open_options = {}) const {
    return Store::create(env(), disk(), options, open_options);
  }
  [[nodiscard]] Result<std::unique_ptr<Store>> open(const OpenOptions& options = {}) const {
    return Store::open(env(), disk(), options);
  }

 private:
  std::filesystem::path path_;
};

/// `count` bytes of an object as the store reads them.
inline std::string text_at(Store& store, const ObjectId& object, unsigned capacity_log2,
                           std::uint32_t offset, std::uint32_t count) {
  const std::uint32_t page = page_bytes(capacity_log2);
  std::string text;
  std::vector<std::byte> bytes(page);
  while (count > 0) {
    const auto read = store.read_page({object, offset / page}, bytes);
    if (!read) return "error: " + read.error().message();
    const std::uint32_t step = std::min(count, page - offset % page);
    for (std::uint32_t k = 0; k < step; ++k) text += static_cast<char>(bytes[offset % page + k]);
    offset += step;
    count -= step;
  }
  return text;
}

}  // namespace dolmen::store
