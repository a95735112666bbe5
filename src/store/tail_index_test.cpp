// SPDX-License-Identifier: Apache-2.0
#include "store/tail_index.hpp"

#include <algorithm>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "store/store_sim_world.hpp"

namespace dolmen::store {
namespace {

constexpr ObjectId kA{10, 1};
constexpr ObjectId kB{20, 2};

std::vector<std::byte> copy(base::Bytes bytes) { return {bytes.begin(), bytes.end()}; }

/// Payloads that stay in place, and the index over them.
struct Tail {
  std::deque<std::vector<std::byte>> payloads;
  TailIndex index;

  Result<void> add(base::Bytes payload) {
    payloads.push_back(copy(payload));
    return index.add(payloads.back());
  }
};

/// The page as the tail makes it of the checkpointed image.
std::vector<std::byte> page_after(const TailIndex& index, const SpaceImage& checkpoint,
                                  const ObjectId& id, std::uint32_t number, std::uint32_t bytes) {
  std::vector<std::byte> page(bytes);
  const TailIndex::Object* const changed = index.find(id);
  const auto old = checkpoint.objects.find(id);
  if (old != checkpoint.objects.end() && (changed == nullptr || !changed->fresh)) {
    const std::size_t from = std::size_t{number} * kPageBytes;
    const auto& all = old->second.bytes;
    if (from < all.size()) {
      std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(from),
                  std::min<std::size_t>(bytes, all.size() - from), page.begin());
    }
  }
  if (changed != nullptr) index.apply(*changed, number, page);
  return page;
}

void expect_same(const TailIndex& index, const SpaceImage& checkpoint, const SpaceImage& now) {
  std::set<PageKey> changed;
  for (const PageKey& key : index.changed_pages()) {
    EXPECT_TRUE(changed.insert(key).second) << "a page is listed twice";
    EXPECT_TRUE(now.objects.contains(key.object)) << "a page of an erased object";
  }
  for (const auto& [id, object] : now.objects) {
    const TailIndex::Object* const found = index.find(id);
    if (found != nullptr) {
      EXPECT_FALSE(found->erased);
      EXPECT_TRUE(found->capacity_log2 == 0 || found->capacity_log2 == object.capacity_log2);
    }
    const std::uint32_t bytes = page_bytes(object.capacity_log2);
    for (std::uint32_t page = 0; page * bytes < object.bytes.size(); ++page) {
      const auto got = page_after(index, checkpoint, id, page, bytes);
      const auto from = object.bytes.begin() + static_cast<std::ptrdiff_t>(page * bytes);
      ASSERT_TRUE(std::equal(got.begin(), got.end(), from)) << id.to_string() << " page " << page;
    }
  }
  for (const TailIndex::Object& object : index.objects()) {
    EXPECT_EQ(object.erased, !now.objects.contains(object.id));
  }
}

TEST(TailIndex, LaterRangesWinAndCrossPages) {
  Tail tail;
  SpaceImage now;
  const auto add = [&](const Change& change) {
    ASSERT_TRUE(tail.add(change));
    now.apply(change);
  };
  add(Change().create(kA, 14).write(kA, 4000, std::string(5000, 'x')));
  add(Change().write(kA, 4090, "over the edge").write(kA, 4092, "again"));
  expect_same(tail.index, {}, now);
  auto pages = tail.index.changed_pages();
  std::ranges::sort(pages);
  EXPECT_EQ(pages, (std::vector<PageKey>{{kA, 0}, {kA, 1}, {kA, 2}}));
  EXPECT_EQ(tail.index.find(kA)->page_limit, 3u);
  EXPECT_EQ(tail.index.find(kB), nullptr);
}

TEST(TailIndex, ErasureDropsWhatWasBeforeAndCreationStartsFromZeros) {
  Tail tail;
  ASSERT_TRUE(tail.add(Change().write(kA, 0, "old life").erase(kA)));
  EXPECT_TRUE(tail.index.find(kA)->erased);
  EXPECT_FALSE(tail.index.find(kA)->born) << "the checkpoint holds it";
  EXPECT_TRUE(tail.index.changed_pages().empty());
  ASSERT_TRUE(tail.add(Change().create(kA, 9).write(kA, 3, "new")));
  std::vector<std::byte> page(512);
  tail.index.apply(*tail.index.find(kA), 0, page);
  SpaceImage expected;
  expected.apply(Change().create(kA, 9).write(kA, 3, "new"));
  EXPECT_EQ(page, expected.objects.at(kA).bytes);
  ASSERT_TRUE(tail.add(Change().create(kB, 9).erase(kB)));
  EXPECT_TRUE(tail.index.find(kB)->born);
  constexpr ObjectId kC{30, 3};
  ASSERT_TRUE(tail.add(Change().erase(kC)));
  EXPECT_FALSE(tail.index.find(kC)->born);
}

TEST(TailIndex, EqualsAModelOverRandomTails) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    base::Random random(seed);
    SpaceImage checkpoint;
    for (std::uint64_t k = 1; k <= 4; ++k) {
      Change change;
      const auto capacity = static_cast<unsigned>(9 + random.below(6));
      change.create({k, 0}, capacity);
      change.write({k, 0}, 0, std::string(std::size_t{1} << capacity, static_cast<char>('a' + k)));
      checkpoint.apply(change);
    }
    SpaceImage now = checkpoint;
    Tail tail;
    for (unsigned step = 0; step < 120; ++step) {
      const ObjectId id{1 + random.below(8), 0};
      Change change;
      const auto object = now.objects.find(id);
      if (object == now.objects.end()) {
        change.create(id, static_cast<unsigned>(9 + random.below(6)));
      } else if (random.chance(1, 20)) {
        change.erase(id);
      } else if (random.chance(1, 10)) {
        change.resize(id, static_cast<unsigned>(9 + random.below(6)));
      } else {
        const std::uint64_t size = object->second.bytes.size();
        const std::uint64_t offset = random.below(size);
        const std::uint64_t length = random.below(std::min<std::uint64_t>(size - offset, 6000) + 1);
        change.write(id, static_cast<std::uint32_t>(offset),
                     std::string(length, static_cast<char>('A' + step % 26)));
      }
      ASSERT_TRUE(tail.add(change));
      now.apply(change);
    }
    expect_same(tail.index, checkpoint, now);
    if (HasFailure()) FAIL() << "seed " << seed;
  }
}

TEST(TailIndex, RefusesWhatIsNoCommitRecord) {
  Tail tail;
  EXPECT_TRUE(tail.add({}));
  const auto refused = tail.add(base::as_bytes("this is not a commit record at all"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::corrupt);
  const auto cut = copy(Change().create(kA, 9).write(kA, 0, "some bytes"));
  for (const std::size_t length : {cut.size() - 1, cut.size() - 8, std::size_t{25}}) {
    EXPECT_FALSE(tail.add(base::Bytes(cut).first(length))) << length;
  }
}

TEST(TailIndex, IsCompact) {
  Tail tail;
  for (std::uint32_t k = 0; k < 5000; ++k) {
    ASSERT_TRUE(tail.add(Change().write(kA, k * 64 % 65536, "eight by")));
  }
  EXPECT_EQ(tail.index.entry_count(), 5000u);
  EXPECT_EQ(tail.index.changed_pages().size(), 16u);
}

}  // namespace
}  // namespace dolmen::store
