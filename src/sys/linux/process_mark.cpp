// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/process_mark.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/linux/descriptor.hpp"
#include "sys/linux/file.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {
namespace {

/// The 22nd field of /proc/<pid>/stat. None: there is no such process.
std::optional<std::uint64_t> start_of(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return std::nullopt;
  std::array<char, 1024> text{};
  const ssize_t count =
      without_interruption([&] { return ::read(file.get(), text.data(), text.size()); });
  if (count <= 0) return std::nullopt;
  std::string_view rest(text.data(), static_cast<std::size_t>(count));
  // The second field is the program's name in parentheses, which may hold anything.
  const std::size_t name_end = rest.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  rest.remove_prefix(name_end + 1);
  constexpr int kFieldsBetween = 20;  // behind the name comes field 3
  for (int field = 0; field < kFieldsBetween; ++field) {
    const std::size_t space = rest.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(space + 1);
  }
  std::uint64_t started = 0;
  if (std::from_chars(rest.data(), rest.data() + rest.size(), started).ec != std::errc()) {
    return std::nullopt;
  }
  return started;
}

Result<std::uint64_t> own_space() {
  struct stat status{};
  if (::stat("/proc/self/ns/pid", &status) != 0) {
    return fail(Errc::unsupported, "processes cannot be told apart without /proc",
                static_cast<std::uint64_t>(errno));
  }
  return static_cast<std::uint64_t>(status.st_ino);
}

}  // namespace

Result<ProcessMark> own_mark() {
  DOLMEN_TRY(const std::uint64_t space, own_space());
  const pid_t pid = ::getpid();
  const auto started = start_of(pid);
  if (!started) return fail(Errc::unsupported, "processes cannot be told apart without /proc");
  return ProcessMark{.pid = static_cast<std::uint64_t>(pid), .started = *started, .space = space};
}

Result<int> open_process(const ProcessMark& process) {
  DOLMEN_TRY(const std::uint64_t space, own_space());
  if (process.space != space) {
    return fail(Errc::unsupported, "a process of another process-id name space", process.pid);
  }
  const auto pid = static_cast<pid_t>(process.pid);
  if (pid <= 0 || static_cast<std::uint64_t>(pid) != process.pid) {
    return fail(Errc::not_found, "process", process.pid);
  }
  const long opened = ::syscall(SYS_pidfd_open, pid, 0);
  if (opened < 0) {
    if (errno == ESRCH) return fail(Errc::not_found, "process", process.pid);
    return system_failure(errno, "pidfd_open");
  }
  Descriptor descriptor(static_cast<int>(opened));
  // In this order: the descriptor stays with one process. If the process that has the id now
  // started when the one that is meant did, it is the one that is meant, which had the id before as
  // well.
  if (start_of(pid) != process.started) return fail(Errc::not_found, "process", process.pid);
  return descriptor.release();
}

}  // namespace dolmen::sys
