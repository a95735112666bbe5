// SPDX-License-Identifier: Apache-2.0
//
// How the body of a transaction sees the root: as mut, kept whole, or as ref, of which it edits
// parts.
#include <array>
#include <cstdint>
#include <functional>
#include <optional>

#include <gtest/gtest.h>

#include <dolmen/hash_map.hpp>
#include <dolmen/space.hpp>

#include "node/space_fixture.hpp"

namespace {

using dolmen::Errc;
using dolmen::mut;
using dolmen::ref;

struct Leaf {
  std::uint64_t value;
};
struct Large {
  std::uint64_t first;
  std::array<dolmen::ptr<Leaf>, 2000> leaves;
  dolmen::hash_map<std::uint64_t, std::uint64_t> map;
  std::uint64_t last;
};
struct Wide {
  std::array<std::uint64_t, 500> words;
  dolmen::ptr<Leaf> leaf;
};
struct Small {
  std::uint64_t value;
  dolmen::ptr<Leaf> leaf;
};

class RootAccess : public testing::Test {
 protected:
  RootAccess() { reopen(); }
  void reopen(const dolmen::SpaceOptions& options = {.background = false}) {
    space_.reset();
    space_.emplace(dolmen::node::open_test_space(home_, options));
  }

  const dolmen::node::TestDirectory home_;
  std::optional<dolmen::Space> space_;
};

TEST_F(RootAccess, PartsOfALargeRootAreChangedAndUndone) {
  const auto object = space_->create<Large>("large").value();
  const auto change = [&](std::uint64_t by, bool fails) {
    return space_->transact(object, [&](ref<Large> root) -> dolmen::Result<void> {
      *dolmen::edit(root->first) += by;
      *dolmen::edit(root->last) += by;
      dolmen::edit(root->map)->insert_or_assign(by, by);
      *dolmen::edit<dolmen::ptr<Leaf>>(root->leaves[1999]) =
          dolmen::make<Leaf>(dolmen::edit(root->first), by);
      if (fails) return dolmen::fail(Errc::aborted);
      return {};
    });
  };
  const auto holds = [&](std::uint64_t value) {
    return space_
        ->read(object,
               [&](ref<Large> root) {
                 return root->first == value && root->last == value && root->map.size() == 1 &&
                        root->map.contains(value) && root->leaves[1999]->value == value;
               })
        .value();
  };
  ASSERT_TRUE(change(7, false));
  EXPECT_TRUE(holds(7));
  EXPECT_FALSE(change(9, true));
  EXPECT_TRUE(holds(7));
  reopen();
  EXPECT_TRUE(holds(7)) << "what was committed is there after reopening";
}

TEST_F(RootAccess, OfARootTakenAsRefNoCopyIsKept) {
  const auto object = space_->create<Wide>().value();
  ASSERT_TRUE(
      space_->transact(object, [](mut<Wide> root) { root->leaf = dolmen::make<Leaf>(root, 1u); }));
  reopen({.max_transaction_bytes = 2048, .background = false});
  const auto as_mut =
      space_->transact(object, [](mut<Wide> root) { ++dolmen::edit(root->leaf)->value; });
  ASSERT_FALSE(as_mut);
  EXPECT_EQ(as_mut.error().code(), Errc::too_large);
  EXPECT_TRUE(space_->transact(object, [](ref<Wide> root) { ++dolmen::edit(root->leaf)->value; }));
  EXPECT_EQ(space_->read(object, [](ref<Wide> root) { return root->leaf->value; }).value(), 2u);
}

TEST_F(RootAccess, SeveralRootsAreEachTakenAsTheBodyAsks) {
  const auto first = space_->create<Small>().value();
  const auto second = space_->create<Large>().value();
  const auto third = space_->create<Small>().value();
  const auto body = [](const mut<Small>& a, const ref<Large>& b, ref<Small> c) {
    a->value = 1;
    *dolmen::edit(b->last) = 2;
    dolmen::edit(*c)->value = 3;
  };
  ASSERT_TRUE(space_->transact(first, second, third, body));
  // Whatever can be called, with or without one signature.
  ASSERT_TRUE(space_->transact(first, third, [](auto a, auto c) { a->value += c->value; }));
  const std::function<void(ref<Small>)> function = [](ref<Small> a) {
    dolmen::edit(*a)->value += 10;
  };
  ASSERT_TRUE(space_->transact(first, function));
  void (*pointer)(ref<Small>) = [](ref<Small> a) { dolmen::edit(*a)->value += 100; };
  ASSERT_TRUE(space_->transact(first, pointer));
  ASSERT_TRUE(space_->transact(
      first, [](ref<Small> a) mutable noexcept { dolmen::edit(*a)->value += 1000; }));
  // In a section that is open already, too.
  ASSERT_TRUE(space_->transact(first, [&](ref<Small>) {
    space_->transact(first, [](ref<Small> a) { dolmen::edit(*a)->value += 10'000; }).value();
  }));
  reopen();
  const auto values = space_
                          ->read(first, second, third,
                                 [](ref<Small> a, ref<Large> b, ref<Small> c) {
                                   return std::array{a->value, b->last, c->value};
                                 })
                          .value();
  EXPECT_EQ(values, (std::array<std::uint64_t, 3>{11'114, 2, 3}));
}

}  // namespace
