// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/memory_room.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <system_error>

#include <fcntl.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "sys/linux/descriptor.hpp"

namespace dolmen::sys {
namespace {

/// The rest of a whole is left to others.
constexpr std::uint64_t kShareLeft = 20;
constexpr std::uint64_t kLeastLeft = std::uint64_t{256} << 20;

std::uint64_t without(std::uint64_t there, std::uint64_t left) noexcept {
  return there - std::min(there, left);
}

/// A line like "MemAvailable:   12345 kB".
std::optional<std::uint64_t> bytes_in(std::string_view meminfo, std::string_view key) {
  constexpr std::uint64_t kMost = ~std::uint64_t{0} >> 10;
  std::size_t at = meminfo.find(key);
  while (at != std::string_view::npos && at != 0 && meminfo[at - 1] != '\n') {
    at = meminfo.find(key, at + 1);
  }
  if (at == std::string_view::npos) return std::nullopt;
  at = meminfo.find_first_not_of(' ', at + key.size());
  if (at == std::string_view::npos) return std::nullopt;
  std::uint64_t kib = 0;
  const auto [rest, wrong] =
      std::from_chars(meminfo.data() + at, meminfo.data() + meminfo.size(), kib);
  const std::string_view behind(rest, static_cast<std::size_t>(meminfo.end() - rest));
  if (wrong != std::errc{} || kib > kMost || !behind.starts_with(" kB")) return std::nullopt;
  return kib << 10;
}

}  // namespace

std::optional<std::uint64_t> room_in_memory_of(std::string_view meminfo) {
  const auto all = bytes_in(meminfo, "MemTotal:");
  const auto available = bytes_in(meminfo, "MemAvailable:");
  if (!all || !available) return std::nullopt;
  return without(*available, std::max(*all / kShareLeft, kLeastLeft));
}

std::optional<std::uint64_t> room_in_memory(const std::string& shared) {
  const int fd = ::open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  const Descriptor descriptor(fd);
  std::array<char, 1024> text{};  // what is wanted is in its first lines
  const ssize_t count = ::read(fd, text.data(), text.size());
  auto room = room_in_memory_of({text.data(), count > 0 ? static_cast<std::size_t>(count) : 0});
  struct statfs system{};
  if (room && !shared.empty() && ::statfs(shared.c_str(), &system) == 0 && system.f_blocks != 0) {
    const std::uint64_t unit = static_cast<std::uint64_t>(system.f_bsize);
    room = std::min(*room, without(system.f_bavail * unit, system.f_blocks * unit / kShareLeft));
  }
  return room;
}

}  // namespace dolmen::sys
