// SPDX-License-Identifier: Apache-2.0
//
// A child of fork(): the memory of objects is not inherited, so every call says so, and nothing
// that the child does or leaves undone reaches the parent's space.
#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <dolmen/space.hpp>

#include "node/space_fixture.hpp"
#include "node/test_steps.hpp"
#include "txn/locks.hpp"

namespace {

namespace fs = std::filesystem;
using dolmen::Errc;

struct Counter {
  std::uint64_t count;
};

/// What a forked child finds wrong; "" if nothing is. A signal is wrong.
std::string in_child(const std::function<std::string()>& body) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);  // a lock that another thread held at the fork is held for ever
    const std::string wrong = body();
    (void)!::write(ends[1], wrong.data(), wrong.size());
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string wrong;
  char bytes[256];
  for (ssize_t count = 0; (count = ::read(ends[0], bytes, sizeof bytes)) > 0;) {
    wrong.append(bytes, static_cast<std::size_t>(count));
  }
  ::close(ends[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status)) wrong += "signal " + std::to_string(WTERMSIG(status));
  return wrong;
}

class Fork : public testing::Test {
 protected:
  Fork() {
    space_.emplace(dolmen::Space::open(path("space"), {.background = false}).value());
    counter_ = space_->create<Counter>("counter").value();
  }
  [[nodiscard]] std::string path(const char* name) const { return home_.path + "/" + name; }
  dolmen::Result<void> count() {
    return space_->transact(counter_, [](dolmen::mut<Counter> c) { ++c->count; });
  }

  const dolmen::node::TestDirectory home_;
  std::optional<dolmen::Space> space_;
  dolmen::Object<Counter> counter_;
};

/// The names of the calls that did not give `forked`.
template <class... Results>
std::string not_forked(const std::pair<const char*, Results>&... calls) {
  std::string wrong;
  const auto look = [&](const auto& call) {
    if (!call.second && call.second.error().code() == Errc::forked) return;
    wrong += std::string(call.first) + ": " +
             (call.second ? "done" : call.second.error().message()) + "\n";
  };
  (look(calls), ...);
  return wrong;
}

TEST_F(Fork, EveryCallInTheChildSaysForked) {
  dolmen::Ticket ticket;
  ASSERT_TRUE(space_->transact({.durability = dolmen::Durability::deferred, .ticket = &ticket},
                               counter_, [](dolmen::mut<Counter> c) { ++c->count; }));
  const auto id = counter_.id();
  dolmen::Space& space = *space_;
  EXPECT_EQ(in_child([&] {
              const auto nothing = [](auto) {};
              return not_forked(
                  std::pair("transact", space.transact(counter_, nothing)),
                  std::pair("transact any", space.transact(dolmen::any, [] {})),
                  std::pair("read", space.read(counter_, nothing)),
                  std::pair("read everything", space.read(dolmen::everything, [] {})),
                  std::pair("view", space.view()), std::pair("create", space.create<Counter>()),
                  std::pair("create named", space.create<Counter>("another")),
                  std::pair("find", space.find<Counter>("counter")),
                  std::pair("find_or_create", space.find_or_create<Counter>("counter")),
                  std::pair("erase", space.erase(counter_)),
                  std::pair("set_name", space.set_name(id, "other")),
                  std::pair("remove_name", space.remove_name("counter")),
                  std::pair("resize", space.resize(id, 1u << 20)),
                  std::pair("wait", space.wait(ticket)), std::pair("sync", space.sync()),
                  std::pair("checkpoint", space.checkpoint()), std::pair("names", space.names()),
                  std::pair("prefault", space.prefault(id)));
            }),
            "");
  // What the parent had in memory is the parent's to write, once.
  ASSERT_TRUE(count());
  EXPECT_EQ(space.read(counter_, [](dolmen::ref<Counter> c) { return c->count; }).value(), 2u);
}

TEST_F(Fork, TheChildOpensNoSpaceAndLeavesNothing) {
  ASSERT_TRUE(space_->close());
  EXPECT_EQ(in_child([&] {
              return not_forked(
                  std::pair("another", dolmen::Space::open(path("another"))),
                  std::pair("the same", dolmen::Space::open(path("space"))),
                  std::pair("to read", dolmen::Space::open(path("space"), {.read_only = true})));
            }),
            "");
  EXPECT_FALSE(fs::exists(path("another")));
  EXPECT_TRUE(dolmen::Space::open(path("another"))) << "the parent goes on";
}

TEST_F(Fork, AViewInTheChildSaysForkedAndIsTheParentsToEnd) {
  ASSERT_TRUE(count());
  std::optional<dolmen::View> view(space_->view().value());
  ASSERT_EQ((*view)[counter_]->count, 1u);
  EXPECT_EQ(in_child([&] {
              const std::string wrong = not_forked(
                  std::pair("known object", view->read([&] { return (*view)[counter_]->count; })),
                  std::pair("find", view->find<Counter>("counter")),
                  std::pair("names", view->names()));
              view.reset();
              return wrong;
            }),
            "");
  ASSERT_TRUE(count());
  EXPECT_EQ((*view)[counter_]->count, 1u);
  view.reset();
}

TEST_F(Fork, TheEndOfAReadSectionInTheChildWaitsForNothingOfItsParents) {
  const auto other = space_->create<Counter>("other").value();
  dolmen::node::Steps steps;
  const std::atomic<std::uint64_t>& short_ways = steps.count("txn.known_read");
  // A commit that is visible, and that its writer is about to make durable.
  steps.at("txn.appended", [&] {
    pid_t child = -1;
    const auto read = space_->read(other, [&](dolmen::ref<Counter>) { child = ::fork(); });
    if (child == 0) ::_exit(!read && read.error().code() == Errc::forked ? 0 : 1);
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "the child wrote to its parent's log";
  });
  ASSERT_TRUE(count());
  const std::uint64_t before = short_ways;
  const std::uint32_t reads = 4 * dolmen::txn::LockTable::kBiasReads;
  for (std::uint32_t i = 0; i < reads && short_ways == before; ++i) {
    ASSERT_TRUE(space_->read(other, [](dolmen::ref<Counter>) {}));
  }
  ASSERT_TRUE(count());
}

TEST_F(Fork, TheChildMayCloseAndDestroyWhatItInherited) {
  ASSERT_TRUE(count());
  const dolmen::View view = space_->view().value();
  ASSERT_TRUE(count()) << "a page is kept for the view";
  EXPECT_EQ(in_child([&]() -> std::string {
              const auto closed = space_->close();
              space_.reset();
              return closed ? "" : closed.error().message();
            }),
            "");
  ASSERT_TRUE(count());
  EXPECT_EQ(view[counter_]->count, 1u);
  EXPECT_FALSE(dolmen::Space::open(path("space"))) << "the parent still holds it";
}

}  // namespace
