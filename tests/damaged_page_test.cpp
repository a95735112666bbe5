// SPDX-License-Identifier: Apache-2.0
//
// A page that fails its checksum is told to everybody who looks at its object, first and later,
// in sections and in views; other objects go on, and so do checkpoints.
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include <dolmen/space.hpp>
#include <dolmen/vector.hpp>

#include "node/open_space.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {
namespace {

struct Sheet {
  std::uint64_t changes;
  ptr<Sheet> other;
  vector<std::uint64_t> numbers;
};

constexpr std::uint64_t kCount = 20'000;  // 160 KB: tens of pages
// Numbers of the two objects are multiples of these.
constexpr std::uint64_t kGood = 0x9E3779B97F4A7C15ull;
constexpr std::uint64_t kBad = 0xD1B54A32D192ED03ull;

class DamagedPage : public testing::Test {
 protected:
  void SetUp() override {
    auto space = open();
    ASSERT_TRUE(space);
    for (const auto& [name, factor] : {std::pair("good", kGood), std::pair("bad", kBad)}) {
      const auto sheet = space->create<Sheet>(name, {.capacity = 1 << 20});
      ASSERT_TRUE(sheet);
      ASSERT_TRUE(space->transact(*sheet, [&, f = factor](mut<Sheet> s) {
        for (std::uint64_t i = 0; i < kCount; ++i) s->numbers.push_back(i * f);
      }));
    }
    const auto good = space->find<Sheet>("good");
    const auto bad = space->find<Sheet>("bad");
    ASSERT_TRUE(space->transact(*good, *bad, [](mut<Sheet> g, mut<Sheet> b) { g->other = b; }));
    ASSERT_TRUE(space->checkpoint());
    ASSERT_TRUE(space->close());
    damage_pages_with(kBad * 12'345);
  }
  Result<Space> open() {
    SpaceOptions options;
    options.background = false;
    options.log_segment_bytes = 1u << 20;
    sys::Env env = world.env();
    env.process = sys::linux_env().process;  // which can fence threads: sections go the short way
    return node::open_space(env, std::make_unique<sys::BorrowedDisk>(disk), options,
                            memory().best_driver());
  }
  /// Every page that holds this word: storage that a vector has left keeps its contents.
  void damage_pages_with(std::uint64_t word) {
    auto file = disk.open("pages", sys::OpenMode::read_only);
    ASSERT_TRUE(file);
    std::vector<std::byte> bytes(*(*file)->size());
    ASSERT_TRUE((*file)->read(0, bytes));
    bool found = false;
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      if (base::load<std::uint64_t>(bytes, at) != word) continue;
      disk.flip_bit("pages", at, 3);
      found = true;
    }
    ASSERT_TRUE(found);
  }
  static std::uint64_t sum(const Sheet& sheet) {
    // Volatile: a sum that nobody uses would not be read at all.
    volatile std::uint64_t total = 0;
    for (const std::uint64_t n : sheet.numbers) total = total + n;
    return total;
  }
  sys::Memory& memory() { return *sys::linux_env().memory; }

  sim::SimEnv world{1, memory()};
  sim::SimDisk disk{1};
};

std::pair<Object<Sheet>, Object<Sheet>> good_and_bad(Space& space) {
  return {space.find<Sheet>("good").value(), space.find<Sheet>("bad").value()};
}

TEST_F(DamagedPage, EverySectionThatNamesTheObjectFailsNotOnlyTheFirst) {
  auto space = open();
  ASSERT_TRUE(space);
  const auto [good, bad] = good_and_bad(*space);
  for (int round = 0; round < 3; ++round) {
    const auto read = space->read(bad, [](ref<Sheet> s) { return sum(*s); });
    ASSERT_FALSE(read) << "round " << round;
    EXPECT_EQ(read.error().code(), Errc::corrupt);
    const auto changed = space->transact(bad, [](mut<Sheet> s) { s->changes = 7; });
    ASSERT_FALSE(changed) << "round " << round;
    EXPECT_EQ(changed.error().code(), Errc::corrupt);
  }
  EXPECT_TRUE(space->read(good, [](ref<Sheet> s) { return sum(*s); }));
  EXPECT_TRUE(space->transact(good, [](mut<Sheet> s) { s->changes = 1; }));
}

TEST_F(DamagedPage, IsToldOnTheShortWayThroughASectionToo) {
  auto space = open();
  ASSERT_TRUE(space);
  const auto bad = space->find<Sheet>("bad").value();
  // Thousands of reads of the root, whose page is sound, make the object known.
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(space->read(bad, [](ref<Sheet> s) { return s->changes; }));
  }
  for (int round = 0; round < 2; ++round) {
    const auto read = space->read(bad, [](ref<Sheet> s) { return sum(*s); });
    ASSERT_FALSE(read) << "round " << round;
    EXPECT_EQ(read.error().code(), Errc::corrupt);
    const auto other = space->read(bad, [](ref<Sheet> s) { return s->changes; });
    ASSERT_FALSE(other) << "round " << round;
    EXPECT_EQ(other.error().code(), Errc::corrupt);
  }
}

TEST_F(DamagedPage, AViewThatMetItTellsOnEveryRead) {
  auto space = open();
  ASSERT_TRUE(space);
  const auto [good, bad] = good_and_bad(*space);
  const auto view = space->view();
  ASSERT_TRUE(view);
  EXPECT_TRUE(view->read([&, g = good] { return sum(*(*view)[g]); }));
  for (int round = 0; round < 2; ++round) {
    const auto read = view->read([&, b = bad] { return sum(*(*view)[b]); });
    ASSERT_FALSE(read) << "round " << round;
    EXPECT_EQ(read.error().code(), Errc::corrupt);
  }
  const auto other = space->view();
  EXPECT_TRUE(other->read([&, g = good] { return sum(*(*other)[g]); })) << "views are separate";
}

TEST_F(DamagedPage, FailsReadsOverEverythingWhichCouldFollowAPointerIntoIt) {
  auto space = open();
  ASSERT_TRUE(space);
  const auto [good, bad] = good_and_bad(*space);
  for (int round = 0; round < 2; ++round) {
    const auto read = space->read(everything, [&, b = bad] { return sum(*space->root(b)); });
    ASSERT_FALSE(read) << "round " << round;
    EXPECT_EQ(read.error().code(), Errc::corrupt);
  }
  // The page's zeros are mapped by now, so that a look at them could not be told from one at data.
  const auto read = space->read(everything, [&, g = good] { return sum(*space->root(g)); });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Errc::corrupt);
  EXPECT_TRUE(space->read(good, [&](ref<Sheet> s) { return sum(*s); })) << "it does not name it";
}

TEST_F(DamagedPage, DoesNotHinderCheckpointsOfWhatWasCommittedBefore) {
  auto space = open();
  ASSERT_TRUE(space);
  // A change to an undamaged page of each object, before anybody meets the damage.
  for (const char* name : {"good", "bad"}) {
    const auto sheet = space->find<Sheet>(name);
    ASSERT_TRUE(space->transact(*sheet, [](mut<Sheet> s) { s->changes = 9; }));
  }
  for (const char* name : {"good", "bad"}) {
    (void)space->read(space->find<Sheet>(name).value(), [](ref<Sheet> s) { return sum(*s); });
  }
  const auto done = space->checkpoint();
  ASSERT_TRUE(done) << done.error().message();
  ASSERT_TRUE(space->close());
  auto again = open();
  ASSERT_TRUE(again);
  for (const char* name : {"good", "bad"}) {
    const auto sheet = again->find<Sheet>(name);
    EXPECT_EQ(again->read(*sheet, [](ref<Sheet> s) { return s->changes; }).value(), 9u) << name;
  }
}

}  // namespace
}  // namespace dolmen
