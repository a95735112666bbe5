// SPDX-License-Identifier: Apache-2.0
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/assert.hpp>
#include <dolmen/error.hpp>

namespace dolmen {
namespace {

TEST(ErrorTable, NumbersAndNamesAreUniqueAndFindTheirRow) {
  std::set<unsigned> numbers;
  std::set<std::string_view> names;
  for (const ErrorRow& row : kErrorTable) {
    EXPECT_NE(static_cast<unsigned>(row.code), 0u) << row.name;
    EXPECT_TRUE(numbers.insert(static_cast<unsigned>(row.code)).second) << row.name;
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_FALSE(row.sentence.empty()) << row.name;
    EXPECT_NE(row.sentence.back(), '.') << row.name << ": sentences are put together with others";
    EXPECT_EQ(&error_row(row.code), &row);
  }
  EXPECT_GE(numbers.size(), 34u);
}

// Numbers travel between programs: these rows may never change meaning.
TEST(ErrorTable, NumbersStayWhatTheyWere) {
  EXPECT_EQ(static_cast<int>(Errc::invalid_argument), 1);
  EXPECT_EQ(static_cast<int>(Errc::corrupt), 6);
  EXPECT_EQ(static_cast<int>(Errc::no_space), 8);
  EXPECT_EQ(static_cast<int>(Errc::store_failed), 9);
  EXPECT_EQ(static_cast<int>(Errc::conflict), 19);
  EXPECT_EQ(static_cast<int>(Errc::unlogged_store), 28);
  EXPECT_EQ(static_cast<int>(Errc::limit), 34);
}

TEST(ErrorTable, OnlyErrorsWithoutEffectAreSafeToRepeat) {
  EXPECT_EQ(error_row(Errc::no_space).retry, Retry::safe);
  EXPECT_EQ(error_row(Errc::conflict).retry, Retry::safe);
  EXPECT_EQ(error_row(Errc::store_failed).retry, Retry::unknown_outcome);
  EXPECT_EQ(error_row(Errc::timed_out).retry, Retry::unknown_outcome);
  EXPECT_EQ(error_row(Errc::corrupt).retry, Retry::never);
}

TEST(Error, MessageHasNameContextSentenceAndDetail) {
  const Error error(Errc::not_found, "table", 17);
  EXPECT_EQ(error.message(), "not_found: table - no such name, object or file [17]");
  EXPECT_EQ(Error(Errc::not_found).message(), "not_found - no such name, object or file");
}

TEST(Error, KnowsWhereItWasMade) {
  const Result<int> failed = fail(Errc::limit, "here", 3);
  const unsigned line = __LINE__ - 1;
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().line(), line);
  EXPECT_NE(std::string_view(failed.error().file()).find("error_test.cpp"), std::string_view::npos);
  EXPECT_EQ(failed.error().detail(), 3u);
}

Result<int> half_of(int value) {
  if (value % 2 != 0) return fail(Errc::invalid_argument, "odd", static_cast<unsigned>(value));
  return value / 2;
}
Result<int> quarter_of(int value) {
  DOLMEN_TRY(const int half, half_of(value));
  DOLMEN_TRY(const int quarter, half_of(half));
  return quarter;
}
Result<void> require_quarter(int value) {
  DOLMEN_CHECK(quarter_of(value));
  return {};
}

TEST(Error, TryAndCheckPassTheFirstErrorOn) {
  EXPECT_EQ(quarter_of(12).value(), 3);
  EXPECT_EQ(quarter_of(6).error().detail(), 3u);
  EXPECT_EQ(quarter_of(5).error().detail(), 5u);
  EXPECT_TRUE(require_quarter(8));
  EXPECT_EQ(require_quarter(10).error().detail(), 5u);
}

TEST(Interned, EqualTextsShareOneCopyThatStays) {
  std::string text = "log-000017: No space left on device";
  const char* const first = interned(text);
  text[0] = 'x';
  EXPECT_STREQ(first, "log-000017: No space left on device");
  EXPECT_EQ(interned("log-000017: No space left on device"), first);
  EXPECT_NE(interned(text), first);
  EXPECT_STREQ(interned(""), "");
}

TEST(Interned, ThreadsGetTheSameCopies) {
  std::vector<const char*> copies(400);
  std::vector<std::thread> threads;
  for (unsigned number = 0; number < 4; ++number) {
    threads.emplace_back([&copies, number] {
      for (unsigned i = 0; i < 100; ++i) {
        copies[number * 100 + i] = interned("shared " + std::to_string(i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (unsigned i = 0; i < 100; ++i) {
    EXPECT_EQ(copies[i], copies[300 + i]);
    EXPECT_EQ(copies[i], "shared " + std::to_string(i));
  }
}

TEST(Assert, FailureNamesTheExpressionAndItsValues) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const int left = 3;
  EXPECT_DEATH(DOLMEN_ASSERT(left == 4), "left == 4.*error_test.cpp");
  EXPECT_DEATH(DOLMEN_ASSERT_CMP(left, >, 4), "left > 4, with 3 and 4");
  EXPECT_DEATH(DOLMEN_UNREACHABLE("a note"), "a note");
  DOLMEN_ASSERT(left == 3);
  DOLMEN_ASSERT_CMP(left, <, 4);
}

}  // namespace
}  // namespace dolmen
