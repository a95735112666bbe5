// SPDX-License-Identifier: Apache-2.0
//
// Containers that cross borders: between the heap and an object, between objects, into views.
#include <string>

#include <gtest/gtest.h>

#include <dolmen/hash_map.hpp>
#include <dolmen/ordered_map.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "txn/containers/homes.hpp"

namespace dolmen::txn::test {
namespace {

const std::string kLong(100, 'l');

struct Item {
  string name;
  ptr<Item> next;
};
struct Shelf {
  vector<Item> items;
  hash_map<string, ptr<Item>> by_name;
  ordered_map<string, vector<string>> notes;
  hash_map<ptr<Item>, std::uint32_t> weights;
  Item best;
};
struct Bytes {
  vector<std::uint8_t> data;
  ordered_map<std::uint32_t, std::array<std::uint64_t, 8>> rows;
  hash_map<std::uint32_t, std::array<std::uint64_t, 8>> cells;
};

class Borders : public testing::Test {
 protected:
  TemporaryDirectory directory_;
  Space space_ = must(Space::open(directory_.path(), small_space()));
  Object<Shelf> left_ = must(space_.create<Shelf>("left"));
  Object<Shelf> right_ = must(space_.create<Shelf>("right"));
};

void fill(Shelf& shelf) {
  shelf.items.reserve(2);
  shelf.items.emplace_back("short", nullptr);
  shelf.items.emplace_back(kLong, ptr_to(shelf.items.front()));
  for (const Item& item : shelf.items) shelf.by_name.try_emplace(item.name, ptr_to(item));
  shelf.notes["a"].push_back(kLong);
  shelf.notes[kLong] = {"x", "y"};
  shelf.weights[ptr_to(shelf.items.back())] = 9;
}

void expect_filled(const Shelf& shelf) {
  ASSERT_EQ(shelf.items.size(), 2u);
  EXPECT_EQ(shelf.items[1].name, kLong);
  EXPECT_EQ(shelf.items[1].next->name, "short");
  EXPECT_EQ(shelf.by_name.at(kLong)->next->name, "short");
  EXPECT_EQ(shelf.by_name.at("short")->name, "short");
  EXPECT_EQ(shelf.notes.at("a").front(), kLong);
  EXPECT_EQ(shelf.notes.at(kLong).size(), 2u);
  const ptr<Item> heavy = shelf.by_name.at(kLong);
  EXPECT_EQ(shelf.weights.at(heavy), 9u);
}

TEST_F(Borders, ContentsOfAnObjectStayReadableInSectionsAndViews) {
  must(space_.transact(left_, [](mut<Shelf> shelf) {
    fill(*shelf);
    expect_filled(*shelf);
  }));
  must(space_.read(left_, [](ref<Shelf> shelf) { expect_filled(*shelf); }));
  const View view = must(space_.view());
  expect_filled(*view[left_]);
  must(space_.transact(left_, [](mut<Shelf> shelf) {
    shelf->items.clear();
    shelf->by_name.clear();
    shelf->notes.clear();
    shelf->weights.clear();
  }));
  expect_filled(*view[left_]);
}

TEST_F(Borders, CopiesAreDeepInEveryDirection) {
  must(space_.transact(left_, right_, [](mut<Shelf> left, mut<Shelf> right) {
    fill(*left);
    vector<string> off = left->notes.at(kLong);  // object to heap
    off.push_back(kLong);
    right->notes.try_emplace("copy", off);                    // heap to object
    right->notes.insert_or_assign("b", left->notes.at("a"));  // object to object
    (*left->notes.edit("a"))[0] = "changed";
    off[0] = "changed";
  }));
  must(space_.read(left_, right_, [](ref<Shelf> left, ref<Shelf> right) {
    EXPECT_EQ(left->notes.at("a").front(), "changed");
    EXPECT_EQ(right->notes.at("b").front(), kLong);
    ASSERT_EQ(right->notes.at("copy").size(), 3u);
    EXPECT_EQ(right->notes.at("copy").front(), "x");
    EXPECT_EQ(right->notes.at("copy").back(), kLong);
  }));
}

TEST_F(Borders, WholeMapsCopyBetweenObjectsAndBack) {
  must(space_.transact(left_, right_, [](mut<Shelf> left, mut<Shelf> right) {
    fill(*left);
    right->notes = left->notes;
    const ordered_map<string, vector<string>> off = right->notes;
    EXPECT_TRUE(off == left->notes);
    right->notes.clear();
    right->notes = off;
    hash_map<string, ptr<Item>> names = left->by_name;  // pointers become transient
    EXPECT_EQ(names.at(kLong)->next->name, "short");
    left->by_name = std::move(names);  // and persistent again
  }));
  must(space_.read(left_, right_, [](ref<Shelf> left, ref<Shelf> right) {
    expect_filled(*left);
    EXPECT_TRUE(left->notes == right->notes);
  }));
}

TEST_F(Borders, PointersIntoAnotherObjectAreRebasedWhenTheyAreCopied) {
  must(space_.transact(left_, right_, [](mut<Shelf> left, mut<Shelf> right) {
    fill(*left);
    right->by_name = left->by_name;
    right->weights = left->weights;
    right->best.next = left->by_name.at(kLong);
    // The same place, seen from two objects, is one key.
    EXPECT_EQ(right->weights.at(left->by_name.at(kLong)), 9u);
    EXPECT_EQ(right->weights.at(right->best.next), 9u);
  }));
  must(space_.read(everything, [&] {
    const ref<Shelf> right = space_.root(right_);
    EXPECT_EQ(right->by_name.at(kLong)->next->name, "short");
    EXPECT_EQ(right->best.next->name, kLong);
    EXPECT_EQ(right->weights.at(right->best.next), 9u);
  }));
}

TEST_F(Borders, MovesInsideOneObjectTakeTheStorageOver) {
  must(space_.transact(left_, [](mut<Shelf> shelf) {
    fill(*shelf);
    vector<string>& from = shelf->notes[kLong];
    const string* const elements = from.data();
    shelf->notes["moved"] = std::move(from);
    EXPECT_EQ(shelf->notes.at("moved").data(), elements);
    EXPECT_TRUE(shelf->notes.at(kLong).empty());

    string& name = shelf->best.name;
    name = kLong;
    const char* const characters = name.data();
    shelf->notes["moved"].push_back(std::move(name));
    EXPECT_EQ(shelf->notes.at("moved").back().data(), characters);
    EXPECT_TRUE(name.empty());
  }));
}

TEST_F(Borders, MovesBetweenHomesCopyAndLeaveTheSourceWhole) {
  must(space_.transact(left_, right_, [](mut<Shelf> left, mut<Shelf> right) {
    fill(*left);
    right->notes = std::move(left->notes);
    EXPECT_EQ(right->notes.at(kLong).size(), 2u);
    EXPECT_EQ(left->notes.at(kLong).size(), 2u);
    swap(left->notes, right->notes);
    right->notes.erase("a");
    swap(left->notes, right->notes);
    EXPECT_EQ(left->notes.size(), 1u);
    EXPECT_EQ(right->notes.size(), 2u);
  }));
}

TEST_F(Borders, SwapInsideOneObjectExchangesStorage) {
  struct Two {
    hash_map<std::uint32_t, string> one;
    hash_map<std::uint32_t, string> two;
    ordered_map<std::uint32_t, string> three;
    ordered_map<std::uint32_t, string> four;
  };
  const auto object = must(space_.create<Two>("two"));
  must(space_.transact(object, [](mut<Two> root) {
    root->one[1] = kLong;
    root->three[3] = kLong;
    const string* const value = root->one.get(1u);
    swap(root->one, root->two);
    swap(root->three, root->four);
    EXPECT_EQ(root->two.get(1u), value);
    EXPECT_TRUE(root->one.empty() && root->three.empty());
    EXPECT_EQ(root->four.at(3u), kLong);
  }));
}

TEST_F(Borders, WritingOutsideATransactionIsRefused) {
  must(space_.transact(left_, [](mut<Shelf> shelf) { fill(*shelf); }));
  const Result<void> reading =
      space_.read(left_, [](ref<Shelf> shelf) { const_cast<Shelf&>(*shelf).notes.erase("a"); });
  ASSERT_FALSE(reading);
  EXPECT_EQ(reading.error().code(), Errc::no_transaction);
  const View view = must(space_.view());
  Shelf& root = const_cast<Shelf&>(*view[left_]);
  EXPECT_THROW(root.items.pop_back(), AccessError);
  EXPECT_THROW(root.by_name.clear(), AccessError);
  must(space_.read(left_, [](ref<Shelf> shelf) { expect_filled(*shelf); }));
}

TEST_F(Borders, AFullObjectAbortsTheTransactionAndStaysAsItWas) {
  const auto object = must(space_.create<Bytes>(ObjectOptions{.capacity = 256u << 10}));
  must(space_.transact(object, [](mut<Bytes> bytes) {
    for (std::uint32_t i = 0; i < 100; ++i) {
      bytes->rows[i].fill(i);
      bytes->cells[i].fill(i);
    }
  }));
  for (int kind = 0; kind < 3; ++kind) {
    const Result<void> full = space_.transact(object, [&](mut<Bytes> bytes) {
      for (std::uint32_t i = 100; i < 100'000; ++i) {
        if (kind == 0) bytes->data.resize(i * std::size_t{1000});
        if (kind == 1) bytes->rows[i].fill(i);
        if (kind == 2) bytes->cells[i].fill(i);
      }
    });
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().code(), Errc::object_full);
  }
  const auto sums = must(space_.read(object, [](ref<Bytes> bytes) {
    std::uint64_t rows = 0;
    std::uint64_t cells = 0;
    for (const auto& [key, row] : bytes->rows) rows += row[0] == key;
    for (const auto& [key, cell] : bytes->cells) cells += cell[7] == key;
    return std::pair(rows, cells);
  }));
  EXPECT_EQ(sums.first, 100u);
  EXPECT_EQ(sums.second, 100u);
}

TEST_F(Borders, DestroyedContainersGiveTheirMemoryBack) {
  const auto object = must(space_.create<Item>(ObjectOptions{.capacity = 1u << 20}));
  for (int round = 0; round < 200; ++round) {  // 200 times 50 KiB in 1 MiB
    must(space_.transact(TransactOptions{.durability = Durability::deferred}, object,
                         [&](mut<Item> root) {
                           const mut<Shelf> shelf = make<Shelf>(root);
                           fill(*shelf);
                           for (std::uint32_t i = 0; i < 200; ++i) {
                             shelf->notes[std::to_string(i)].push_back(kLong);
                             shelf->by_name[std::to_string(i) + kLong] = nullptr;
                           }
                           destroy(shelf);
                         }));
  }
}

TEST_F(Borders, ACaughtOutOfBoundsErrorDoesNotSpoilTheTransaction) {
  must(space_.transact(left_, [](mut<Shelf> shelf) {
    EXPECT_THROW(static_cast<void>(shelf->notes.at("none")), AccessError);
    EXPECT_THROW(static_cast<void>(std::as_const(shelf->items)[5]), AccessError);
    fill(*shelf);
  }));
  must(space_.read(left_, [](ref<Shelf> shelf) { expect_filled(*shelf); }));
}

}  // namespace
}  // namespace dolmen::txn::test
