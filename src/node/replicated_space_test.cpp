// SPDX-License-Identifier: Apache-2.0
//
// What the public interface of a replicated space refuses. What it does: SpaceMachineTest, the
// campaign of spaces, and examples/replicated_bank.cpp.
#include <gtest/gtest.h>

#include <dolmen/replicated_space.hpp>

#include "node/space_fixture.hpp"

namespace dolmen::node {
namespace {

using Bytes = std::vector<std::byte>;

Result<Bytes> nothing(Space&, std::span<const std::byte>) { return Bytes{}; }

TEST(ReplicatedSpace, SaysWhatCannotBeOpened) {
  const TestDirectory directory;
  const auto code_of = [&](SpaceFunctions functions, const SpaceOptions& options = {}) {
    return ReplicatedSpace::open(directory.path, std::move(functions), options).error().code();
  };
  EXPECT_EQ(code_of({{"none", nullptr}}), Errc::invalid_argument);
  EXPECT_EQ(code_of({{std::string(256, 'x'), nothing}}), Errc::invalid_argument);
  EXPECT_EQ(code_of({{"f", nothing}}, {.read_only = true}), Errc::invalid_argument);
  EXPECT_TRUE(ReplicatedSpace::open(directory.path, {{std::string(255, 'x'), nothing}}));
  const std::string foreign = directory.path + "/letter";
  std::FILE* const file = std::fopen(foreign.c_str(), "w");
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(std::fclose(file), 0);
  EXPECT_EQ(code_of({{"f", nothing}}), Errc::already_exists);
}

TEST(ReplicatedSpace, NeedsADurableGroup) {
  const TestDirectory directory;
  ReplicatedOptions options{
      .group = {.members = {"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}, .key_file = {}},
      .member = 1,
      .directory = directory.path + "/log",
      .level = ReplicatedLevel::replicated};
  auto space = ReplicatedSpace::open(directory.path + "/space", {{"f", nothing}});
  ASSERT_TRUE(space) << space.error().message();
  const auto started = Replicated::start(options, space->machine());
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code(), Errc::invalid_argument);
  EXPECT_NE(started.error().context().find("has to be durable"), std::string_view::npos);
}

}  // namespace
}  // namespace dolmen::node
