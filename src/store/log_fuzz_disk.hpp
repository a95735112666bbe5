// SPDX-License-Identifier: Apache-2.0
//
// A directory whose files are bytes that a fuzzer made. Reading only. Fuzzers only.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sys/disk.hpp"

namespace dolmen::store {

class FuzzDisk final : public sys::Disk {
 public:
  std::map<std::string, std::vector<std::byte>, std::less<>> files;

  Result<std::unique_ptr<sys::File>> open(std::string_view name, sys::OpenMode) override {
    const auto found = files.find(name);
    if (found == files.end()) return fail(Errc::not_found);
    return std::make_unique<BytesFile>(found->second);
  }
  Result<std::vector<std::string>> list() override { return std::vector<std::string>{}; }
  Result<void> remove(std::string_view) override { return fail(Errc::read_only); }
  Result<void> rename(std::string_view, std::string_view) override { return fail(Errc::read_only); }
  Result<void> sync_directory() override { return {}; }
  Result<std::uint64_t> free_bytes() override { return 0; }
  Result<std::unique_ptr<sys::FileLock>> try_lock(std::string_view, sys::LockMode, std::string_view,
                                                  std::string*) override {
    return fail(Errc::read_only);
  }
  std::string describe() const override { return "fuzzed"; }

 private:
  class BytesFile final : public sys::File {
   public:
    explicit BytesFile(const std::vector<std::byte>& bytes) : bytes_(bytes) {}
    Result<std::size_t> read(std::uint64_t offset, base::MutableBytes out) noexcept override {
      if (offset >= bytes_.size()) return 0;
      const std::size_t count = std::min<std::uint64_t>(out.size(), bytes_.size() - offset);
      std::memcpy(out.data(), bytes_.data() + offset, count);
      return count;
    }
    Result<void> write(std::uint64_t, base::Bytes) override { return fail(Errc::read_only); }
    Result<void> sync() override { return {}; }
    Result<std::uint64_t> size() override { return bytes_.size(); }
    Result<void> resize(std::uint64_t) override { return fail(Errc::read_only); }
    Result<void> allocate(std::uint64_t, std::uint64_t) override { return fail(Errc::read_only); }
    Result<void> punch(std::uint64_t, std::uint64_t) override { return fail(Errc::read_only); }
    Result<std::uint64_t> allocated_bytes() override { return bytes_.size(); }

   private:
    const std::vector<std::byte>& bytes_;
  };
};

}  // namespace dolmen::store
