// SPDX-License-Identifier: Apache-2.0
//
// Containers off the arena that meet want of memory: whichever allocation of a change fails, the
// change throws std::bad_alloc and did not happen, what was there stays, and nothing is lost.
#include <cstdlib>
#include <map>
#include <new>
#include <string>
#include <vector>

#include <malloc.h>

#include <gtest/gtest.h>

#include <dolmen/hash_map.hpp>
#include <dolmen/ordered_map.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "base/random.hpp"
#include "base/sanitizers.hpp"

namespace {

/// Allocations of containers until one fails; 0: none does.
thread_local std::uint64_t allocations_left = 0;

[[maybe_unused]] bool fails_now() { return allocations_left != 0 && --allocations_left == 0; }

}  // namespace

#if !DOLMEN_SANITIZED  // they have their own
// Containers off the arena take their memory by these two.
extern "C" {
void* __libc_calloc(std::size_t count, std::size_t bytes);  // NOLINT(bugprone-reserved-identifier)
void* __libc_memalign(std::size_t alignment,
                      std::size_t bytes);  // NOLINT(bugprone-reserved-identifier)
[[gnu::noinline]] void* calloc(std::size_t count, std::size_t bytes) noexcept {
  return fails_now() ? nullptr : __libc_calloc(count, bytes);
}
[[gnu::noinline]] void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  return fails_now() ? nullptr : __libc_memalign(alignment, bytes);
}
}
#endif

namespace {

using Text = dolmen::string;

/// Too long to lie in the string itself.
std::string text(std::uint64_t number) {
  return std::to_string(number) + std::string(60, 'a' + static_cast<char>(number % 26));
}

class ContainerMemory : public testing::Test {
 protected:
  void SetUp() override {
#if DOLMEN_SANITIZED
    GTEST_SKIP() << "a sanitizer has its own allocator";
#endif
  }

  /// Runs `change` with its first allocation failing, then its second, … until it works; `check`
  /// looks after each failure whether nothing changed.
  template <class Change, class Check>
  void change_at_last(const Change& change, const Check& check) {
    for (std::uint64_t nth = 1;; ++nth) {
      allocations_left = nth;
      try {
        change();
        allocations_left = 0;
        return;
      } catch (const std::bad_alloc&) {
        allocations_left = 0;
        ++failures_;
      }
      ASSERT_NO_FATAL_FAILURE(check());
      ASSERT_LT(nth, 100u);
    }
  }

  /// Random insertions and erasures beside a std::map; every insertion fails in every way first.
  template <class Map>
  void map_keeps_what_it_has() {
    Map map;
    std::map<std::string, std::string> model;
    const auto same = [&] {
      ASSERT_EQ(map.size(), model.size());
      std::size_t count = 0;
      for (const auto& [key, value] : map) {
        const auto found = model.find(std::string(key.view()));
        ASSERT_TRUE(found != model.end());
        ASSERT_EQ(value.view(), found->second);
        ++count;
      }
      ASSERT_EQ(count, model.size());
      for (const auto& [key, value] : model) ASSERT_TRUE(map.contains(Text(key)));
    };
    dolmen::base::Random random(1);
    for (int i = 0; i < 600; ++i) {
      const std::string key = text(random.below(400));
      if (random.below(5) == 0) {
        map.erase(Text(key));
        model.erase(key);
        continue;
      }
      const Text stored_key(key);
      const Text value(text(static_cast<std::uint64_t>(i)));
      ASSERT_NO_FATAL_FAILURE(
          change_at_last([&] { map.insert_or_assign(stored_key, value); }, same));
      model.insert_or_assign(key, std::string(value.view()));
    }
    ASSERT_NO_FATAL_FAILURE(same());
  }

  /// What each run lost would add up; the C library itself keeps some 20 KiB of what is freed.
  template <class Run>
  void loses_nothing(const Run& run) {
    ASSERT_NO_FATAL_FAILURE(run());
    const std::size_t used_before = mallinfo2().uordblks;
    for (int i = 0; i < 40; ++i) ASSERT_NO_FATAL_FAILURE(run());
    EXPECT_LT(mallinfo2().uordblks, used_before + (32u << 10));
  }

  int failures_ = 0;
};

TEST_F(ContainerMemory, AnOrderedMapKeepsWhatItHas) {
  loses_nothing([&] { map_keeps_what_it_has<dolmen::ordered_map<Text, Text>>(); });
  EXPECT_GT(failures_, 600);
}

TEST_F(ContainerMemory, AHashMapKeepsWhatItHas) {
  loses_nothing([&] { map_keeps_what_it_has<dolmen::hash_map<Text, Text>>(); });
  EXPECT_GT(failures_, 600);
}

TEST_F(ContainerMemory, AVectorKeepsWhatItHas) {
  loses_nothing([&] {
    dolmen::vector<Text> vector;
    std::vector<std::string> model;
    const auto same = [&] {
      ASSERT_EQ(vector.size(), model.size());
      for (std::size_t i = 0; i < model.size(); ++i) ASSERT_EQ(vector[i].view(), model[i]);
    };
    for (std::uint64_t i = 0; i < 200; ++i) {
      const Text element(text(i));
      ASSERT_NO_FATAL_FAILURE(change_at_last([&] { vector.push_back(element); }, same));
      model.emplace_back(element.view());
    }
    ASSERT_NO_FATAL_FAILURE(same());
  });
  EXPECT_GT(failures_, 200);
}

}  // namespace
