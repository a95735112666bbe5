// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_hooks.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dolmen::sim {
namespace {

std::vector<bool> fires(SimHooks& hooks, std::string_view site, int times) {
  std::vector<bool> result;
  for (int i = 0; i < times; ++i) result.push_back(hooks.buggify(site));
  return result;
}

TEST(SimHooks, AQuarterOfSitesIsActiveAndFiresAQuarterOfTheTime) {
  int active = 0;
  std::uint64_t fired = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SimHooks hooks({.seed = seed});
    for (int site = 0; site < 5; ++site) (void)fires(hooks, "site " + std::to_string(site), 20);
    for (const auto& [name, site] : hooks.buggify_sites()) {
      EXPECT_EQ(site.reached, 20u);
      active += site.active;
      fired += site.fired;
      EXPECT_TRUE(site.active || site.fired == 0) << name;
    }
  }
  EXPECT_NEAR(active, 250, 50);
  EXPECT_NEAR(static_cast<double>(fired), active * 5.0, active * 0.5);
}

TEST(SimHooks, TheSameSeedFiresTheSameAndSitesDoNotDisturbEachOther) {
  std::uint64_t seed = 0;
  std::vector<bool> expected;
  for (;; ++seed) {  // a seed for which the site is active
    SimHooks hooks({.seed = seed});
    expected = fires(hooks, "a", 100);
    if (hooks.buggify_sites().at("a").active) break;
  }
  SimHooks hooks({.seed = seed});
  for (const bool fire : expected) {
    (void)hooks.buggify("another");
    EXPECT_EQ(hooks.buggify("a"), fire);
  }
}

TEST(SimHooks, NothingFiresWhenBuggifyIsOff) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SimHooks hooks({.seed = seed, .buggify = false});
    EXPECT_EQ(fires(hooks, "a", 20), std::vector<bool>(20, false));
  }
}

TEST(SimHooks, SeedsFollowEachOtherAndAreCountedTogether) {
  SimHooks all({.buggify = false});
  EXPECT_EQ(fires(all, "a", 100), std::vector<bool>(100, false));
  std::uint64_t fired = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    all.begin(seed, true);
    const std::vector<bool> its = fires(all, "a", 100);
    all.calm();
    EXPECT_EQ(fires(all, "a", 100), std::vector<bool>(100, false));
    fired += static_cast<std::uint64_t>(std::ranges::count(its, true));
    all.begin(seed, true);
    EXPECT_EQ(fires(all, "a", 100), its);
  }
  EXPECT_GT(fired, 0u);
  EXPECT_EQ(all.buggify_sites().at("a").fired, 2 * fired);
  EXPECT_EQ(all.buggify_sites().at("a").reached, 20u * 2 * 100);
}

TEST(SimHooks, CountsProbesAndPlantsOneBug) {
  SimHooks hooks({.planted = "forget the fence"});
  hooks.probe("wrapped");
  hooks.probe("wrapped");
  hooks.probe("full");
  EXPECT_EQ(hooks.probes(), (SimHooks::Counts{{"wrapped", 2}, {"full", 1}}));
  EXPECT_FALSE(hooks.planted("another"));
  EXPECT_EQ(hooks.planted_reached(), 0u);
  EXPECT_TRUE(hooks.planted("forget the fence"));
  EXPECT_EQ(hooks.planted_reached(), 1u);
}

TEST(SimHooks, IsInstalledAsLongAsItLives) {
  EXPECT_FALSE(DOLMEN_PLANTED("x"));
  {
    SimHooks hooks({.planted = "x"});
    EXPECT_EQ(DOLMEN_PLANTED("x"), DOLMEN_SIM_HOOKS != 0);
  }
  EXPECT_FALSE(DOLMEN_PLANTED("x"));
}

}  // namespace
}  // namespace dolmen::sim
