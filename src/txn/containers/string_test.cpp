// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>

#include <gtest/gtest.h>

#include <dolmen/string.hpp>

#include "base/random.hpp"
#include "txn/containers/homes.hpp"

namespace dolmen::txn::test {
namespace {

struct Pair {
  string text;
  string other;
};
struct Model {
  std::string text;
  std::string other;
};

void expect_same(const Pair& pair, const Model& model) {
  ASSERT_EQ(pair.text, model.text);
  ASSERT_EQ(pair.other, model.other);
  ASSERT_EQ(pair.text.c_str()[pair.text.size()], '\0');
  ASSERT_EQ(std::string(pair.text.begin(), pair.text.end()), model.text);
}

void step(Pair& pair, Model& model, base::Random& random) {
  string& text = pair.text;
  std::string& expected = model.text;
  const std::string piece(random.below(random.chance(1, 10) ? 300 : 12),
                          static_cast<char>('a' + random.below(26)));
  const std::size_t size = expected.size();
  ASSERT_EQ(text.size(), size);
  const std::size_t at = random.below(size + 1);
  const std::size_t count = random.below(size + 3);
  switch (random.below(18)) {
    case 0:
      text = piece;
      expected = piece;
      break;
    case 1:
      text.append(piece);
      expected.append(piece);
      break;
    case 2:
      text += piece.c_str();
      expected += piece;
      break;
    case 3:
      text.push_back('x');
      expected.push_back('x');
      break;
    case 4:
      if (size != 0) {
        text.pop_back();
        expected.pop_back();
      } else {
        EXPECT_THROW(text.pop_back(), AccessError);
      }
      break;
    case 5:
      text.insert(at, piece);
      expected.insert(at, piece);
      break;
    case 6:
      text.erase(at, count);
      expected.erase(at, count);
      break;
    case 7:
      text.replace(at, count, piece);
      expected.replace(at, count, piece);
      break;
    case 8: {  // parts of itself
      const std::string own = expected.substr(at, count);
      text.replace(count < size ? count : size, 3, text.substr(at, count));
      expected.replace(count < size ? count : size, 3, own);
      break;
    }
    case 9:
      text.append(text.view());
      expected.append(std::string(expected));
      if (size > 2000) {
        text.clear();
        expected.clear();
      }
      break;
    case 10:
      text.resize(count, 'r');
      expected.resize(count, 'r');
      break;
    case 11:
      if (at < size) {
        text.set(at, 'S');
        expected[at] = 'S';
      } else {
        EXPECT_THROW(text.set(at + 1, 'S'), AccessError);
        EXPECT_THROW(static_cast<void>(text[at]), AccessError);
      }
      break;
    case 12:
      for (char& c : text.edit_all(at, count)) c = 'e';
      for (std::size_t i = at; i < size && i - at < count; ++i) expected[i] = 'e';
      break;
    case 13:
      text.reserve(count + 20);
      break;
    case 14:
      text.shrink_to_fit();
      break;
    case 15:
      swap(pair.text, pair.other);
      std::swap(model.text, model.other);
      break;
    case 16:
      pair.other = pair.text;
      model.other = model.text;
      break;
    default:
      pair.other = std::move(pair.text);
      model.other = model.text;
      pair.text.assign(count, 'm');
      model.text.assign(count, 'm');
  }
}

template <class Where>
class StringLife : public testing::Test {};
TYPED_TEST_SUITE(StringLife, Homes);

TYPED_TEST(StringLife, EqualsStdString) {
  live<typename TypeParam::template Home<Pair>, Model>(step, expect_same);
}

TEST(String, HoldsTwentyTwoCharactersWithoutAnAllocation) {
  for (std::size_t size = 0; size < 40; ++size) {
    const std::string text(size, 'q');
    const string stored(text);
    EXPECT_EQ(stored, text);
    EXPECT_EQ(stored.size(), size);
    EXPECT_EQ(stored.c_str()[size], '\0');
    const bool inside =
        std::less<>{}(static_cast<const void*>(stored.data()),
                      static_cast<const void*>(&stored + 1)) &&
        !std::less<>{}(static_cast<const void*>(stored.data()), static_cast<const void*>(&stored));
    EXPECT_EQ(inside, size <= 22);
  }
}

TEST(String, ComparesWithEveryKindOfText) {
  const string text("mm");
  EXPECT_TRUE(text == "mm" && "mm" == text && text == std::string("mm"));
  EXPECT_TRUE(text == std::string_view("mm") && std::string_view("mm") == text);
  EXPECT_TRUE(text < "mn" && "ml" < text && text <= std::string("mm") && text != string("m"));
  EXPECT_TRUE(text.starts_with("m") && text.ends_with("mm") && text.contains("m"));
  EXPECT_EQ(text.find("m", 1), 1u);
  EXPECT_EQ(text.rfind("m"), 1u);
  EXPECT_EQ(text.find('z'), string::npos);
  EXPECT_EQ(text + "n", "mmn");
  EXPECT_EQ(text.front(), 'm');
  EXPECT_THROW(static_cast<void>(text.substr(3)), AccessError);
  EXPECT_THROW(static_cast<void>(string().back()), AccessError);
  std::unordered_set<string> set{text};
  EXPECT_TRUE(set.contains("mm"));
}

TEST(String, OfZeroBytesIsEmpty) {
  alignas(string) unsigned char zeros[sizeof(string)] = {};
  string text;
  EXPECT_EQ(std::memcmp(static_cast<const void*>(&text), zeros, sizeof(zeros)), 0);
}

}  // namespace
}  // namespace dolmen::txn::test
