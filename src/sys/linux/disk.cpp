// SPDX-License-Identifier: Apache-2.0
#include "sys/disk.hpp"

#include <algorithm>
#include <cerrno>
#include <initializer_list>
#include <memory>
#include <set>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mutex.hpp"
#include "sys/file_name.hpp"
#include "sys/linux/descriptor.hpp"
#include "sys/linux/file.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/lock.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

std::string folder_of(std::string_view name) {
  const std::size_t slash = name.find('/');
  return slash == std::string_view::npos ? std::string() : std::string(name.substr(0, slash));
}

Result<void> sync_directory_at(int directory, const std::string& name) {
  const int fd = ::openat(directory, name.c_str(), kDirectoryFlags);
  if (fd < 0) return system_failure(errno, name);
  const int result = without_interruption([&] { return ::fsync(fd); });
  const int error = errno;
  ::close(fd);
  if (result != 0) return system_failure(error, name);
  return {};
}

class LinuxDisk final : public Disk {
 public:
  LinuxDisk(int fd, std::string path) : path_(std::move(path)), fd_(fd) {}
  ~LinuxDisk() override { ::close(fd_); }
  LinuxDisk(const LinuxDisk&) = delete;
  LinuxDisk& operator=(const LinuxDisk&) = delete;

  Result<std::unique_ptr<File>> open(std::string_view name, OpenMode mode) override {
    DOLMEN_TRY(const std::string path, checked(name));
    const bool creates = mode == OpenMode::create_new || mode == OpenMode::create_or_open;
    // A pipe that somebody put in a file's place would be waited for.
    int flags = O_CLOEXEC | O_NONBLOCK | (mode == OpenMode::read_only ? O_RDONLY : O_RDWR);
    Folders changed;
    if (creates) {
      flags |= O_CREAT;
      changed = folders_of({path});
    }
    if (mode == OpenMode::create_new) flags |= O_EXCL;
    const int fd =
        with_folder(path, creates, [&] { return ::openat(fd_, path.c_str(), flags, 0666); });
    if (fd < 0) return system_failure(errno, path);
    note(changed);
    Descriptor descriptor(fd);
    auto file = make_file(fd, path, mode != OpenMode::read_only);
    (void)descriptor.release();
    struct stat status{};
    if (::fstat(fd, &status) != 0) return system_failure(errno, path);
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
      return fail(Errc::io_error, interned(path + " is no ordinary file"));
    }
    return file;
  }

  Result<std::vector<std::string>> list() override {
    std::vector<std::string> names;
    DOLMEN_CHECK(list_into("", names));
    std::ranges::sort(names);
    return names;
  }

  Result<void> remove(std::string_view name) override {
    DOLMEN_TRY(const std::string path, checked(name));
    Folders changed = folders_of({path});
    if (::unlinkat(fd_, path.c_str(), 0) != 0) return system_failure(errno, path);
    note(changed);
    return {};
  }

  Result<void> rename(std::string_view from, std::string_view to) override {
    DOLMEN_TRY(const std::string source, checked(from));
    DOLMEN_TRY(const std::string target, checked(to));
    Folders changed = folders_of({source, target});
    if (with_folder(target, true,
                    [&] { return ::renameat(fd_, source.c_str(), fd_, target.c_str()); }) != 0) {
      return system_failure(errno, source);
    }
    note(changed);
    return {};
  }

  Result<void> sync_directory() override {
    // One at a time: who finds no folder on the list must not go on before they are synced.
    const base::Lock one_at_a_time(sync_mutex_);
    Folders folders;
    {
      const base::Lock lock(mutex_);
      folders.swap(changed_folders_);
    }
    const auto sync = [&]() -> Result<void> {
      for (const std::string& folder : folders) DOLMEN_CHECK(sync_directory_at(fd_, folder));
      if (without_interruption([&] { return ::fsync(fd_); }) != 0) {
        return system_failure(errno, path_);
      }
      return {};
    };
    const auto synced = sync();
    if (!synced) note(folders);  // else the next call would say that they are
    return synced;
  }

  Result<std::uint64_t> free_bytes() override {
    struct statvfs status{};
    if (::fstatvfs(fd_, &status) != 0) return system_failure(errno, path_);
    return std::uint64_t{status.f_bavail} * status.f_frsize;
  }

  Result<std::unique_ptr<FileLock>> try_lock(std::string_view name, LockMode mode,
                                             std::string_view owner, std::string* holder) override {
    DOLMEN_TRY(const std::string path, checked(name));
    return lock_file(fd_, path, mode, owner, holder);
  }

  std::string describe() const override { return path_; }

 private:
  using Folders = std::set<std::string>;

  [[nodiscard]] static Result<std::string> checked(std::string_view name) {
    if (!is_valid_file_name(name)) return fail(Errc::invalid_argument, interned(name));
    return std::string(name);
  }

  /// Runs `call`, and once more after making the folder in `path` when that was missing.
  template <class Call>
  int with_folder(const std::string& path, bool may_create, Call call) {
    const int result = without_interruption(call);
    const std::string folder = folder_of(path);
    if (result >= 0 || errno != ENOENT || folder.empty() || !may_create) return result;
    if (::mkdirat(fd_, folder.c_str(), 0777) != 0) {
      // EEXIST: another thread made it, or the folder is there and something else is missing.
      if (errno != EEXIST) return -1;
    }
    return without_interruption(call);
  }

  /// Where names are about to change. Memory first: what was changed has to be noted.
  static Folders folders_of(std::initializer_list<std::string_view> paths) {
    Folders folders;
    for (const std::string_view path : paths) {
      if (std::string folder = folder_of(path); !folder.empty()) folders.insert(std::move(folder));
    }
    return folders;
  }
  void note(Folders& changed) {
    if (changed.empty()) return;
    const base::Lock lock(mutex_);
    changed_folders_.merge(changed);
  }

  /// Regular files of `folder` ("" = the directory itself, with its folders one level deep).
  [[nodiscard]] Result<void> list_into(const std::string& folder, std::vector<std::string>& names) {
    const int fd = ::openat(fd_, folder.empty() ? "." : folder.c_str(), kDirectoryFlags);
    if (fd < 0) return system_failure(errno, path_);
    DIR* const directory = ::fdopendir(fd);
    if (directory == nullptr) {
      const int error = errno;
      ::close(fd);
      return system_failure(error, path_);
    }
    struct Close {
      void operator()(DIR* opened) const noexcept { ::closedir(opened); }
    };
    std::unique_ptr<DIR, Close> opened(directory);
    const std::string prefix = folder.empty() ? "" : folder + "/";
    std::vector<std::string> folders;
    errno = 0;
    while (const dirent* entry = ::readdir(directory)) {
      const std::string name = entry->d_name;
      struct stat status{};
      if (name != "." && name != ".." &&
          ::fstatat(fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISREG(status.st_mode)) names.push_back(prefix + name);
        if (S_ISDIR(status.st_mode) && folder.empty()) folders.push_back(name);
      }
      errno = 0;
    }
    const int error = errno;
    opened.reset();
    if (error != 0) return system_failure(error, path_);
    for (const std::string& inner : folders) DOLMEN_CHECK(list_into(inner, names));
    return {};
  }

  const std::string path_;
  const int fd_;
  base::Mutex sync_mutex_;  // before mutex_
  base::Mutex mutex_;
  Folders changed_folders_
      DOLMEN_GUARDED_BY(mutex_);  // with names that sync_directory has to make durable
};

}  // namespace

Result<std::unique_ptr<Disk>> open_directory(const std::string& path, DirectoryMode mode) {
  if (path.empty()) return fail(Errc::invalid_argument, "the directory's path is empty");
  bool made = false;
  if (mode != DirectoryMode::open_existing) {
    made = ::mkdir(path.c_str(), 0777) == 0;
    if (!made && (errno != EEXIST || mode == DirectoryMode::create)) {
      return system_failure(errno, path);
    }
  }
  const int fd = ::open(path.c_str(), kDirectoryFlags);
  if (fd < 0) return system_failure(errno, path);
  Descriptor descriptor(fd);
  auto disk = std::make_unique<LinuxDisk>(fd, path);
  (void)descriptor.release();
  if (made) DOLMEN_CHECK(sync_directory_at(fd, ".."));  // the name lives in the parent
  return disk;
}

}  // namespace dolmen::sys
