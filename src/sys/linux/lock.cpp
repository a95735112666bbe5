// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/lock.hpp"

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "sys/linux/descriptor.hpp"
#include "sys/linux/file.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {
namespace {

class LinuxLock final : public FileLock {
 public:
  LinuxLock(int fd, bool exclusive) noexcept : fd_(fd), exclusive_(exclusive), pid_(::getpid()) {}
  // A forked child shares the description: it must neither unlock nor erase the parent's hold.
  ~LinuxLock() override {
    if (::getpid() == pid_) {
      if (exclusive_) (void)!::ftruncate(fd_, 0);
      ::flock(fd_, LOCK_UN);
    }
    ::close(fd_);
  }
  LinuxLock(const LinuxLock&) = delete;
  LinuxLock& operator=(const LinuxLock&) = delete;

 private:
  const int fd_;
  const bool exclusive_;
  const pid_t pid_;
};

std::string read_text(int fd) {
  std::array<char, 4096> text{};
  const ssize_t count = ::pread(fd, text.data(), text.size(), 0);
  return count > 0 ? std::string(text.data(), static_cast<std::size_t>(count)) : std::string();
}

// For people only, so a full disk may lose it: a space must open there for things to be erased.
void write_text(int fd, std::string_view text) {
  if (::ftruncate(fd, 0) == 0) (void)!::pwrite(fd, text.data(), text.size(), 0);
}

}  // namespace

Result<std::unique_ptr<FileLock>> lock_file(int directory, const std::string& name, LockMode mode,
                                            std::string_view owner, std::string* holder) {
  const bool exclusive = mode == LockMode::exclusive;
  int fd = ::openat(directory, name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  // Somebody who may only read can still share.
  if (fd < 0 && !exclusive && (errno == EACCES || errno == EROFS || errno == EPERM)) {
    fd = ::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC);
  }
  if (fd < 0) return system_failure(errno, name);
  Descriptor descriptor(fd);

  if (without_interruption(
          [&] { return ::flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB); }) != 0) {
    const int error = errno;
    if (error == EWOULDBLOCK && holder != nullptr) *holder = read_text(fd);
    return error == EWOULDBLOCK
               ? Result<std::unique_ptr<FileLock>>(fail(Errc::held, interned(name)))
               : system_failure(error, name);
  }
  auto lock = std::make_unique<LinuxLock>(fd, exclusive);
  (void)descriptor.release();
  write_text(fd, exclusive ? owner : "");  // a dead owner's text must not be taken for a reader's
  return lock;
}

}  // namespace dolmen::sys
