// SPDX-License-Identifier: Apache-2.0
//
// The public API in the real world: one node, one directory.
#include <filesystem>
#include <stdexcept>

#include <unistd.h>

#include <gtest/gtest.h>

#include <dolmen/hash_map.hpp>
#include <dolmen/space.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

namespace {

namespace fs = std::filesystem;

struct Directory {
  Directory() {
    std::string pattern = (fs::temp_directory_path() / "dolmen-test-XXXXXX").string();
    path = ::mkdtemp(pattern.data());
  }
  ~Directory() { fs::remove_all(path); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  std::string path;
};

struct Node {
  std::uint64_t value;
  dolmen::ptr<Node> next;
};
struct List {
  dolmen::ptr<Node> head;
  std::uint64_t count;
};
struct Web {
  dolmen::hash_map<dolmen::string, std::uint64_t> ranks;
  dolmen::vector<dolmen::ptr<Node>> pages;
};

dolmen::Space open(const Directory& directory, const dolmen::SpaceOptions& options = {}) {
  auto space = dolmen::Space::open(directory.path, options);
  if (!space) throw std::runtime_error(space.error().message());
  return std::move(*space);
}

void push(dolmen::mut<List> list, std::uint64_t value) {
  auto node = dolmen::make<Node>(list, value, nullptr);
  node->next = list->head;
  list->head = node;
  ++list->count;
}

std::uint64_t sum(const List& list) {
  std::uint64_t total = 0;
  for (auto p = list.head; p; p = p->next) total += p->value;
  return total;
}

TEST(Space, KeepsALinkedListAcrossReopening) {
  const Directory directory;
  {
    auto space = open(directory);
    auto list = space.find_or_create<List>("list");
    ASSERT_TRUE(list) << list.error().message();
    for (std::uint64_t i = 1; i <= 100; ++i) {
      const auto done = space.transact(*list, [&](dolmen::mut<List> l) { push(l, i); });
      ASSERT_TRUE(done) << done.error().message();
    }
    ASSERT_TRUE(space.close());
  }
  auto space = open(directory);
  auto list = space.find<List>("list");
  ASSERT_TRUE(list) << list.error().message();
  const auto total = space.read(*list, [](dolmen::ref<List> l) { return sum(*l); });
  ASSERT_TRUE(total) << total.error().message();
  EXPECT_EQ(*total, 5050u);
}

TEST(Space, AbortsRestoreEveryByteAlsoWhenTheBodyThrows) {
  const Directory directory;
  auto space = open(directory);
  auto list = space.create<List>("list").value();
  space.transact(list, [&](dolmen::mut<List> l) { push(l, 7); }).value();
  EXPECT_THROW((void)space.transact(list,
                                    [&](dolmen::mut<List> l) {
                                      for (int i = 0; i < 1000; ++i) push(l, 1);
                                      throw std::runtime_error("no");
                                    }),
               std::runtime_error);
  const auto refused = space.transact(list, [&](dolmen::mut<List> l) -> dolmen::Result<void> {
    push(l, 1);
    return dolmen::fail(dolmen::Errc::aborted);
  });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), dolmen::Errc::aborted);
  EXPECT_EQ(space.read(list, [](dolmen::ref<List> l) { return sum(*l); }).value(), 7u);
  EXPECT_EQ(space.read(list, [](dolmen::ref<List> l) { return l->count; }).value(), 1u);
}

TEST(Space, AViewKeepsShowingItsCommitWhileWritersGoOn) {
  const Directory directory;
  auto space = open(directory);
  auto list = space.create<List>("list").value();
  space.transact(list, [&](dolmen::mut<List> l) { push(l, 1); }).value();
  auto view = space.view().value();
  auto late = space.view().value();
  for (int i = 0; i < 10; ++i) {
    space.transact(list, [&](dolmen::mut<List> l) { push(l, 10); }).value();
  }
  EXPECT_EQ(sum(*view[list]), 1u);
  EXPECT_EQ(sum(*space.view().value()[list]), 101u);
  ASSERT_TRUE(space.checkpoint());
  EXPECT_EQ(sum(*late[list]), 1u);
}

TEST(Space, FollowsPointersIntoOtherObjects) {
  const Directory directory;
  {
    auto space = open(directory);
    auto a = space.create<List>("a").value();
    auto b = space.create<List>("b").value();
    const auto done = space.transact(a, b, [&](dolmen::mut<List> in_a, dolmen::mut<List> in_b) {
      push(in_b, 42);
      in_a->head = in_b->head;
    });
    ASSERT_TRUE(done) << done.error().message();
    const auto not_named = space.read(a, [](dolmen::ref<List> l) { return l->head->value; });
    ASSERT_FALSE(not_named);
    EXPECT_EQ(not_named.error().code(), dolmen::Errc::not_named);
    EXPECT_NE(not_named.error().message().find("List::head"), std::string::npos)
        << not_named.error().message();
  }
  auto space = open(directory);
  auto a = space.find<List>("a").value();
  const auto value = space.read(dolmen::everything, [&] { return space.root(a)->head->value; });
  ASSERT_TRUE(value) << value.error().message();
  EXPECT_EQ(*value, 42u);
  EXPECT_EQ(space.view().value()[a]->head->value, 42u);
  auto b = space.find<List>("b").value();
  ASSERT_TRUE(space.erase(b));
  const auto gone = space.read(dolmen::everything, [&] { return space.root(a)->head->value; });
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code(), dolmen::Errc::deleted);
}

TEST(Space, ContainersLiveInObjectsAndSurviveReopeningAndCheckpoints) {
  const Directory directory;
  constexpr std::uint64_t kCount = 20000;
  {
    auto space = open(directory);
    auto web = space.create<Web>("web").value();
    for (std::uint64_t i = 0; i < kCount; i += 1000) {
      const auto done = space.transact(web, [&](dolmen::mut<Web> w) {
        for (std::uint64_t k = i; k < i + 1000; ++k) {
          w->ranks.insert_or_assign(dolmen::string("page number " + std::to_string(k)), k);
        }
      });
      ASSERT_TRUE(done) << done.error().message();
      if (i == kCount / 2) {
        const auto checkpoint = space.checkpoint();
        ASSERT_TRUE(checkpoint) << checkpoint.error().message();
      }
    }
  }
  auto space = open(directory);
  auto web = space.find<Web>("web").value();
  const auto view = space.view().value();
  EXPECT_EQ(view[web]->ranks.size(), kCount);
  for (std::uint64_t k = 0; k < kCount; ++k) {
    const auto found = view[web]->ranks.find("page number " + std::to_string(k));
    ASSERT_NE(found, view[web]->ranks.end()) << k;
    ASSERT_EQ(found->second, k);
  }
}

TEST(Space, RefusesAChangedStructAndNamesTheField) {
  const Directory directory;
  auto space = open(directory);
  auto list = space.create<List>("list").value();
  const auto other = space.find<Web>("list");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), dolmen::Errc::layout_changed);
  EXPECT_EQ(space.read(list, [](dolmen::ref<List> l) { return l->count; }).value(), 0u);
}

TEST(Space, ResizeMovesAnObjectAndKeepsPointersToIt) {
  const Directory directory;
  {
    auto space = open(directory);
    auto a = space.create<List>("a", {.capacity = 4096}).value();
    auto b = space.create<List>("b").value();
    space
        .transact(a, b,
                  [&](dolmen::mut<List> in_a, dolmen::mut<List> in_b) {
                    push(in_a, 5);
                    in_b->head = in_a->head;
                  })
        .value();
    const auto full = space.transact(a, [&](dolmen::mut<List> l) {
      for (int i = 0; i < 1000; ++i) push(l, 1);
    });
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().code(), dolmen::Errc::object_full);
    const auto resized = space.resize(a.id(), 1 << 20);
    ASSERT_TRUE(resized) << resized.error().message();
    const auto fits = space.transact(a, [&](dolmen::mut<List> l) {
      for (int i = 0; i < 1000; ++i) push(l, 1);
    });
    ASSERT_TRUE(fits) << fits.error().message();
    EXPECT_EQ(space.read(dolmen::everything, [&] { return space.root(b)->head->value; }).value(),
              5u);
  }
  auto space = open(directory);
  auto a = space.find<List>("a").value();
  EXPECT_EQ(space.read(a, [](dolmen::ref<List> l) { return sum(*l); }).value(), 1005u);
}

TEST(Space, NestingRulesAreErrorsWithARemedy) {
  const Directory directory;
  auto space = open(directory);
  auto a = space.create<List>("a").value();
  auto b = space.create<List>("b").value();
  space
      .transact(
          a,
          [&](dolmen::mut<List> l) {
            push(l, 1);
            EXPECT_EQ(space.read(a, [](dolmen::ref<List> own) { return own->count; }).value(), 1u);
            EXPECT_EQ(space.read(b, [](dolmen::ref<List>) {}).error().code(), dolmen::Errc::nested);
            EXPECT_EQ(space.transact(b, [](dolmen::mut<List>) {}).error().code(),
                      dolmen::Errc::nested);
            EXPECT_TRUE(space.transact(a, [](dolmen::mut<List> own) { ++own->count; }));
          })
      .value();
  EXPECT_EQ(space.read(a, [](dolmen::ref<List> l) { return l->count; }).value(), 2u);
  space
      .read(a,
            [&](dolmen::ref<List>) {
              EXPECT_EQ(space.transact(a, [](dolmen::mut<List>) {}).error().code(),
                        dolmen::Errc::would_deadlock);
            })
      .value();
}

TEST(Space, TransactAnyLocksWhatItTouches) {
  const Directory directory;
  auto space = open(directory);
  auto a = space.create<List>("a").value();
  auto b = space.create<List>("b").value();
  const auto done = space.transact(dolmen::any, [&] {
    push(space.edit(a), 1);
    push(space.edit(b), 2);
    space.edit(a)->head = space.root(b)->head;
  });
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(space.view().value()[a]->head->value, 2u);
}

}  // namespace
