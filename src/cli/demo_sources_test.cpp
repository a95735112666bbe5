// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_sources.hpp"

#include <gtest/gtest.h>

namespace dolmen::cli {
namespace {

TEST(DemoSources, HoldEverySnippetThatTheDemoShows) {
  for (const char* const name :
       {"model", "make", "link", "step", "closure", "heaviest", "open", "write", "kill"}) {
    EXPECT_GE(source_lines(name).size(), 3u) << name;
  }
  EXPECT_TRUE(source_lines("no such snippet").empty());
}

TEST(DemoSources, AreShownWithoutMarkersAndCommonIndentation) {
  const auto lines = source_lines("model");
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.front(), "struct Package {");
  EXPECT_EQ(lines.back(), "};");
  for (const std::string& line : lines) EXPECT_EQ(line.find("[demo:"), std::string::npos) << line;
}

}  // namespace
}  // namespace dolmen::cli
