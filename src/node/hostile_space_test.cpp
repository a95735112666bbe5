// SPDX-License-Identifier: Apache-2.0
//
// Spaces whose files somebody changed behind the checksums: errors, and nothing else, from every
// call. The fuzzer (space_fuzz.cpp) does the same with other changes.

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "base/sanitizers.hpp"
#include "base/test_length.hpp"
#include "node/hostile_test_space.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

constexpr std::uint64_t kSpaces = base::kSanitized ? 100 : 200;

TEST(HostileSpaceCrash, GivesErrorsWhateverItsFilesHold) {
  const sim::SimEnv world(1, *sys::linux_env().memory);
  const HostileSpace space(world);
  const std::uint64_t spaces = base::at_full_length() ? 2000 * kSpaces : kSpaces;
  std::uint64_t opened = 0;
  std::uint64_t clean = 0;
  std::uint64_t loaded = 0;
  for (std::uint64_t seed = 1; seed <= spaces; ++seed) {
    SCOPED_TRACE(seed);
    base::Random random(seed);
    const auto disk = space.changed(HostileSpace::script(random));
    const HostileSpace::Outcome outcome = space.use(*disk);
    opened += outcome.opened ? 1 : 0;
    clean += outcome.clean ? 1 : 0;
    loaded += outcome.loaded ? 1 : 0;
  }
  // Changes that are met, and changes that are not: neither all refused at once nor all harmless.
  EXPECT_GT(opened, spaces / 3);
  EXPECT_GT(clean, spaces / 10);
  EXPECT_LT(clean, opened - opened / 10);
  EXPECT_GT(loaded, spaces / 10);
}

TEST(HostileSpaceCrash, IsCleanUnlessSomebodyChangesIt) {
  const sim::SimEnv world(1, *sys::linux_env().memory);
  const HostileSpace space(world);
  const auto disk = space.changed({});
  const HostileSpace::Outcome outcome = space.use(*disk);
  EXPECT_TRUE(outcome.opened);
  EXPECT_TRUE(outcome.clean);
  EXPECT_TRUE(outcome.loaded);
}

}  // namespace
}  // namespace dolmen::node
