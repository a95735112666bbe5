// SPDX-License-Identifier: Apache-2.0
#include "node/space_machine_fixture.hpp"

namespace dolmen::node {
namespace {

using namespace machine_test;

TEST_F(SpaceMachineTest, MembersHaveTheSamePages) {
  Member a;
  Member b;
  for (std::uint64_t i = 1; i <= 20; ++i) EXPECT_EQ(decide(a, "push", i, {&b}), i);
  EXPECT_EQ(a.pages(), b.pages());
  EXPECT_GT(a.pages().size(), 4096u);
  // The other one leads: it has the objects, and the names.
  EXPECT_EQ(decide(b, "sum", 0, {&a}), 210u);
  EXPECT_EQ(decide(b, "push", 21, {&a}), 21u);
  EXPECT_EQ(a.pages(), b.pages());
}

// A leader sees what it did; its image does not before it is decided.
TEST_F(SpaceMachineTest, ImagesHoldWhatIsDecided) {
  Member a;
  decide(a, "push", 1, {});
  const Bytes before = a.pages();
  Entry first{.index = 2, .effect = {}};
  Entry second{.index = 3, .effect = {}};
  EXPECT_EQ(a.number("push", 2, first).value(), 2u);
  EXPECT_EQ(a.number("push", 3, second).value(), 3u);
  EXPECT_EQ(a.pages(), before);
  ASSERT_TRUE(a.machine().decided(2));
  const Bytes between = a.pages();
  EXPECT_NE(between, before);
  ASSERT_TRUE(a.machine().decided(3));
  EXPECT_NE(a.pages(), between);
}

// The member led, and somebody else decides instead, whether or not what it did was undone first.
TEST_F(SpaceMachineTest, WhatIsNotDecidedIsForgotten) {
  for (const bool is_told : {true, false}) {
    index_ = 0;
    log_.clear();
    Member a;
    Member b;
    decide(a, "push", 1, {&b});
    if (is_told) {
      Entry lost{.index = 2, .effect = {}};
      ASSERT_EQ(a.number("push", 100, lost).value(), 2u);
      replay(a);  // as Member::execute_again() does
    }
    EXPECT_EQ(decide(b, "push", 2, {&a}), 2u);
    EXPECT_EQ(a.pages(), b.pages());
    EXPECT_EQ(decide(a, "sum", 0, {&b}), 3u);
  }
}

TEST_F(SpaceMachineTest, ASpaceThatStaysOpenIsSeen) {
  const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = "space.stays_open"});
  Member a;
  Member b;
  decide(a, "push", 1, {&b});
  decide(b, "push", 2, {&a});
  EXPECT_NE(decide(a, "sum", 0, {&b}), 3u);
}

TEST_F(SpaceMachineTest, AnImageThatIsAheadIsSeen) {
  const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = "space.image_ahead"});
  Member a;
  Member b;
  decide(a, "push", 1, {&b});
  Entry lost{.index = 2, .effect = {}};
  ASSERT_EQ(a.number("push", 100, lost).value(), 2u);
  ASSERT_TRUE(a.machine().decided(1));
  replay(a);
  decide(b, "push", 2, {&a});
  EXPECT_NE(a.pages(), b.pages());
}

TEST_F(SpaceMachineTest, AnEffectThatNeverGotIntoTheLogHasNotHappened) {
  Member a;
  decide(a, "push", 1, {});
  ASSERT_TRUE(
      a.machine().effect_of(encode(SpaceCall{.function = "push", .arguments = bytes_of(50)})));
  EXPECT_EQ(decide(a, "sum", 0, {}), 1u);
}

TEST_F(SpaceMachineTest, ErrorsAndExceptionsAreTheCallers) {
  Member a;
  Entry entry{.index = ++index_, .effect = {}};
  EXPECT_EQ(a.call("nothing", 0, entry).error().code(), Errc::not_found);
  entry.index = ++index_;
  const auto refused = a.call("refuse", 0, entry);
  EXPECT_EQ(refused.error().code(), Errc::limit);
  EXPECT_EQ(refused.error().detail(), 7u);
  entry.index = ++index_;
  const auto thrown = a.call("throw", 5, entry);
  EXPECT_EQ(thrown.error().code(), Errc::aborted);
  EXPECT_EQ(thrown.error().context(), "changed its mind");
  ASSERT_TRUE(a.machine().decided(index_));
  // What it had committed before stays.
  EXPECT_EQ(decide(a, "sum", 0, {}), 5u);
}

TEST_F(SpaceMachineTest, HostileRequestsAndCommandsAreCorrupt) {
  Member a;
  EXPECT_EQ(a.machine().effect_of(bytes_of(1)).error().code(), Errc::corrupt);
  EXPECT_EQ(decode_reply(a.machine().apply_at(1, bytes_of(1))).error().code(), Errc::corrupt);
  // An effect whose record is none ends the member, when it is decided.
  const Bytes rubbish = bytes_of(~std::uint64_t{0});
  const Bytes effect = encode(SpaceEffect{.space = {1, 1}, .records = {rubbish}, .reply = {}});
  (void)a.machine().apply_at(2, effect);
  EXPECT_EQ(a.machine().decided(2).error().code(), Errc::corrupt);
}

// Whatever of its image a member lost, the log has it; nothing is taken in twice.
TEST_F(SpaceMachineTest, ACrashLosesNothing) {
  Member a;
  Member b;
  for (std::uint64_t i = 1; i <= 10; ++i) decide(a, "push", i, {&b});
  ASSERT_TRUE(b.machine().try_snapshot());
  for (std::uint64_t i = 11; i <= 15; ++i) decide(a, "push", i, {&b});
  b.lose_power();
  EXPECT_LT(b.machine().image().last_index(), a.machine().image().last_index());
  replay(b);
  EXPECT_EQ(a.pages(), b.pages());
  b.start();  // a process that ended
  replay(b);
  EXPECT_EQ(a.pages(), b.pages());
  EXPECT_EQ(decide(b, "sum", 0, {&a}), 120u);
}

TEST_F(SpaceMachineTest, ASnapshotIsTakenInWhereItIsMissing) {
  Member a;
  for (std::uint64_t i = 1; i <= 10; ++i) decide(a, "push", i, {});
  const Bytes state = a.machine().try_snapshot().value();
  Member b;
  EXPECT_FALSE(b.machine().has_state(state));
  EXPECT_EQ(b.machine().restore(state).error().code(), Errc::corrupt);
  const auto sink = bring(a, b, state);
  EXPECT_TRUE(b.machine().has_state(state));
  ASSERT_TRUE(b.machine().restore(state));
  EXPECT_EQ(b.machine().position(), a.machine().position());
  EXPECT_EQ(a.pages(), b.pages());
  EXPECT_EQ(decide(a, "push", 11, {&b}), 11u);
  EXPECT_EQ(a.pages(), b.pages());
  // Who has it keeps it, and what came behind it.
  const store::Index had = b.machine().image().last_index();
  ASSERT_TRUE(b.machine().restore(state));
  EXPECT_EQ(b.machine().image().last_index(), had);
  EXPECT_LT(b.machine().position(), had);
  b.apply(log_.back());
  EXPECT_EQ(b.machine().position(), had);
  EXPECT_EQ(decide(b, "sum", 0, {&a}), 66u);
}

/// Whether another member got the pages of one moment, while this one went on.
bool is_of_one_moment(const std::function<std::uint64_t(Member&, std::uint64_t)>& decide) {
  Member a;
  decide(a, 500);
  const Bytes reference = a.machine().try_snapshot().value();
  const Bytes before = a.pages();
  auto source = a.machine().send_state(reference, 4096).value();
  Member b;
  auto sink = b.machine().receive_state(reference).value();
  for (std::uint64_t number = 0;; ++number) {
    std::optional<Bytes> part;
    while (!part) part = source->part(number).value();
    // Every page is another one by now, and the blocks of the former ones are wanted.
    if (number < 20) decide(a, 500);
    if (number % 4 == 0) (void)a.machine().try_snapshot().value();
    if (!sink->take(*part)) return false;
    if (part->empty()) break;
  }
  while (!sink->is_done().value()) {
  }
  if (!b.machine().restore(reference)) return false;
  return b.pages() == before;
}

TEST_F(SpaceMachineTest, AStateIsOfOneMoment) {
  const auto fill = [&](Member& member, std::uint64_t count) {
    return decide(member, "fill", count, {});
  };
  EXPECT_TRUE(is_of_one_moment(fill));
  const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = "space.source_moves"});
  EXPECT_FALSE(is_of_one_moment(fill));
}

// What is compared is what was there when it began, whatever both do meanwhile.
TEST_F(SpaceMachineTest, AnOlderImageMayGoOnWhileItIsUsed) {
  Member a;
  Member b;
  for (std::uint64_t i = 0; i < 4; ++i) decide(a, "fill", 400 + i, {&b});
  for (std::uint64_t i = 0; i < 50; ++i) decide(a, "push", i, {&b});
  const std::size_t common = log_.size();
  for (std::uint64_t i = 0; i < 4; ++i) decide(a, "fill", 410 + i, {});
  const Bytes reference = a.machine().try_snapshot().value();
  const Bytes expected = a.pages();
  auto source = a.machine().send_state(reference, 1024).value();
  auto sink = b.machine().receive_state(reference).value();
  for (std::uint64_t number = 0;; ++number) {
    const Bytes question = sink->question(number).value().value();
    const Bytes part = source->answer(number, question).value().value();
    // Entries come to it after all, and every block of before is wanted.
    if (number < log_.size() - common) {
      b.apply(log_[common + number]);
      ASSERT_TRUE(b.machine().decided(log_[common + number].index));
      (void)b.machine().try_snapshot().value();
    }
    if (number < 20) decide(a, "fill", 500 + number, {});
    (void)a.machine().try_snapshot().value();
    ASSERT_TRUE(sink->take(part).value());
    if (part.empty()) break;
  }
  ASSERT_TRUE(sink->is_done().value());
  EXPECT_GT(sink->pages().kept, 0u);
  EXPECT_GT(sink->pages().received, 0u);
  ASSERT_TRUE(b.machine().image().adopt());
  EXPECT_EQ(b.pages(), expected);
}

// A new replica whose directory is one of before: its log knows of nothing that is there.
TEST_F(SpaceMachineTest, AnImageOfAnEarlierReplicaIsOfUse) {
  Member a;
  Member b;
  decide(a, "fill", 500, {&b});
  ASSERT_TRUE(b.machine().try_snapshot());
  b.start();
  decide(a, "push", 1, {});
  const Bytes state = a.machine().try_snapshot().value();
  const auto sink = bring(a, b, state);
  EXPECT_GT(sink->pages().kept, 0u);
  ASSERT_TRUE(b.machine().restore(state));
  EXPECT_EQ(a.pages(), b.pages());
  EXPECT_EQ(decide(b, "push", 2, {&a}), 2u);
  EXPECT_EQ(a.pages(), b.pages());
  // Or it has the entries.
  Member c;
  for (std::size_t i = 0; i < 2; ++i) c.apply(log_[i]);
  ASSERT_TRUE(c.machine().decided(log_[1].index));
  c.start();
  replay(c);
  EXPECT_EQ(a.pages(), c.pages());
}

// The image of a member that starts again may be of a later entry than the one it is at.
TEST_F(SpaceMachineTest, NoSnapshotIsOfAnotherPosition) {
  Member a;
  for (std::uint64_t i = 1; i <= 5; ++i) decide(a, "push", i, {});
  a.machine().reset();
  for (std::size_t i = 0; i < 3; ++i) a.apply(log_[i]);
  ASSERT_TRUE(a.machine().decided(3));
  EXPECT_EQ(a.machine().try_snapshot().error().code(), Errc::busy);
  for (std::size_t i = 3; i < 5; ++i) a.apply(log_[i]);
  ASSERT_TRUE(a.machine().decided(5));
  EXPECT_TRUE(a.machine().try_snapshot());
}

TEST_F(SpaceMachineTest, AnotherSpacesStateIsNotTakenForIts) {
  Member a;
  Member b;
  decide(a, "push", 1, {});
  index_ = 0;
  log_.clear();
  decide(b, "push", 1, {});
  const Bytes state = a.machine().try_snapshot().value();
  EXPECT_EQ(b.machine().restore(state).error().code(), Errc::corrupt);
  // Nor is an image of which the log says nothing.
  b.machine().reset();
  EXPECT_EQ(
      b.machine().effect_of(encode(SpaceCall{.function = "sum", .arguments = {}})).error().code(),
      Errc::busy);
  EXPECT_EQ(b.machine().decided(0).error().code(), Errc::already_exists);
}

// Its log lets go of the entries that the reference stands for; they are in the image alone then.
TEST_F(SpaceMachineTest, WhatAReferenceStandsForIsDurableOnceItIsTakenIn) {
  const auto starts_again = [&](const char* bug) {
    const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = bug});
    Member a;
    Member b;
    index_ = 0;
    log_.clear();
    decide(a, "push", 1, {&b});
    decide(a, "push", 2, {&b});
    const Bytes state = a.machine().try_snapshot().value();
    EXPECT_TRUE(b.machine().restore(state)) << "it has all of it";
    b.lose_power();
    return b.machine().restore(state).has_value() && b.query("total").value() == 3;
  };
  EXPECT_TRUE(starts_again(""));
  EXPECT_FALSE(starts_again("space.held_not_synced"));
}

TEST_F(SpaceMachineTest, AFullDiskEndsTheMember) {
  Member a;
  decide(a, "push", 1, {});
  a.disk().inject({.on = sim::FaultOn::write, .nth = 1, .code = Errc::io_error});
  a.disk().inject({.on = sim::FaultOn::sync, .nth = 1, .code = Errc::io_error});
  Result<void> ended;
  for (std::uint64_t i = 2; ended && i < 20'000; ++i) {
    Entry entry{.index = ++index_, .effect = {}};
    ASSERT_TRUE(a.call("push", i, entry));
    ended = a.machine().decided(index_);
  }
  ASSERT_FALSE(ended);
}

// A leader that is deposed has not executed what it made last, and nothing is undone for it.
TEST_F(SpaceMachineTest, AnEffectThatWasLeftBehindIsForgotten) {
  const Bytes lost = encode(SpaceCall{.function = "push", .arguments = bytes_of(100)});
  Member a;
  Member b;
  decide(a, "push", 1, {&b});
  ASSERT_TRUE(a.machine().effect_of(lost));
  EXPECT_EQ(decide(b, "sum", 0, {&a}), 1u);  // which changes nothing
  EXPECT_EQ(decide(a, "sum", 0, {&b}), 1u);
  EXPECT_EQ(decide(a, "push", 2, {&b}), 2u);
  EXPECT_EQ(a.pages(), b.pages());
  ASSERT_TRUE(a.machine().effect_of(lost));
  (void)a.machine().apply_at(++index_, bytes_of(1));  // nor does this
  EXPECT_EQ(decide(a, "sum", 0, {&b}), 3u);
}

TEST_F(SpaceMachineTest, ASnapshotIsTakenBesideAnEffectThatWasLeftBehind) {
  Member a;
  Member b;
  decide(a, "push", 1, {&b});
  Entry next{.index = index_ + 1, .effect = {}};
  next.effect = a.machine()
                    .effect_of(encode(SpaceCall{.function = "push", .arguments = bytes_of(2)}))
                    .value();
  ASSERT_TRUE(a.machine().try_snapshot());
  // It may be decided all the same.
  for (Member* const member : {&a, &b}) {
    member->apply(next);
    ASSERT_TRUE(member->machine().decided(next.index));
  }
  index_ = next.index;
  EXPECT_EQ(a.pages(), b.pages());
  EXPECT_EQ(decide(a, "sum", 0, {&b}), 3u);
}

// What a log does not take would be lost without a word.
TEST_F(SpaceMachineTest, WhatIsTooLargeForTheLogHasNotHappened) {
  constexpr std::size_t kMax = log::kPayloadBytesMax - replication::kCommandHeadBytes;
  Member a;
  a.start(16u << 20);
  for (const auto& [function, size] : {std::pair{"fill", kMax / 13}, std::pair{"shout", kMax},
                                       std::pair{"fill", std::size_t{200}}}) {
    Entry entry{.index = ++index_, .effect = {}};
    const auto reply = a.call(function, size, entry);
    EXPECT_LE(entry.effect.size(), kMax);
    const Errc code = reply ? Errc{} : reply.error().code();
    EXPECT_EQ(code, size == 200 ? Errc{} : Errc::too_large) << function;
    ASSERT_TRUE(a.machine().decided(index_));
  }
}

// In parts a record would have several indices in the image: what follows were taken for had.
TEST_F(SpaceMachineTest, ARecordAboveASegmentIsTheCallersError) {
  Member a;
  Member b;
  decide(a, "push", 1, {&b});
  Entry entry{.index = ++index_, .effect = {}};
  const auto reply = a.call("fill", 1000, entry);
  b.apply(entry);
  for (Member* const member : {&a, &b}) {
    ASSERT_TRUE(member->machine().decided(index_));
    EXPECT_EQ(member->machine().image().last_index(), member->machine().position());
  }
  EXPECT_EQ(decide(a, "push", 2, {&b}), 2u);
  EXPECT_EQ(decide(b, "sum", 0, {&a}), 3u);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code(), Errc::too_large);
}

TEST_F(SpaceMachineTest, ALongLogIsTakenInAtOnce) {
  Member a;
  for (std::uint64_t i = 1; i <= 250; ++i) decide(a, "fill", 300 + i, {});
  Member b;
  replay(b);
  EXPECT_EQ(a.pages(), b.pages());
}

TEST_F(SpaceMachineTest, AFunctionCannotCutTheLog) {
  Member a;
  Entry entry{.index = ++index_, .effect = {}};
  EXPECT_EQ(a.call("cut", 1, entry).error().code(), Errc::unsupported);
  ASSERT_TRUE(a.machine().decided(index_));
  ASSERT_TRUE(a.machine().try_snapshot());
  EXPECT_EQ(decide(a, "sum", 0, {}), 1u);
}

TEST_F(SpaceMachineTest, AFunctionThatClosesTheSpaceHarmsNoOther) {
  Member a;
  Member b;
  EXPECT_EQ(decide(a, "close", 1, {&b}), 1u);
  EXPECT_EQ(decide(a, "push", 2, {&b}), 2u);
  EXPECT_EQ(a.pages(), b.pages());
}

TEST_F(SpaceMachineTest, AFunctionMayHaveThreads) {
  Member a;
  Member b;
  EXPECT_EQ(decide(a, "crowd", 500, {&b}), 2000u);
  EXPECT_EQ(a.pages(), b.pages());
  EXPECT_EQ(decide(b, "crowd", 500, {&a}), 2000u);
  EXPECT_EQ(a.pages(), b.pages());
}

// Its directory was not cleared with the member's.
TEST_F(SpaceMachineTest, AnotherSpacesRecordsAreNotTakenForItsOwn) {
  Member b;
  for (std::uint64_t i = 1; i <= 3; ++i) decide(b, "push", i, {});
  index_ = 0;
  log_.clear();
  Member a;
  decide(a, "push", 10, {});
  b.machine().reset();
  b.apply(log_.back());
  EXPECT_EQ(b.machine().decided(index_).error().code(), Errc::corrupt);
}

TEST_F(SpaceMachineTest, ADamagedLogIsAnError) {
  Member a;
  for (std::uint64_t i = 1; i <= 5; ++i) decide(a, "push", i, {});
  (void)a.pages();
  const auto names = a.disk().list().value();
  for (const std::string& name : names) {
    if (!name.starts_with("log/")) continue;
    for (std::uint64_t at = 4096; at < 16'384; at += 64) a.disk().flip_bit(name, at, 3);
  }
  EXPECT_FALSE(a.machine().image().pages(std::size_t{1} << 30));
}

}  // namespace
}  // namespace dolmen::node
