// SPDX-License-Identifier: Apache-2.0
//
// One flipped bit, anywhere in a space's files: what is read is as it was, or an error that names
// the place; scrub finds it, too; and nobody who comes later takes what lies there instead for the
// value.
#include <array>
#include <span>

#include <gtest/gtest.h>

#include <dolmen/vector.hpp>

#include "base/random.hpp"
#include "node/failing_test_program.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

struct Sheet {
  vector<std::uint64_t> marks;
};

class BitRot : public testing::Test {
 protected:
  void SetUp() override {
    Space space = open(disk_, false).value();
    a_ = space.create<Desk>("desk a", {.capacity = 64u << 10}).value();
    b_ = space.create<Desk>("desk b", {.capacity = 1u << 20}).value();
    const auto leaf = space.create<Leaf>("leaf", {.capacity = 512}).value();
    ASSERT_TRUE(write(space, a_, 9));
    ASSERT_TRUE(write(space, b_, 20));
    ASSERT_TRUE(space.transact(leaf, [](mut<Leaf> l) { l->version = 5; }));
    ASSERT_TRUE(space.checkpoint());
    // The tail: over pages of the checkpoint, and an object of its own.
    ASSERT_TRUE(write(space, a_, 3));
    ASSERT_TRUE(space.transact(b_, a_, [](mut<Desk> b, mut<Desk> a) { b->other = a; }));
    ASSERT_TRUE(space.create<Leaf>("leaf two", {.capacity = 512}));
    expected_ = shown_by(space.view().value()).value();
    ASSERT_TRUE(space.close());
  }
  Result<Space> open(sim::SimDisk& disk, bool read_only) {
    return open_space(world_.env(), std::make_unique<sys::BorrowedDisk>(disk),
                      {.read_only = read_only,
                       .background = false,
                       .log_tail_bytes_max = 64u << 10,
                       .log_segment_bytes = 16u << 10},
                      world_.env().memory->best_driver());
  }
  static Result<void> write(Space& space, const Object<Desk>& desk, std::uint64_t version) {
    return space.transact(desk, [&](mut<Desk> d) { fill(*d, version); });
  }
  /// Says what is wrong with an error about damage.
  static std::string wrong_with(const Error& error) {
    const std::string_view text = error.context();
    const bool names_place = text.find("block") != std::string_view::npos ||
                             text.find("log segment") != std::string_view::npos ||
                             text.find("root slot") != std::string_view::npos ||
                             text.find("page of object") != std::string_view::npos;
    return error.code() == Errc::corrupt && names_place ? "" : "says " + error.message();
  }
  /// Reads the space in every way. Empty if each gave what was written, or an error that says where
  /// the damage is; `errors` counts these.
  std::string problem_of(Space& space, int& errors) {
    const auto heard = [&](const Error& error) {
      ++errors;
      return wrong_with(error);
    };
    for (int round = 0; round < 2; ++round) {
      if (const auto view = space.view()) {
        const auto text = shown_by(*view);
        if (text && *text != expected_) return "a view shows\n" + *text;
        if (!text) {
          if (auto wrong = heard(text.error()); !wrong.empty()) return "a view " + wrong;
        }
      }
      for (const Object<Desk>& desk : {a_, b_}) {
        const std::uint64_t expected = desk == a_ ? 3 : 20;
        const auto read =
            space.read(desk, [&](ref<Desk> d) { return d->version == expected && is_filled(*d); });
        if (read && !*read) return "a section reads another value, round " + std::to_string(round);
        if (!read) {
          if (auto wrong = heard(read.error()); !wrong.empty()) return "a section " + wrong;
        }
      }
    }
    return {};
  }

  sim::SimEnv world_{1, *sys::linux_env().memory};
  sim::SimDisk disk_{1};
  Object<Desk> a_;
  Object<Desk> b_;
  std::string expected_;
};

TEST_F(BitRot, AnywhereGivesTheValueOrAnErrorThatNamesThePlace) {
  constexpr std::uint64_t kBlockBytes = 2048;
  base::Random random(7);
  std::map<std::string, int> found;
  std::map<std::string, int> named;
  int flips = 0;
  const std::vector<std::string> names = disk_.list().value();
  for (const std::string& name : names) {
    if (name == "lock") continue;
    const std::uint64_t size = (*disk_.open(name, sys::OpenMode::read_only))->size().value();
    for (std::uint64_t block = 0; block < size; block += kBlockBytes) {
      sim::SimDisk disk(disk_.model(), 1);
      const std::uint64_t at = block + random.below(std::min(kBlockBytes, size - block));
      const auto bit = static_cast<unsigned>(random.below(8));
      const std::string place =
          name + " byte " + std::to_string(at) + " bit " + std::to_string(bit);
      disk.flip_bit(name, at, bit);
      ++flips;
      // A writer repairs root slots when it opens the space: its turn is the second.
      for (const bool read_only : {true, false}) {
        auto space = open(disk, read_only);
        if (!space) {
          ASSERT_EQ(wrong_with(space.error()), "") << "opening, " << place;
          ++found[name.substr(0, 3)];
          continue;
        }
        int errors = 0;
        ASSERT_EQ(problem_of(*space, errors), "") << place;
        const auto scrubbed = scrub(*space, {});
        ASSERT_TRUE(scrubbed) << scrubbed.error().message() << place;
        if (errors != 0) {
          ASSERT_FALSE(scrubbed->damage.empty()) << place;
        }
        if (scrubbed->damage.empty()) continue;
        ++found[name.substr(0, 3)];
        const StoredDamage& damage = scrubbed->damage.front();
        ++named[damage.what];
        if (name.starts_with("log")) continue;
        EXPECT_EQ(damage.file, name) << place;
        EXPECT_TRUE(at >= damage.offset && at - damage.offset < damage.bytes)
            << place << ": scrub says " << damage.where;
      }
    }
  }
  EXPECT_GT(flips, 60);
  EXPECT_GT(found["pag"], 20);
  EXPECT_GT(found["spa"], 4);
  EXPECT_GT(found["log"], 1);
  EXPECT_GT(named["page"], 20);
  EXPECT_GT(named["root slot"], 4);
}

TEST_F(BitRot, OfANodeOfThePageTreeIsNamedByTheFirstPageThatItLeadsTo) {
  const std::uint64_t mark = 0x6b72616d6b72616d;
  ObjectId id;
  {
    Space space = open(disk_, false).value();
    const auto sheet = space.create<Sheet>("sheet", {.capacity = 16u << 20}).value();
    id = sheet.id();
    constexpr std::uint64_t kBatch = 16'000;  // a record that the small log has room for
    ASSERT_TRUE(space.transact(sheet, [&](mut<Sheet> s) { s->marks.reserve(30 * kBatch); }));
    for (std::uint64_t size = kBatch; size <= 30 * kBatch; size += kBatch) {
      ASSERT_TRUE(space.transact(sheet, [&](mut<Sheet> s) { s->marks.resize(size, mark); }));
      ASSERT_TRUE(space.checkpoint());
    }
    ASSERT_TRUE(space.close());
  }
  const auto pages = disk_.open("pages", sys::OpenMode::read_only).value();
  int nodes = 0;
  for (std::uint64_t block = 0; block < pages->size().value(); block += 4096) {
    std::uint64_t word = 0;
    const auto out = std::as_writable_bytes(std::span(&word, 1));
    ASSERT_EQ(pages->read(block + 2048, out).value(), sizeof word);
    if (word == mark) continue;  // of the sheet
    sim::SimDisk disk(disk_.model(), 1);
    disk.flip_bit("pages", block + 20, 3);
    auto space = open(disk, true);
    if (!space) continue;  // the way to the catalog
    const auto scrubbed = scrub(*space, {});
    ASSERT_TRUE(scrubbed) << scrubbed.error().message();
    if (scrubbed->damage.empty() || scrubbed->damage[0].what != "tree node") continue;
    ++nodes;
    ASSERT_EQ(scrubbed->damage.size(), 1u);
    const StoredDamage& damage = scrubbed->damage[0];
    EXPECT_EQ(damage.file, "pages");
    EXPECT_TRUE(block + 20 >= damage.offset && block + 20 - damage.offset < damage.bytes);
    ASSERT_EQ(damage.object, id) << damage.where;
    const std::string first =
        "leads to pages from page " + std::to_string(damage.page) + " of object " + id.to_string();
    EXPECT_NE(damage.where.find(first), std::string::npos) << damage.where;
    // It can be believed: that page cannot be read, the one before it can.
    const auto key = [&](std::uint32_t page) { return store::PageKey{id, page}; };
    std::array<std::byte, 4096> bytes{};
    EXPECT_EQ(space->core().store().read_page(key(damage.page), bytes).error().code(),
              Errc::corrupt);
    ASSERT_GT(damage.page, 0u);
    EXPECT_TRUE(space->core().store().read_page(key(damage.page - 1), bytes));
  }
  EXPECT_GT(nodes, 0);
}

TEST_F(BitRot, OfOnePageIsAnErrorOfEverySectionThatMeetsItAndOfNoOther) {
  // The middle of the long text of desk b, which is in the checkpoint only.
  const auto pages = disk_.open("pages", sys::OpenMode::read_only).value();
  std::vector<std::byte> bytes(pages->size().value());
  ASSERT_EQ(pages->read(0, bytes).value(), bytes.size());
  const std::string text(1500, static_cast<char>('a' + 20));
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::size_t at = all.find(text);
  ASSERT_NE(at, std::string_view::npos);
  disk_.flip_bit("pages", at + 700, 1);
  Space space = open(disk_, false).value();
  const auto length = [](ref<Desk> desk) { return std::string_view(desk->text).find('\0'); };
  for (int round = 0; round < 3; ++round) {
    const auto read = space.read(b_, length);
    ASSERT_FALSE(read) << "round " << round;
    EXPECT_EQ(wrong_with(read.error()), "");
    const auto write = space.transact(b_, [](mut<Desk> desk) { ++desk->version; });
    ASSERT_FALSE(write) << "round " << round;
    EXPECT_EQ(write.error().code(), Errc::corrupt);
    EXPECT_EQ(space.read(everything, [] {}).error().code(), Errc::corrupt);
    EXPECT_TRUE(space.read(a_, length)) << "another object";
    EXPECT_TRUE(space.checkpoint()) << "pages that nobody changed need not be read";
  }
  // What nobody can read any more can still be got rid of.
  EXPECT_TRUE(space.transact(any, [&] { return space.erase(b_); }));
  EXPECT_EQ(space.find<Desk>("desk b").error().code(), Errc::not_found);
  EXPECT_TRUE(space.checkpoint());
  EXPECT_TRUE(scrub(space, {})->damage.empty());
}

}  // namespace
}  // namespace dolmen::node
