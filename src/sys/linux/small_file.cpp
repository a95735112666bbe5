// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdio>
#include <string>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/linux/descriptor.hpp"
#include "sys/linux/file.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {
namespace {

Result<void> require_secret(const struct stat& status, const std::string& path) {
  if (status.st_uid != ::geteuid()) {
    return fail(Errc::invalid_argument,
                interned(path + " belongs to another user; a secret has to be one's own"),
                status.st_uid);
  }
  if ((status.st_mode & 077) != 0) {
    return fail(
        Errc::invalid_argument,
        interned(path + " can be reached by other users; take their rights away (chmod go=)"),
        status.st_mode & 07777);
  }
  return {};
}

Result<void> sync_folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() < 0) return system_failure(errno, folder);
  if (::fsync(descriptor.get()) != 0) return system_failure(errno, folder);
  return {};
}

}  // namespace

Result<std::vector<std::byte>> read_small_file(const std::string& path, std::size_t bytes_max,
                                               Secrecy secrecy) {
  // Not blocking: a pipe in its place would be waited for.
  const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (descriptor.get() < 0) return system_failure(errno, path);
  struct stat status{};
  if (::fstat(descriptor.get(), &status) != 0) return system_failure(errno, path);
  if (!S_ISREG(status.st_mode)) {
    return fail(Errc::invalid_argument, interned(path + " is no ordinary file"));
  }
  if (secrecy == Secrecy::secret) DOLMEN_CHECK(require_secret(status, path));
  std::vector<std::byte> bytes(bytes_max + 1);
  std::size_t count = 0;
  while (count < bytes.size()) {
    const ssize_t now = without_interruption(
        [&] { return ::read(descriptor.get(), bytes.data() + count, bytes.size() - count); });
    if (now < 0) return system_failure(errno, path);
    if (now == 0) break;
    count += static_cast<std::size_t>(now);
  }
  if (count > bytes_max) {
    return fail(Errc::invalid_argument, interned(path + " is longer than such a file can be"));
  }
  bytes.resize(count);
  return bytes;
}

Result<void> write_small_file(const std::string& path, base::Bytes bytes, Secrecy secrecy,
                              bool replaces) {
  const std::string fresh = path + ".new";
  (void)::unlink(fresh.c_str());  // what a process left that ended on the way
  const mode_t mode = secrecy == Secrecy::secret ? 0600 : 0644;
  const Descriptor descriptor(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (descriptor.get() < 0) return system_failure(errno, fresh);
  const auto write_all = [&]() -> Result<void> {
    while (!bytes.empty()) {
      const ssize_t count = without_interruption(
          [&] { return ::write(descriptor.get(), bytes.data(), bytes.size()); });
      if (count < 0) return system_failure(errno, fresh);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    if (::fsync(descriptor.get()) != 0) return system_failure(errno, fresh);
    const unsigned flags = replaces ? 0 : RENAME_NOREPLACE;
    if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str(), flags) == 0) return {};
    // File systems of several hosts know no such flag, but links.
    if (errno != EINVAL || replaces) return system_failure(errno, path);
    if (::link(fresh.c_str(), path.c_str()) != 0) return system_failure(errno, path);
    (void)::unlink(fresh.c_str());
    return {};
  };
  const auto written = write_all();
  if (!written) {
    (void)::unlink(fresh.c_str());
    return written;
  }
  return sync_folder_of(path);
}

}  // namespace dolmen::sys
