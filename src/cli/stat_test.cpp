// SPDX-License-Identifier: Apache-2.0
//
// What `dolmen stat` says of a space that a program is using, beside what that program knows.
#include <optional>

#include <dolmen/vector.hpp>

#include "cli/command_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

struct Numbers {
  dolmen::vector<std::uint64_t> all;
};

using Stat = CliTest;

TEST_F(Stat, CountsWhatOldPagesForViewsTakeOnTheDisk) {
  constexpr std::uint64_t kMemory = 64u << 10;
  dolmen::Space space =
      dolmen::Space::open(path("web"), {.view_memory_bytes = kMemory, .background = false}).value();
  const auto numbers = space.create<Numbers>("numbers").value();
  const auto fill = [&](std::uint64_t value) {
    return space.transact(numbers, [&](dolmen::mut<Numbers> n) { n->all.assign(100'000, value); });
  };
  const auto on_disk = [&] {
    const Json stat = dolmen({"stat", "web", "--json"}).json();
    return stat["version_disk_bytes"].get<std::uint64_t>();
  };
  ASSERT_TRUE(fill(1));
  EXPECT_EQ(on_disk(), 0u);
  std::optional<dolmen::View> view(space.view().value());
  ASSERT_TRUE(fill(2));
  const std::uint64_t known = space.stats().version_disk_bytes;
  EXPECT_GT(known, 100'000 * sizeof(std::uint64_t) - 2 * kMemory);
  EXPECT_GE(on_disk(), known);
  EXPECT_LT(on_disk(), known + (std::uint64_t{1} << 20));
  EXPECT_NE(dolmen({"stat", "web"}).out.find("\nold pages for views"), std::string::npos);
  view.reset();
  EXPECT_EQ(on_disk(), 0u);
  ASSERT_TRUE(space.close());
  EXPECT_EQ(dolmen({"stat", "web", "--json"}).json()["version_disk_bytes"], 0);
}

}  // namespace
