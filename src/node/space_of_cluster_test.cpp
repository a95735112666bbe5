// SPDX-License-Identifier: Apache-2.0
#include "node/space_of_cluster.hpp"

#include <gtest/gtest.h>

namespace dolmen::node {
namespace {

TEST(SpaceOfACluster, ItsAddressIsTheClustersWithANameInIt) {
  const struct {
    const char* text;
    const char* cluster;
    const char* name;
  } kAddresses[] = {
      {"dolmen://h:1/web", "dolmen://h:1", "web"},
      {"dolmen://h:1,i:2/web?identity=a/b", "dolmen://h:1,i:2?identity=a/b", "web"},
      {"dolmen://h:1/web?shm=/dev/shm/x&identity=k", "dolmen://h:1?shm=/dev/shm/x&identity=k",
       "web"},
      {"dolmen://h:1/web?fabric=trusted", "dolmen://h:1?fabric=trusted", "web"},
      {"dolmen://h:1/no/such?space?identity=k", "dolmen://h:1?identity=k", "no/such?space"},
      {"dolmen://h:1/", "dolmen://h:1", ""},
      {"dolmen://h:1", "dolmen://h:1", ""},
      {"dolmen://h:1?identity=a/b", "dolmen://h:1?identity=a/b", ""},
      {"dolmen://", "dolmen://", ""},
  };
  for (const auto& [text, cluster, name] : kAddresses) {
    EXPECT_TRUE(is_of_cluster(text));
    EXPECT_EQ(space_address(text).cluster, cluster);
    EXPECT_EQ(space_address(text).name, name);
  }
  for (const char* const directory : {"", "web.dolmen", "./dolmen://h:1/web", "DOLMEN://h"}) {
    EXPECT_FALSE(is_of_cluster(directory));
  }
}

TEST(SpaceOfACluster, WhoWantsToWriteIsToldHow) {
  // Before anybody is asked: this address has nobody.
  const auto space = Space::open("dolmen://127.0.0.1:1/web?identity=none");
  ASSERT_FALSE(space);
  EXPECT_EQ(space.error().code(), Errc::read_only);
  EXPECT_NE(space.error().message().find("call_space()"), std::string::npos)
      << space.error().message();
}

}  // namespace
}  // namespace dolmen::node
