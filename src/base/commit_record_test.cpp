// SPDX-License-Identifier: Apache-2.0
#include "base/commit_record.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace dolmen::base {
namespace {

constexpr ObjectId kA{0x1111111111111111, 0x2222222222222222};
constexpr ObjectId kB{0x3333333333333333, 0x4444444444444444};

struct DecodedRun {
  std::uint32_t offset;
  std::string bytes;
  friend bool operator==(const DecodedRun&, const DecodedRun&) = default;
};
struct DecodedSection {
  ChangeKind kind;
  unsigned capacity_log2;
  ObjectId object;
  std::vector<DecodedRun> runs;
  friend bool operator==(const DecodedSection&, const DecodedSection&) = default;
};

/// All sections, or nothing when the payload is damaged.
std::optional<std::vector<DecodedSection>> decode(Bytes payload) {
  std::vector<DecodedSection> sections;
  CommitRecordReader reader(payload);
  CommitSection section;
  CommitRun run;
  while (reader.next_section(section)) {
    DecodedSection& decoded = sections.emplace_back(
        DecodedSection{section.kind, section.capacity_log2, section.object, {}});
    while (reader.next_run(run)) {
      decoded.runs.push_back(
          {run.offset,
           std::string(reinterpret_cast<const char*>(run.bytes.data()), run.bytes.size())});
    }
  }
  if (reader.failed()) return std::nullopt;
  return sections;
}

std::vector<std::byte> encode(const std::vector<DecodedSection>& sections) {
  CommitRecordWriter writer;
  for (const DecodedSection& section : sections) {
    switch (section.kind) {
      case ChangeKind::write:
        writer.write(section.object);
        for (const DecodedRun& run : section.runs) writer.run(run.offset, as_bytes(run.bytes));
        break;
      case ChangeKind::create:
        writer.create(section.object, section.capacity_log2);
        break;
      case ChangeKind::erase:
        writer.erase(section.object);
        break;
      case ChangeKind::resize:
        writer.resize(section.object, section.capacity_log2);
        break;
    }
  }
  return {writer.bytes().begin(), writer.bytes().end()};
}

std::vector<DecodedSection> random_sections(Random& random) {
  std::vector<DecodedSection> sections;
  for (std::uint64_t count = random.below(6); count > 0; --count) {
    DecodedSection section{
        static_cast<ChangeKind>(random.between(1, 4)), 0, ObjectId{random(), random() | 1}, {}};
    if (section.kind == ChangeKind::create || section.kind == ChangeKind::resize) {
      section.capacity_log2 = static_cast<unsigned>(random.between(9, 30));
    }
    for (std::uint64_t runs = section.kind == ChangeKind::write ? random.below(5) : 0; runs > 0;
         --runs) {
      std::string bytes(random.below(40), '\0');
      for (char& c : bytes) c = static_cast<char>(random());
      section.runs.push_back({static_cast<std::uint32_t>(random.below(1 << 29)), bytes});
    }
    sections.push_back(std::move(section));
  }
  return sections;
}

TEST(CommitRecord, WhatIsWrittenIsReadInOrder) {
  Random random(1);
  for (int round = 0; round < 2000; ++round) {
    const auto sections = random_sections(random);
    const auto payload = encode(sections);
    ASSERT_EQ(payload.size() % 8, 0u);
    const auto decoded = decode(payload);
    ASSERT_TRUE(decoded);
    ASSERT_EQ(*decoded, sections);
  }
}

TEST(CommitRecord, AnEmptyPayloadChangesNothing) {
  const auto decoded = decode({});
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(decoded->empty());
}

TEST(CommitRecord, ClearKeepsNothing) {
  CommitRecordWriter writer;
  writer.write(kA);
  writer.run(0, as_bytes("x"));
  writer.clear();
  EXPECT_TRUE(writer.empty());
  writer.erase(kB);
  EXPECT_EQ(decode(writer.bytes())->at(0).object, kB);
}

TEST(CommitRecord, SkippedRunsDoNotBelongToTheNextSection) {
  CommitRecordWriter writer;
  writer.write(kA);
  writer.run(0, as_bytes("first"));
  writer.run(64, as_bytes("second"));
  writer.erase(kB);
  CommitRecordReader reader(writer.bytes());
  CommitSection section;
  ASSERT_TRUE(reader.next_section(section));
  EXPECT_EQ(section.run_count, 2u);
  ASSERT_TRUE(reader.next_section(section));
  EXPECT_EQ(section.kind, ChangeKind::erase);
  CommitRun run;
  EXPECT_FALSE(reader.next_run(run));
  EXPECT_FALSE(reader.next_section(section));
  EXPECT_FALSE(reader.failed());
}

TEST(CommitRecord, ARunOutsideASectionOrAnObjectIsAProgrammersError) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  CommitRecordWriter writer;
  writer.create(kA, 12);
  EXPECT_DEATH(writer.run(0, as_bytes("x")), "section_");
  writer.write(kA);
  EXPECT_DEATH(writer.run(kMaxObjectBytes, as_bytes("x")), "kMaxObjectBytes");
}

TEST(CommitRecord, EveryTruncationIsSeenOrEndsAtASection) {
  Random random(2);
  for (int round = 0; round < 200; ++round) {
    const auto sections = random_sections(random);
    const auto payload = encode(sections);
    for (std::size_t size = 0; size < payload.size(); ++size) {
      const auto decoded = decode(Bytes(payload).first(size));
      if (!decoded) continue;
      // A cut between two sections cannot be seen here: the log's record length and checksum see
      // it.
      ASSERT_LT(decoded->size(), sections.size());
      ASSERT_TRUE(std::equal(decoded->begin(), decoded->end(), sections.begin()));
    }
  }
}

TEST(CommitRecord, DamagedHeadersAreRefused) {
  CommitRecordWriter writer;
  writer.write(kA);
  writer.run(8, as_bytes("abc"));
  const std::vector<std::byte> good(writer.bytes().begin(), writer.bytes().end());
  ASSERT_TRUE(decode(good));
  const auto refused = [&](std::size_t at, unsigned value) {
    auto bad = good;
    bad[at] = static_cast<std::byte>(value);
    return !decode(bad);
  };
  EXPECT_TRUE(refused(0, 0)) << "no such kind";
  EXPECT_TRUE(refused(0, 5)) << "no such kind";
  EXPECT_TRUE(refused(0, 2)) << "creation has no runs";
  EXPECT_TRUE(refused(1, 12)) << "a write has no capacity";
  EXPECT_TRUE(refused(2, 1)) << "reserved byte";
  EXPECT_TRUE(refused(4, 2)) << "more runs than bytes";
  EXPECT_TRUE(refused(4, 0)) << "bytes that belong to no run";
  EXPECT_TRUE(refused(27, 0x40)) << "offset outside every object";
  EXPECT_TRUE(refused(28, 64)) << "longer than the payload";
  EXPECT_TRUE(refused(31, 0xff)) << "longer than every object";
  EXPECT_TRUE(refused(39, 1)) << "padding is zero";
  auto null_object = good;
  std::fill_n(null_object.begin() + 8, 16, std::byte{0});
  EXPECT_FALSE(decode(null_object));
}

TEST(CommitRecord, CapacitiesOutsideTheClassesAreRefused) {
  for (unsigned capacity = 0; capacity < 256; ++capacity) {
    CommitRecordWriter writer;
    writer.create(kA, capacity);
    EXPECT_EQ(decode(writer.bytes()).has_value(), capacity >= 9 && capacity <= 30) << capacity;
  }
}

TEST(CommitRecord, RandomDamageNeverReadsOutside) {
  Random random(3);
  for (int round = 0; round < 20'000; ++round) {
    auto payload = encode(random_sections(random));
    if (payload.empty()) continue;
    for (std::uint64_t flips = random.between(1, 4); flips > 0; --flips) {
      payload[random.below(payload.size())] = static_cast<std::byte>(random());
    }
    // What still decodes must be canonical: it encodes to the same bytes.
    const auto decoded = decode(payload);
    if (decoded) {
      ASSERT_EQ(encode(*decoded), payload);
    }
  }
}

// The file was made by another program after docs/formats/commit-record.md.
TEST(CommitRecord, TheGoldenFileOfVersion1DecodesAndEncodesByteForByte) {
  std::ifstream file(DOLMEN_GOLDEN_DIR "/commit_record_v1.bin", std::ios::binary);
  ASSERT_TRUE(file.is_open());
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto decoded = decode(as_bytes(text));
  ASSERT_TRUE(decoded);
  const std::vector<DecodedSection> expected = {
      {ChangeKind::create, 26, kA, {}},
      {ChangeKind::write,
       0,
       kA,
       {{0, "dolmen"}, {4096, "12345678"}, {kMaxObjectBytes - 1, "\xff"}}},
      {ChangeKind::resize, 30, kB, {}},
      {ChangeKind::write, 0, kB, {{64, ""}}},
      {ChangeKind::erase, 0, {0, 1}, {}},
      {ChangeKind::write, 0, {1ull << 63, 0}, {}},
      {ChangeKind::create, 9, {1ull << 63, 0}, {}},
  };
  EXPECT_EQ(*decoded, expected);
  const auto encoded = encode(*decoded);
  EXPECT_TRUE(std::ranges::equal(Bytes(encoded), as_bytes(text)));
}

}  // namespace
}  // namespace dolmen::base
