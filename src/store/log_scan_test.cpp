// SPDX-License-Identifier: Apache-2.0
//
// Torn tail or damage: what a scan makes of bytes that do not verify.
#include "store/log_scan.hpp"

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sim/sim_hooks.hpp"
#include "store/log_format.hpp"
#include "store/root_keeper.hpp"
#include "store/store_sim_world.hpp"

namespace dolmen::store {
namespace {

constexpr ObjectId kA{10, 1};
constexpr std::uint32_t kRecordBytes = 32 + 24 + 8 + 200;  // of nth()

Change nth(unsigned n) {
  return Change().write(kA, n * 200, std::string(200, static_cast<char>('a' + n % 26)));
}

/// Record 1 creates, records 2 … count + 1 write, each durable before the next; the program then
/// dies.
std::unique_ptr<StoreDriver> written(unsigned count) {
  auto driver = std::make_unique<StoreDriver>();
  driver->create();
  driver->commit(Change().create(kA, 16));
  for (unsigned n = 0; n < count; ++n) driver->commit(nth(n));
  return driver;
}

struct Outcome {
  Errc code{};  ///< zero: opened
  Index end = 0;
  std::string context;
};

Outcome reopen(StoreDriver& driver, sim::SimDisk& disk) {
  const auto store = driver.open_on(disk);
  if (store) return {.code = {}, .end = (*store)->last_index(), .context = {}};
  return {.code = store.error().code(), .end = 0, .context = std::string(store.error().context())};
}

/// The disk after the machine lost power, with everything written.
std::unique_ptr<sim::SimDisk> stopped(StoreDriver& driver) {
  return driver.disk().crash({.kind = sim::CrashPlan::Kind::all});
}

/// Name of the root's k-th log segment.
std::string segment(sim::SimDisk& disk, std::size_t k) {
  const auto file = disk.open(kRootFile, sys::OpenMode::read_only);
  const auto choice = RootKeeper::read(**file);
  return segment_name(choice->root.segments.at(k - 1).file);
}

std::uint32_t offset_of(Index index) {  // of the records of written(), in the first segment
  return 4096 + (index == 1 ? 0 : 32 + 24 + static_cast<std::uint32_t>(index - 2) * kRecordBytes);
}

TEST(LogScan, EveryDamagedByteOfAnAcknowledgedRecordIsDamage) {
  auto driver = written(4);
  for (Index index = 1; index <= 4; ++index) {
    const std::uint32_t begin = offset_of(index);
    for (std::uint32_t at = begin; at < offset_of(index + 1); at += index == 3 ? 1 : 13) {
      auto disk = stopped(*driver);
      disk->flip_bit(segment(*disk, 1), at, at % 8);
      const Outcome outcome = reopen(*driver, *disk);
      ASSERT_EQ(outcome.code, Errc::corrupt) << "record " << index << " byte " << at;
      const std::string place = segment(*disk, 1).substr(9) + " at byte " + std::to_string(begin);
      EXPECT_NE(outcome.context.find("log segment " + place), std::string::npos) << outcome.context;
    }
  }
}

TEST(LogScan, TheLastRecordMayBeTornUnlessClosingSaidItIsThere) {
  auto driver = written(4);
  auto disk = stopped(*driver);
  disk->flip_bit(segment(*disk, 1), offset_of(5) + 40, 3);
  const Outcome torn = reopen(*driver, *disk);
  EXPECT_EQ(torn.code, Errc{}) << torn.context;
  EXPECT_EQ(torn.end, 4u);

  driver->close();
  disk = stopped(*driver);
  disk->flip_bit(segment(*disk, 1), offset_of(5) + 40, 3);
  EXPECT_EQ(reopen(*driver, *disk).code, Errc::corrupt);
}

#if DOLMEN_SIM_HOOKS
TEST(LogScan, TakingABadChecksumForTheEndWouldBeNoticedHere) {
  auto driver = written(4);
  const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = "store.bad_checksum_is_end"});
  auto disk = stopped(*driver);
  disk->flip_bit(segment(*disk, 1), offset_of(3), 0);
  const Outcome outcome = reopen(*driver, *disk);
  EXPECT_EQ(outcome.code, Errc{});
  EXPECT_LT(outcome.end, 5u) << "the planted bug loses acknowledged records";
}
#endif

TEST(LogScan, RecordsOfOneUnsyncedBatchAreNoProofThatEarlierOnesWereDurable) {
  StoreDriver driver;
  driver.create();
  driver.commit(Change().create(kA, 16));
  for (unsigned n = 0; n < 4; ++n) driver.append(nth(n));
  driver.wait(5);
  // All five stand on the disk, but those of the batch were written before any of them was durable.
  auto disk = stopped(driver);
  disk->flip_bit(segment(*disk, 1), offset_of(3) + 50, 1);
  const Outcome outcome = reopen(driver, *disk);
  EXPECT_EQ(outcome.code, Errc{}) << outcome.context;
  EXPECT_EQ(outcome.end, 2u);
}

TEST(LogScan, ALaterSegmentProvesThatItsPredecessorWasDurable) {
  auto driver = written(20);  // 15 records fit a segment
  auto disk = stopped(*driver);
  disk->flip_bit(segment(*disk, 1), offset_of(15) + 60, 1);
  EXPECT_EQ(reopen(*driver, *disk).code, Errc::corrupt);
}

TEST(LogScan, ADamagedOrMissingSegmentIsNamed) {
  auto driver = written(20);
  auto disk = stopped(*driver);
  disk->flip_bit(segment(*disk, 2), 17, 1);
  const Outcome header = reopen(*driver, *disk);
  EXPECT_EQ(header.code, Errc::corrupt);
  EXPECT_NE(header.context.find("at byte 0: header"), std::string::npos) << header.context;

  disk = stopped(*driver);
  const std::string second = segment(*disk, 2);
  ASSERT_TRUE(disk->remove(second));
  const Outcome missing = reopen(*driver, *disk);
  EXPECT_EQ(missing.code, Errc::corrupt);
  EXPECT_NE(missing.context.find(second), std::string::npos) << missing.context;

  disk = stopped(*driver);
  auto file = disk->open(segment(*disk, 1), sys::OpenMode::read_write);
  ASSERT_TRUE(file && (*file)->resize(6000));
  EXPECT_EQ(reopen(*driver, *disk).code, Errc::corrupt);
}

TEST(LogScan, DamageThatTheCheckpointCoversDoesNoHarm) {
  auto driver = written(4);
  driver->checkpoint();
  driver->commit(nth(7));
  driver->commit(nth(8));
  for (const Index damaged : {Index{1}, Index{3}, Index{5}}) {
    auto disk = stopped(*driver);
    disk->flip_bit(segment(*disk, 1), offset_of(damaged) + 33, 5);
    const Outcome outcome = reopen(*driver, *disk);
    EXPECT_EQ(outcome.code, Errc{}) << outcome.context;
    EXPECT_EQ(outcome.end, 7u);
  }
  auto disk = stopped(*driver);
  disk->flip_bit(segment(*disk, 1), offset_of(6) + 33, 5);
  EXPECT_EQ(reopen(*driver, *disk).code, Errc::corrupt) << "the first record that is needed";
}

TEST(LogScan, DamageThatReachesBeyondTheCheckpointIsNotTheEnd) {
  auto driver = written(4);
  driver->checkpoint();
  driver->commit(nth(7));
  driver->commit(nth(8));
  // The last record that the checkpoint holds, and the first one that it does not.
  auto disk = stopped(*driver);
  disk->flip_bit(segment(*disk, 1), offset_of(5) + 33, 5);
  disk->flip_bit(segment(*disk, 1), offset_of(6) + 33, 5);
  const Outcome outcome = reopen(*driver, *disk);
  EXPECT_EQ(outcome.code, Errc::corrupt) << "ends at " << outcome.end;
}

TEST(LogScan, AVerifiedRecordThatDoesNotDecodeIsDamage) {
  StoreDriver driver;
  driver.create();
  const auto index = driver.store().append(base::as_bytes("not a commit record, 32 bytes..."));
  ASSERT_TRUE(index && driver.store().wait_durable(*index));
  auto disk = stopped(driver);
  const Outcome outcome = reopen(driver, *disk);
  EXPECT_EQ(outcome.code, Errc::corrupt);
  EXPECT_NE(outcome.context.find("record's contents"), std::string::npos) << outcome.context;
}

TEST(LogScan, AScanThatStopsEarlyDoesNotJudgeWhatFollows) {
  auto driver = written(4);
  auto disk = stopped(*driver);
  disk->flip_bit(segment(*disk, 1), offset_of(4) + 33, 5);
  auto file = disk->open(kRootFile, sys::OpenMode::read_only);
  ASSERT_TRUE(file);
  const auto choice = RootKeeper::read(**file);
  ASSERT_TRUE(choice);
  EXPECT_FALSE(scan_log(*disk, choice->root, {}));
  const auto scan = scan_log(*disk, choice->root, {}, {.stop_after = 3});
  ASSERT_TRUE(scan) << scan.error().message();
  EXPECT_EQ(scan->end, 3u);
  EXPECT_EQ(scan->record_count, 3u);
}

TEST(LogScan, ARootWhoseNumbersLeaveNoRoomToGoOnIsDamage) {
  constexpr std::uint64_t kLast = ~std::uint64_t{0};
  const auto with = [](const std::function<void(Root&)>& change) {
    auto driver = written(2);
    driver->checkpoint();
    auto disk = stopped(*driver);
    auto file = disk->open(kRootFile, sys::OpenMode::read_write).value();
    Root root = RootKeeper::read(*file).value().root;
    change(root);
    std::vector<std::byte> slot(kRootSlotBytes);
    encode_root(root, slot);
    for (const unsigned twin : {0u, 1u}) {
      EXPECT_TRUE(file->write((root_pair(root.generation) + twin) * kRootSlotBytes, slot));
    }
    return reopen(*driver, *disk);
  };
  EXPECT_EQ(with([](Root&) {}).code, Errc{});
  const Outcome indices = with([&](Root& root) {
    root.checkpoint_index = root.durable_index = kLast;
    root.segments.clear();
  });
  EXPECT_EQ(indices.code, Errc::corrupt) << "the next index would be " << indices.end + 1;
  EXPECT_EQ(with([&](Root& root) { root.next_incarnation = kLast; }).code, Errc::corrupt);
}

}  // namespace
}  // namespace dolmen::store
