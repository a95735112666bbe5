// SPDX-License-Identifier: Apache-2.0
//
// What every backend of the fabric is held to (docs/fabric.md); the tests are in
// conformance_{memory,messages,waiting}_test.cpp. A backend's test file instantiates the suite with
// its worlds:
//
//   INSTANTIATE_TEST_SUITE_P(Tcp, FabricConformance,
//                            testing::Values(world<TcpLoopback>("Loopback")), world_name);
#pragma once

#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "fabric/conformance_cluster.hpp"

namespace dolmen::fabric {

struct WorldKind {
  const char* name;
  std::unique_ptr<World> (*make)();
};

template <class Kind>
WorldKind world(const char* name) {
  return {name, [] { return std::unique_ptr<World>(std::make_unique<Kind>()); }};
}
inline std::string world_name(const testing::TestParamInfo<WorldKind>& info) {
  return info.param.name;
}

class FabricConformance : public testing::TestWithParam<WorldKind> {
 protected:
  void SetUp() override {
    if (const std::string what = cluster_.world().missing(); !what.empty()) GTEST_SKIP() << what;
  }
  /// A region of `owner` in which `user` may do everything.
  MutableBytes share(NodeId owner, NodeId user, std::size_t bytes, Rights rights = kAllRights) {
    const auto memory = cluster_.at(owner).make_region(kRegion, bytes);
    EXPECT_TRUE(memory);
    EXPECT_TRUE(cluster_.at(owner).grant(kRegion, user, rights));
    return memory.value_or(MutableBytes{});
  }
  [[nodiscard]] Place place(NodeId owner, std::uint64_t offset, RegionId region = kRegion) {
    return {cluster_.name(owner), region, offset};
  }

  [[nodiscard]] bool is_real_time() { return cluster_.world().is_real_time(); }

  Cluster cluster_{GetParam().make()};
};

}  // namespace dolmen::fabric
