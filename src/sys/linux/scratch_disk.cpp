// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/scratch_disk.hpp"

#include <cerrno>
#include <map>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mutex.hpp"
#include "sys/file_name.hpp"
#include "sys/linux/descriptor.hpp"
#include "sys/linux/file.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {
namespace {

/// A file without a name.
Result<Descriptor> open_nameless(const std::string& directory) {
  int fd = without_interruption(
      [&] { return ::open(directory.c_str(), O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600); });
  if (fd >= 0) return Descriptor(fd);
  // Not every file system makes them so.
  std::string pattern = directory + "/dolmen-XXXXXX";
  fd = without_interruption([&] { return ::mkostemp(pattern.data(), O_CLOEXEC); });
  if (fd < 0) return system_failure(errno, directory);
  Descriptor descriptor(fd);
  if (::unlink(pattern.c_str()) != 0) return system_failure(errno, pattern);
  return descriptor;
}

class ScratchFile final : public File {
 public:
  explicit ScratchFile(std::unique_ptr<File> file) noexcept : file_(std::move(file)) {}
  Result<std::size_t> read(std::uint64_t offset, base::MutableBytes out) noexcept override {
    return file_->read(offset, out);
  }
  Result<void> write(std::uint64_t offset, base::Bytes bytes) override {
    return file_->write(offset, bytes);
  }
  Result<void> sync() override { return {}; }
  Result<std::uint64_t> size() override { return file_->size(); }
  Result<void> resize(std::uint64_t bytes) override { return file_->resize(bytes); }
  Result<void> allocate(std::uint64_t offset, std::uint64_t bytes) override {
    return file_->allocate(offset, bytes);
  }
  Result<void> punch(std::uint64_t offset, std::uint64_t bytes) override {
    return file_->punch(offset, bytes);
  }
  Result<std::uint64_t> allocated_bytes() override { return file_->allocated_bytes(); }

 private:
  const std::unique_ptr<File> file_;
};

/// Who holds what: nobody but this object's users can.
struct Holds {
  struct Hold {
    std::uint32_t shared = 0;
    bool is_exclusive = false;
    std::string owner;
  };
  base::Mutex mutex;
  std::map<std::string, Hold, std::less<>> all DOLMEN_GUARDED_BY(mutex);
};

class ScratchLock final : public FileLock {
 public:
  ScratchLock(std::shared_ptr<Holds> holds, std::string name) noexcept
      : holds_(std::move(holds)), name_(std::move(name)) {}
  ~ScratchLock() override {
    const base::Lock lock(holds_->mutex);
    Holds::Hold& hold = holds_->all[name_];
    if (hold.is_exclusive) {
      hold = {};
    } else {
      --hold.shared;
    }
  }
  ScratchLock(const ScratchLock&) = delete;
  ScratchLock& operator=(const ScratchLock&) = delete;

 private:
  const std::shared_ptr<Holds> holds_;
  const std::string name_;
};

class ScratchDisk final : public Disk {
 public:
  explicit ScratchDisk(std::string directory) : directory_(std::move(directory)) {}

  Result<std::unique_ptr<File>> open(std::string_view name, OpenMode mode) override {
    DOLMEN_CHECK(check(name));
    const base::Lock lock(mutex_);
    auto found = files_.find(name);
    if (found != files_.end() && mode == OpenMode::create_new) {
      return fail(Errc::already_exists, interned(name));
    }
    if (found == files_.end()) {
      if (mode == OpenMode::read_only || mode == OpenMode::read_write) {
        return fail(Errc::not_found, interned(name));
      }
      DOLMEN_TRY(Descriptor made, open_nameless(directory_));
      found = files_.emplace(name, std::move(made)).first;
    }
    const int fd = ::fcntl(found->second.get(), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return system_failure(errno, std::string(name));
    return std::make_unique<ScratchFile>(
        make_file(fd, std::string(name), mode != OpenMode::read_only));
  }

  Result<std::vector<std::string>> list() override {
    const base::Lock lock(mutex_);
    std::vector<std::string> names;
    names.reserve(files_.size());
    for (const auto& [name, file] : files_) names.push_back(name);
    return names;
  }

  Result<void> remove(std::string_view name) override {
    DOLMEN_CHECK(check(name));
    const base::Lock lock(mutex_);
    const auto found = files_.find(name);
    if (found == files_.end()) return fail(Errc::not_found, interned(name));
    files_.erase(found);
    return {};
  }

  Result<void> rename(std::string_view from, std::string_view to) override {
    DOLMEN_CHECK(check(from));
    DOLMEN_CHECK(check(to));
    const base::Lock lock(mutex_);
    const auto found = files_.find(from);
    if (found == files_.end()) return fail(Errc::not_found, interned(from));
    if (from == to) return {};
    std::string target(to);
    files_.erase(target);
    auto moved = files_.extract(found);
    moved.key() = std::move(target);
    files_.insert(std::move(moved));
    return {};
  }

  Result<void> sync_directory() override { return {}; }

  Result<std::uint64_t> free_bytes() override {
    struct statvfs status{};
    if (::statvfs(directory_.c_str(), &status) != 0) return system_failure(errno, directory_);
    return std::uint64_t{status.f_bavail} * status.f_frsize;
  }

  Result<std::unique_ptr<FileLock>> try_lock(std::string_view name, LockMode mode,
                                             std::string_view owner, std::string* holder) override {
    DOLMEN_TRY(const auto file, open(name, OpenMode::create_or_open));
    const base::Lock lock(holds_->mutex);
    Holds::Hold& hold = holds_->all[std::string(name)];
    const bool is_exclusive = mode == LockMode::exclusive;
    if (hold.is_exclusive || (is_exclusive && hold.shared > 0)) {
      if (holder != nullptr) *holder = hold.owner;
      return fail(Errc::held, interned(name));
    }
    auto made = std::make_unique<ScratchLock>(holds_, std::string(name));
    hold.is_exclusive = is_exclusive;
    hold.owner = is_exclusive ? std::string(owner) : std::string();
    if (!is_exclusive) ++hold.shared;
    return made;
  }

  std::string describe() const override { return directory_ + " (files without names)"; }

 private:
  [[nodiscard]] static Result<void> check(std::string_view name) {
    if (is_valid_file_name(name)) return {};
    return fail(Errc::invalid_argument, interned(name));
  }

  const std::string directory_;
  const std::shared_ptr<Holds> holds_ = std::make_shared<Holds>();
  base::Mutex mutex_;
  std::map<std::string, Descriptor, std::less<>> files_ DOLMEN_GUARDED_BY(mutex_);
};

}  // namespace

Result<std::unique_ptr<Disk>> open_scratch(const std::string& directory) {
  if (::access(directory.c_str(), W_OK | X_OK) != 0) return system_failure(errno, directory);
  return std::make_unique<ScratchDisk>(directory);
}

}  // namespace dolmen::sys
