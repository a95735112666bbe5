// SPDX-License-Identifier: Apache-2.0
//
// The simulator's own promises: what a crash may and may not leave, and that faults are what they
// say.
#include "sim/sim_disk.hpp"

#include <functional>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sim/sim_env.hpp"

namespace dolmen::sim {
namespace {

using Kind = CrashPlan::Kind;
using sys::OpenMode;

std::unique_ptr<sys::File> open(SimDisk& disk, std::string_view name,
                                OpenMode mode = OpenMode::create_or_open) {
  return std::move(disk.open(name, mode).value());
}

std::string text_of(SimDisk& disk, std::string_view name) {
  auto file = disk.open(name, OpenMode::read_only);
  if (!file) return "(missing)";
  std::string text((*file)->size().value(), '?');
  (void)(*file)->read(0, std::as_writable_bytes(std::span(text))).value();
  return text;
}

std::string sector(char c) { return std::string(kSectorBytes, c); }

void write(sys::File& file, std::uint64_t offset, std::string_view text) {
  ASSERT_TRUE(file.write(offset, base::as_bytes(text)));
}

/// A durable file f of four sectors aaaa, overwritten by bbbb that is pending: units 0 … 3.
class Crash : public testing::Test {
 protected:
  void SetUp() override {
    file = open(disk, "f");
    write(*file, 0, sector('a') + sector('a') + sector('a') + sector('a'));
    ASSERT_TRUE(file->sync());
    ASSERT_TRUE(disk.sync_directory());
    write(*file, 0, sector('b') + sector('b') + sector('b') + sector('b'));
  }
  std::string after(const CrashPlan& plan) { return text_of(*disk.crash(plan), "f"); }

  SimDisk disk{1};
  std::unique_ptr<sys::File> file;
};

TEST_F(Crash, NoneLeavesWhatWasSynced) { EXPECT_EQ(after({Kind::none}), std::string(2048, 'a')); }

TEST_F(Crash, AllLeavesWhatTheProgramSaw) {
  EXPECT_EQ(after({Kind::all}), std::string(2048, 'b'));
  EXPECT_EQ(disk.crash({Kind::all})->model().contents_hash(), disk.model().contents_hash());
}

TEST_F(Crash, APrefixLeavesTheFirstSectors) {
  EXPECT_EQ(disk.model().pending_units(), 4u);
  EXPECT_EQ(after({Kind::prefix, 1}), sector('b') + sector('a') + sector('a') + sector('a'));
  EXPECT_EQ(after({Kind::prefix, 4}), std::string(2048, 'b'));
}

TEST_F(Crash, ASectorTornAtByteKHasKNewBytes) {
  for (const std::uint32_t k : {1u, 100u, 511u}) {
    EXPECT_EQ(
        after({Kind::prefix, 1, k}),
        sector('b') + std::string(k, 'b') + std::string(512 - k, 'a') + sector('a') + sector('a'));
  }
}

TEST_F(Crash, OneLostSectorIsLostAndOnlyThatOne) {
  EXPECT_EQ(after({Kind::all_but, 2}), sector('b') + sector('b') + sector('a') + sector('b'));
  EXPECT_EQ(after({Kind::all_but, 0, 7}),
            std::string(7, 'b') + std::string(505, 'a') + sector('b') + sector('b') + sector('b'));
}

TEST_F(Crash, RandomSubsetsReachEverySubsetAndTornSectors) {
  std::set<std::string> whole;
  int torn = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const std::string text = after({Kind::random, seed});
    ASSERT_EQ(text.size(), 2048u);
    EXPECT_EQ(text, after({Kind::random, seed}));
    std::string pattern;
    for (int s = 0; s < 4; ++s) {
      const std::string part = text.substr(static_cast<std::size_t>(s) * 512, 512);
      pattern += part == sector('a') ? 'a' : part == sector('b') ? 'b' : '?';
    }
    if (pattern.find('?') == std::string::npos) {
      whole.insert(pattern);
    } else {
      ++torn;
    }
  }
  EXPECT_EQ(whole.size(), 16u);
  EXPECT_GT(torn, 500);
}

TEST_F(Crash, ASecondWriteOfASectorBringsAlongTheFirst) {
  ASSERT_TRUE(file->sync());
  write(*file, 0, "first");
  write(*file, 10, "second");
  std::string expected = sector('b');
  expected.replace(0, 5, "first").replace(10, 6, "second");
  // The cache holds one copy of a sector: losing the first write-out does not undo its bytes.
  EXPECT_EQ(after({Kind::all_but, 0}).substr(0, 512), expected);
  expected = sector('b').replace(0, 5, "first");
  EXPECT_EQ(after({Kind::all_but, 1}).substr(0, 512), expected);
}

TEST_F(Crash, TheSizeOfAGrownFileIsAUnitOfItsOwn) {
  ASSERT_TRUE(file->sync());
  write(*file, 2048, sector('c') + "tail");
  EXPECT_EQ(disk.model().pending_units(), 3u);
  EXPECT_EQ(after({Kind::none}).size(), 2048u);
  EXPECT_EQ(after({Kind::all_but, 0}).size(), 2048u) << "without its size the data is not there";
  EXPECT_EQ(after({Kind::prefix, 1}), std::string(2048, 'b') + std::string(516, '\0'));
  EXPECT_EQ(after({Kind::all}), std::string(2048, 'b') + sector('c') + "tail");
  // Data beyond the size that survived must not come back when the file grows again.
  auto crashed = disk.crash({Kind::all_but, 0});
  ASSERT_TRUE(open(*crashed, "f")->resize(4096));
  EXPECT_EQ(text_of(*crashed, "f").substr(2048), std::string(2048, '\0'));
}

TEST_F(Crash, ResizeAndPunchArePendingToo) {
  ASSERT_TRUE(file->sync());
  ASSERT_TRUE(file->punch(512, 512));
  ASSERT_TRUE(file->resize(1024));
  EXPECT_EQ(after({Kind::none}), std::string(2048, 'b'));
  EXPECT_EQ(after({Kind::all_but, 0}), std::string(1024, 'b'));
  EXPECT_EQ(after({Kind::all_but, 1}),
            sector('b') + std::string(512, '\0') + sector('b') + sector('b'));
  ASSERT_TRUE(file->sync());
  EXPECT_EQ(after({Kind::none}), sector('b') + std::string(512, '\0'));
}

TEST_F(Crash, SyncOfOneFileSaysNothingAboutAnother) {
  const auto other = open(disk, "other");
  write(*other, 0, "x");
  ASSERT_TRUE(disk.sync_directory());
  ASSERT_TRUE(other->sync());
  EXPECT_EQ(after({Kind::none}), std::string(2048, 'a'));
  EXPECT_EQ(text_of(*disk.crash({Kind::none}), "other"), "x");
}

TEST_F(Crash, TheDiskGoesOnAndImagesAreIndependent) {
  auto image = disk.crash({Kind::prefix, 2});
  const std::uint64_t hash = image->model().contents_hash();
  write(*file, 0, "later");
  ASSERT_TRUE(file->sync());
  EXPECT_EQ(image->model().contents_hash(), hash);
  write(*open(*image, "f"), 0, "recovered");
  EXPECT_EQ(text_of(disk, "f").substr(0, 5), "later");
  EXPECT_EQ(image->model().pending_units(), 1u);
}

TEST_F(Crash, LocksDieAndFilesOfTheOldWorldAreNotInTheNew) {
  auto lock = disk.try_lock("lock", sys::LockMode::exclusive, "old", nullptr);
  ASSERT_TRUE(lock);
  auto image = disk.crash({Kind::all});
  EXPECT_TRUE(image->try_lock("lock", sys::LockMode::exclusive, "new", nullptr));
  disk.power_off();
  EXPECT_EQ(file->write(0, base::as_bytes("x")).error().code(), Errc::io_error);
  EXPECT_EQ(file->sync().error().code(), Errc::io_error);
  EXPECT_EQ(disk.list().error().code(), Errc::io_error);
}

TEST(Names, AreLostWithoutSyncDirectory) {
  SimDisk disk(1);
  {
    const auto f = open(disk, "f");
    write(*f, 0, "contents");
    ASSERT_TRUE(f->sync());
  }
  EXPECT_EQ(text_of(*disk.crash({Kind::none}), "f"), "(missing)");
  EXPECT_EQ(text_of(*disk.crash({Kind::all}), "f"), "contents");
  ASSERT_TRUE(disk.sync_directory());
  EXPECT_EQ(text_of(*disk.crash({Kind::none}), "f"), "contents");
  ASSERT_TRUE(disk.remove("f"));
  EXPECT_EQ(text_of(disk, "f"), "(missing)");
  EXPECT_EQ(text_of(*disk.crash({Kind::none}), "f"), "contents");
  ASSERT_TRUE(disk.sync_directory());
  EXPECT_EQ(text_of(*disk.crash({Kind::none}), "f"), "(missing)");
}

TEST(Names, ARenameIsAtomic) {
  SimDisk disk(1);
  for (const char* name : {"f", "f.new"}) {
    const auto f = open(disk, name);
    write(*f, 0, name);
    ASSERT_TRUE(f->sync());
  }
  ASSERT_TRUE(disk.sync_directory());
  ASSERT_TRUE(disk.rename("f.new", "f"));
  EXPECT_EQ(text_of(*disk.crash({Kind::none}), "f"), "f");
  EXPECT_EQ(text_of(*disk.crash({Kind::none}), "f.new"), "f.new");
  EXPECT_EQ(text_of(*disk.crash({Kind::all}), "f"), "f.new");
  EXPECT_EQ(text_of(*disk.crash({Kind::all}), "f.new"), "(missing)");
}

TEST(Names, AnySubsetOfChangesMakesSense) {
  SimDisk disk(1);
  (void)open(disk, "a");
  ASSERT_TRUE(disk.rename("a", "b"));
  (void)open(disk, "a");
  ASSERT_TRUE(disk.remove("b"));
  // Only the rename survived: the file is there under its new name alone.
  auto image = disk.crash({Kind::random, [&] {
                             for (std::uint64_t seed = 0;; ++seed) {
                               const UnitChoice choice({Kind::random, seed}, 4);
                               const auto kept = [&](std::uint64_t unit) {
                                 return choice.kept_bytes(unit) == UnitChoice::kWhole;
                               };
                               if (!kept(0) && kept(1) && !kept(2) && !kept(3)) return seed;
                             }
                           }()});
  EXPECT_EQ(image->list().value(), std::vector<std::string>{"b"});
}

TEST(Sync, AFailedOneIsNotRepairedByALaterOne) {
  int lost = 0;
  int kept = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SimDisk disk(seed);
    const auto file = open(disk, "f");
    ASSERT_TRUE(disk.sync_directory());
    ASSERT_TRUE(file->resize(1024));
    ASSERT_TRUE(file->sync());
    write(*file, 0, sector('x'));
    disk.inject({.on = FaultOn::sync});
    EXPECT_EQ(file->sync().error().code(), Errc::io_error);
    EXPECT_EQ(disk.model().pending_units(), 0u);
    EXPECT_EQ(text_of(disk, "f").substr(0, 512), sector('x')) << "the cache still has it";
    write(*file, 512, sector('y'));
    ASSERT_TRUE(file->sync());
    const std::string after = text_of(*disk.crash({Kind::none}), "f");
    EXPECT_EQ(after.substr(512), sector('y')) << "what came after the failure is durable";
    EXPECT_EQ(after, text_of(*disk.crash({Kind::all}), "f"));
    lost += after.substr(0, 512) == std::string(512, '\0');
    kept += after.substr(0, 512) == sector('x');
    // Written once more it is durable.
    write(*file, 0, sector('x'));
    ASSERT_TRUE(file->sync());
    EXPECT_EQ(text_of(*disk.crash({Kind::none}), "f"), sector('x') + sector('y'));
  }
  EXPECT_GT(lost, 20);
  EXPECT_GT(kept, 20);
}

TEST(Sync, AFailedDirectorySyncMayLoseNamesForGood) {
  int lost = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    SimDisk disk(seed);
    (void)open(disk, "f");
    disk.inject({.on = FaultOn::sync_directory});
    EXPECT_FALSE(disk.sync_directory());
    ASSERT_TRUE(disk.sync_directory());
    EXPECT_EQ(disk.list().value().size(), 1u);
    lost += disk.crash({Kind::none})->list().value().empty();
  }
  EXPECT_GT(lost, 10);
  EXPECT_LT(lost, 90);
}

TEST(Faults, TheNthCallFailsAndOnlyThatOne) {
  SimDisk disk(1);
  const auto file = open(disk, "f");
  disk.inject({.on = FaultOn::write, .nth = 3});
  for (int i = 1; i <= 5; ++i) EXPECT_EQ(file->write(0, base::as_bytes("x")).has_value(), i != 3);
  disk.inject({.on = FaultOn::sync, .nth = 2, .times = DiskFault::kForever});
  for (int i = 1; i <= 5; ++i) EXPECT_EQ(file->sync().has_value(), i < 2);
  disk.clear_faults();
  EXPECT_TRUE(file->sync());
}

TEST(Faults, CanBeLimitedToAFileAndGiveAnyCode) {
  SimDisk disk(1);
  const auto log = open(disk, "log-1");
  const auto data = open(disk, "data");
  disk.inject({.times = DiskFault::kForever, .code = Errc::no_space, .file = "log"});
  EXPECT_EQ(log->write(0, base::as_bytes("x")).error().code(), Errc::no_space);
  EXPECT_EQ(log->resize(10).error().code(), Errc::no_space);
  EXPECT_TRUE(data->write(0, base::as_bytes("x")));
}

TEST(Faults, AReadCanFail) {
  SimDisk disk(1);
  const auto file = open(disk, "f");
  write(*file, 0, "x");
  disk.inject({.on = FaultOn::read});
  std::byte out{};
  EXPECT_EQ(file->read(0, base::MutableBytes(&out, 1)).error().code(), Errc::io_error);
  EXPECT_EQ(file->read(0, base::MutableBytes(&out, 1)).value(), 1u);
}

TEST(Faults, AFailedWriteLeavesAPart) {
  std::set<std::size_t> sizes;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SimDisk disk(seed);
    const auto file = open(disk, "f");
    disk.inject({.on = FaultOn::write});
    EXPECT_FALSE(file->write(0, base::as_bytes(std::string(1000, 'x'))));
    const std::string text = text_of(disk, "f");
    EXPECT_EQ(text, std::string(text.size(), 'x'));
    sizes.insert(text.size());
  }
  EXPECT_GT(sizes.size(), 10u);
}

TEST(Faults, AMisdirectedWriteLandsElsewhereAndALostOneNowhere) {
  SimDisk disk(1);
  const auto file = open(disk, "f");
  ASSERT_TRUE(file->resize(8192));
  disk.inject({.on = FaultOn::write, .effect = FaultEffect::misdirect, .shift = 4096});
  write(*file, 0, "astray");
  disk.inject({.on = FaultOn::write, .effect = FaultEffect::lose});
  write(*file, 1000, "lost");
  const std::string text = text_of(disk, "f");
  EXPECT_EQ(text.substr(0, 6), std::string(6, '\0'));
  EXPECT_EQ(text.substr(4096, 6), "astray");
  EXPECT_EQ(text.substr(1000, 4), std::string(4, '\0'));
}

TEST(Faults, AFlippedBitIsSeenBeforeAndAfterACrash) {
  SimDisk disk(1);
  const auto file = open(disk, "f");
  ASSERT_TRUE(disk.sync_directory());
  write(*file, 0, "abc");
  ASSERT_TRUE(file->sync());
  disk.flip_bit("f", 1, 0);
  EXPECT_EQ(text_of(disk, "f"), "acc");
  EXPECT_EQ(text_of(*disk.crash({Kind::none}), "f"), "acc");
}

TEST(Faults, RatesFailAboutThatManyCalls) {
  SimDisk disk(1);
  const auto file = open(disk, "f");
  disk.set_fault_rates({.write_ppm = 100'000});
  int failures = 0;
  for (int i = 0; i < 2000; ++i) failures += !file->write(0, base::as_bytes("x"));
  EXPECT_NEAR(failures, 200, 60);
  EXPECT_TRUE(file->sync());
}

TEST(Capacity, AFullDiskRefusesAndRecoversAfterARemoval) {
  SimDisk disk(1);
  disk.set_capacity_bytes(64 << 10);
  EXPECT_EQ(disk.free_bytes().value(), 64u << 10);
  const auto first = open(disk, "first");
  ASSERT_TRUE(first->allocate(0, 48 << 10));
  EXPECT_EQ(disk.free_bytes().value(), 16u << 10);
  const auto second = open(disk, "second");
  const std::string text(20 << 10, 'x');
  EXPECT_EQ(second->write(0, base::as_bytes(text)).error().code(), Errc::no_space);
  EXPECT_EQ(disk.free_bytes().value(), 0u) << "what fitted was written";
  EXPECT_EQ(second->allocate(0, 20 << 10).error().code(), Errc::no_space);
  EXPECT_TRUE(first->write(1000, base::as_bytes(text))) << "its room is allocated";
  ASSERT_TRUE(disk.remove("first"));
  EXPECT_EQ(disk.free_bytes().value(), 48u << 10);
  EXPECT_TRUE(second->write(0, base::as_bytes(text)));
  EXPECT_EQ(text_of(disk, "second"), text);
  ASSERT_TRUE(second->punch(0, 16 << 10));
  EXPECT_EQ(disk.used_bytes(), 4u << 10);
}

TEST(Capacity, NoSpaceDoesNotBreakTheDisk) {
  SimDisk disk(1);
  disk.set_capacity_bytes(1024);
  const auto file = open(disk, "f");
  EXPECT_EQ(file->write(100, base::as_bytes(std::string(2000, 'x'))).error().code(),
            Errc::no_space);
  EXPECT_EQ(file->size().value(), 1024u);
  EXPECT_TRUE(file->sync());
  EXPECT_TRUE(file->write(0, base::as_bytes("overwriting needs no room")));
}

std::uint64_t run_everything(std::uint64_t seed, const std::string& text = "some text") {
  SimDisk disk(seed);
  disk.set_fault_rates({.write_ppm = 200'000, .sync_ppm = 200'000});
  const auto file = open(disk, "f");
  for (std::uint64_t i = 0; i < 50; ++i) {
    (void)!file->write(i * 300, base::as_bytes(text)).has_value();
    (void)!file->sync().has_value();
    (void)disk.sync_directory();
  }
  return disk.trace_hash();
}

TEST(Trace, EqualRunsHaveEqualHashes) {
  EXPECT_EQ(run_everything(1), run_everything(1));
  EXPECT_NE(run_everything(1), run_everything(2)) << "other faults";
  EXPECT_NE(run_everything(1), run_everything(1, "some texT")) << "other contents";
}

TEST(Trace, SeesReadsAndTheirContents) {
  SimDisk one(1);
  SimDisk two(1);
  for (SimDisk* disk : {&one, &two}) write(*open(*disk, "f"), 0, "abc");
  EXPECT_EQ(one.trace_hash(), two.trace_hash());
  (void)text_of(one, "f");
  EXPECT_NE(one.trace_hash(), two.trace_hash());
}

TEST(PowerOff, HappensBeforeTheGivenChange) {
  SimDisk disk(1);
  const auto file = open(disk, "f");
  const std::uint64_t before = disk.op_count();
  disk.power_off_at(before + 2);
  EXPECT_TRUE(file->write(0, base::as_bytes("1")));
  EXPECT_TRUE(file->write(1, base::as_bytes("2")));
  EXPECT_FALSE(file->write(2, base::as_bytes("3")));
  EXPECT_FALSE(file->sync());
  EXPECT_EQ(disk.op_count(), before + 2);
}

TEST(Latency, MovesTheVirtualClock) {
  SimDisk disk(1);
  SimClock clock;
  disk.set_latency(clock, {.read_ns = 10, .write_ns = 1000, .sync_ns = 100'000});
  const auto file = open(disk, "f");
  const std::uint64_t before = clock.monotonic_ns();
  ASSERT_TRUE(file->write(0, base::as_bytes("x")));
  const std::uint64_t written = clock.monotonic_ns();
  EXPECT_GE(written - before, 500u);
  EXPECT_LE(written - before, 1000u);
  ASSERT_TRUE(file->sync());
  EXPECT_GE(clock.monotonic_ns() - written, 50'000u);
}

TEST(Memory, UnreachableFilesAreForgotten) {
  SimDisk disk(1);
  for (int i = 0; i < 3; ++i) {
    (void)open(disk, "f");
    ASSERT_TRUE(disk.remove("f"));
    ASSERT_TRUE(disk.sync_directory());
  }
  EXPECT_EQ(disk.model().file_count(), 0u);
}

}  // namespace
}  // namespace dolmen::sim
