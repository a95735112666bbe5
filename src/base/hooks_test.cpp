// SPDX-License-Identifier: Apache-2.0
#include "base/hooks.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dolmen::base {
namespace {

class RecordingHooks final : public Hooks {
 public:
  bool buggify(std::string_view site) override {
    seen.emplace_back(site);
    return true;
  }
  void probe(std::string_view site) override { seen.emplace_back(site); }
  bool planted(std::string_view bug) override {
    seen.emplace_back(bug);
    return bug == "the planted one";
  }
  std::vector<std::string> seen;
};

TEST(Hooks, WithoutAnObjectEverySiteIsQuiet) {
  EXPECT_FALSE(DOLMEN_BUGGIFY("rare"));
  EXPECT_FALSE(DOLMEN_PLANTED("the planted one"));
  DOLMEN_PROBE("reached");
}

TEST(Hooks, AnInstalledObjectSeesEverySite) {
  RecordingHooks hooks;
  EXPECT_EQ(install_hooks(&hooks), nullptr);
  [[maybe_unused]] const bool rare = DOLMEN_BUGGIFY("rare");
  [[maybe_unused]] const bool planted = DOLMEN_PLANTED("the planted one");
  [[maybe_unused]] const bool other = DOLMEN_PLANTED("another");
  DOLMEN_PROBE("reached");
  EXPECT_EQ(install_hooks(nullptr), &hooks);
  EXPECT_FALSE(DOLMEN_BUGGIFY("rare"));
#if DOLMEN_SIM_HOOKS
  EXPECT_TRUE(rare);
  EXPECT_TRUE(planted);
  EXPECT_FALSE(other);
  EXPECT_EQ(hooks.seen,
            (std::vector<std::string>{"rare", "the planted one", "another", "reached"}));
#else
  EXPECT_FALSE(rare || planted || other);
  EXPECT_TRUE(hooks.seen.empty());
#endif
}

}  // namespace
}  // namespace dolmen::base
