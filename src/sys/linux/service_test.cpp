// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/service.hpp"

#include <array>
#include <cstdlib>
#include <string>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace dolmen::sys {
namespace {

/// A service manager that listens.
class Manager {
 public:
  explicit Manager(bool has_file) : descriptor_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
    const std::string name = "dolmen-service-test-" + std::to_string(::getpid());
    path_ = has_file ? testing::TempDir() + name : "@" + name;
    ::sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    if (!has_file) address.sun_path[0] = '\0';
    const void* const any = &address;
    const auto length = static_cast<::socklen_t>(offsetof(::sockaddr_un, sun_path) + path_.size());
    EXPECT_EQ(::bind(descriptor_, static_cast<const ::sockaddr*>(any), length), 0);
    ::setenv("NOTIFY_SOCKET", path_.c_str(), 1);
  }
  ~Manager() {
    ::close(descriptor_);
    ::unlink(path_.c_str());
    ::unsetenv("NOTIFY_SOCKET");
  }
  [[nodiscard]] std::string heard() const {
    std::array<char, 64> text{};
    const auto count = ::recv(descriptor_, text.data(), text.size(), MSG_DONTWAIT);
    return count < 0 ? "" : std::string(text.data(), static_cast<std::size_t>(count));
  }

 private:
  int descriptor_;
  std::string path_;
};

TEST(Service, AManagerThatAskedIsTold) {
  for (const bool has_file : {true, false}) {
    const Manager manager(has_file);
    ASSERT_TRUE(tell_service_manager("READY=1"));
    EXPECT_EQ(manager.heard(), "READY=1");
  }
}

TEST(Service, WhereNobodyAskedNothingHappensAndWhoDoesNotListenIsAnError) {
  EXPECT_TRUE(tell_service_manager("READY=1"));
  ::setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
  EXPECT_EQ(tell_service_manager("READY=1").error().code(), Errc::not_found);
  ::setenv("NOTIFY_SOCKET", std::string(200, 'x').c_str(), 1);
  EXPECT_FALSE(tell_service_manager("READY=1"));
  ::unsetenv("NOTIFY_SOCKET");
}

TEST(Service, TheHostsAddressIsNumeric) {
  const std::string address = own_host_address();
  std::array<unsigned char, 16> bytes{};
  EXPECT_TRUE(::inet_pton(AF_INET, address.c_str(), bytes.data()) == 1 ||
              ::inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1)
      << address;
}

}  // namespace
}  // namespace dolmen::sys
