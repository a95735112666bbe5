// SPDX-License-Identifier: Apache-2.0
//
// A checkpoint writes each object in the class that it has, whatever happened before: creation in a
// recovered log tail, a resize after it, a checkpoint in between that failed.
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include <dolmen/space.hpp>
#include <dolmen/string.hpp>

#include "node/open_space.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {
namespace {

struct Page {
  string text;
};

class CheckpointClasses : public testing::Test {
 protected:
  sys::Memory& memory() { return *sys::linux_env().memory; }
  Result<Space> open() {
    SpaceOptions options;
    options.background = false;
    options.log_segment_bytes = 64u << 10;
    return node::open_space(world.env(), std::make_unique<sys::BorrowedDisk>(disk), options,
                            memory().best_driver());
  }
  /// The text of the object "page" after the space was closed and opened once more.
  std::string read_again() {
    auto space = open();
    if (!space) return space.error().message();
    const auto view = space->view();
    const auto page = view->find<Page>("page");
    if (!page) return page.error().message();
    const auto text = view->read([&] { return std::string((*view)[*page]->text); });
    return text ? *text : text.error().message();
  }

  sim::SimEnv world{1, memory()};
  sim::SimDisk disk{1};
  const std::string large = std::string(100'000, 'x');
};

TEST_F(CheckpointClasses, AnObjectOfTheRecoveredTailThatIsResizedIsWrittenInItsNewClass) {
  {
    auto space = open();
    ASSERT_TRUE(space);
    ASSERT_TRUE(space->create<Page>("page", {.capacity = 16384}));
  }
  {
    auto space = open();
    ASSERT_TRUE(space);
    const auto page = space->find<Page>("page");
    ASSERT_TRUE(page);
    ASSERT_TRUE(space->resize(page->id(), 1 << 20));
    ASSERT_TRUE(space->transact(*page, [&](mut<Page> p) { p->text = large; }));
    ASSERT_TRUE(space->checkpoint());
    ASSERT_TRUE(space->close());
  }
  EXPECT_EQ(read_again(), large);
}

TEST_F(CheckpointClasses, AResizeDuringACheckpointThatFailsIsNotForgotten) {
  {
    auto space = open();
    ASSERT_TRUE(space);
    const auto page = space->create<Page>("page", {.capacity = 16384});
    ASSERT_TRUE(page);
    disk.inject({.on = sim::FaultOn::write, .code = Errc::no_space, .file = "pages"});
    EXPECT_FALSE(space->checkpoint());
    ASSERT_TRUE(space->resize(page->id(), 1 << 20));
    disk.inject({.on = sim::FaultOn::write, .code = Errc::no_space, .file = "pages"});
    EXPECT_FALSE(space->checkpoint());
    ASSERT_TRUE(space->transact(*page, [&](mut<Page> p) { p->text = large; }));
    ASSERT_TRUE(space->checkpoint());
    ASSERT_TRUE(space->close());
  }
  EXPECT_EQ(read_again(), large);
}

}  // namespace
}  // namespace dolmen
