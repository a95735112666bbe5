// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/hash_map.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "base/random.hpp"
#include "txn/containers/homes.hpp"

namespace dolmen::txn::test {
namespace {

struct Numbers {
  hash_map<std::uint64_t, std::uint64_t> map;
};
struct Texts {
  hash_map<string, string> map;
};
/// All keys of one residue share a hash: chains behind every slot of a bucket.
struct FewHashes {
  std::uint64_t operator()(std::uint64_t key) const {
    return detail::hash_integer(key % 5) & 0xFFFF'0000'0000'0003u;
  }
};
struct Collisions {
  hash_map<std::uint64_t, std::uint64_t, FewHashes> map;
};

std::uint64_t number(base::Random& random, std::uint64_t range) { return random.below(range); }
std::string text(base::Random& random, std::uint64_t range) {
  const std::uint64_t n = random.below(range);
  return std::string(n % 40, static_cast<char>('a' + n % 26)) + std::to_string(n);
}

std::string show(std::uint64_t key) { return std::to_string(key); }
std::string show(std::string_view key) { return std::string(key); }

template <class Map, class Model>
void expect_same(const Map& map, const Model& model) {
  ASSERT_EQ(map.size(), model.size());
  std::size_t seen = 0;
  for (const auto& [key, value] : map) {
    const auto at = model.find(typename Model::key_type(key));
    ASSERT_NE(at, model.end());
    ASSERT_EQ(value, at->second);
    ++seen;
  }
  ASSERT_EQ(seen, model.size());
  for (const auto& [key, value] : model) {
    ASSERT_NE(map.get(key), nullptr);
    ASSERT_EQ(*map.get(key), value);
    ASSERT_TRUE(map.find(key)->first == key);
  }
}

template <class Map, class Model, class Make>
void step(Map& map, Model& model, base::Random& random, Make make, std::uint64_t range) {
  const auto key = make(random, range);
  const auto value = make(random, 1'000'000);
  const bool present = model.contains(key);
  ASSERT_EQ(map.contains(key), present);
  switch (random.below(12)) {
    case 0:
    case 1:
      ASSERT_EQ(map.insert_or_assign(key, value).second, !present);
      model[key] = value;
      break;
    case 2:
    case 3: {
      const auto [at, is_new] = map.try_emplace(key, value);
      ASSERT_EQ(is_new, !present);
      model.try_emplace(key, value);
      ASSERT_TRUE(at->first == key);
      ASSERT_EQ(at->second, model.at(key));
      break;
    }
    case 4:
      map[key] = value;
      model[key] = value;
      break;
    case 5:
    case 6:
      ASSERT_EQ(map.erase(key), model.erase(key));
      break;
    case 7:
      if (const auto at = map.find(key); at != map.end()) {
        const auto next = std::next(at);
        ASSERT_EQ(map.erase(at), next);
      }
      model.erase(key);
      break;
    case 8:
      ASSERT_EQ(map.update(key, [&](auto& old) { old = value; }), present);
      if (present) model[key] = value;
      break;
    case 9:
      if (present) {
        *map.edit(key) = value;
        model[key] = value;
      } else {
        EXPECT_THROW(static_cast<void>(map.edit(key)), AccessError);
        EXPECT_THROW(static_cast<void>(map.at(key)), AccessError);
      }
      break;
    case 10:
      if (!map.empty()) {  // a key and a value of the map itself
        const auto& [own_key, own_value] = *map.begin();
        ASSERT_FALSE(map.try_emplace(own_key, own_value).second);
        map.insert_or_assign(key, own_value);
        model[key] = typename Model::mapped_type(map.at(key));
      }
      break;
    default:
      if (random.chance(1, 20)) {
        map.reserve(map.size() + 40);
      } else if (random.chance(1, 100)) {
        map.clear();
        model.clear();
      } else if (random.chance(1, 50)) {
        const auto short_text = [&](const auto& at) {
          return hash<string>{}(show(at.first)) % 3 == 0;
        };
        ASSERT_EQ(erase_if(map, short_text), std::erase_if(model, short_text));
      } else if (random.chance(1, 20)) {
        for (const auto& [own, writable] : map.edit_all()) {
          if (random.chance(1, 5)) *writable = model.at(typename Model::key_type(own)) = value;
        }
      }
  }
}

template <class Home, class Model, class Make>
void live_as(Make make, std::uint64_t range) {
  live<Home, Model>([&](auto& root, Model& model,
                        base::Random& random) { step(root.map, model, random, make, range); },
                    [](const auto& root, const Model& model) { expect_same(root.map, model); });
}

template <class Where>
class HashMapLife : public testing::Test {};
TYPED_TEST_SUITE(HashMapLife, Homes);

TYPED_TEST(HashMapLife, OfNumbersEqualsUnorderedMap) {
  live_as<typename TypeParam::template Home<Numbers>,
          std::unordered_map<std::uint64_t, std::uint64_t>>(number, 3000);
}
TYPED_TEST(HashMapLife, OfTextsEqualsUnorderedMap) {
  live_as<typename TypeParam::template Home<Texts>, std::unordered_map<std::string, std::string>>(
      text, 800);
}
TYPED_TEST(HashMapLife, WithFiveHashValuesEqualsUnorderedMap) {
  live_as<typename TypeParam::template Home<Collisions>,
          std::unordered_map<std::uint64_t, std::uint64_t>>(number, 200);
}

}  // namespace
}  // namespace dolmen::txn::test
