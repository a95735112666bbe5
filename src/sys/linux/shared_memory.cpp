// SPDX-License-Identifier: Apache-2.0
#include "sys/shared_memory.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/checksum.hpp"
#include "sys/file_name.hpp"
#include "sys/linux/bell.hpp"
#include "sys/linux/descriptor.hpp"
#include "sys/linux/file.hpp"
#include "sys/linux/life_mark.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/memory_room.hpp"
#include "sys/linux/process_mark.hpp"
#include "sys/linux/system_error.hpp"
#include "sys/memory.hpp"

namespace dolmen::sys {
namespace {

constexpr mode_t kOwnerOnly = 0600;
constexpr std::size_t kBytesMax = std::size_t{1} << 46;
constexpr std::size_t kStepBytes = std::size_t{64} << 20;  ///< what is larger is large

Result<std::string> checked(std::string_view name) {
  if (!is_valid_file_name(name) || name.find('/') != std::string_view::npos) {
    return fail(Errc::invalid_argument, interned(std::string(name) + " is no file name"));
  }
  return std::string(name);
}

/// Whoever may reach it besides its owner, or another owner, is an error that says who.
Result<void> require_own(const struct stat& status, const std::string& what) {
  if (status.st_uid != ::geteuid()) {
    return fail(Errc::invalid_argument,
                interned(what + " belongs to another user; memory is shared within one user only"),
                status.st_uid);
  }
  if ((status.st_mode & 077) != 0) {
    return fail(
        Errc::invalid_argument,
        interned(what + " can be reached by other users; take their rights away (chmod go=)"),
        status.st_mode & 07777);
  }
  return {};
}

class Mapping {
 public:
  [[nodiscard]] static Result<Mapping> map(int fd, std::size_t bytes, SharedAccess access,
                                           const std::string& about) {
    const int rights = access == SharedAccess::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    void* const mapped = ::mmap(nullptr, bytes, rights, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) return system_failure(errno, about);
    (void)::madvise(mapped, bytes, MADV_DONTFORK);
    (void)::madvise(mapped, bytes, MADV_DONTDUMP);
    // Its pages are there already; met one by one at first use, each would cost a fault.
    (void)::madvise(mapped, bytes,
                    access == SharedAccess::read_only ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
    return Mapping({static_cast<std::byte*>(mapped), bytes});
  }
  Mapping(Mapping&& other) noexcept : memory_(std::exchange(other.memory_, {})) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
  }
  [[nodiscard]] base::MutableBytes memory() const noexcept { return memory_; }

 private:
  explicit Mapping(base::MutableBytes memory) noexcept : memory_(memory) {}

  base::MutableBytes memory_;
};

class MappedObject final : public SharedObject {
 public:
  explicit MappedObject(Mapping mapping) noexcept : mapping_(std::move(mapping)) {}
  base::MutableBytes memory() const noexcept override { return mapping_.memory(); }

 private:
  Mapping mapping_;
};

/// Its descriptor holds the lock that says that the maker lives. `directory` is one of its own: an
/// object may outlive the SharedDirectory.
class MadeObject final : public OwnObject {
 public:
  MadeObject(int directory, int fd, Mapping mapping) noexcept
      : directory_(directory), fd_(fd), mapping_(std::move(mapping)), pid_(::getpid()) {}
  ~MadeObject() override {
    if (::getpid() == pid_) withdraw();
  }
  base::MutableBytes memory() const noexcept override { return mapping_.memory(); }

  Result<void> publish(std::string_view name) override {
    DOLMEN_TRY(std::string path, checked(name));
    if (!name_.empty()) return fail(Errc::invalid_argument, "an object that is published already");
    const std::string self = "/proc/self/fd/" + std::to_string(fd_.get());
    if (::linkat(AT_FDCWD, self.c_str(), directory_.get(), path.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      return system_failure(errno, path);
    }
    name_ = std::move(path);
    return {};
  }

  void withdraw() noexcept override {
    if (!name_.empty()) (void)::unlinkat(directory_.get(), name_.c_str(), 0);
    name_.clear();
  }

 private:
  const Descriptor directory_;
  const Descriptor fd_;
  Mapping mapping_;
  const pid_t pid_;
  std::string name_;
};

class LinuxSharedDirectory final : public SharedDirectory {
 public:
  LinuxSharedDirectory(int fd, std::string path) : path_(std::move(path)), fd_(fd) {}

  Result<std::unique_ptr<OwnObject>> create(std::size_t bytes) override {
    if (bytes == 0 || bytes > kBytesMax) {
      return fail(Errc::invalid_argument, "the size of a shared object", bytes);
    }
    bytes = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    // Without a name: if this process dies before publish(), there is nothing to clean up.
    const int fd = ::openat(fd_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, kOwnerOnly);
    if (fd < 0) return system_failure(errno, path_);
    Descriptor descriptor(fd);
    // The umask may have taken rights, and may not give any.
    if (::fchmod(fd, kOwnerOnly) != 0) return system_failure(errno, path_);
    if (without_interruption([&] { return ::flock(fd, LOCK_EX | LOCK_NB); }) != 0) {
      return system_failure(errno, path_);
    }
    DOLMEN_CHECK(reserve(fd, bytes));
    DOLMEN_TRY(Mapping mapping, Mapping::map(fd, bytes, SharedAccess::read_write, path_));
    Descriptor directory(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
    if (directory.get() < 0) return system_failure(errno, path_);
    auto object = std::make_unique<MadeObject>(directory.release(), fd, std::move(mapping));
    (void)descriptor.release();
    return object;
  }

  Result<std::unique_ptr<SharedObject>> open(std::string_view name, SharedAccess access,
                                             std::size_t bytes_min,
                                             std::size_t bytes_max) override {
    DOLMEN_TRY(const std::string path, checked(name));
    const int flags = access == SharedAccess::read_only ? O_RDONLY : O_RDWR;
    const Descriptor descriptor(
        ::openat(fd_.get(), path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (descriptor.get() < 0) return system_failure(errno, path);
    struct stat status{};
    if (::fstat(descriptor.get(), &status) != 0) return system_failure(errno, path);
    DOLMEN_CHECK(require_own(status, path));
    if (!S_ISREG(status.st_mode)) {
      return fail(Errc::invalid_argument, interned(path + " is no shared memory"));
    }
    const auto bytes = static_cast<std::size_t>(status.st_size);
    if (bytes < bytes_min || bytes > bytes_max || bytes == 0) {
      return fail(Errc::invalid_argument, interned(path + " has another size than expected"),
                  bytes);
    }
    DOLMEN_TRY(Mapping mapping, Mapping::map(descriptor.get(), bytes, access, path));
    return std::make_unique<MappedObject>(std::move(mapping));
  }

  Result<std::unique_ptr<OwnBell>> make_bell(std::string_view name) override {
    DOLMEN_TRY(const std::string path, checked(name));
    return make_own_bell(fd_.get(), path);
  }

  Result<std::unique_ptr<Bell>> open_bell(std::string_view name) override {
    DOLMEN_TRY(const std::string path, checked(name));
    // For reading too: with itself as a reader, a bell whose owner died gives no SIGPIPE.
    Descriptor descriptor(
        ::openat(fd_.get(), path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
    if (descriptor.get() < 0) return system_failure(errno, path);
    struct stat status{};
    if (::fstat(descriptor.get(), &status) != 0) return system_failure(errno, path);
    DOLMEN_CHECK(require_own(status, path));
    if (!S_ISFIFO(status.st_mode)) {
      return fail(Errc::invalid_argument, interned(path + " is no bell"));
    }
    return make_bell_of(descriptor.release());
  }

  Result<std::vector<std::string>> list() override {
    // A description of its own: the position in a folder belongs to it.
    Descriptor descriptor(::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (descriptor.get() < 0) return system_failure(errno, path_);
    DIR* const folder = ::fdopendir(descriptor.get());
    if (folder == nullptr) return system_failure(errno, path_);
    (void)descriptor.release();
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* const entry = ::readdir(folder)) {  // NOLINT(concurrency-mt-unsafe)
      if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
    }
    const int error = errno;
    ::closedir(folder);
    if (error != 0) return system_failure(error, path_);
    std::ranges::sort(names);
    return names;
  }

  Result<bool> reap(std::string_view name) override {
    DOLMEN_TRY(const std::string path, checked(name));
    const Descriptor descriptor(
        ::openat(fd_.get(), path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
    if (descriptor.get() < 0) {
      if (errno == ENOENT) return true;
      return system_failure(errno, path);
    }
    if (without_interruption([&] { return ::flock(descriptor.get(), LOCK_EX | LOCK_NB); }) != 0) {
      if (errno == EWOULDBLOCK) return false;
      return system_failure(errno, path);
    }
    // Another may have reaped it since it was opened, and a maker may have made the name anew.
    if (!is_named(descriptor.get(), fd_.get(), path)) return true;
    if (::unlinkat(fd_.get(), path.c_str(), 0) != 0 && errno != ENOENT) {
      return system_failure(errno, path);
    }
    return true;
  }

  Result<ProcessMark> self() override { return own_mark(); }
  Result<std::unique_ptr<LifeMark>> mark_life(std::uint32_t* word) override {
    return make_life_mark(word);
  }
  Result<std::array<std::uint64_t, 2>> identity() override {
    struct stat status{};
    if (::fstat(fd_.get(), &status) != 0) return system_failure(errno, path_);
    // Numbers of files mean something within one life of one system alone.
    const Descriptor boot(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
    std::array<std::byte, 36> id{};
    if (boot.get() < 0 ||
        ::read(boot.get(), id.data(), id.size()) != static_cast<ssize_t>(id.size())) {
      return system_failure(errno, "/proc/sys/kernel/random/boot_id");
    }
    return std::array<std::uint64_t, 2>{base::checksum64(id, status.st_dev), status.st_ino};
  }
  std::string describe() const override { return path_; }

 private:
  /// A page that is not to be had later would be a SIGBUS in whoever touches it. What is large is
  /// asked for step by step, and given up before the system ends other programs for it.
  [[nodiscard]] Result<void> reserve(int fd, std::size_t bytes) const {
    for (std::size_t at = 0; at < bytes;) {
      const std::size_t left = bytes - at;
      if (bytes > kStepBytes) {
        // Others take some at the same time.
        const auto room = room_in_memory(path_);
        if (room && *room < left) {
          return fail(Errc::out_of_memory,
                      interned(path_ + ": " + std::to_string(bytes >> 20) +
                               " MiB, which would leave too little to other programs"),
                      *room);
        }
      }
      const std::size_t step = std::min(left, kStepBytes);
      if (without_interruption([&] {
            return ::fallocate(fd, 0, static_cast<off_t>(at), static_cast<off_t>(step));
          }) != 0) {
        return system_failure(errno, path_);
      }
      at += step;
    }
    return {};
  }

  const std::string path_;
  const Descriptor fd_;
};

/// A trailing slash would make the folder's own name empty, and a link be followed.
std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string default_path() {
  const std::string runtime = linux_env().process->environment("XDG_RUNTIME_DIR");
  if (!runtime.empty()) return runtime + "/dolmen";
  return "/dev/shm/dolmen-" + std::to_string(::geteuid());
}

}  // namespace

Result<std::unique_ptr<SharedDirectory>> open_shared_directory(const std::string& path,
                                                               DirectoryMode mode) {
  const std::string folder = without_slashes(path.empty() ? default_path() : path);
  const bool is_made = mode != DirectoryMode::open_existing;
  if (is_made && ::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    return system_failure(errno, folder);
  Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (descriptor.get() < 0) return system_failure(errno, folder);
  struct stat status{};
  if (::fstat(descriptor.get(), &status) != 0) return system_failure(errno, folder);
  DOLMEN_CHECK(require_own(status, folder));
  struct statfs system{};
  if (::fstatfs(descriptor.get(), &system) != 0) return system_failure(errno, folder);
  if (system.f_type != TMPFS_MAGIC) {
    return fail(
        Errc::invalid_argument,
        interned(folder + " is not in memory; choose a folder of a tmpfs, such as /dev/shm"),
        static_cast<std::uint64_t>(system.f_type));
  }
  auto directory = std::make_unique<LinuxSharedDirectory>(descriptor.get(), folder);
  (void)descriptor.release();
  return directory;
}

}  // namespace dolmen::sys
