// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/child.hpp"

#include <signal.h>

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

}  // namespace
}  // namespace dolmen::sys
