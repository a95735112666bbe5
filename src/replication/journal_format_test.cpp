// SPDX-License-Identifier: Apache-2.0
#include "replication/journal_format.hpp"

#include <algorithm>
#include <span>
#include <string_view>

#include <gtest/gtest.h>

#include "base/checksum.hpp"
#include "replication/journal_fixture.hpp"
#include "sim/log_checks.hpp"
#include "store/golden_file.hpp"

namespace dolmen::replication {
namespace {

constexpr GroupId kGroup{7, 1};
constexpr log::ReplicaId kSelf{11};

std::vector<std::byte> payload(std::string_view text) {
  const base::Bytes bytes = base::as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

log::Configuration first() {
  return {.voters = {log::ReplicaId{1}, log::ReplicaId{2}, log::ReplicaId{5}},
          .learners = {log::ReplicaId{7}}};
}

log::SnapshotPtr snapshot(log::Position last = {.origin = 4, .index = 70}) {
  const log::SnapshotPlace place{
      .last = last, .configured_at = 30, .settled_at = 33, .configuration = first()};
  return log::Snapshot::make(place, base::as_bytes("what the machine remembers")).value();
}

std::vector<log::Record> records() {
  const log::Configuration next{.voters = {log::ReplicaId{1}, log::ReplicaId{2}}};
  return {{.epoch = 5, .granted_to = log::ReplicaId{2}},
          {.snapshot = snapshot()},
          {.entry = log::Entry{.origin = 5, .index = 71, .kind = log::EntryKind::opening}},
          {.entry = log::Entry{.origin = 5, .index = 72, .payload = payload("lock the door")}},
          {.entry = log::Entry{.origin = 5,
                               .index = 73,
                               .kind = log::EntryKind::configuration,
                               .payload = encode(next)}},
          {.entry = log::Entry{.origin = 5, .index = 74, .kind = log::EntryKind::settled}}};
}

Hosted hosted() {
  return {.self = kSelf,
          .first = first(),
          .state = {.epoch = 5,
                    .granted_to = log::ReplicaId{2},
                    .snapshot = snapshot(),
                    .base = {.origin = 3, .index = 68},
                    .entries = {{.origin = 4, .index = 69, .payload = payload("open it")},
                                {.origin = 4, .index = 70},
                                {.origin = 5, .index = 71, .kind = log::EntryKind::opening},
                                {.origin = 5, .index = 72, .payload = payload("lock the door")}}}};
}

const std::vector<GroupId> kGroups = {kGroup, {3, 2}};

bool equal(const log::Record& a, const log::Record& b) {
  const bool same_snapshot =
      a.snapshot == b.snapshot ||
      (a.snapshot && b.snapshot && std::ranges::equal(a.snapshot->bytes(), b.snapshot->bytes()));
  return a.epoch == b.epoch && a.granted_to == b.granted_to && a.entry == b.entry && same_snapshot;
}

template <class T>
Errc code_of(const Result<T>& result) {
  return result ? Errc{} : result.error().code();
}
Errc batch_error(base::Bytes bytes) { return code_of(decode_batch(bytes)); }
Errc hosted_error(base::Bytes bytes) { return code_of(decode_hosted(bytes, snapshot())); }
Errc catalog_error(base::Bytes bytes) { return code_of(decode_catalog(bytes)); }

struct Change {
  const char* what;
  std::size_t offset;
  std::uint64_t value;
  std::size_t bytes;
  Errc expected = Errc::corrupt;
};

void expect_refused(const std::vector<std::byte>& right, std::span<const Change> changes,
                    Errc (*error_of)(base::Bytes)) {
  ASSERT_EQ(error_of(right), Errc{});
  for (const Change& change : changes) {
    std::vector<std::byte> changed = right;
    ASSERT_LE(change.offset + change.bytes, changed.size()) << change.what;
    for (std::size_t i = 0; i < change.bytes; ++i) {
      changed[change.offset + i] = static_cast<std::byte>(change.value >> (8 * i));
    }
    EXPECT_EQ(error_of(changed), change.expected) << change.what;
  }
}

TEST(JournalFormat, RecordsComeBackAsTheyWere) {
  const auto batch = decode_batch(encode_records(kGroup, records()));
  ASSERT_TRUE(batch) << batch.error().message();
  EXPECT_EQ(batch->group, kGroup);
  EXPECT_EQ(batch->self, log::ReplicaId{});
  EXPECT_TRUE(std::ranges::equal(batch->records, records(), equal));
}

TEST(JournalFormat, ANewReplicaComesBackAsItWas) {
  const auto batch = decode_batch(encode_new_replica(kGroup, kSelf, first()));
  ASSERT_TRUE(batch) << batch.error().message();
  EXPECT_EQ(batch->group, kGroup);
  EXPECT_EQ(batch->self, kSelf);
  EXPECT_EQ(batch->first, first());
  EXPECT_TRUE(batch->records.empty());
}

TEST(JournalFormat, AReplicaComesBackAsItWas) {
  const auto again = decode_hosted(encode_hosted(hosted()), snapshot());
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->self, kSelf);
  EXPECT_EQ(again->first, first());
  EXPECT_EQ(again->state.epoch, 5u);
  EXPECT_EQ(again->state.granted_to, log::ReplicaId{2});
  EXPECT_EQ(again->state.base, hosted().state.base);
  EXPECT_EQ(again->state.entries, hosted().state.entries);
  ASSERT_TRUE(again->state.snapshot);
  EXPECT_EQ(again->state.snapshot->last(), snapshot()->last());
  const auto groups = decode_catalog(encode_catalog(kGroups));
  ASSERT_TRUE(groups);
  EXPECT_EQ(*groups, kGroups);
}

// Whatever a replica makes: decoded, it encodes to the same bytes, and it can be applied.
TEST(JournalFormat, WhatReplicasMakeComesBackAsItWas) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    RecordMaker maker(kSelf, seed);
    Hosted found = maker.hosted();
    for (int step = 0; step < 40; ++step) {
      const auto bytes = encode_records(kGroup, maker.next());
      const auto batch = decode_batch(bytes);
      ASSERT_TRUE(batch) << batch.error().message();
      EXPECT_EQ(encode_records(kGroup, batch->records), bytes);
      for (const log::Record& record : batch->records) ASSERT_TRUE(apply(found.state, record));
      ASSERT_TRUE(sim::means(found.state, maker.hosted().state)) << "seed " << seed;
      if (step % 8 != 7) continue;
      maker.compact();
      const auto kept = encode_hosted(maker.hosted());
      auto again = decode_hosted(kept, maker.hosted().state.snapshot);
      ASSERT_TRUE(again) << again.error().message();
      EXPECT_EQ(encode_hosted(*again), kept);
      found = std::move(*again);
    }
  }
}

TEST(JournalFormat, AreTheGoldenFiles) {
  EXPECT_EQ(encode_records(kGroup, records()), store::read_golden("journal_records_v2.bin"));
  EXPECT_EQ(encode_new_replica(kGroup, kSelf, first()),
            store::read_golden("journal_new_replica_v2.bin"));
  EXPECT_EQ(encode_hosted(hosted()), store::read_golden("journal_replica_v2.bin"));
  EXPECT_EQ(encode_catalog(kGroups), store::read_golden("journal_catalog_v2.bin"));
}

// Where a record ends, what is before it is a shorter batch: the store keeps it whole.
TEST(JournalFormat, IsRefusedWhenCutWithinARecord) {
  const auto expect_whole = [](const std::vector<std::byte>& bytes,
                               const std::vector<std::size_t>& ends, auto error_of) {
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      const bool is_end = std::ranges::find(ends, length) != ends.end();
      EXPECT_EQ(error_of(base::Bytes(bytes).first(length)), is_end ? Errc{} : Errc::corrupt)
          << length;
    }
  };
  std::vector<std::size_t> ends;
  for (std::size_t count = 1; count < records().size(); ++count) {
    auto fewer = records();
    fewer.resize(count);
    ends.push_back(encode_records(kGroup, fewer).size());
  }
  expect_whole(encode_records(kGroup, records()), ends, batch_error);
  expect_whole(encode_new_replica(kGroup, kSelf, first()), {}, batch_error);
  ends.clear();
  for (std::size_t count = 2; count < hosted().state.entries.size(); ++count) {
    Hosted fewer = hosted();
    fewer.state.entries.resize(count);
    ends.push_back(encode_hosted(fewer).size());
  }
  expect_whole(encode_hosted(hosted()), ends, hosted_error);
  expect_whole(encode_catalog(kGroups), {8, 24}, catalog_error);
}

TEST(JournalFormat, RecordsAreRefusedWhenTheirFieldsAreImpossible) {
  const std::vector<std::byte> bytes = encode_records(kGroup, records());
  const std::size_t snapshot_part = 24 + 24;
  const std::size_t opening = snapshot_part + 8 + snapshot()->bytes().size();
  const std::size_t command = opening + 24;
  const std::size_t configuration = command + 24 + 13;
  const Change changes[] = {
      {"a newer version", 0, 3, 2, Errc::version_unsupported},
      {"an older one, whose commands say not whose they are", 0, 1, 2, Errc::version_unsupported},
      {"a spare field", 2, 1, 2},
      {"a spare field", 4, 1, 4},
      {"no record", 24, 0, 1},
      {"an unknown record", 24, 5, 1},
      {"a new replica among records", opening, 4, 1},
      {"an epoch with a kind", 25, 1, 1},
      {"a spare field of a record", 26, 1, 2},
      {"an epoch of another length", 28, 15, 4},
      {"no epoch", 32, 0, 8},
      {"an epoch that has no next", 32, ~std::uint64_t{0}, 8},
      {"a snapshot with a kind", snapshot_part + 1, 1, 1},
      {"a snapshot that is none", snapshot_part + 8, 0, 1},
      {"a record longer than the batch", snapshot_part + 4, 0xFFFFFFFF, 4},
      {"an entry of no kind", command + 1, 0, 1},
      {"an entry of an unknown kind", command + 1, 5, 1},
      {"an opening with a payload", command + 1, 2, 1},
      {"a configuration that is none", command + 1, 3, 1},
      {"a settled with a payload", command + 1, 4, 1},
      {"an entry shorter than its head", opening + 4, 15, 4},
      {"no origin", command + 8, 0, 8},
      {"an origin that is no epoch", command + 8, ~std::uint64_t{0}, 8},
      {"no index", command + 16, 0, 8},
      {"an index that has no next", command + 16, ~std::uint64_t{0}, 8},
      {"a configuration without voters", configuration + 24, 0, 4},
  };
  expect_refused(bytes, changes, batch_error);
  EXPECT_EQ(batch_error(encode_records({}, records())), Errc::corrupt);
  EXPECT_EQ(batch_error(encode_records(kGroup, {})), Errc::corrupt);
  const log::Entry large{
      .origin = 1, .index = 1, .payload = std::vector<std::byte>(log::kPayloadBytesMax + 1)};
  EXPECT_EQ(batch_error(encode_records(kGroup, {{.entry = large}})), Errc::corrupt);
}

TEST(JournalFormat, ANewReplicaIsRefusedWhenItsFieldsAreImpossible) {
  const Change changes[] = {
      {"a newer version", 0, 3, 2, Errc::version_unsupported},
      {"an older one, whose commands say not whose they are", 0, 1, 2, Errc::version_unsupported},
      {"a kind", 25, 1, 1},
      {"a spare field", 26, 1, 2},
      {"a length beyond the end", 28, 0xFFFFFFFF, 4},
      {"a length before the end", 28, 8, 4},
      {"no id", 32, 0, 8},
      {"a configuration longer than the whole", 40, 0xFFFFFFFF, 4},
      {"a configuration cut short", 40, 32, 4},
      {"a spare field", 44, 1, 4},
      {"no voters", 48, 0, 4},
  };
  expect_refused(encode_new_replica(kGroup, kSelf, first()), changes, batch_error);
  std::vector<std::byte> with_record = encode_new_replica(kGroup, kSelf, first());
  const auto more = encode_records(kGroup, {{.epoch = 1}});
  with_record.insert(with_record.end(), more.begin() + 24, more.end());
  EXPECT_EQ(batch_error(with_record), Errc::corrupt);
}

TEST(JournalFormat, AReplicaIsRefusedWhenItsFieldsAreImpossible) {
  const std::size_t entries = 64 + encode(first()).size();
  const Change changes[] = {
      {"a newer version", 0, 3, 2, Errc::version_unsupported},
      {"an older one, whose commands say not whose they are", 0, 1, 2, Errc::version_unsupported},
      {"a spare field", 2, 1, 2},
      {"a spare field", 4, 1, 4},
      {"no id", 8, 0, 8},
      {"an epoch that has no next", 16, ~std::uint64_t{0}, 8},
      {"an epoch before its entries", 16, 4, 8},
      {"an epoch before its snapshot", 16, 3, 8},
      {"entries of a fallen origin", 32, 5, 8},
      {"a beginning without an origin", 32, 0, 8},
      {"the very beginning with an origin", 40, 0, 8},
      {"entries that do not follow on the beginning", 40, 67, 8},
      {"a beginning behind the snapshot", 40, 71, 8},
      {"another snapshot", 48, 69, 8},
      {"no snapshot, and one is there", 48, 0, 8},
      {"a configuration longer than the whole", 56, 0xFFFFFFFF, 4},
      {"a spare field", 60, 1, 4},
      {"no voters", 64, 0, 4},
      {"a record that is no entry", entries, 1, 1},
      {"an entry that is not the next", entries + 16, 70, 8},
      {"a log that contradicts the snapshot", entries + 31 + 8, 3, 8},
  };
  expect_refused(encode_hosted(hosted()), changes, hosted_error);
  EXPECT_EQ(code_of(decode_hosted(encode_hosted(hosted()), nullptr)), Errc::corrupt);
  Hosted short_of_snapshot = hosted();
  short_of_snapshot.state.entries.resize(1);
  EXPECT_EQ(hosted_error(encode_hosted(short_of_snapshot)), Errc::corrupt);
  Hosted at_snapshot = hosted();
  at_snapshot.state.base = snapshot()->last();
  at_snapshot.state.entries.erase(at_snapshot.state.entries.begin(),
                                  at_snapshot.state.entries.begin() + 2);
  EXPECT_EQ(hosted_error(encode_hosted(at_snapshot)), Errc{});
  at_snapshot.state.base.origin = 3;
  EXPECT_EQ(hosted_error(encode_hosted(at_snapshot)), Errc::corrupt);
  const Hosted never_granted{.self = kSelf, .first = first(), .state = {.granted_to = kSelf}};
  EXPECT_EQ(code_of(decode_hosted(encode_hosted(never_granted), nullptr)), Errc::corrupt);
}

TEST(JournalFormat, ACatalogIsRefusedWhenItsFieldsAreImpossible) {
  const Change changes[] = {
      {"a newer version", 0, 3, 2, Errc::version_unsupported},
      {"an older one, whose commands say not whose they are", 0, 1, 2, Errc::version_unsupported},
      {"a spare field", 2, 1, 2},
      {"a spare field", 4, 1, 4}};
  expect_refused(encode_catalog(kGroups), changes, catalog_error);
  EXPECT_EQ(catalog_error(encode_catalog({kGroup, {}})), Errc::corrupt);
  EXPECT_EQ(decode_catalog(encode_catalog({{}, kGroup})), (std::vector<GroupId>{{}, kGroup}));
}

TEST(JournalFormat, ARemovedReplicaComesBackAsItWasAndOtherBytesDoNot) {
  const std::vector<std::byte> bytes = encode_removed_replica(kGroup);
  const auto batch = decode_batch(bytes);
  ASSERT_TRUE(batch);
  EXPECT_TRUE(batch->is_removed && batch->records.empty());
  EXPECT_EQ(batch->group, kGroup);
  for (std::size_t at = 25; at < bytes.size(); ++at) {
    std::vector<std::byte> changed = bytes;
    changed[at] = std::byte{1};
    EXPECT_FALSE(decode_batch(changed)) << at;
  }
}

TEST(JournalFormat, WhatNoReplicaMakesIsNotApplied) {
  const auto error_after = [](const log::Record& record) {
    log::DurableState state = hosted().state;
    const auto applied = apply(state, record);
    if (applied) return Errc{};
    // Nothing changed.
    EXPECT_EQ(encode_hosted({.self = kSelf, .first = first(), .state = state}),
              encode_hosted(hosted()));
    return applied.error().code();
  };
  const auto entry = [](log::Epoch origin, log::Index index) {
    return log::Record{.entry = log::Entry{.origin = origin, .index = index}};
  };
  EXPECT_EQ(error_after(entry(5, 73)), Errc{});
  EXPECT_EQ(error_after(entry(4, 71)), Errc{});  // in place of what was there
  EXPECT_EQ(error_after(entry(5, 74)), Errc::corrupt) << "a gap";
  EXPECT_EQ(error_after(entry(5, ~std::uint64_t{0})), Errc::corrupt) << "a gap";
  EXPECT_EQ(error_after(entry(4, 73)), Errc::corrupt) << "a falling origin";
  EXPECT_EQ(error_after(entry(3, 71)), Errc::corrupt) << "a falling origin";
  EXPECT_EQ(error_after(entry(6, 73)), Errc::corrupt) << "an origin above the epoch";
  EXPECT_EQ(error_after(entry(4, 70)), Errc::corrupt) << "in place of what is decided";
  EXPECT_EQ(error_after(entry(4, 68)), Errc::corrupt) << "before the beginning";

  EXPECT_EQ(error_after({.snapshot = snapshot({.origin = 5, .index = 72})}), Errc{});
  EXPECT_EQ(error_after({.snapshot = snapshot({.origin = 4, .index = 100})}), Errc{});
  EXPECT_EQ(error_after({.snapshot = snapshot()}), Errc::corrupt) << "the snapshot there is";
  EXPECT_EQ(error_after({.snapshot = snapshot({.origin = 4, .index = 69})}), Errc::corrupt);
  EXPECT_EQ(error_after({.snapshot = snapshot({.origin = 3, .index = 71})}), Errc::corrupt);
  EXPECT_EQ(error_after({.snapshot = snapshot({.origin = 6, .index = 100})}), Errc::corrupt);

  EXPECT_EQ(error_after({.epoch = 6}), Errc{});
  EXPECT_EQ(error_after({.epoch = 5, .granted_to = log::ReplicaId{2}}), Errc{});
  EXPECT_EQ(error_after({.epoch = 4}), Errc::corrupt) << "a lower epoch";
  EXPECT_EQ(error_after({.epoch = 5, .granted_to = log::ReplicaId{1}}), Errc::corrupt)
      << "granted to another";
  EXPECT_EQ(error_after({.epoch = 5}), Errc::corrupt) << "a grant taken back";
  log::DurableState state;
  ASSERT_TRUE(apply(state, {.epoch = 1}));
  EXPECT_TRUE(apply(state, {.epoch = 1, .granted_to = kSelf})) << "granted later";
}

}  // namespace
}  // namespace dolmen::replication
