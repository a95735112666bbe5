// SPDX-License-Identifier: Apache-2.0
//
// What is said of a pointer that leads nowhere, elsewhere or further than it may. Ordinary builds
// look where it is free (null, pointers into other objects, links, whatever is stored); checked
// ones (DOLMEN_CHECKED) at every dereference. The tests run in both.
#include <cstring>
#include <functional>
#include <optional>

#include <dolmen/vector.hpp>

#include "node/space_fixture.hpp"

namespace dolmen::node {
namespace {

constexpr bool kChecked = DOLMEN_CHECKED != 0;

struct Node {
  std::uint64_t value;
  ptr<Node> next;
};
struct Sample {
  double x;
  double y;
  double z;
};
struct Holder {
  std::uint64_t value;
  ptr<Node> first;
  ptr<Node> second;
  ptr<Sample> sample;
  link<Node> linked;
  vector<Node> nodes;
};

class PointerErrors : public testing::Test {
 protected:
  PointerErrors() {
    space
        .transact(here, there,
                  [](mut<Holder> h, mut<Holder> t) {
                    t->first = make<Node>(t, 3u, nullptr);
                    t->sample = make<Sample>(t, 1.0, 2.0, 3.0);
                    h->first = make<Node>(h, 1u, nullptr);
                    h->second = t->first;
                    h->sample = make<Sample>(h, 4.0, 5.0, 6.0);
                    h->linked = link<Node>(t->first);
                    h->nodes.push_back(Node{7, nullptr});
                  })
        .value();
  }
  /// Stores these bits in a pointer, as damage or a stray copy would.
  template <class T>
  void forge(ptr<T> Holder::* field, std::uint64_t bits) {
    space
        .transact(here,
                  [&](mut<Holder> h) {
                    std::memcpy(static_cast<void*>(&((*h).*field)), &bits, sizeof bits);
                  })
        .value();
  }
  template <class T>
  std::uint64_t bits(ptr<T> Holder::* field) {
    return space.read(here, [&](ref<Holder> h) { return detail::Access::bits((*h).*field); })
        .value();
  }
  /// The outcome of reading through a pointer of `here`, in a section that may read everything and
  /// in a view.
  template <class Function>
  void expect_when_read(Errc code, const std::string& words, Function&& look) {
    expect(space.read(everything, [&] { return look(*space.root(here)); }), code, words);
    const View view = space.view().value();
    expect(view.read([&] { return look(*view[here]); }), code, words);
  }
  template <class T>
  static void expect(const Result<T>& outcome, Errc code, const std::string& words) {
    ASSERT_FALSE(outcome) << words;
    const std::string text = outcome.error().message();
    EXPECT_EQ(outcome.error().code(), code) << text;
    EXPECT_NE(text.find(words), std::string::npos) << text << " instead of " << words;
  }

  TestDirectory directory;
  Space space = open_test_space(directory, {.background = false});
  Object<Holder> here = space.create<Holder>({.capacity = 16384}).value();
  Object<Holder> there = space.create<Holder>({.capacity = 16384}).value();
};

TEST_F(PointerErrors, ANullPointerIsNamedByItsFieldOrOffTheArenaByItsType) {
  forge(&Holder::first, 0);
  expect_when_read(Errc::null_pointer, "Holder::first",
                   [](const Holder& h) { return h.first->value; });
  expect_when_read(Errc::null_pointer, "ptr<", [](const Holder& h) {
    const ptr<Node> copy = h.first;
    return copy->value;
  });
  expect(space.transact(here, [](mut<Holder> h) { edit(h->first)->value = 1; }), Errc::null_pointer,
         "Holder::first");
}

TEST_F(PointerErrors, ADeletedTargetIsNamedByTheFieldThatLedToIt) {
  ptr<Node> Holder::* const second = &Holder::second;
  space.erase(there).value();
  expect_when_read(Errc::deleted, "Holder::second",
                   [&](const Holder& h) { return (h.*second)->value; });
  expect(space.transact(any, [&] { edit(space.root(here)->second)->value = 1; }), Errc::deleted,
         "Holder::second");
  expect(space.read(everything, [&] { return space.resolve(space.root(here)->linked)->value; }),
         Errc::deleted, "link<");
  const View view = space.view().value();
  expect(view.read([&] { return view[view[here]->linked]->value; }), Errc::deleted, "link<");
}

TEST_F(PointerErrors, ATargetErasedInTheRunningTransactionCanNeitherBeReadNorStored) {
  expect(space.transact(any,
                        [&] {
                          space.erase(there).value();
                          return space.root(here)->second->value;
                        }),
         Errc::deleted, "Holder::second");
  expect(space.transact(here, there,
                        [&](mut<Holder> h, mut<Holder> t) {
                          const ptr<Node> node = t->first;
                          space.erase(there).value();
                          h->first = node;
                        }),
         Errc::deleted, "Holder::first");
}

TEST_F(PointerErrors, ATargetOutsideTheScopeIsNamedByTheFieldThatLedToIt) {
  expect(space.read(here, [](ref<Holder> h) { return h->second->value; }), Errc::not_named,
         "Holder::second");
  expect(space.transact(here, [](mut<Holder> h) { return h->second->value; }), Errc::not_named,
         "Holder::second");
  expect(space.transact(here, [](mut<Holder> h) { edit(h->second)->value = 1; }), Errc::not_named,
         "Holder::second");
  expect(space.read(here,
                    [](ref<Holder> h) {
                      const ptr<Node> copy = h->second;
                      return copy->value;
                    }),
         Errc::not_named, "ptr<");
  expect(space.read(here, [&](ref<Holder> h) { return space.resolve(h->linked)->value; }),
         Errc::not_named, there.id().to_string());
  if constexpr (kChecked) {
    const Holder* kept = space.read(here, [](ref<Holder> h) { return h.get(); }).value();
    try {
      (void)kept->first->value;
      ADD_FAILURE() << "a pointer was followed outside every section";
    } catch (const AccessError& access) {
      EXPECT_EQ(access.error().code(), Errc::not_named) << access.error().message();
    }
  }
}

TEST_F(PointerErrors, AnotherSpacesObjectCanBeNeitherStoredNorEdited) {
  const TestDirectory second_directory;
  Space second = open_test_space(second_directory, {.background = false});
  const auto theirs = second.create<Holder>({.capacity = 16384}).value();
  const Node* node = nullptr;
  second
      .transact(theirs,
                [&](mut<Holder> t) {
                  t->first = make<Node>(t, 9u, nullptr);
                  node = t->first.get();
                })
      .value();
  expect(space.transact(here, [&](mut<Holder> h) { h->first = ptr_to(*node); }), Errc::wrong_space,
         "Holder::first");
  expect(space.transact(here, [&](mut<Holder>) { edit(*node)->value = 1; }), Errc::wrong_space,
         "Node");
  expect(space.read(here, [&](ref<Holder>) { return space.resolve(link<Node>(theirs.id(), 64)); }),
         Errc::deleted, "link<");
  if constexpr (kChecked) {
    expect(space.read(everything, [&] { return ptr_to(*node)->value; }), Errc::wrong_space, "ptr<");
  }
}

TEST_F(PointerErrors, AViewsObjectCanBeNeitherStoredNorEdited) {
  const View view = space.view().value();
  const Node* node = view[here]->first.get();
  expect(space.transact(here, [&](mut<Holder> h) { h->second = ptr_to(*node); }), Errc::wrong_space,
         "Holder::second");
  expect(space.transact(here, [&](mut<Holder>) { edit(*node)->value = 1; }), Errc::read_only,
         "view");
}

TEST_F(PointerErrors, AnAddressOutsideEveryObjectCannotBeStored) {
  const Node off{1, nullptr};
  expect(space.transact(here, [&](mut<Holder> h) { h->first = ptr_to(off); }), Errc::outside_arena,
         "Holder::first");
}

TEST_F(PointerErrors, AnotherTypeIsNamedWithTheFieldAndBothTypes) {
  const std::uint64_t sample = bits(&Holder::sample);
  const std::uint64_t offset =
      space.read(there, [](ref<Holder> t) { return link<Sample>(t->sample).offset(); }).value();
  const link<Node> wrong(there.id(), offset);
  expect(space.read(everything, [&] { return space.resolve(wrong)->value; }), Errc::wrong_type,
         "Sample");
  const View view = space.view().value();
  expect(view.read([&] { return view[wrong]->value; }), Errc::wrong_type, "Sample");
  if constexpr (kChecked) {
    const std::uint64_t foreign = (bits(&Holder::second) & ~detail::kOffsetMask) | offset;
    for (const std::uint64_t forged : {sample, foreign}) {
      forge(&Holder::first, forged);
      for (const char* words : {"Holder::first", "Sample` was reached through a pointer to `"}) {
        expect_when_read(Errc::wrong_type, words, [](const Holder& h) { return h.first->value; });
      }
    }
  }
}

TEST_F(PointerErrors, ATargetWithinAnArrayOrAStructHasItsType) {
  const std::uint64_t node =
      space.read(here, [](ref<Holder> h) { return link<Node>(ptr_to(h->nodes[0])).offset(); })
          .value();
  const link<std::uint64_t> value(here.id(), node);
  EXPECT_EQ(*space.read(everything, [&] { return *space.resolve(value); }), 7u);
  forge(&Holder::first, node);
  EXPECT_EQ(*space.read(here, [](ref<Holder> h) { return h->first->value; }), 7u);
}

TEST_F(PointerErrors, AnOffsetBeyondEveryAllocationIsNamed) {
  constexpr std::uint64_t kFree = 16000;    // within the object
  constexpr std::uint64_t kBeyond = 16384;  // in the next object of the class
  constexpr std::uint64_t kFar = (1u << 30) - 8;
  for (const std::uint64_t offset : {kFree, kBeyond, kFar, std::uint64_t{4}}) {
    const link<Node> wrong(there.id(), offset);
    expect(space.read(everything, [&] { return space.resolve(wrong)->value; }), Errc::out_of_bounds,
           "link<");
    const View view = space.view().value();
    expect(view.read([&] { return view[wrong]->value; }), Errc::out_of_bounds, "link<");
    if constexpr (kChecked) {
      const std::uint64_t foreign = bits(&Holder::second) & ~detail::kOffsetMask;
      for (const std::uint64_t forged : {offset, foreign | offset}) {
        forge(&Holder::first, forged);
        expect_when_read(Errc::out_of_bounds, "Holder::first",
                         [](const Holder& h) { return h.first->value; });
      }
    }
  }
}

TEST_F(PointerErrors, ACopyOfAPointerBeyondItsObjectIsRefusedWhereItIsMade) {
  if (!kChecked) GTEST_SKIP() << "copies are checked where dereferences are";
  forge(&Holder::first, 20000);
  expect_when_read(Errc::out_of_bounds, "Holder::first", [](const Holder& h) {
    const ptr<Node> copy = h.first;
    return copy ? 1 : 0;
  });
}

TEST_F(PointerErrors, AForeignIndexThatIsNotInUseIsNamed) {
  for (const std::uint64_t index : {0ull, 9ull, 12345ull, (1ull << 30) - 1}) {
    forge(&Holder::first, detail::kForeignTag | index << detail::kOffsetBits | 64);
    expect_when_read(Errc::out_of_bounds, "Holder::first",
                     [](const Holder& h) { return h.first->value; });
  }
}

TEST_F(PointerErrors, AnElementBeyondAContainerIsAnErrorInEveryBuild) {
  expect_when_read(Errc::out_of_bounds, "", [](const Holder& h) { return h.nodes.at(1).value; });
}

TEST_F(PointerErrors, WhatWasDestroyedIsOutOfBounds) {
  if (!kChecked) GTEST_SKIP() << "a local dereference is one add";
  space.transact(here, [](mut<Holder> h) { destroy(edit(h->first)); }).value();
  expect_when_read(Errc::out_of_bounds, "Holder::first",
                   [](const Holder& h) { return h.first->value; });
}

TEST_F(PointerErrors, ACopyThatOutlivedItsSectionIsStale) {
  if (!kChecked) GTEST_SKIP() << "copies carry no stamp";
  std::optional<ptr<Node>> kept;
  space.read(here, [&](ref<Holder> h) { kept = h->first; }).value();
  expect(space.read(here, [&](ref<Holder>) { return (*kept)->value; }), Errc::stale_pointer,
         "ptr<");
  expect(space.transact(here, [&](mut<Holder> h) { h->second = *kept; }), Errc::stale_pointer,
         "Holder::second");
  expect(space.read(here, [&](ref<Holder>) { return link<Node>(*kept).offset(); }),
         Errc::stale_pointer, "a copy of a pointer");
  try {
    (void)(*kept)->value;
    ADD_FAILURE() << "a stale copy was followed outside every section";
  } catch (const AccessError& access) {
    EXPECT_EQ(access.error().code(), Errc::stale_pointer) << access.error().message();
  }
}

TEST_F(PointerErrors, ACopyThatOutlivedItsViewIsStale) {
  if (!kChecked) GTEST_SKIP() << "copies carry no stamp";
  std::optional<ptr<Node>> kept;
  {
    const View view = space.view().value();
    kept = view[here]->first;
    EXPECT_EQ((*kept)->value, 1u);
  }
  const auto follow = [&] { return (*kept)->value; };
  expect(space.read(here, [&](ref<Holder>) { return follow(); }), Errc::stale_pointer, "ptr<");
  // Another view, of another commit, gets the slot.
  space.transact(here, [](mut<Holder> h) { h->value = 2; }).value();
  const View view = space.view().value();
  EXPECT_EQ(view[here]->first->value, 1u);
  expect(view.read(follow), Errc::stale_pointer, "ptr<");
}

TEST_F(PointerErrors, APointerCopiedBytewiseIsRefused) {
  if (!kChecked) GTEST_SKIP() << "ordinary builds trust where a pointer lies";
  const auto copied = [](const ptr<Node>& from) {
    ptr<Node> copy;
    std::memcpy(static_cast<void*>(&copy), static_cast<const void*>(&from), sizeof copy);
    return copy->value;
  };
  for (ptr<Node> Holder::* const field : {&Holder::first, &Holder::second}) {
    expect_when_read(Errc::outside_arena, "copied bytewise",
                     [&](const Holder& h) { return copied(h.*field); });
  }
}

TEST_F(PointerErrors, AnAddressInAnObjectIsNamedByItsField) {
  if (!kChecked) GTEST_SKIP() << "ordinary builds trust what lies in an object";
  const Node off{5, nullptr};
  forge(&Holder::first, reinterpret_cast<std::uintptr_t>(&off));
  expect_when_read(Errc::outside_arena, "Holder::first",
                   [](const Holder& h) { return h.first->value; });
  expect_when_read(Errc::outside_arena, "Holder::first", [](const Holder& h) {
    const ptr<Node> copy = h.first;
    return copy->value;
  });
}

TEST_F(PointerErrors, NothingOfAFailedBodyIsCommittedThoughItSwallowsTheError) {
  expect(space.transact(here,
                        [](mut<Holder> h) {
                          h->value = 99;
                          try {
                            (void)h->second->value;
                          } catch (const AccessError&) {
                          }
                        }),
         Errc::not_named, "Holder::second");
  EXPECT_EQ(*space.read(here, [](ref<Holder> h) { return h->value; }), 0u);
}

}  // namespace
}  // namespace dolmen::node
