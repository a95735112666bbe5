// SPDX-License-Identifier: Apache-2.0
#include "txn/page_pool.hpp"

#include <cstring>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::txn {
namespace {

sys::Memory& memory() { return *sys::linux_env().memory; }

TEST(PagePool, PagesAreApartAndKeepWhatIsWrittenToThem) {
  PagePool pool(memory());
  base::Random random(1);
  std::vector<std::pair<PagePool::Page, std::uint64_t>> pages;
  const auto holds = [](const std::byte* page, std::uint64_t value) {
    for (std::size_t at = 0; at < store::kPageBytes; at += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, page + at, sizeof word);
      if (word != value) return false;
    }
    return true;
  };
  for (std::uint64_t i = 1; i <= 5000; ++i) {
    // Now more come than go, now the other way round.
    if (pages.empty() || random.below(10) < (i / 1000 % 2 == 0 ? 7u : 4u)) {
      PagePool::Page page = pool.take(store::kPageBytes);
      for (std::size_t at = 0; at < store::kPageBytes; at += 8) {
        std::memcpy(page.get() + at, &i, sizeof i);
      }
      pages.emplace_back(std::move(page), i);
    } else {
      std::swap(pages[random.below(pages.size())], pages.back());
      ASSERT_TRUE(holds(pages.back().first.get(), pages.back().second));
      pages.pop_back();
    }
  }
  ASSERT_GT(pages.size(), 2 * PagePool::kPagesPerChunk);
  for (const auto& [page, value] : pages) ASSERT_TRUE(holds(page.get(), value));
}

TEST(PagePool, AChunkGoesBackToTheSystemWithItsLastPage) {
  PagePool pool(memory());
  std::vector<PagePool::Page> pages;
  for (std::uint32_t i = 0; i < 3 * PagePool::kPagesPerChunk; ++i) {
    pages.push_back(pool.take(store::kPageBytes));
    pages.back()[0] = std::byte{1};
  }
  EXPECT_EQ(pool.chunk_bytes(), 3 * PagePool::kChunkBytes);
  std::byte* const first = pages.front().get();
  ASSERT_TRUE(memory().present(first));
  for (std::uint32_t i = 1; i < PagePool::kPagesPerChunk; ++i) pages[i].reset();
  EXPECT_EQ(pool.chunk_bytes(), 3 * PagePool::kChunkBytes);
  pages.front().reset();
  EXPECT_EQ(pool.chunk_bytes(), 2 * PagePool::kChunkBytes);
  EXPECT_FALSE(memory().present(first));
  // It is the next one that is used, and no other is made.
  const PagePool::Page again = pool.take(store::kPageBytes);
  EXPECT_EQ(again.get(), first);
  EXPECT_EQ(pool.chunk_bytes(), 3 * PagePool::kChunkBytes);
}

TEST(PagePool, PartsOfAPageTakeNoChunk) {
  PagePool pool(memory());
  const PagePool::Page part = pool.take(512);
  std::memset(part.get(), 1, 512);
  EXPECT_EQ(pool.chunk_bytes(), 0u);
}

TEST(PagePool, AForkedChildTouchesNothingWhereTheParentHasItsPages) {
  std::optional<PagePool> pool(std::in_place, memory());
  PagePool::Page page = pool->take(store::kPageBytes);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto* const mine = static_cast<volatile char*>(
        ::mmap(page.get(), store::kPageBytes, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    if (mine != static_cast<void*>(page.get())) ::_exit(2);
    *mine = 7;
    pool->leave_to_parent();
    page.reset();
    pool.reset();
    ::_exit(*mine == 7 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(PagePool, ManyThreadsTakeAndGiveBack) {
  PagePool pool(memory());
  const auto work = [&pool](std::uint64_t seed) {
    base::Random random(seed);
    std::vector<PagePool::Page> pages;
    for (int i = 0; i < 2000; ++i) {
      if (pages.empty() || random.below(2) == 0) {
        pages.push_back(pool.take(store::kPageBytes));
        std::memset(pages.back().get(), static_cast<int>(seed), 64);
      } else {
        ASSERT_EQ(std::to_integer<std::uint64_t>(pages.back()[63]), seed);
        pages.pop_back();
      }
    }
  };
  std::thread other(work, 1);
  work(2);
  other.join();
  EXPECT_EQ(pool.chunk_bytes(), 0u);
}

}  // namespace
}  // namespace dolmen::txn
