// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/userfaultfd.hpp"

#include <cerrno>

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Younger than some of the headers that this is built with.
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_SIGBUS
#define UFFD_FEATURE_SIGBUS (1 << 7)
#endif

namespace dolmen::sys {
namespace {

constexpr std::size_t kPage = 4096;

std::uint64_t number_of(const std::byte* address) noexcept {
  return reinterpret_cast<std::uintptr_t>(address);
}

}  // namespace

Result<void> UserFaultFd::open() noexcept {
  constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;
  fd_ = static_cast<int>(::syscall(SYS_userfaultfd, kFlags | UFFD_USER_MODE_ONLY));
  if (fd_ < 0 && errno == EINVAL) {  // before Linux 5.11
    fd_ = static_cast<int>(::syscall(SYS_userfaultfd, kFlags));
  }
  if (fd_ < 0) {
    return fail(Errc::unsupported, "userfaultfd", static_cast<std::uint64_t>(errno));
  }
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_SIGBUS;
  if (::ioctl(fd_, UFFDIO_API, &api) != 0) {
    const int error = errno;
    close();
    return fail(Errc::unsupported, "userfaultfd without SIGBUS", static_cast<std::uint64_t>(error));
  }
  return {};
}

void UserFaultFd::close() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<void> UserFaultFd::register_missing(std::byte* address, std::size_t bytes) noexcept {
  uffdio_register request{};
  request.range.start = number_of(address);
  request.range.len = bytes;
  request.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (::ioctl(fd_, UFFDIO_REGISTER, &request) == 0) return {};
  return fail(errno == ENOMEM ? Errc::out_of_memory : Errc::io_error, "UFFDIO_REGISTER",
              static_cast<std::uint64_t>(errno));
}

void UserFaultFd::unregister(std::byte* address, std::size_t bytes) noexcept {
  uffdio_range range{};
  range.start = number_of(address);
  range.len = bytes;
  (void)::ioctl(fd_, UFFDIO_UNREGISTER, &range);
}

Result<void> UserFaultFd::copy(std::byte* address, base::Bytes pages) noexcept {
  while (!pages.empty()) {
    uffdio_copy request{};
    request.dst = number_of(address);
    request.src = number_of(pages.data());
    request.len = pages.size();
    std::size_t step = pages.size();
    if (::ioctl(fd_, UFFDIO_COPY, &request) != 0) {
      const int error = errno;
      if (request.copy > 0) {
        step = static_cast<std::size_t>(request.copy);  // stopped in the middle
      } else if (error == EEXIST) {
        step = kPage;  // somebody was faster with this one
      } else if (error == EAGAIN || error == EINTR) {
        ::sched_yield();  // the address space is changing
        continue;
      } else if (error == ENOENT) {
        return fail(Errc::invalid_argument, "fill outside a demand range", number_of(address));
      } else {
        return fail(error == ENOMEM ? Errc::out_of_memory : Errc::io_error, "UFFDIO_COPY",
                    static_cast<std::uint64_t>(error));
      }
    }
    address += step;
    pages = pages.subspan(step);
  }
  return {};
}

}  // namespace dolmen::sys
