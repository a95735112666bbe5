// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <ranges>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "base/random.hpp"
#include "txn/containers/homes.hpp"

namespace dolmen::txn::test {
namespace {

static_assert(std::ranges::contiguous_range<vector<int>>);
static_assert(sizeof(vector<int>) == 16);

struct Numbers {
  vector<std::uint32_t> items;
};
struct Texts {
  vector<string> items;
};
struct Nested {
  vector<vector<string>> items;
};

void make(base::Random& random, std::uint32_t& value) {
  value = static_cast<std::uint32_t>(random());
}
void make(base::Random& random, std::string& value) {
  value.assign(random.below(60), static_cast<char>('a' + random.below(26)));
}
void make(base::Random& random, std::vector<std::string>& value) {
  value.resize(random.below(5));
  for (std::string& text : value) make(random, text);
}

std::uint32_t stored(std::uint32_t value) { return value; }
string stored(const std::string& value) { return string(value); }
vector<string> stored(const std::vector<std::string>& value) {
  return vector<string>(value.begin(), value.end());
}
bool equal(std::uint32_t left, std::uint32_t right) { return left == right; }
bool equal(const string& left, const std::string& right) { return left == right; }
bool equal(const vector<string>& left, const std::vector<std::string>& right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end());
}

template <class Items, class Model>
void expect_same(const Items& items, const Model& model) {
  ASSERT_EQ(items.size(), model.size());
  for (std::size_t i = 0; i < model.size(); ++i) ASSERT_TRUE(equal(items[i], model[i])) << i;
}

template <class Items, class Model>
void step(Items& items, Model& model, base::Random& random) {
  typename Model::value_type value;
  make(random, value);
  const std::size_t size = model.size();
  ASSERT_EQ(items.size(), size);
  const std::size_t at = random.below(size + 1);
  const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(at);
  const bool inside = at < size;
  switch (random.below(16)) {
    case 0:
    case 1:
    case 2:
      items.push_back(stored(value));
      model.push_back(value);
      break;
    case 3:
      if (inside) {  // of its own elements, while it grows
        items.push_back(std::as_const(items)[at]);
        model.push_back(typename Model::value_type(model[at]));
      }
      break;
    case 4:
      if (size != 0) {
        items.pop_back();
        model.pop_back();
      } else {
        EXPECT_THROW(items.pop_back(), AccessError);
      }
      break;
    case 5:
    case 6: {
      const auto to = items.insert(items.begin() + place, stored(value));
      ASSERT_EQ(to, items.begin() + place);
      model.insert(model.begin() + place, value);
      break;
    }
    case 7:
      if (inside) {
        const auto to = items.insert(items.begin() + place, items.back());
        ASSERT_EQ(to, items.begin() + place);
        model.insert(model.begin() + place, typename Model::value_type(model.back()));
      }
      break;
    case 8: {
      std::vector<typename Items::value_type> run;
      for (std::uint64_t i = random.below(9); i > 0; --i) run.push_back(stored(value));
      items.insert(items.begin() + place, run.begin(), run.end());
      model.insert(model.begin() + place, run.size(), value);
      break;
    }
    case 9:
      if (inside) {
        const auto to = items.erase(items.begin() + place);
        ASSERT_EQ(to, items.begin() + place);
        model.erase(model.begin() + place);
      }
      break;
    case 10: {
      const std::size_t end = at + random.below(size - at + 1);
      items.erase(items.begin() + at, items.begin() + end);
      model.erase(model.begin() + place, model.begin() + static_cast<std::ptrdiff_t>(end));
      break;
    }
    case 11:
      if (inside) {
        items[at] = stored(value);
        model[at] = value;
      } else {
        EXPECT_THROW(static_cast<void>(std::as_const(items)[at]), AccessError);
        EXPECT_THROW(static_cast<void>(items.edit(at)), AccessError);
      }
      break;
    case 12:
      if (inside) {
        *items.edit(at) = stored(value);
        items.update(at, [&](auto& element) { element = stored(value); });
        model[at] = value;
      }
      break;
    case 13: {
      const std::size_t count = random.below(2 * size + 3);
      if (random.chance(1, 2)) {
        items.resize(count);
        model.resize(count);
      } else {
        items.resize(count, stored(value));
        model.resize(count, value);
      }
      break;
    }
    case 14: {
      const auto doomed = [&](const auto& element) { return equal(element, value); };
      std::size_t removed = 0;
      for (std::size_t i = model.size(); i-- > 0;) {
        if (!(model[i] == value)) continue;
        model.erase(model.begin() + static_cast<std::ptrdiff_t>(i));
        ++removed;
      }
      ASSERT_EQ(erase_if(items, doomed), removed);
      break;
    }
    default:
      switch (random.below(8)) {
        case 0:
          items.clear();
          model.clear();
          break;
        case 1:
          items.shrink_to_fit();
          break;
        case 2:
          items.reserve(size + random.below(50));
          break;
        case 3:
          items.assign(at, stored(value));
          model.assign(at, value);
          break;
        case 4: {
          std::size_t i = 0;
          for (const auto writable : items.edit_all()) {
            if (++i % 3 == 0) *writable = stored(model[i - 1] = value);
          }
          break;
        }
        default:
          for (auto& element : items.edit_span(at, size - at)) element = stored(value);
          for (std::size_t i = at; i < size; ++i) model[i] = value;
      }
  }
}

template <class Home, class Model>
void live_as() {
  live<Home, Model>(
      [](auto& root, Model& model, base::Random& random) { step(root.items, model, random); },
      [](const auto& root, const Model& model) { expect_same(root.items, model); });
}

template <class Where>
class VectorLife : public testing::Test {};
TYPED_TEST_SUITE(VectorLife, Homes);

TYPED_TEST(VectorLife, OfNumbersEqualsVector) {
  live_as<typename TypeParam::template Home<Numbers>, std::vector<std::uint32_t>>();
}
TYPED_TEST(VectorLife, OfTextsEqualsVector) {
  live_as<typename TypeParam::template Home<Texts>, std::vector<std::string>>();
}
TYPED_TEST(VectorLife, OfVectorsEqualsVector) {
  live_as<typename TypeParam::template Home<Nested>, std::vector<std::vector<std::string>>>();
}

struct Counted {
  std::uint32_t value = 7;
  static inline int left_until_throw = -1;
  Counted() = default;
  Counted(const Counted& other) : value(other.value) {
    if (left_until_throw == 0) throw std::runtime_error("no more copies");
    if (left_until_throw > 0) --left_until_throw;
  }
  Counted& operator=(const Counted&) = default;
  DOLMEN_FIELDS(Counted, value)
};

TEST(Vector, StaysWholeWhenAnElementCannotBeMade) {
  for (int allowed = 0; allowed < 4; ++allowed) {
    vector<Counted> items(3);
    const std::vector<Counted> more(4);
    Counted::left_until_throw = allowed;
    EXPECT_THROW(items.append(more.begin(), more.end()), std::runtime_error);
    Counted::left_until_throw = allowed;
    EXPECT_THROW(items.resize(12, Counted()), std::runtime_error);
    Counted::left_until_throw = -1;
    ASSERT_EQ(items.size(), 3u);
    for (const Counted& item : items) EXPECT_EQ(item.value, 7u);
    items.push_back(Counted());
    EXPECT_EQ(items.size(), 4u);
  }
}

TEST(Vector, GrowsByHalfAndUsesWholeAllocations) {
  vector<std::uint64_t> items;
  std::size_t moves = 0;
  std::size_t capacity = 0;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    items.push_back(i);
    if (items.capacity() != capacity) ++moves;
    capacity = items.capacity();
  }
  EXPECT_LT(moves, 30u);
  EXPECT_LT(capacity, 160'000u);
  for (std::uint64_t i = 0; i < 100'000; ++i) ASSERT_EQ(std::as_const(items)[i], i);
}

}  // namespace
}  // namespace dolmen::txn::test
