// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include <dolmen/ordered_map.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "base/random.hpp"
#include "txn/containers/homes.hpp"

namespace dolmen::txn::test {
namespace {

struct Numbers {
  ordered_map<std::uint64_t, std::uint64_t> map;
};
struct Texts {
  ordered_map<string, string> map;
};
/// Four entries to a leaf: many levels of few entries.
struct Bulky {
  std::array<std::uint64_t, 200> words;
  friend bool operator==(const Bulky&, const Bulky&) = default;
};
struct Records {
  ordered_map<std::uint64_t, Bulky> map;
};
static_assert(detail::BTreeLeaf<std::uint64_t, Bulky>::kCapacity == 4);
static_assert(detail::BTreeLeaf<std::uint64_t, std::uint64_t>::kCapacity == 59);

std::uint64_t number(base::Random& random, std::uint64_t range) { return random.below(range); }
std::string text(base::Random& random, std::uint64_t range) {
  const std::uint64_t n = random.below(range);
  return std::string(n % 40, static_cast<char>('a' + n % 26)) + std::to_string(n);
}
void advance(std::uint64_t& key) { ++key; }
void advance(std::string& key) { key.push_back('!'); }
Bulky bulky(base::Random& random, std::uint64_t range) {
  Bulky value{};
  value.words.fill(random.below(range));
  return value;
}

template <class Map, class Model>
void expect_same(const Map& map, const Model& model) {
  ASSERT_EQ(map.size(), model.size());
  auto at = map.begin();
  for (const auto& [key, value] : model) {
    ASSERT_TRUE(at->first == key);
    ASSERT_TRUE(at->second == value);
    ++at;
  }
  ASSERT_EQ(at, map.end());
  for (auto back = model.rbegin(); back != model.rend(); ++back) {
    --at;
    ASSERT_TRUE(at->first == back->first);
  }
  ASSERT_EQ(at, map.begin());
}

/// Both iterators lead to the same key or to the end.
template <class Map, class Model, class At, class ModelAt>
void expect_at(const Map& map, const Model& model, At at, ModelAt model_at) {
  ASSERT_EQ(at == map.end(), model_at == model.end());
  if (model_at == model.end()) return;
  ASSERT_TRUE(at->first == model_at->first);
}

template <class Map, class Model, class MakeKey, class MakeValue>
void step(Map& map, Model& model, base::Random& random, MakeKey make_key, MakeValue make_value,
          std::uint64_t range, bool growing) {
  const auto key = make_key(random, range);
  const auto value = make_value(random, 1'000'000);
  const bool present = model.contains(key);
  ASSERT_EQ(map.contains(key), present);
  switch (random.below(12)) {
    case 0:
      ASSERT_EQ(map.insert_or_assign(key, value).second, !present);
      model.insert_or_assign(key, value);
      break;
    case 1: {
      const auto [at, is_new] = map.try_emplace(key, value);
      ASSERT_EQ(is_new, !present);
      model.try_emplace(key, value);
      ASSERT_TRUE(at->first == key);
      ASSERT_TRUE(at->second == model.at(key));
      break;
    }
    case 2:
      map[key] = value;
      model.insert_or_assign(key, value);
      break;
    case 3:
    case 4:
      if (growing) {  // ascending runs
        if (!model.empty()) {
          auto next = model.rbegin()->first;
          advance(next);
          map.try_emplace(next, value);
          model.try_emplace(next, value);
        }
      } else {
        ASSERT_EQ(map.erase(key), model.erase(key));
      }
      break;
    case 5:
    case 6: {
      const auto at = map.lower_bound(key);
      const auto model_at = model.lower_bound(key);
      expect_at(map, model, at, model_at);
      if (!growing && model_at != model.end()) {
        expect_at(map, model, map.erase(at), model.erase(model_at));
      }
      break;
    }
    case 7:
      expect_at(map, model, map.upper_bound(key), model.upper_bound(key));
      expect_at(map, model, map.find(key), model.find(key));
      break;
    case 8:
      ASSERT_EQ(map.update(key, [&](auto& old) { old = value; }), present);
      if (present) model.insert_or_assign(key, value);
      break;
    case 9:
      if (present) {
        *map.edit(key) = value;
        model.insert_or_assign(key, value);
      } else {
        EXPECT_THROW(static_cast<void>(map.edit(key)), AccessError);
        EXPECT_THROW(static_cast<void>(map.at(key)), AccessError);
      }
      break;
    case 10:
      if (!map.empty()) {  // a key and a value of the map itself, while its nodes split
        const auto at = map.lower_bound(key);
        const auto [own_key, own_value] = at == map.end() ? map.front() : *at;
        model.try_emplace(key, typename Model::mapped_type(own_value));
        map.try_emplace(key, own_value);
        ASSERT_TRUE(map.at(key) == model.at(key));
      }
      break;
    default:
      if (random.chance(1, 200)) {
        map.clear();
        model.clear();
      } else if (random.chance(1, 20) && !growing) {
        const auto past = make_key(random, range);
        const auto from = key < past ? key : past;
        const auto to = key < past ? past : key;
        const auto run = map.range(from, to);
        model.erase(model.lower_bound(from), model.lower_bound(to));
        map.erase(run.begin(), run.end());
      } else if (random.chance(1, 20)) {
        for (const auto& [own, writable] : map.edit_all()) {
          if (random.chance(1, 5)) *writable = model.at(typename Model::key_type(own)) = value;
        }
      }
  }
}

template <class Home, class Model, class MakeKey, class MakeValue>
void live_as(MakeKey make_key, MakeValue make_value, std::uint64_t range) {
  std::uint64_t steps = 0;
  live<Home, Model>(
      [&](auto& root, Model& model, base::Random& random) {
        const bool growing = (++steps / 1000) % 2 == 0;
        step(root.map, model, random, make_key, make_value, range, growing);
      },
      [](const auto& root, const Model& model) { expect_same(root.map, model); });
}

template <class Where>
class OrderedMapLife : public testing::Test {};
TYPED_TEST_SUITE(OrderedMapLife, Homes);

TYPED_TEST(OrderedMapLife, OfNumbersEqualsMap) {
  live_as<typename TypeParam::template Home<Numbers>, std::map<std::uint64_t, std::uint64_t>>(
      number, number, 20'000);
}
TYPED_TEST(OrderedMapLife, OfTextsEqualsMap) {
  live_as<typename TypeParam::template Home<Texts>, std::map<std::string, std::string>>(text, text,
                                                                                        3000);
}
TYPED_TEST(OrderedMapLife, WithFourEntriesToALeafEqualsMap) {
  live_as<typename TypeParam::template Home<Records>, std::map<std::uint64_t, Bulky>>(number, bulky,
                                                                                      2000);
}

TEST(OrderedMap, KeepsLeavesFullUnderAscendingInsertion) {
  using Leaf = detail::BTreeLeaf<std::uint64_t, std::uint64_t>;
  ordered_map<std::uint64_t, std::uint64_t> map;
  constexpr std::uint64_t kCount = Leaf::kCapacity * 100;
  for (std::uint64_t i = 0; i < kCount; ++i) map.try_emplace(i, i * i);
  std::uint64_t leaf_changes = 0;
  const std::uint64_t* last = nullptr;
  for (const auto& [key, value] : map) {
    const bool same_leaf = last != nullptr && &key == last + 1;
    if (!same_leaf) ++leaf_changes;
    last = &key;
  }
  EXPECT_EQ(leaf_changes, 100u);
}

TEST(OrderedMap, SurvivesAscendingAndDescendingDrains) {
  for (const bool ascending : {true, false}) {
    ordered_map<std::uint32_t, std::uint32_t> map;
    for (std::uint32_t i = 0; i < 50'000; ++i) map[ascending ? i : 50'000 - i] = i;
    EXPECT_EQ(map.size(), 50'000u);
    while (!map.empty()) {
      const std::uint32_t key = ascending ? map.back().first : map.front().first;
      ASSERT_EQ(map.erase(key), 1u);
    }
    EXPECT_EQ(map.begin(), map.end());
  }
}

TEST(OrderedMap, IteratesARangeAndLooksUpByView) {
  const ordered_map<string, int> map{{"ant", 1}, {"bee", 2}, {"cat", 3}, {"dog", 4}};
  int sum = 0;
  for (const auto& [name, value] : map.range("b", std::string_view("cow"))) {
    EXPECT_TRUE(name == "bee" || name == "cat");
    sum += value;
  }
  EXPECT_EQ(sum, 5);
  EXPECT_EQ(*map.get(std::string("dog")), 4);
  EXPECT_EQ(map.get("eel"), nullptr);
  EXPECT_EQ(map.front().first, "ant");
  EXPECT_EQ((*map.rbegin()).first, "dog");
  EXPECT_THROW(static_cast<void>(map.at("eel")), AccessError);
}

TEST(OrderedMap, OrdersByteArraysAsNumbersOnEveryMachine) {
  using Key = std::array<char, 16>;
  ordered_map<Key, int> map;
  Key low{};
  Key high{};
  low[7] = '\x7F';
  high[7] = '\x80';
  map[high] = 2;
  map[low] = 1;
  EXPECT_EQ(map.front().second, 1);
  Key first{};
  first[15] = '\xFF';
  map[first] = 0;
  EXPECT_EQ(map.front().second, 0);
}

}  // namespace
}  // namespace dolmen::txn::test
