// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/child.hpp"

#include <cerrno>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace dolmen::sys {
namespace {

Child shell(const std::string& script) {
  auto child = Child::start("/bin/sh", {"-c", script});
  EXPECT_TRUE(child) << child.error().message();
  return std::move(*child);
}

TEST(Child, GivesItsOutputLineByLineAndItsExitCode) {
  Child child = shell("echo one; echo two words; printf cut; exit 3");
  EXPECT_EQ(child.read_line().value(), "one");
  EXPECT_EQ(child.read_line().value(), "two words");
  EXPECT_EQ(child.read_line().value(), std::nullopt);
  const auto end = child.wait();
  ASSERT_TRUE(end);
  EXPECT_EQ(end->code, 3);
  EXPECT_EQ(end->signal, 0);
  EXPECT_EQ(child.wait().error().code(), Errc::invalid_argument);
}

TEST(Child, IsKilledAndWhatItWroteBeforeCanStillBeRead) {
  Child child = shell("echo written; exec sleep 1000");
  EXPECT_EQ(child.read_line().value(), "written");
  child.kill();
  EXPECT_EQ(child.read_line().value(), std::nullopt);
  EXPECT_EQ(child.wait().value().signal, SIGKILL);
}

TEST(Child, ThatIsDroppedDoesNotOutliveItsOwner) {
  {
    const Child child = shell("exec sleep 1000");
  }  // returns at once
  const auto missing = Child::start("/no/such/program", {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), Errc::not_found) << missing.error().message();
}

TEST(StandardDescriptors, ThatWereClosedAreNotGivenToTheNextFile) {
  // In a child process: this one needs its own.
  EXPECT_EXIT(
      {
        ::close(1);
        keep_standard_descriptors();
        const int next = ::open("/dev/null", O_WRONLY);
        const bool refused = ::write(1, "x", 1) == -1 && errno == EBADF;
        ::_exit(next > 2 && refused ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace dolmen::sys
