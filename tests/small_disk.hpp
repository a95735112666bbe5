// SPDX-License-Identifier: Apache-2.0
//
// For tests: folders that are disks of their own, in memory, which can be filled up. Others do not
// see them. Needs root, or a kernel that lets users have name spaces.
#pragma once

#include <fstream>
#include <string>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

namespace dolmen::processes {

/// From here on this process and those that it starts see mounts of their own; whether that is so.
/// Requires: the process has one thread.
inline bool have_own_mounts() {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (::unshare(CLONE_NEWNS) != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
    std::ofstream("/proc/self/gid_map") << "0 " << group << " 1";
  }
  return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

/// Mounted while this lives, or until the process ends.
class SmallDisk {
 public:
  SmallDisk(std::string folder, std::size_t bytes) : folder_(std::move(folder)) {
    const std::string size = "mode=0700,size=" + std::to_string(bytes);
    is_mounted_ = ::mount("none", folder_.c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  ~SmallDisk() {
    if (is_mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  [[nodiscard]] bool is_mounted() const { return is_mounted_; }
  /// Takes all room that is left. Whether there is none then.
  [[nodiscard]] bool fill() const {
    const int file = ::open(filler().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const std::string block(1 << 16, 'x');
    ssize_t count = 0;
    while ((count = ::write(file, block.data(), block.size())) > 0) {
    }
    const bool is_full = count < 0 && errno == ENOSPC;
    ::close(file);
    return is_full;
  }
  void free() const { ::unlink(filler().c_str()); }

 private:
  [[nodiscard]] std::string filler() const { return folder_ + "/filler"; }

  const std::string folder_;
  bool is_mounted_ = false;
};

}  // namespace dolmen::processes
