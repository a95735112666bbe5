// SPDX-License-Identifier: Apache-2.0
//
// Images that go from one directory to another, and what a crash leaves meanwhile.
#include "node/space_transfer.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "node/space_image.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

using Bytes = std::vector<std::byte>;

constexpr SpaceImageOptions kOptions{.segment_bytes = 16u << 10, .tail_bytes_max = 64u << 10};
constexpr ObjectId kSpace{7, 7};
constexpr std::size_t kAll = std::size_t{1} << 30;

/// Where nothing has a thread of its own.
struct Place {
  explicit Place(std::unique_ptr<sim::SimDisk> its = std::make_unique<sim::SimDisk>(1))
      : disk(std::move(its)) {}
  Result<void> open(const sys::Env& environment) {
    image.reset();
    DOLMEN_TRY(image,
               SpaceImage::open(environment, std::make_unique<sys::BorrowedDisk>(*disk), kOptions));
    return {};
  }
  Result<void> open() { return open(env); }
  Bytes pages() { return image->pages(kAll).value(); }

  std::unique_ptr<sim::SimDisk> disk;
  sim::SimEntropy entropy{1};
  sim::SimProcess process{1};
  sys::Env env{.clock = sys::linux_env().clock, .entropy = &entropy, .process = &process};
  std::unique_ptr<SpaceImage> image;
};

/// Nothing of a transfer is left.
void expect_tidy(sim::SimDisk& disk) {
  const auto names = disk.list().value();
  for (const std::string& name : names) {
    EXPECT_FALSE(name.starts_with("new.") || name.starts_with("switch.")) << name;
  }
}

/// Pages that are none of another salt's: a few objects, of which one has `pages` of them.
Bytes made(std::uint64_t index, std::uint64_t salt, std::uint32_t pages) {
  base::Random random(salt);
  ImageWriter out({.space = kSpace, .last_index = index});
  const auto page = [&](std::uint32_t number, std::size_t bytes) {
    for (std::byte& byte : out.page(number, bytes)) byte = static_cast<std::byte>(random() | 1);
  };
  out.begin({1, 1}, 9);
  page(0, 512);
  out.begin({1, 2}, 30);
  for (std::uint32_t i = 0; i < pages; ++i) page(3 * i, 4096);
  out.begin({2, 1}, 12);  // of zeros
  out.begin({2, 100 + salt}, 14);
  page(1, 4096);
  page(3, 4096);
  return out.finish();
}

Result<void> take(SpaceImage& image, const Bytes& part, store::Index index) {
  DOLMEN_TRY(const auto sink, image.receive({.space = kSpace, .last_index = index}, true));
  DOLMEN_CHECK(sink->take(part));
  DOLMEN_CHECK(sink->take({}));
  while (true) {
    DOLMEN_TRY(const bool is_done, sink->is_done());
    if (is_done) break;
  }
  return image.adopt();
}

Result<int> bring(SpaceImage& from, SpaceImage& to, store::Index index, std::size_t part_bytes) {
  DOLMEN_TRY(const auto source, from.send({.space = kSpace, .last_index = index}, part_bytes));
  DOLMEN_TRY(const auto sink, to.receive({.space = kSpace, .last_index = index}));
  int parts = 0;
  std::optional<Bytes> question;
  while (true) {
    const auto number = static_cast<std::uint64_t>(parts);
    if (!question) {
      DOLMEN_TRY(question, sink->question(number));
      continue;
    }
    DOLMEN_TRY(const auto part, source->answer(number, *question));
    if (!part) continue;
    DOLMEN_TRY(const bool is_taken, sink->take(*part));
    if (!is_taken) continue;
    if (part->empty()) break;
    ++parts;
    question.reset();
  }
  while (true) {
    DOLMEN_TRY(const bool is_done, sink->is_done());
    if (is_done) break;
  }
  DOLMEN_CHECK(to.adopt());
  return parts;
}

TEST(SpaceTransfer, ThousandsOfPartsBecomeTheSameImage) {
  for (const bool has_threads : {false, true}) {
    Place a;
    Place b;
    const sys::Env& env = has_threads ? sys::linux_env() : a.env;
    ASSERT_TRUE(a.open(env));
    ASSERT_TRUE(b.open(env));
    ASSERT_TRUE(take(*a.image, made(40, 5, 3'000), 40));
    const auto parts = bring(*a.image, *b.image, 39, 4096);
    ASSERT_TRUE(parts) << parts.error().message();
    EXPECT_GT(*parts, 3'000);
    EXPECT_EQ(b.image->last_index(), 40u);
    EXPECT_EQ(a.pages(), b.pages());
    ASSERT_TRUE(b.open(env));
    EXPECT_EQ(a.pages(), b.pages());
    EXPECT_TRUE(b.image->store().scrub().value().damage.empty());
  }
}

TEST(SpaceTransfer, AnOlderImageIsReplacedAsAWhole) {
  Place a;
  Place b;
  ASSERT_TRUE(a.open());
  ASSERT_TRUE(b.open());
  ASSERT_TRUE(take(*a.image, made(40, 5, 30), 40));
  ASSERT_TRUE(take(*b.image, made(20, 6, 90), 20));
  EXPECT_EQ(bring(*b.image, *a.image, 40, 4096).error().code(), Errc::not_found);
  ASSERT_TRUE(bring(*a.image, *b.image, 40, 4096));
  EXPECT_EQ(a.pages(), b.pages());
  expect_tidy(*b.disk);
}

TEST(SpaceTransfer, WhatIsNoSuchStateIsRefused) {
  Place a;
  ASSERT_TRUE(a.open());
  ASSERT_TRUE(take(*a.image, made(10, 1, 3), 10));
  const Bytes before = a.pages();
  const auto code = [&](const Bytes& first, const Bytes& second) {
    const auto sink = a.image->receive({.space = kSpace, .last_index = 30}, true).value();
    auto taken = sink->take(first);
    if (taken && !second.empty()) taken = sink->take(second);
    if (taken && second.empty()) taken = sink->take({});
    return taken ? Errc{} : taken.error().code();
  };
  EXPECT_EQ(code(made(30, 1, 3), {}), Errc{});
  EXPECT_EQ(code(made(29, 1, 3), {}), Errc::corrupt) << "of before";
  EXPECT_EQ(code(made(30, 1, 3), made(31, 1, 3)), Errc::corrupt) << "of two moments";
  EXPECT_EQ(code(made(30, 1, 3), made(30, 1, 3)), Errc::corrupt) << "twice the same";
  EXPECT_EQ(code({}, {}), Errc::corrupt) << "nothing";
  EXPECT_EQ(code(Bytes(100), {}), Errc::corrupt) << "rubbish";
  EXPECT_FALSE(a.image->receive({}));
  // Whatever arrived of them: it has not happened.
  EXPECT_FALSE(a.image->received());
  EXPECT_EQ(a.pages(), before);
  expect_tidy(*a.disk);
}

TEST(SpaceTransfer, ASourceThatFailsSaysSo) {
  Place a;
  ASSERT_TRUE(a.open());
  ASSERT_TRUE(take(*a.image, made(10, 1, 100), 10));
  const auto source = a.image->send({.space = kSpace, .last_index = 10}, 4096).value();
  ASSERT_TRUE(source->part(0));
  EXPECT_EQ(source->part(500).error().code(), Errc::not_found);
  for (std::uint64_t offset = 0; offset < (400u << 10); offset += 512) {
    a.disk->flip_bit("pages", offset, 3);
  }
  Result<std::optional<Bytes>> part = std::optional<Bytes>();
  for (std::uint64_t number = 1; part && number < 200; ++number) part = source->part(number);
  ASSERT_FALSE(part);
  EXPECT_EQ(part.error().code(), Errc::corrupt);
}

// Either the image that was there or the other one, however much of the last moments is lost.
TEST(SpaceTransfer, ACrashLeavesOneOrTheOther) {
  Place start;
  ASSERT_TRUE(start.open());
  ASSERT_TRUE(take(*start.image, made(10, 1, 6), 10));
  const Bytes before = start.pages();
  ASSERT_TRUE(start.image->close());
  start.image.reset();
  Bytes after;
  std::uint64_t changes = 0;
  {
    Place whole(std::make_unique<sim::SimDisk>(start.disk->model(), 1));
    ASSERT_TRUE(whole.open());
    changes = whole.disk->op_count();
    ASSERT_TRUE(take(*whole.image, made(20, 2, 4), 20));
    changes = whole.disk->op_count() - changes;
    after = whole.pages();
  }
  ASSERT_GT(changes, 30u);
  int olds = 0;
  int news = 0;
  for (std::uint64_t n = 0; n <= changes; ++n) {
    for (const auto kind :
         {sim::CrashPlan::Kind::none, sim::CrashPlan::Kind::all, sim::CrashPlan::Kind::random}) {
      Place place(std::make_unique<sim::SimDisk>(start.disk->model(), n));
      ASSERT_TRUE(place.open());
      place.disk->power_off_at(place.disk->op_count() + n);
      const auto taken = take(*place.image, made(20, 2, 4), 20);
      auto left = place.disk->crash({.kind = kind, .argument = n}, n);
      place.disk->power_off();
      place.image.reset();
      place.disk = std::move(left);
      const auto opened = place.open();
      ASSERT_TRUE(opened) << n << ": " << opened.error().message();
      const Bytes now = place.pages();
      ASSERT_TRUE(now == before || now == after) << n;
      if (taken) {
        ASSERT_EQ(now, after) << n;
      }
      ++(now == after ? news : olds);
      expect_tidy(*place.disk);
      ASSERT_TRUE(take(*place.image, made(30, 3, 2), 30)) << n;
      ASSERT_EQ(place.image->last_index(), 30u);
    }
  }
  EXPECT_GT(olds, 10);
  EXPECT_GT(news, 10);
}

// Its pages wait for one sync at the end: without that a crash would take them.
TEST(SpaceTransfer, WhatArrivedIsDurableBeforeItCounts) {
  const auto survives = [](const char* bug) {
    const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = bug});
    Place place;
    EXPECT_TRUE(place.open());
    EXPECT_TRUE(take(*place.image, made(10, 1, 40), 10));
    const Bytes pages = place.pages();
    auto left = place.disk->crash({.kind = sim::CrashPlan::Kind::none, .argument = 0}, 1);
    place.disk->power_off();
    place.image.reset();
    place.disk = std::move(left);
    if (!place.open() || place.image->last_index() != 10) return false;
    const auto now = place.image->pages(kAll);
    return now && *now == pages;
  };
  EXPECT_TRUE(survives(""));
  EXPECT_FALSE(survives("store.skip_settling_pages"));
}

}  // namespace
}  // namespace dolmen::node
