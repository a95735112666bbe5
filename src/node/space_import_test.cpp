// SPDX-License-Identifier: Apache-2.0
//
// An embedded space becomes a group's: whole, or nobody sees it, whoever leads meanwhile.
#include "node/space_import.hpp"

#include <algorithm>

#include "node/open_space.hpp"
#include "node/space_machine_fixture.hpp"
#include "node/space_transfer.hpp"
#include "store/golden_file.hpp"

namespace dolmen::node {
namespace {

using namespace machine_test;

/// An embedded space with a pile of so many items, and many words.
class Embedded {
 public:
  explicit Embedded(std::uint64_t items) {
    Space space = open_space(env_, std::make_unique<sys::BorrowedDisk>(disk_),
                             {.background = false}, env_.memory->best_driver())
                      .value();
    for (std::uint64_t i = 1; i <= items; ++i) EXPECT_TRUE(push(space, bytes_of(i)));
    EXPECT_TRUE(fill(space, bytes_of(5'000)));
    const auto stats = space.stats();
    source_ = {.space = stats.space_id, .last_index = stats.last_index};
    EXPECT_TRUE(space.close());
  }
  [[nodiscard]] const ImportSource& source() const { return source_; }
  /// All parts behind the cursor.
  [[nodiscard]] std::vector<Bytes> parts(const ImportCursor& from = {},
                                         std::size_t part_bytes = 8192) {
    SpaceSource source(env_, disk_, {.space = source_.space, .last_index = source_.last_index},
                       part_bytes, {from.object, from.page});
    std::vector<Bytes> all;
    for (std::uint64_t number = 0;; ++number) {
      Bytes part = source.part(number).value().value();
      if (part.empty()) return all;
      all.push_back(std::move(part));
    }
  }

 private:
  sim::SimProcess process_{2};
  sys::Env env_ = [this] {
    sys::Env env = sys::linux_env();
    env.process = &process_;
    return env;
  }();
  sim::SimDisk disk_{2};
  ImportSource source_;
};

class SpaceImportTest : public SpaceMachineTest {
 protected:
  /// A step at `leader`, decided everywhere at once.
  Result<ImportState> step(Member& leader, ImportStep kind, const ImportState& at,
                           base::Bytes pages, std::initializer_list<Member*> others) {
    Entry entry{.index = ++index_, .effect = {}};
    const Bytes arguments = encode(ImportCall{.step = kind, .at = at, .pages = pages});
    DOLMEN_TRY(entry.effect, leader.machine().effect_of(encode(
                                 SpaceCall{.function = kImportFunction, .arguments = arguments})));
    const Bytes told = leader.machine().apply_at(entry.index, entry.effect);
    EXPECT_TRUE(leader.machine().decided(index_));
    for (Member* const other : others) {
      other->apply(entry);
      EXPECT_TRUE(other->machine().decided(index_));
    }
    log_.push_back(entry);
    DOLMEN_TRY(const Bytes reply, decode_reply(told));
    return decode_import_state(reply);
  }
  /// A call that an import refuses: its entry holds nothing.
  Errc refusal(Member& leader) {
    Entry entry{.index = ++index_, .effect = {}};
    const auto told = leader.call("push", 7, entry);
    EXPECT_TRUE(leader.machine().decided(index_));
    log_.push_back(entry);
    return told ? Errc{} : told.error().code();
  }
};

TEST_F(SpaceImportTest, AllOfItOrNothingIsSeenWhoeverLeads) {
  Embedded embedded(20);
  Member a;
  Member b;
  ImportState at =
      step(a, ImportStep::begin, {.source = embedded.source(), .cursor = {}}, {}, {&b}).value();
  EXPECT_TRUE(at.cursor.object.is_null());
  const std::vector<Bytes> parts = embedded.parts();
  ASSERT_GE(parts.size(), 4u);
  at = step(a, ImportStep::part, at, parts[0], {&b}).value();
  EXPECT_EQ(refusal(a), Errc::unfinished);
  EXPECT_EQ(a.query("total").error().code(), Errc::unfinished);
  EXPECT_EQ(refusal(b), Errc::unfinished) << "it leads now, and finds the marker in its image";
  // Who leads next says how far it is; what is sent again changes nothing.
  EXPECT_EQ(step(b, ImportStep::begin, {.source = embedded.source(), .cursor = {}}, {}, {&a}), at);
  EXPECT_EQ(step(b, ImportStep::part, {.source = embedded.source(), .cursor = {}}, parts[0], {&a}),
            at);
  EXPECT_EQ(step(b, ImportStep::finish, {.source = embedded.source(), .cursor = {}}, {}, {&a}), at);
  at = step(b, ImportStep::part, at, parts[1], {&a}).value();
  // A crash: what the image lost comes out of the log again.
  a.lose_power();
  replay(a);
  EXPECT_EQ(step(a, ImportStep::begin, at, {}, {&b}), at);
  for (const Bytes& part : embedded.parts(at.cursor, 6000)) {
    at = step(a, ImportStep::part, at, part, {&b}).value();
  }
  EXPECT_EQ(refusal(a), Errc::unfinished);
  EXPECT_EQ(step(a, ImportStep::finish, at, {}, {&b}), at);
  EXPECT_EQ(a.query("total").value(), 20u * 21 / 2);
  EXPECT_EQ(decide(b, "push", 100, {&a}), 21u);
  EXPECT_EQ(b.query("total").value(), 20u * 21 / 2 + 100);
  EXPECT_EQ(a.machine().image().space(), embedded.source().space);
  EXPECT_EQ(a.pages(), b.pages());
  EXPECT_FALSE(a.machine().image().store().find(kImportMarker).value());
  EXPECT_EQ(step(a, ImportStep::begin, at, {}, {&b}).error().code(), Errc::already_exists);
  EXPECT_EQ(a.query("total").value(), 20u * 21 / 2 + 100) << "and stays as it was";
}

TEST_F(SpaceImportTest, SeesASpaceThatIsOpenedEarly) {
  const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = "import.opened_early"});
  Embedded embedded(20);
  Member a;
  ImportState at =
      step(a, ImportStep::begin, {.source = embedded.source(), .cursor = {}}, {}, {}).value();
  at = step(a, ImportStep::part, at, embedded.parts()[0], {}).value();
  a.lose_power();
  replay(a);
  EXPECT_NE(refusal(a), Errc::unfinished);
}

// The pages of a space that is being imported are a state like any other: a new member goes on.
TEST_F(SpaceImportTest, AMemberThatIsSentHalfOfItLeadsTheRest) {
  Embedded embedded(3);
  Member a;
  Member b;
  ImportState at =
      step(a, ImportStep::begin, {.source = embedded.source(), .cursor = {}}, {}, {}).value();
  const std::vector<Bytes> parts = embedded.parts();
  at = step(a, ImportStep::part, at, parts[0], {}).value();
  const Bytes reference = a.machine().try_snapshot().value();
  auto sink = bring(a, b, reference);
  ASSERT_TRUE(b.machine().restore(reference));
  sink.reset();
  EXPECT_EQ(step(b, ImportStep::begin, at, {}, {&a}), at);
  for (std::size_t i = 1; i < parts.size(); ++i) {
    at = step(b, ImportStep::part, at, parts[i], {&a}).value();
  }
  ASSERT_TRUE(step(b, ImportStep::finish, at, {}, {&a}));
  EXPECT_EQ(a.query("total").value(), 6u);
  EXPECT_EQ(a.pages(), b.pages());
}

TEST_F(SpaceImportTest, WhatIsNotToBeIsRefused) {
  Embedded embedded(3);
  Embedded other(3);
  const ImportState begin{.source = embedded.source(), .cursor = {}};
  Member used;
  decide(used, "push", 5, {});
  EXPECT_EQ(step(used, ImportStep::begin, begin, {}, {}).error().code(), Errc::already_exists);
  EXPECT_EQ(step(used, ImportStep::part, begin, bytes_of(1), {}).error().code(), Errc::not_found);
  EXPECT_EQ(used.query("total").value(), 5u);

  Member a;
  EXPECT_EQ(step(a, ImportStep::finish, begin, {}, {}).error().code(), Errc::not_found);
  EXPECT_EQ(a.machine().position(), 0u);
  const ImportState at = step(a, ImportStep::begin, begin, {}, {}).value();
  EXPECT_EQ(
      step(a, ImportStep::begin, {.source = other.source(), .cursor = {}}, {}, {}).error().code(),
      Errc::already_exists);
  const auto of_part = [&](const Bytes& pages) {
    return step(a, ImportStep::part, at, pages, {}).error().code();
  };
  EXPECT_EQ(of_part(bytes_of(1)), Errc::corrupt);
  EXPECT_EQ(of_part(other.parts()[0]), Errc::corrupt) << "of another space";
  ImageWriter marker({.space = begin.source.space, .last_index = begin.source.last_index});
  marker.begin(kImportMarker, 9);
  std::ranges::fill(marker.page(0, 512), std::byte{1});
  EXPECT_EQ(of_part(marker.finish()), Errc::corrupt);
  EXPECT_EQ(of_part(embedded.parts({}, 1u << 20)[0]), Errc::too_large) << "for these segments";
  // Nothing in it: nobody could open it.
  ImageWriter nonsense({.space = begin.source.space, .last_index = begin.source.last_index});
  nonsense.begin({1, 1}, 9);
  std::ranges::fill(nonsense.page(0, 512), std::byte{1});
  const ImportState half = step(a, ImportStep::part, at, nonsense.finish(), {}).value();
  ImageWriter again({.space = begin.source.space, .last_index = begin.source.last_index});
  again.begin({1, 1}, 9);
  std::ranges::fill(again.page(0, 512), std::byte{2});
  EXPECT_EQ(step(a, ImportStep::part, half, again.finish(), {}).error().code(), Errc::corrupt);
  EXPECT_EQ(step(a, ImportStep::begin, begin, {}, {}), half) << "it is as far as it was";
}

constexpr ImportState kGiveUp{.source = {}, .cursor = {}, .is_given_up = true};

TEST_F(SpaceImportTest, WhatIsGivenUpIsErasedAtAllMembersAndGoesOnForNobody) {
  Embedded embedded(20);
  Member a;
  Member b;
  const ImportState begin{.source = embedded.source(), .cursor = {}};
  EXPECT_EQ(step(a, ImportStep::give_up, kGiveUp, {}, {&b}).error().code(), Errc::not_found);
  ImportState at = step(a, ImportStep::begin, begin, {}, {&b}).value();
  const std::vector<Bytes> parts = embedded.parts();
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    at = step(a, ImportStep::part, at, parts[i], {&b}).value();
  }
  const auto objects = [](Member& member) {
    std::uint64_t count = 0;
    EXPECT_TRUE(member.machine().image().store().for_each_object([&](const store::ObjectInfo&) {
      ++count;
      return true;
    }));
    return count;
  };
  ASSERT_GT(objects(b), 1u);
  const ImportState over = step(a, ImportStep::give_up, kGiveUp, {}, {&b}).value();
  EXPECT_TRUE(over.is_given_up);
  EXPECT_EQ(over.cursor, ImportCursor{});
  EXPECT_EQ(over.source, embedded.source());
  for (Member* const member : {&a, &b}) {
    EXPECT_EQ(objects(*member), 1u) << "the marker";
    const auto stats = member->machine().image().store().stats();
    EXPECT_LE(stats.pages_live_bytes, 8192u) << "and what it had of the disk is free";
    EXPECT_LE(stats.log_tail_bytes, 4096u);
  }
  EXPECT_EQ(refusal(a), Errc::unfinished);
  // Whoever leads next, also after a crash, says the same.
  b.lose_power();
  replay(b);
  EXPECT_EQ(step(b, ImportStep::give_up, kGiveUp, {}, {&a}), over);
  EXPECT_EQ(refusal(b), Errc::unfinished);
  for (const ImportStep kind : {ImportStep::begin, ImportStep::finish}) {
    EXPECT_EQ(step(b, kind, begin, {}, {&a}).error().code(), Errc::already_exists);
    EXPECT_EQ(step(b, kind, at, {}, {&a}).error().code(), Errc::already_exists);
  }
  EXPECT_EQ(step(b, ImportStep::part, at, parts.back(), {&a}).error().code(), Errc::already_exists);
  EXPECT_EQ(objects(a), 1u);
  EXPECT_EQ(a.pages(), b.pages());
}

// The one that was decided first counts, whatever somebody looked at before.
TEST_F(SpaceImportTest, WhatWasFinishedMeanwhileIsNotGivenUp) {
  Embedded embedded(3);
  Member a;
  ImportState at =
      step(a, ImportStep::begin, {.source = embedded.source(), .cursor = {}}, {}, {}).value();
  for (const Bytes& part : embedded.parts()) {
    at = step(a, ImportStep::part, at, part, {}).value();
  }
  ASSERT_TRUE(step(a, ImportStep::finish, at, {}, {}));
  EXPECT_EQ(step(a, ImportStep::give_up, kGiveUp, {}, {}).error().code(), Errc::not_found);
  EXPECT_EQ(a.query("total").value(), 6u);
  EXPECT_EQ(step(a, ImportStep::give_up, kGiveUp, {}, {}).error().code(), Errc::not_found)
      << "also where it is open";
  EXPECT_EQ(a.query("total").value(), 6u);
}

TEST_F(SpaceImportTest, MoreThanOneRecordErasesIsErasedStepByStep) {
  Embedded embedded(3);
  const ImportSource source = embedded.source();
  Member a;
  ImportState at = step(a, ImportStep::begin, {.source = source, .cursor = {}}, {}, {}).value();
  constexpr std::uint64_t kObjects = 2 * kErasedAtOnceMax + 1;
  for (std::uint64_t first = 1; first <= kObjects; first += 100) {
    ImageWriter pages({.space = source.space, .last_index = source.last_index});
    for (std::uint64_t i = first; i < first + 100 && i <= kObjects; ++i) pages.begin({1, i}, 9);
    at = step(a, ImportStep::part, at, pages.finish(), {}).value();
  }
  int steps = 0;
  for (ImportState told = at; told.cursor != ImportCursor{}; ++steps) {
    told = step(a, ImportStep::give_up, kGiveUp, {}, {}).value();
    ASSERT_TRUE(told.is_given_up);
  }
  EXPECT_GE(steps, 3);
}

TEST(SpaceImport, ARecordSaysInItsFirstBytesWhatItIsOfAnImport) {
  const ImportState state{.source = {.space = {7, 8}, .last_index = 9},
                          .cursor = {.object = {1, 2}, .page = 3, .capacity_log2 = 12}};
  using Kind = ImportNews::Kind;
  const auto news = [](const Bytes& record) {
    return import_news_in(base::Bytes(record).first(std::min<std::size_t>(record.size(), 140)));
  };
  const auto begun = news(first_record({.source = state.source, .cursor = {}}));
  ASSERT_TRUE(begun);
  EXPECT_EQ(begun->kind, Kind::begun);
  EXPECT_EQ(begun->state.source, state.source);
  ImageWriter pages({.space = {7, 8}, .last_index = 9});
  pages.begin({5, 5}, 12);
  std::ranges::fill(pages.page(0, 4096), std::byte{1});
  const auto part = news(record_of(state, pages.finish(), 1u << 20).value().record);
  ASSERT_TRUE(part);
  EXPECT_EQ(part->kind, Kind::part);
  EXPECT_EQ(part->state.cursor, (ImportCursor{.object = {5, 5}, .page = 1, .capacity_log2 = 12}));
  const auto finished = news(last_record());
  ASSERT_TRUE(finished);
  EXPECT_EQ(finished->kind, Kind::finished);
  ImportState over = state;
  over.is_given_up = true;
  const auto given_up = news(record_that_erases(over, {{1, 2}}));
  ASSERT_TRUE(given_up);
  EXPECT_EQ(given_up->kind, Kind::given_up);
  EXPECT_EQ(given_up->state, over);
  base::CommitRecordWriter other;
  other.erase({1, 2});
  EXPECT_FALSE(news({other.bytes().begin(), other.bytes().end()}));
  EXPECT_FALSE(news({}));
  for (std::size_t bytes = 1; bytes < 24; ++bytes) {
    EXPECT_FALSE(import_news_in(base::Bytes(first_record(state)).first(bytes))) << bytes;
  }
}

TEST(SpaceImport, NamesWithItsPrefixAreNoPrograms) {
  SpaceFunctions functions;
  functions["dolmen.push"] = push;
  sim::SimDisk disk(1);
  EXPECT_EQ(SpaceMachine::open(sys::linux_env(), std::make_unique<sys::BorrowedDisk>(disk),
                               sys::linux_env().memory->best_driver(), functions, {})
                .error()
                .code(),
            Errc::invalid_argument);
}

ImportCall some_import() {
  return {.step = ImportStep::part,
          .at = {.source = {.space = {1, 2}, .last_index = 3},
                 .cursor = {.object = {4, 5}, .page = 6, .capacity_log2 = 16}}};
}

TEST(SpaceImport, BytesAreAsDocumented) {
  ImportCall call = some_import();
  const Bytes pages = bytes_of(7);
  call.pages = pages;
  const Bytes encoded = encode(call);
  EXPECT_EQ(encoded, store::read_golden("space_import_v1.bin"));
  const ImportCall back = decode_import_call(encoded).value();
  EXPECT_EQ(back.step, call.step);
  EXPECT_EQ(back.at, call.at);
  EXPECT_TRUE(std::ranges::equal(back.pages, pages));
  EXPECT_EQ(decode_import_state(encode(call.at)).value(), call.at);
  const SpaceHead head{.head = {.space = {1, 2}, .last_index = 3}, .bytes = 4};
  EXPECT_EQ(encode(head), store::read_golden("space_head_v1.bin"));
  const SpaceHead told = decode_space_head(encode(head)).value();
  EXPECT_EQ(told.head.space, head.head.space);
  EXPECT_EQ(told.head.last_index, 3u);
  EXPECT_EQ(told.bytes, 4u);
}

TEST(SpaceImport, WhatIsNoneIsRefused) {
  const auto change = [](std::size_t at, std::uint8_t byte) {
    Bytes bytes = encode(some_import().at);
    bytes[at] = std::byte{byte};
    return decode_import_state(bytes).has_value();
  };
  EXPECT_TRUE(change(48, 1)) << "a page";
  EXPECT_FALSE(change(0, 1)) << "magic";
  EXPECT_FALSE(change(4, 2)) << "version";
  EXPECT_FALSE(change(6, 9)) << "step";
  EXPECT_FALSE(change(6, 2)) << "step of a call";
  EXPECT_TRUE(change(6, 4)) << "given up";
  EXPECT_FALSE(change(7, 31)) << "capacity";
  EXPECT_FALSE(change(53, 1)) << "reserved";
  Bytes longer = encode(some_import().at);
  longer.resize(512);
  EXPECT_TRUE(decode_import_state(longer));
  longer.back() = std::byte{1};
  EXPECT_FALSE(decode_import_state(longer));
  EXPECT_FALSE(decode_import_call(encode(some_import()))) << "a part without pages";
  // To give one up nobody need know whose it is; all else is of a space.
  for (const ImportStep kind : {ImportStep::begin, ImportStep::give_up}) {
    const Bytes call = encode(ImportCall{.step = kind, .at = kGiveUp});
    EXPECT_EQ(decode_import_call(call).has_value(), kind == ImportStep::give_up);
  }
  EXPECT_FALSE(decode_import_state(encode(kGiveUp)));
  EXPECT_FALSE(decode_space_head(encode(some_import())));
}

}  // namespace
}  // namespace dolmen::node
