// SPDX-License-Identifier: Apache-2.0
//
// Images that go to who has an older one of the same space.
#include "node/space_merge.hpp"

#include <memory>
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
using What = PageQuestion::What;

constexpr SpaceImageOptions kOptions{.segment_bytes = 16u << 10, .tail_bytes_max = 64u << 10};
constexpr ObjectId kSpace{7, 7};
constexpr ObjectId kLarge{1, 2};
constexpr std::size_t kAll = std::size_t{1} << 30;

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

/// A large object, of which every `changed`th page is of this version, and one that only this
/// version has.
Bytes made(std::uint64_t version, std::uint32_t pages, std::uint32_t changed) {
  ImageWriter out({.space = kSpace, .last_index = 10 * version});
  const auto page = [&](std::uint32_t number, std::size_t bytes, std::uint64_t salt) {
    base::Random random(1000 * salt + number);
    for (std::byte& byte : out.page(number, bytes)) byte = static_cast<std::byte>(random() | 1);
  };
  out.begin({1, 1}, 9);
  page(0, 512, 0);
  out.begin(kLarge, 30);
  for (std::uint32_t i = 0; i < pages; ++i) page(3 * i, 4096, i % changed == 0 ? version : 0);
  out.begin({1, 3}, 12);  // of zeros
  out.begin({2, 100 + version}, 14);
  page(1, 4096, 0);
  return out.finish();
}

Result<void> fill(SpaceImage& image, const Bytes& part, store::Index index) {
  DOLMEN_TRY(const auto sink, image.receive({.space = kSpace, .last_index = index}, true));
  DOLMEN_CHECK(sink->take(part));
  DOLMEN_CHECK(sink->take({}));
  while (true) {
    DOLMEN_TRY(const bool is_done, sink->is_done());
    if (is_done) break;
  }
  return image.adopt();
}

struct Brought {
  StatePages pages;
  std::size_t bytes = 0;  ///< both ways
};

/// As replicas do it, one part at a time.
Result<Brought> bring(SpaceImage& from, SpaceImage& to, std::size_t part_bytes = 256u << 10) {
  const ImageHead head{.space = kSpace, .last_index = from.last_index()};
  DOLMEN_TRY(const auto source, from.send(head, part_bytes));
  DOLMEN_TRY(const auto sink, to.receive(head));
  Brought brought;
  for (std::uint64_t number = 0;; ++number) {
    std::optional<Bytes> question;
    while (!question) {
      DOLMEN_TRY(question, sink->question(number));
    }
    std::optional<Bytes> part;
    while (!part) {
      DOLMEN_TRY(part, source->answer(number, *question));
    }
    brought.bytes += question->size() + part->size();
    bool is_taken = false;
    while (!is_taken) {
      DOLMEN_TRY(is_taken, sink->take(*part));
    }
    if (part->empty()) break;
  }
  while (true) {
    DOLMEN_TRY(const bool is_done, sink->is_done());
    if (is_done) break;
  }
  brought.pages = sink->pages();
  DOLMEN_CHECK(to.adopt());
  return brought;
}

TEST(SpaceMerge, WhereFewPagesDifferFewBytesAreSent) {
  for (const bool has_threads : {false, true}) {
    Place a;
    Place b;
    const sys::Env& env = has_threads ? sys::linux_env() : a.env;
    ASSERT_TRUE(a.open(env));
    ASSERT_TRUE(b.open(env));
    ASSERT_TRUE(fill(*a.image, made(4, 2'000, 100), 40));
    ASSERT_TRUE(fill(*b.image, made(2, 2'100, 100), 20));
    const std::size_t all = a.pages().size();
    const auto brought = bring(*a.image, *b.image);
    ASSERT_TRUE(brought) << brought.error().message();
    EXPECT_EQ(brought->pages.received, 20u + 1) << "every hundredth, and the new object's";
    EXPECT_EQ(brought->pages.kept, 2'000u - 20 + 1);
    EXPECT_LT(brought->bytes, all / 50) << "the pages that differ, and 20 bytes for each";
    EXPECT_EQ(a.pages(), b.pages()) << "what is gone there is gone here";
    EXPECT_TRUE(b.image->store().scrub().value().damage.empty());
    ASSERT_TRUE(b.open(env));
    EXPECT_EQ(a.pages(), b.pages());
    // Nothing at all differs.
    ASSERT_TRUE(fill(*b.image, made(4, 2'000, 100), 40));
    EXPECT_EQ(bring(*a.image, *b.image).value().pages.received, 0u);
    EXPECT_EQ(a.pages(), b.pages());
  }
}

TEST(SpaceMerge, WhereAllPagesDifferAllAreSent) {
  Place a;
  Place b;
  ASSERT_TRUE(a.open());
  ASSERT_TRUE(b.open());
  ASSERT_TRUE(fill(*a.image, made(4, 500, 1), 40));
  ASSERT_TRUE(fill(*b.image, made(2, 700, 1), 20));
  const auto brought = bring(*a.image, *b.image, 4096);
  ASSERT_TRUE(brought) << brought.error().message();
  EXPECT_EQ(brought->pages.received, 501u);
  EXPECT_EQ(brought->pages.kept, 1u);
  EXPECT_EQ(a.pages(), b.pages());
}

// Another class of the same object, larger and smaller, with what that cuts off.
TEST(SpaceMerge, ObjectsOfAnotherSizeAreTakenAsTheyAreNow) {
  const auto sized = [](std::uint64_t index, std::uint8_t capacity_log2, std::uint32_t pages) {
    ImageWriter out({.space = kSpace, .last_index = index});
    out.begin(kLarge, capacity_log2);
    for (std::uint32_t i = 0; i < pages; ++i) {
      std::ranges::fill(out.page(i, store::page_bytes(capacity_log2)), std::byte{1});
    }
    return out.finish();
  };
  for (const auto& [now, before] :
       {std::pair(15, 13), std::pair(13, 15), std::pair(10, 13), std::pair(13, 10)}) {
    Place a;
    Place b;
    ASSERT_TRUE(a.open());
    ASSERT_TRUE(b.open());
    const auto pages = [](int capacity_log2) { return capacity_log2 < 13 ? 1u : 2u; };
    ASSERT_TRUE(fill(*a.image, sized(40, static_cast<std::uint8_t>(now), pages(now)), 40));
    ASSERT_TRUE(fill(*b.image, sized(20, static_cast<std::uint8_t>(before), pages(before)), 20));
    const auto brought = bring(*a.image, *b.image);
    ASSERT_TRUE(brought) << brought.error().message();
    EXPECT_EQ(a.pages(), b.pages()) << now << " of " << before;
  }
}

TEST(SpaceMerge, PagesThatAreDamagedHereAreSent) {
  Place a;
  Place b;
  ASSERT_TRUE(a.open());
  ASSERT_TRUE(b.open());
  ASSERT_TRUE(fill(*a.image, made(4, 400, 1000), 40));
  ASSERT_TRUE(fill(*b.image, made(4, 400, 1000), 40));
  for (std::uint64_t block = 0; block < 200; ++block) b.disk->flip_bit("pages", 4096 * block, 3);
  ASSERT_TRUE(b.open());
  const auto brought = bring(*a.image, *b.image);
  ASSERT_TRUE(brought) << brought.error().message();
  EXPECT_GT(brought->pages.received, 100u);
  EXPECT_GT(brought->pages.kept, 100u);
  EXPECT_EQ(a.pages(), b.pages());
}

TEST(SpaceMerge, PagesThatWereWronglyTakenForTheSameAreFoundOut) {
  Place a;
  Place b;
  ASSERT_TRUE(a.open());
  ASSERT_TRUE(b.open());
  ASSERT_TRUE(fill(*a.image, made(4, 400, 7), 40));
  ASSERT_TRUE(fill(*b.image, made(2, 400, 7), 20));
  const Bytes before = b.pages();
  const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = "space.page_unchecked"});
  EXPECT_EQ(bring(*a.image, *b.image).error().code(), Errc::corrupt);
  EXPECT_EQ(b.pages(), before) << "that has not happened";
  // It relies on nothing that is here then.
  const auto brought = bring(*a.image, *b.image);
  ASSERT_TRUE(brought) << brought.error().message();
  EXPECT_EQ(brought->pages.kept, 0u);
  EXPECT_EQ(a.pages(), b.pages());
}

TEST(SpaceMerge, PlantedBugsAreSeen) {
  for (const char* const bug : {"", "space.reuse_unchecked", "space.gone_page_kept"}) {
    Place a;
    Place b;
    ASSERT_TRUE(a.open());
    ASSERT_TRUE(b.open());
    ASSERT_TRUE(fill(*a.image, made(4, 40, 7), 40));
    ASSERT_TRUE(fill(*b.image, made(2, 40, 7), 20));
    const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = bug});
    ASSERT_TRUE(bring(*a.image, *b.image)) << bug;
    EXPECT_EQ(a.pages() == b.pages(), *bug == 0) << bug;
  }
}

// The image that was there or the other one, whatever is lost of the last moments.
TEST(SpaceMerge, ACrashLeavesOneOrTheOther) {
  Place from;
  Place start;
  ASSERT_TRUE(from.open());
  ASSERT_TRUE(start.open());
  ASSERT_TRUE(fill(*from.image, made(4, 12, 3), 40));
  ASSERT_TRUE(fill(*start.image, made(2, 12, 3), 20));
  const Bytes before = start.pages();
  const Bytes after = from.pages();
  ASSERT_TRUE(start.image->close());
  start.image.reset();
  std::uint64_t changes = 0;
  {
    Place whole(std::make_unique<sim::SimDisk>(start.disk->model(), 1));
    ASSERT_TRUE(whole.open());
    changes = whole.disk->op_count();
    ASSERT_GT(bring(*from.image, *whole.image, 1024).value().pages.kept, 0u);
    changes = whole.disk->op_count() - changes;
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
      const auto brought = bring(*from.image, *place.image, 1024);
      auto left = place.disk->crash({.kind = kind, .argument = n}, n);
      place.disk->power_off();
      place.image.reset();
      place.disk = std::move(left);
      const auto opened = place.open();
      ASSERT_TRUE(opened) << n << ": " << opened.error().message();
      const Bytes now = place.pages();
      ASSERT_TRUE(now == before || now == after) << n;
      if (brought) {
        ASSERT_EQ(now, after) << n;
      }
      ++(now == after ? news : olds);
      const auto names = place.disk->list().value();
      for (const std::string& name : names) {
        EXPECT_FALSE(name.starts_with("new.") || name.starts_with("switch.")) << name;
      }
      const auto again = bring(*from.image, *place.image, 1024);
      ASSERT_TRUE(again) << n;
      ASSERT_GT(again->pages.kept, 0u) << n;
      ASSERT_EQ(place.pages(), after);
    }
  }
  EXPECT_GT(olds, 10);
  EXPECT_GT(news, 10);
}

// --- who says something else ---------------------------------------------------------------------

/// A sink of an image of version 2, and the first list that it is given.
struct Asker {
  Asker() {
    EXPECT_TRUE(to.open());
    EXPECT_TRUE(fill(*to.image, made(2, 12, 3), 20));
    sink = to.image->receive({.space = kSpace, .last_index = 40}).value();
    (void)sink->question(0).value().value();
  }
  [[nodiscard]] Errc code(const Bytes& part) {
    const auto taken = sink->take(part);
    return taken ? Errc{} : taken.error().code();
  }
  Place to;
  std::unique_ptr<StateSink> sink;
};

PageList list_of(std::vector<PageList::Object> objects, bool is_last = false) {
  return {.head = {.space = kSpace, .last_index = 40},
          .is_last = is_last,
          .objects = std::move(objects)};
}

TEST(SpaceMerge, ListsAndPagesThatAreNoneAreRefused) {
  const PageList::Object small{.id = {1, 1}, .capacity_log2 = 9, .pages = {{.number = 0}}};
  const PageList::Object large{.id = kLarge, .capacity_log2 = 30, .pages = {{.number = 5}}};
  {
    Asker asker;
    EXPECT_EQ(asker.code(encode(list_of({small, large}))), Errc{});
    EXPECT_EQ(asker.code(encode(list_of({large}))), Errc::corrupt) << "not asked for";
  }
  EXPECT_EQ(Asker().code({}), Errc::corrupt);
  EXPECT_EQ(Asker().code(Bytes(100)), Errc::corrupt);
  EXPECT_EQ(Asker().code(made(4, 1, 1)), Errc::corrupt) << "pages";
  EXPECT_EQ(Asker().code(encode(list_of({}))), Errc::corrupt) << "which could go on for ever";
  PageList earlier = list_of({small});
  earlier.head.last_index = 39;
  EXPECT_EQ(Asker().code(encode(earlier)), Errc::corrupt);
  const auto second = [&](const PageList::Object& object, std::uint64_t index = 40) {
    Asker asker;
    EXPECT_EQ(asker.code(encode(list_of({small, large}))), Errc{});
    EXPECT_EQ(decode_page_question(asker.sink->question(1).value().value()).value().what,
              What::list);
    PageList list = list_of({object});
    list.head.last_index = index;
    return asker.code(encode(list));
  };
  PageList::Object next = large;
  EXPECT_EQ(second(small), Errc::corrupt) << "backwards";
  EXPECT_EQ(second(large), Errc::corrupt) << "twice";
  next.pages[0].number = 6;
  EXPECT_EQ(second(next), Errc{});
  EXPECT_EQ(second(next, 41), Errc::corrupt) << "of another moment";
  next.capacity_log2 = 29;
  EXPECT_EQ(second(next), Errc::corrupt) << "of two sizes";
  // A page that is not the one of the list; and a whole that is not what was listed.
  const auto page = [](std::uint32_t number) {
    ImageWriter out({.space = kSpace, .last_index = 40});
    out.begin(kLarge, 30);
    std::ranges::fill(out.page(number, 4096), std::byte{9});
    return out.finish();
  };
  for (const std::uint32_t number : {5u, 6u}) {
    Asker asker;
    EXPECT_EQ(asker.code(encode(list_of({large}, true))), Errc{});
    EXPECT_EQ(decode_page_question(asker.sink->question(1).value().value()).value().pages,
              std::vector<store::PageKey>({{kLarge, 5}}));
    EXPECT_EQ(asker.code(page(number)), Errc::corrupt);
  }
  PageList::Object empty = large;
  empty.pages.clear();
  EXPECT_EQ(Asker().code(encode(list_of({empty}, true))), Errc::corrupt) << "another sum";
}

// As the list says its page is, under the object's name, but of an object of another size.
TEST(SpaceMerge, APageOfAnotherSizeThanTheListedObjectHasIsRefused) {
  Place to;
  ASSERT_TRUE(to.open());
  ASSERT_TRUE(fill(*to.image, made(2, 12, 3), 20));
  const auto sink = to.image->receive({.space = kSpace, .last_index = 40}).value();
  const PageQuestion first = decode_page_question(sink->question(0).value().value()).value();
  const ObjectId id{2, 2};
  const Bytes content(4096, std::byte{9});
  const PageList::Object small{
      .id = id,
      .capacity_log2 = 9,
      .pages = {{.number = 0, .hash = listed_hash(content, {id, 0}, first.seed)}}};
  ASSERT_TRUE(sink->take(encode(list_of({small}, true))));
  ASSERT_TRUE(sink->question(1).value());
  ImageWriter image({.space = kSpace, .last_index = 40});
  image.begin(id, 16);
  std::ranges::copy(content, image.page(0, content.size()).begin());
  Result<bool> taken = sink->take(image.finish());
  while (taken && !*taken) taken = sink->is_done();
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code(), Errc::corrupt);
}

TEST(SpaceMerge, QuestionsThatAreNoneAreRefused) {
  Place a;
  ASSERT_TRUE(a.open());
  ASSERT_TRUE(fill(*a.image, made(4, 12, 3), 40));
  const auto code = [&](const Bytes& question, const Bytes& before = {}) {
    const auto source = a.image->send({.space = kSpace, .last_index = 40}, 4096).value();
    EXPECT_TRUE(before.empty() || source->answer(0, before));
    const auto answer = source->answer(1, question);
    return answer ? Errc{} : answer.error().code();
  };
  const auto pages = [](store::PageKey key) {
    return encode(PageQuestion{.what = What::pages, .pages = {key}});
  };
  const Bytes list = encode(PageQuestion{.what = What::list, .seed = 1, .list = 0});
  EXPECT_EQ(code(list), Errc{});
  EXPECT_EQ(code(list, list), Errc::not_found) << "twice";
  EXPECT_EQ(code(encode(PageQuestion{.what = What::list, .seed = 1, .list = 1})), Errc::not_found);
  EXPECT_EQ(code(pages({kLarge, 3})), Errc{});
  EXPECT_EQ(code(pages({kLarge, 4})), Errc{}) << "of zeros";
  EXPECT_EQ(code(pages({{1, 1}, 1})), Errc::corrupt) << "behind the end";
  EXPECT_EQ(code(pages({{9, 9}, 0})), Errc::corrupt) << "of no object";
  EXPECT_EQ(code(Bytes(7)), Errc::corrupt);
  EXPECT_EQ(code(encode(PageQuestion{.what = What::end})), Errc{});
}

}  // namespace
}  // namespace dolmen::node
