// SPDX-License-Identifier: Apache-2.0
//
// Functions of a replicated space that only look.
#include "node/space_machine_fixture.hpp"

namespace dolmen::node {
namespace {

using namespace machine_test;
using SpaceQueryTest = SpaceMachineTest;

TEST_F(SpaceQueryTest, AQuerySeesWhatWasAppliedAndChangesNothing) {
  Member a;
  EXPECT_EQ(a.query("total").error().code(), Errc::not_found) << "there is nothing yet";
  EXPECT_EQ(decide(a, "push", 5, {}), 1u);
  EXPECT_EQ(a.query("total").value(), 5u);
  EXPECT_EQ(a.query("push").error().code(), Errc::read_only) << "no query";
  EXPECT_EQ(a.query("nobody").error().code(), Errc::not_found);
  EXPECT_EQ(a.query("sly").error().code(), Errc::read_only);
  EXPECT_EQ(a.query("total").value(), 5u) << "it changed nothing";
  EXPECT_EQ(a.machine().position(), a.machine().image().last_index());
  // As a command it may be called like any other.
  EXPECT_EQ(decide(a, "total", 0, {}), 5u);
  EXPECT_EQ(decide(a, "push", 6, {}), 2u);
  EXPECT_EQ(a.query("total").value(), 11u);
}

// Before what it led with is decided, and where it does not lead.
TEST_F(SpaceQueryTest, AQueryWaitsForASpace) {
  Member a;
  Member b;
  decide(a, "push", 5, {&b});
  const Bytes argument = bytes_of(0);
  const Bytes call = encode(SpaceCall{.function = "total", .arguments = argument});
  EXPECT_EQ(b.machine().read(call).error().code(), Errc::busy) << "a follower's is not open";
  EXPECT_EQ(b.query("total").value(), 5u) << "it leads now";
  EXPECT_EQ(a.machine().read(Bytes(3)).error().code(), Errc::corrupt);
}

// Another member answers, once this one has ended: which it does though nobody writes.
TEST_F(SpaceQueryTest, WhatADiskThatFailsSaysIsNoAnswer) {
  Member a;
  decide(a, "push", 5, {});
  a.disk().inject({.on = sim::FaultOn::sync, .times = sim::DiskFault::kForever});
  EXPECT_FALSE(a.machine().image().sync());
  const Bytes argument = bytes_of(0);
  const Bytes call = encode(SpaceCall{.function = "total", .arguments = argument});
  EXPECT_EQ(a.machine().read(call).error().code(), Errc::busy);
  EXPECT_EQ(a.machine().prepare_read().error().code(), Errc::busy);
  EXPECT_EQ(a.machine().decided(1).error().code(), Errc::store_failed) << "so that it ends";
}

}  // namespace
}  // namespace dolmen::node
