// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/service.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <memory>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/linux/descriptor.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {

Result<void> tell_service_manager(std::string_view state) {
  const char* const where = std::getenv("NOTIFY_SOCKET");
  if (where == nullptr || *where == '\0') return {};
  const std::string_view path = where;
  ::sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return system_failure(ENAMETOOLONG, "NOTIFY_SOCKET");
  std::ranges::copy(path, address.sun_path);
  if (path.front() == '@') address.sun_path[0] = '\0';  // one without a file
  const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return system_failure(errno, "NOTIFY_SOCKET");
  const auto length = static_cast<::socklen_t>(offsetof(::sockaddr_un, sun_path) + path.size());
  // A socket address is what the call takes, whatever its family.
  const void* const any = &address;
  const auto sent = ::sendto(descriptor, state.data(), state.size(), MSG_NOSIGNAL,
                             static_cast<const ::sockaddr*>(any), length);
  const int error = errno;
  ::close(descriptor);
  if (sent < 0) return system_failure(error, "NOTIFY_SOCKET");
  return {};
}

std::string own_host_address() {
  ::ifaddrs* all = nullptr;
  std::string found;
  if (::getifaddrs(&all) != 0) return "127.0.0.1";
  bool is_v4 = false;
  for (const ::ifaddrs* one = all; one != nullptr && !is_v4; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || (one->ifa_flags & IFF_UP) == 0) continue;
    if ((one->ifa_flags & IFF_LOOPBACK) != 0) continue;
    std::array<char, INET6_ADDRSTRLEN> text{};
    const void* const any = one->ifa_addr;
    if (one->ifa_addr->sa_family == AF_INET) {
      const auto* const v4 = static_cast<const ::sockaddr_in*>(any);
      if (::inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size()) == nullptr) continue;
      is_v4 = true;
    } else if (one->ifa_addr->sa_family == AF_INET6 && found.empty()) {
      const auto* const v6 = static_cast<const ::sockaddr_in6*>(any);
      // One that means something on its own link alone names no host.
      if (IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr)) continue;
      if (::inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size()) == nullptr) continue;
    } else {
      continue;
    }
    found = text.data();
  }
  ::freeifaddrs(all);
  return found.empty() ? "127.0.0.1" : found;
}

}  // namespace dolmen::sys
