// SPDX-License-Identifier: Apache-2.0
#include "cluster/index_reader.hpp"

#include <array>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/test_budget.hpp"
#include "cluster/index_reader_fixture.hpp"

namespace dolmen::cluster {
namespace {

/// Reads whole regions until the look-up is over.
void finish(IndexLookup& lookup, const std::vector<base::Bytes>& regions,
            const ReadTimes& times = {.issued_ns = 1, .completed_ns = 2, .lease_until_ns = 3}) {
  while (lookup.state() == LookupState::reading) {
    std::vector<base::Bytes> bytes;
    for (const IndexRead& read : lookup.reads()) {
      ASSERT_EQ(read.offset % 8, 0u);
      bytes.push_back(regions[read.line].subspan(read.offset, read.bytes));
    }
    lookup.arrived(bytes, times);
  }
}

class IndexReaderTest : public testing::TestWithParam<IndexKind> {
 protected:
  LookupState look(std::uint64_t key, ReadLevel level = ReadLevel::lease) {
    IndexLookup lookup = lookup_of(table_, hints_, key, level);
    finish(lookup, {table_.region()});
    round_trips_ = lookup.round_trips();
    value_.reset();
    if (lookup.state() == LookupState::found) value_ = number_in(table_, lookup, key);
    return lookup.state();
  }

  Table table_{sizes_of(GetParam())};
  IndexHints hints_{table_.geometry()};
  std::uint32_t round_trips_ = 0;
  std::optional<std::uint64_t> value_;
};

TEST_P(IndexReaderTest, FindsEverythingInOneRoundTripOrTwo) {
  for (std::uint64_t key = 0; key < 200; ++key) table_.apply(table_.put_command(key, key));
  for (std::uint64_t key = 0; key < 200; ++key) look(key);  // warms the hints up
  for (std::uint64_t key = 0; key < 200; ++key) {
    ASSERT_EQ(look(key), LookupState::found) << key;
    EXPECT_EQ(value_, key);
    EXPECT_EQ(round_trips_, table_.is_homes() ? 1u : 2u) << key;
  }
  EXPECT_EQ(look(1'000), LookupState::absent);
}

TEST_P(IndexReaderTest, AReaderMayBeginWithAWholeDirectory) {
  for (std::uint64_t key = 0; key < 200; ++key) table_.apply(table_.put_command(key, key));
  const std::uint32_t depth = table_.index().statistics().depth;
  hints_.learn_all(depth, base::Bytes(table_.region())
                              .subspan(IndexGeometry::directory_word_at(depth, 0), 4u << depth));
  for (std::uint64_t key = 0; key < 200; ++key) {
    ASSERT_EQ(look(key), LookupState::found) << key;
    EXPECT_EQ(round_trips_, table_.is_homes() ? 1u : 2u) << key;
  }
}

TEST_P(IndexReaderTest, LooksIntoTheSecondBucketOnlyForWhatIsNotInTheFirst) {
  for (std::uint64_t key = 0; key < 200; ++key) table_.apply(table_.put_command(key, key));
  const std::uint32_t depth = table_.index().statistics().depth;
  hints_.learn_all(depth, base::Bytes(table_.region())
                              .subspan(IndexGeometry::directory_word_at(depth, 0), 4u << depth));
  std::array<int, 3> keys_of_rounds{};
  for (std::uint64_t key = 0; key < 200; ++key) {
    IndexLookup lookup =
        lookup_of(table_, hints_, key, ReadLevel::lease, {}, 1, Candidates::in_turn);
    EXPECT_EQ(lookup.reads().size(), 1u);
    finish(lookup, {table_.region()});
    ASSERT_EQ(lookup.state(), LookupState::found) << key;
    EXPECT_EQ(number_in(table_, lookup, key), key);
    const std::uint32_t rounds = lookup.round_trips() - (table_.is_homes() ? 0 : 1);
    ASSERT_LE(rounds, 2u) << key;
    ++keys_of_rounds[rounds];
  }
  EXPECT_GT(keys_of_rounds[1], 0);
  EXPECT_GT(keys_of_rounds[2], 0);
  IndexLookup lookup =
      lookup_of(table_, hints_, 1'000, ReadLevel::lease, {}, 1, Candidates::in_turn);
  finish(lookup, {table_.region()});
  EXPECT_EQ(lookup.state(), LookupState::absent);
  EXPECT_EQ(lookup.round_trips(), 2u);
}

// X6.
TEST_P(IndexReaderTest, AHintNeverSaysAbsent) {
  table_.apply(table_.put_command(1, 10));
  EXPECT_EQ(look(1, ReadLevel::hint), LookupState::found);
  EXPECT_EQ(look(2, ReadLevel::hint), LookupState::ask);
  const IndexHooks planted("cluster.hint_says_absent");
  EXPECT_EQ(look(2, ReadLevel::hint), LookupState::absent);
}

// X3.
TEST_P(IndexReaderTest, ALeaseHasToCoverTheEndOfTheRead) {
  table_.apply(table_.put_command(1, 10));
  const auto state_at = [&](std::uint64_t completed_ns) {
    IndexLookup lookup = lookup_of(table_, hints_, 1, ReadLevel::lease);
    finish(lookup, {table_.region()},
           {.issued_ns = 5, .completed_ns = completed_ns, .lease_until_ns = 20});
    return lookup.state();
  };
  EXPECT_EQ(state_at(19), LookupState::found);
  EXPECT_EQ(state_at(20), LookupState::ask);
  const IndexHooks planted("cluster.lease_looked_at_before");
  EXPECT_EQ(state_at(20), LookupState::found);
}

TEST_P(IndexReaderTest, AnotherEpochIsNoAnswer) {
  table_.apply(table_.put_command(1, 10));
  table_.apply(IndexCommand::restamp(2));
  EXPECT_EQ(look(1), LookupState::wrong_epoch);
  IndexLookup lookup = lookup_of(table_, hints_, 1, ReadLevel::lease, {}, 2);
  finish(lookup, {table_.region()});
  EXPECT_EQ(lookup.state(), LookupState::found);
}

TEST_P(IndexReaderTest, AReadThatFailsIsAskedByMessage) {
  IndexLookup lookup = lookup_of(table_, hints_, 1, ReadLevel::lease);
  const std::vector<base::Bytes> nothing(lookup.reads().size());
  EXPECT_EQ(lookup.arrived(nothing), LookupState::ask);
}

// Bytes that are no table: it comes to an end, and claims nothing.
TEST_P(IndexReaderTest, AnyBytesEndInAMessage) {
  table_.apply(table_.put_command(1, 10));
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    base::Random random(seed);
    IndexHints hints(table_.geometry());
    IndexLookup lookup = lookup_of(table_, hints, 1, ReadLevel::lease);
    while (lookup.state() == LookupState::reading) {
      std::vector<std::vector<std::byte>> buffers;
      for (const IndexRead& read : lookup.reads()) {
        ASSERT_LE(read.offset + read.bytes, table_.region().size());
        buffers.emplace_back(read.bytes);
        const bool is_small = random.chance(1, 2);
        for (std::byte& b : buffers.back()) {
          b = static_cast<std::byte>(is_small ? random.below(2) : random());
        }
      }
      const std::vector<base::Bytes> bytes(buffers.begin(), buffers.end());
      lookup.arrived(bytes, {.completed_ns = 1, .lease_until_ns = 2});
    }
    ASSERT_EQ(lookup.state(), LookupState::ask) << seed;
  }
}

// X5: whatever old directory a reader has, it gets there, in no more hops than the directory has
// bits.
TEST_P(IndexReaderTest, AnyOldDirectoryLeadsThere) {
  base::Random random(5);
  std::vector<IndexHints> old{hints_};
  Model model;
  for (int i = 0; i < 1'500; ++i) {
    const std::uint64_t key = random.below(250);
    if (random.chance(i / 250 % 2 == 0 ? 1 : 4, 5)) {
      table_.apply(table_.erase_command(key));
      model.erase(key);
    } else if (table_.apply(table_.put_command(key, 7)) != IndexOutcome::no_space) {
      model[key] = 7;
    }
    if (random.chance(1, 20)) table_.apply(IndexCommand::release(table_.last()));
    if (i % 100 == 0) {
      look(key);
      const std::uint32_t depth = table_.index().statistics().depth;
      IndexHints now(table_.geometry());
      now.learn_all(depth, base::Bytes(table_.region())
                               .subspan(IndexGeometry::directory_word_at(depth, 0), 4u << depth));
      old.push_back(now);
    }
    if (i % 10 != 0) continue;
    for (const IndexHints& hints : old) {
      const std::uint64_t asked = random.below(250);
      IndexHints copy = hints;
      IndexLookup lookup = lookup_of(table_, copy, asked, ReadLevel::lease);
      finish(lookup, {table_.region()});
      ASSERT_EQ(lookup.state(), model.contains(asked) ? LookupState::found : LookupState::absent);
      EXPECT_LE(lookup.round_trips(), table_.geometry().depth_max + 2u);
    }
  }
}

/// Looks for keys that nobody touches while a table shrinks and grows; the first read of each
/// candidate is from before that or from after. Whether all are found.
bool finds_what_stays(IndexKind kind, std::uint64_t seed) {
  base::Random random(seed);
  Table table(sizes_of(kind));
  constexpr std::uint64_t kStay = 3;
  constexpr std::uint64_t kOthers = 100;
  const auto stay = [&] {
    for (std::uint64_t key = 0; key < kStay; ++key) table.apply(table.put_command(key, key));
  };
  for (int turn = 0; turn < 40; ++turn) {
    const std::uint64_t first = kStay + random.below(100'000);
    const std::uint64_t others = random.below(kOthers);
    for (std::uint64_t key = first; key < first + others; ++key) {
      table.apply(table.put_command(key, key));
      if (key == first + others / 2) stay();  // in a table that has grown they are anywhere
    }
    if (others < 2) stay();
    std::vector<IndexHints> hints(kStay, IndexHints(table.geometry()));
    for (std::uint64_t key = 0; key < kStay; ++key) {
      IndexLookup lookup = lookup_of(table, hints[key], key, ReadLevel::lease);
      finish(lookup, {table.region()});
    }
    const std::vector<std::byte> before(table.region().begin(), table.region().end());
    for (std::uint64_t key = first; key < first + others; ++key) {
      table.apply(table.erase_command(key));
    }
    for (std::uint64_t key = 0; key < kStay; ++key) {
      IndexLookup lookup = lookup_of(table, hints[key], key, ReadLevel::lease);
      std::vector<base::Bytes> bytes;
      for (const IndexRead& read : lookup.reads()) {
        const base::Bytes from = random.chance(1, 2) ? base::Bytes(before) : table.region();
        bytes.push_back(from.subspan(read.offset, read.bytes));
      }
      lookup.arrived(bytes, {.completed_ns = 1, .lease_until_ns = 2});
      finish(lookup, {table.region()});
      if (lookup.state() != LookupState::found) return false;
    }
    for (std::uint64_t key = 0; key < kStay; ++key) table.apply(table.erase_command(key));
    table.apply(IndexCommand::release(table.last()));
  }
  return true;
}

TEST_P(IndexReaderTest, FindsWhatStaysWhereverItsBucketsGo) {
  for (std::uint64_t seed = 1; seed <= (base::kSanitized ? 3 : 50); ++seed) {
    ASSERT_TRUE(finds_what_stays(GetParam(), seed)) << seed;
  }
}

TEST_P(IndexReaderTest, AnEpochCountsAsLongAsNobodyOfAMajorityPromisedAnother) {
  for (std::uint64_t key = 0; key < 150; ++key) table_.apply(table_.put_command(key, key));
  using Line = std::array<std::uint64_t, 8>;
  std::array<Line, 2> lines{Line{5, 3}, Line{4, 1}};  // the second heard of no leader yet
  const LedEpoch led{.epoch = 5, .configured = 3, .lines = 2};
  const auto look = [&](std::uint64_t key) {
    IndexLookup lookup = lookup_of(table_, hints_, key, ReadLevel::epoch, led);
    finish(lookup, {table_.region(), std::as_bytes(std::span(lines[0])),
                    std::as_bytes(std::span(lines[1]))});
    return lookup.state();
  };
  for (std::uint64_t key = 0; key < 150; ++key) ASSERT_EQ(look(key), LookupState::found);
  EXPECT_EQ(look(999), LookupState::absent);
  const auto look_with = [&](std::size_t line, std::size_t word, std::uint64_t value) {
    const auto former = std::exchange(lines[line][word], value);
    const LookupState state = look(1);
    lines[line][word] = former;
    return state;
  };
  EXPECT_EQ(look_with(1, 0, 5), LookupState::found);
  EXPECT_EQ(look_with(1, 1, 9), LookupState::found) << "its log is not the leader's";
  EXPECT_EQ(look_with(1, 0, 6), LookupState::deposed);
  EXPECT_EQ(look_with(0, 0, 6), LookupState::deposed);
  EXPECT_EQ(look_with(0, 0, 4), LookupState::deposed) << "that is no line of a leader of 5";
  EXPECT_EQ(look_with(0, 1, 7), LookupState::deposed) << "others count by now";
  IndexLookup lookup = lookup_of(table_, hints_, 1, ReadLevel::epoch, led);
  EXPECT_EQ(lookup.arrived(std::vector<base::Bytes>(lookup.reads().size())), LookupState::deposed)
      << "reads that fail";
}

// Between the read of its slot and its own, a record's place is given to another one.
TEST(IndexReader, ARecordThatIsAnotherOneByNowIsNotBelieved) {
  const auto look = [] {
    Table table(sizes_of(IndexKind::records));
    IndexHints hints(table.geometry());
    table.apply(table.put_command(1, 0));
    IndexLookup warm = lookup_of(table, hints, 1, ReadLevel::lease);
    finish(warm, {table.region()});
    IndexLookup lookup = lookup_of(table, hints, 1, ReadLevel::lease);
    std::vector<base::Bytes> bytes;
    for (const IndexRead& read : lookup.reads()) {
      bytes.push_back(base::Bytes(table.region()).subspan(read.offset, read.bytes));
    }
    lookup.arrived(bytes, {.completed_ns = 1, .lease_until_ns = 2});
    table.apply(table.erase_command(1));
    table.apply(IndexCommand::release(table.last()));
    table.apply(table.put_command(4, 5));  // of the same length
    finish(lookup, {table.region()});
    return lookup.state();
  };
  EXPECT_EQ(look(), LookupState::absent);
  const IndexHooks planted("cluster.record_unmatched");
  EXPECT_EQ(look(), LookupState::found);  // and it is the other key's value
}

class IndexPlacesTest : public testing::Test {
 protected:
  IndexPlacesTest() {
    hints_.places().remember(16);
    table_.apply(table_.put_command(1, 10));
  }
  LookupState look(std::uint64_t key) {
    IndexLookup lookup = lookup_of(table_, hints_, key, ReadLevel::lease);
    finish(lookup, {table_.region()});
    round_trips_ = lookup.round_trips();
    value_ = lookup.state() == LookupState::found ? number_in(table_, lookup, key) : std::nullopt;
    return lookup.state();
  }

  Table table_{sizes_of(IndexKind::records)};
  IndexHints hints_{table_.geometry()};
  std::uint32_t round_trips_ = 0;
  std::optional<std::uint64_t> value_;
};

TEST_F(IndexPlacesTest, ARecordIsReadWithItsBucketWhereItWas) {
  look(1);
  ASSERT_EQ(look(1), LookupState::found);
  EXPECT_EQ(round_trips_, 1u);
  EXPECT_EQ(value_, 10u);
  const IndexLookup next = lookup_of(table_, hints_, 1, ReadLevel::lease);
  EXPECT_EQ(next.reads().size(), 2u) << "one bucket, and the record";
  table_.apply(table_.put_command(1, 11));
  ASSERT_EQ(look(1), LookupState::found);
  EXPECT_EQ(round_trips_, 2u);
  EXPECT_EQ(value_, 11u);
  look(1);
  EXPECT_EQ(round_trips_, 1u);
  table_.apply(table_.erase_command(1));
  EXPECT_EQ(look(1), LookupState::absent);
  EXPECT_EQ(look(1), LookupState::absent);
  EXPECT_EQ(round_trips_, 1u) << "both buckets at once, as of a key that is not known";
}

TEST_F(IndexPlacesTest, EachKeyIsFoundInOneRoundByWhicheverPositionItIsThere) {
  for (std::uint64_t key = 0; key < 150; ++key) table_.apply(table_.put_command(key, key));
  hints_.places().remember(std::size_t{1} << 16);
  for (std::uint64_t key = 0; key < 150; ++key) look(key);
  std::uint64_t in_one_round = 0;
  for (std::uint64_t key = 0; key < 150; ++key) {
    ASSERT_EQ(look(key), LookupState::found) << key;
    ASSERT_EQ(value_, key);
    if (round_trips_ == 1) ++in_one_round;
  }
  EXPECT_GE(in_one_round, 148u) << "but for keys that have one row together";
}

TEST_F(IndexPlacesTest, ALookUpInTheMemoryOfAnotherOneKnowsNothingOfIt) {
  table_.apply(table_.put_command(2, 20));
  IndexLookup lookup = lookup_of(table_, hints_, 1, ReadLevel::lease);
  const auto again = [&](std::uint64_t key) {
    const std::string text = text_of(key);
    lookup.start(table_.geometry(), 1, hints_, base::as_bytes(text), ReadLevel::lease, {},
                 Candidates::together);
    finish(lookup, {table_.region()});
    return lookup.state();
  };
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(again(1), LookupState::found);
    EXPECT_EQ(number_in(table_, lookup, 1), 10u);
    static_cast<void>(lookup.take_value());
    EXPECT_EQ(again(3), LookupState::absent);
    ASSERT_EQ(again(2), LookupState::found);
    EXPECT_EQ(number_in(table_, lookup, 2), 20u);
    EXPECT_EQ(lookup.round_trips(), i == 0 ? 2u : 1u);
  }
}

TEST(IndexPlaces, KeysThatAreAskedForStayAmongManyThatAreNot) {
  IndexPlaces places;
  places.remember(4096);
  const auto is_recalled = [&](std::uint64_t number) {
    const ObjectId key = hash_of_key(base::as_bytes(text_of(number)), 1);
    const auto place = places.recall(key);
    if (!place) {
      places.learn(key, {.record = {.granule = static_cast<std::uint32_t>(number)}}, places.copy());
    } else {
      EXPECT_EQ(place->record.granule, number);
    }
    return place.has_value();
  };
  for (std::uint64_t key = 0; key < 10'000; ++key) is_recalled(key);
  std::size_t recalled = 0;
  for (int round = 0; round < 5; ++round) {
    recalled = 0;
    for (std::uint64_t key = 0; key < 1000; ++key) recalled += is_recalled(key) ? 1 : 0;
  }
  EXPECT_GE(recalled, 970u) << "with one row for each key about 790 would be";
}

TEST_F(IndexPlacesTest, NothingIsRememberedOfAnotherCopyNorOfWhatIsLong) {
  IndexLookup before = lookup_of(table_, hints_, 1, ReadLevel::lease);
  hints_.places().remember(16);
  finish(before, {table_.region()});
  ASSERT_EQ(before.state(), LookupState::found);
  look(1);
  EXPECT_EQ(round_trips_, 2u);
  const std::string text(IndexPlaces::kRecordBytesMax, 'x');
  table_.apply(IndexCommand::put(base::as_bytes(text_of(1)), base::as_bytes(text)));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(look(1), LookupState::found);
    EXPECT_EQ(round_trips_, 2u);
  }
}

/// The record is read where it was, and then, before its bucket is read, another one of the same
/// key and length comes to be there.
std::optional<std::uint64_t> found_when_the_place_is_used_again(std::string_view bug) {
  Table table(sizes_of(IndexKind::records));
  IndexHints hints(table.geometry());
  hints.places().remember(16);
  table.apply(table.put_command(1, 10));
  IndexLookup warm = lookup_of(table, hints, 1, ReadLevel::lease);
  finish(warm, {table.region()});
  table.apply(table.put_command(1, 11));  // acknowledged before the look-up begins
  IndexLookup lookup = lookup_of(table, hints, 1, ReadLevel::lease);
  EXPECT_EQ(lookup.reads().size(), 2u);
  const std::vector<std::byte> before(table.region().begin(), table.region().end());
  table.apply(IndexCommand::release(table.last()));
  table.apply(table.put_command(1, 15));
  const auto at = [&](const IndexRead& read, base::Bytes region) {
    return region.subspan(read.offset, read.bytes);
  };
  const std::vector<base::Bytes> bytes{at(lookup.reads()[0], table.region()),
                                       at(lookup.reads()[1], before)};
  const IndexHooks planted(bug);
  lookup.arrived(bytes, {.completed_ns = 1, .lease_until_ns = 2});
  finish(lookup, {table.region()});
  return number_in(table, lookup, 1);
}

TEST_F(IndexPlacesTest, APlaceCountsWithItsGenerationAlone) {
  EXPECT_EQ(found_when_the_place_is_used_again({}), 15u);
  EXPECT_EQ(found_when_the_place_is_used_again("cluster.recalled_any_generation"), 10u);
}

// Readers in between all stores, who copy words or cache lines in any order.
TEST_P(IndexReaderTest, NothingTornOrRecycledIsBelieved) {
  const std::uint64_t seeds = base::budget("index_torn_seeds");
  TornReport sum;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const ReadLevel level = seed % 4 == 0 ? ReadLevel::hint : ReadLevel::lease;
    const TornReport report = TornCampaign(GetParam(), seed, level).run({});
    ASSERT_FALSE(report.is_wrong) << "seed " << seed << " key " << report.wrong_key;
    if (level == ReadLevel::hint) {
      ASSERT_EQ(report.absent, 0u);
      continue;
    }
    sum.found += report.found;
    sum.absent += report.absent;
    sum.asked += report.asked;
    sum.in_one_round += report.in_one_round;
  }
  std::printf("%lu found, %lu absent, %lu asked by message\n", sum.found, sum.absent, sum.asked);
  base::say_bound("index_torn_seeds", seeds);
  EXPECT_GT(sum.found, 1'000u);
  EXPECT_GT(sum.absent, 1'000u);
  EXPECT_GT(sum.in_one_round, 1'000u);
  EXPECT_LT(sum.asked * 4, sum.found + sum.absent);
}

/// After how many seeds that bug is seen; 0: it is not.
std::uint64_t seen_after(IndexKind kind, std::string_view bug, std::uint64_t seeds) {
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    if (TornCampaign(kind, seed, ReadLevel::lease).run(bug).is_wrong) {
      std::printf("%s: seen after %lu seeds\n", std::string(bug).c_str(), seed);
      return seed;
    }
  }
  return 0;
}

class IndexReaderBugs : public testing::Test {
 protected:
  void SetUp() override {
    if (base::kSanitized) GTEST_SKIP() << "the release build looks for planted bugs";
  }
};

TEST_F(IndexReaderBugs, ABucketWithoutAChecksumIsSeen) {
  EXPECT_NE(seen_after(IndexKind::homes, "cluster.bucket_unchecked", 100), 0u);
}
TEST_F(IndexReaderBugs, ADirectoryThatIsFlippedBeforeTheCopyIsSeen) {
  EXPECT_NE(seen_after(IndexKind::homes, "cluster.split_flips_first", 100), 0u);
}
TEST_F(IndexReaderBugs, AMergeThatClaimsBeforeItHasIsSeen) {
  EXPECT_NE(seen_after(IndexKind::homes, "cluster.merge_claims_first", 100), 0u);
}
TEST_F(IndexReaderBugs, ABucketThatSpeaksForEverybodyIsSeen) {
  EXPECT_NE(seen_after(IndexKind::homes, "cluster.prefix_unchecked", 100), 0u);
}
TEST_F(IndexReaderBugs, ARecordThatCameWithItsBucketAndIsNotComparedIsSeen) {
  EXPECT_NE(seen_after(IndexKind::records, "cluster.recalled_any_place", 100), 0u);
}
TEST_F(IndexReaderBugs, ABucketThatIsLookedAtOnceForBothCandidatesIsSeen) {
  const IndexHooks planted("cluster.second_look_skipped");
  bool is_seen = false;
  for (std::uint64_t seed = 1; seed <= 200 && !is_seen; ++seed) {
    is_seen = !finds_what_stays(IndexKind::homes, seed);
  }
  EXPECT_TRUE(is_seen);
}

INSTANTIATE_TEST_SUITE_P(Both, IndexReaderTest,
                         testing::Values(IndexKind::homes, IndexKind::records),
                         [](const auto& info) {
                           return info.param == IndexKind::homes ? "Homes" : "Records";
                         });

}  // namespace
}  // namespace dolmen::cluster
