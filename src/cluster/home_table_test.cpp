// SPDX-License-Identifier: Apache-2.0
#include "cluster/home_table.hpp"

#include <gtest/gtest.h>

#include "cluster/directory.hpp"
#include "cluster/home_fixture.hpp"
#include "cluster/index_table.hpp"

namespace dolmen::cluster {
namespace {

using Kind = HomeBytes::Kind;

/// Group 1 with objects, and group 2 that gets some.
struct HomeTableTest : testing::Test {
  HomeTableTest() {
    make_objects(from, from_index, 3);
    make_objects(to, to_index, 0);
  }
  HomePlan post(std::uint32_t number) {
    const std::size_t at = (number - 1) * std::size_t{5};
    const base::Bytes part =
        base::Bytes(all).subspan(at, std::min<std::size_t>(5, all.size() - at));
    return execute(from, from_index, home::PostPart{object(1), number, {part.begin(), part.end()}});
  }
  /// The part's way, and what is answered to it.
  HomePlan carry(const HomePlan& posted) {
    last = posted.letters.at(0).mail;
    return consume(to, to_index, 1, last);
  }
  HomeAnswer at_from() { return from.find(object(1)).answer; }
  HomeAnswer at_to() { return to.find(object(1)).answer; }

  HomeTable from{1, {.window_parts = 2}};
  HomeTable to{2, {.objects_max = 4, .arriving_max = 2}};
  log::Index from_index = 0, to_index = 0;
  std::vector<std::byte> all = bytes("twelve bytes");
  HomeMail last{};
};

TEST_F(HomeTableTest, AnObjectMovesInParts) {
  EXPECT_EQ(execute(from, from_index, move_of(1, 2, all, 5)).verdict, HomeVerdict::applied);
  EXPECT_EQ(from.find(object(1)),
            (HomeFound{.answer = HomeAnswer::frozen, .group = 2, .is_current = true}));
  EXPECT_EQ(from.parts_wanted(),
            (std::vector<HomePartWanted>{{object(1), 1, 0, 5}, {object(1), 2, 5, 5}}));
  const HomePlan first = post(1);
  const HomePlan second = post(2);
  EXPECT_EQ(post(3).verdict, HomeVerdict::busy);
  EXPECT_TRUE(from.parts_wanted().empty());
  const HomePlan took = carry(first);
  EXPECT_EQ(took.bytes.at(0).kind, Kind::put_aside);
  EXPECT_EQ(at_to(), HomeAnswer::not_here);
  consume(from, from_index, 2, took.letters.at(0).mail);
  const HomePlan third = post(3);
  EXPECT_EQ(third.verdict, HomeVerdict::applied);
  EXPECT_EQ(from.find(object(1)), (HomeFound{.answer = HomeAnswer::frozen, .group = 2}));
  carry(second);
  const HomePlan whole = carry(third);
  EXPECT_EQ(whole.bytes.at(1).kind, Kind::publish);
  EXPECT_EQ(at_to(), HomeAnswer::serves);
  ASSERT_EQ(whole.letters.size(), 2u);
  EXPECT_EQ(whole.letters[1].to, kDirectoryGroup);
  EXPECT_EQ(
      whole.letters[1].mail,
      HomeMail(home::Settled{.id = object(1), .counter = 2, .former = 1, .length_class = 12}));
  EXPECT_EQ(consume(from, from_index, 2, whole.letters[0].mail).bytes.at(0).kind, Kind::erase);
  EXPECT_EQ(from.find(object(1)), (HomeFound{.answer = HomeAnswer::moved, .group = 2}));
  // It stays until the directory knows where it is, and then is as any other.
  EXPECT_EQ(execute(to, to_index, move_of(1, 1, all, 5)).verdict, HomeVerdict::busy);
  const home::Logged logged{.id = object(1), .counter = 2};
  consume(from, from_index, kDirectoryGroup, logged);
  consume(to, to_index, kDirectoryGroup, logged);
  EXPECT_EQ(at_from(), HomeAnswer::not_here);
  EXPECT_EQ(execute(to, to_index, move_of(1, 1, all, 5)).verdict, HomeVerdict::applied);
}

TEST_F(HomeTableTest, TheDirectoryMayBeFasterThanTheNewHome) {
  all = bytes("few");
  execute(from, from_index, move_of(1, 2, all, 5));
  carry(post(1));
  EXPECT_EQ(consume(from, from_index, kDirectoryGroup, home::Logged{object(1), 2}).bytes.at(0).kind,
            Kind::erase);
  EXPECT_EQ(at_from(), HomeAnswer::not_here);
  EXPECT_TRUE(consume(from, from_index, 2, home::Arrived{object(1), 1}).rows.empty());
}

TEST_F(HomeTableTest, AnEmptyObjectMovesInOnePart) {
  all.clear();
  execute(from, from_index, move_of(1, 2, all, 5));
  EXPECT_EQ(from.parts_wanted(), (std::vector<HomePartWanted>{{object(1), 1, 0, 0}}));
  carry(post(1));
  EXPECT_EQ(at_to(), HomeAnswer::serves);
  HomeTable again(1);
  from.settle(from_index);
  EXPECT_TRUE(again.restore(from.snapshot()));
}

TEST_F(HomeTableTest, WhatIsRefusedIsServedAgain) {
  execute(from, from_index, move_of(1, 2, all, 5));
  const HomePlan first = post(1);
  const HomePlan second = post(2);
  const HomePlan refused = consume(to, to_index, 1, first.letters[0].mail, HomeRefusal::no_space);
  EXPECT_EQ(refused.letters.at(0).mail,
            HomeMail(home::Refused{object(1), 1, HomeRefusal::no_space}));
  // What follows on it is nothing.
  EXPECT_TRUE(carry(second).letters.empty());
  consume(from, from_index, 2, refused.letters[0].mail);
  EXPECT_EQ(at_from(), HomeAnswer::serves);
  EXPECT_TRUE(to.rows().empty());
}

TEST_F(HomeTableTest, WhoGetsItDecidesWhetherItIsTakenBack) {
  all = bytes("sevenish");
  execute(from, from_index, move_of(1, 2, all, 5));
  execute(from, from_index, home::CancelMove{object(1)});
  EXPECT_EQ(at_from(), HomeAnswer::serves) << "nobody knew of it";
  execute(from, from_index, move_of(1, 2, all, 5));
  carry(post(1));
  const HomePlan cancel = execute(from, from_index, home::CancelMove{object(1)});
  EXPECT_EQ(at_from(), HomeAnswer::frozen);
  const HomePlan refused = carry(cancel);
  EXPECT_EQ(refused.bytes.at(0).kind, Kind::drop);
  consume(from, from_index, 2, refused.letters.at(0).mail);
  EXPECT_EQ(at_from(), HomeAnswer::serves);
  // Too late.
  execute(from, from_index, move_of(1, 2, all, 5));
  carry(post(1));
  carry(post(2));
  EXPECT_TRUE(carry(execute(from, from_index, home::CancelMove{object(1)})).letters.empty());
  EXPECT_EQ(at_to(), HomeAnswer::serves);
}

TEST_F(HomeTableTest, DamagedPartsAreRefused) {
  execute(from, from_index, move_of(1, 2, bytes("twelve BYTES"), 5));
  carry(post(1));
  carry(post(2));
  consume(from, from_index, 2, home::Took{object(1), 1, 2});
  const HomePlan refused = carry(post(3));
  EXPECT_EQ(refused.letters.at(0).mail,
            HomeMail(home::Refused{object(1), 1, HomeRefusal::damaged}));
  EXPECT_TRUE(to.rows().empty());
}

TEST_F(HomeTableTest, AnObjectIsToldOfWhenTheDirectoryKnowsIt) {
  EXPECT_EQ(execute(from, from_index, home::Create{object(8)}).letters.at(0).mail,
            HomeMail(home::Settled{.id = object(8), .counter = 1}));
  EXPECT_EQ(from.find(object(8)).answer, HomeAnswer::untold);
  consume(from, from_index, kDirectoryGroup, home::Logged{object(8), 1});
  EXPECT_EQ(from.find(object(8)).answer, HomeAnswer::serves);
  EXPECT_EQ(execute(from, from_index, home::Create{object(8)}).verdict, HomeVerdict::exists);
}

TEST_F(HomeTableTest, ErasedIsToldToTheDirectoryAfterItKnewTheObject) {
  execute(from, from_index, home::Create{object(8)});
  EXPECT_TRUE(execute(from, from_index, home::Erase{object(8)}).letters.empty());
  EXPECT_EQ(from.find(object(8)).answer, HomeAnswer::erased);
  EXPECT_EQ(
      consume(from, from_index, kDirectoryGroup, home::Logged{object(8), 1}).letters.at(0).mail,
      HomeMail(home::Erased{object(8), 2}));
  EXPECT_EQ(execute(from, from_index, home::Create{object(8)}).verdict, HomeVerdict::exists);
  consume(from, from_index, kDirectoryGroup, home::Logged{object(8), 2});
  EXPECT_EQ(from.find(object(8)).answer, HomeAnswer::not_here);
}

TEST_F(HomeTableTest, WhatCannotBeIsRefused) {
  const auto verdict = [&](const HomeCommand& command) { return from.plan(command).verdict; };
  EXPECT_EQ(verdict(move_of(1, 1, all, 5)), HomeVerdict::invalid);
  EXPECT_EQ(verdict(move_of(9, 2, all, 5)), HomeVerdict::not_here);
  EXPECT_EQ(verdict(home::Take{}), HomeVerdict::invalid);
  EXPECT_EQ(verdict(home::SetShards{{1}}), HomeVerdict::invalid);
  EXPECT_EQ(verdict(home::SetShards{{2, 3, 4}}), HomeVerdict::invalid);
  EXPECT_EQ(HomeTable(3).plan(HomeCommand(home::Create{object(1)})).verdict,
            HomeVerdict::no_directory);
  execute(from, from_index, move_of(1, 2, all, 5));
  EXPECT_EQ(verdict(move_of(1, 2, all, 5)), HomeVerdict::busy);
  EXPECT_EQ(verdict(home::Erase{object(1)}), HomeVerdict::busy);
  EXPECT_EQ(verdict(home::PostPart{object(1), 2, bytes("twelv")}), HomeVerdict::invalid);
  EXPECT_EQ(verdict(home::PostPart{object(1), 1, bytes("twelve")}), HomeVerdict::invalid);
  EXPECT_EQ(verdict(home::PostPart{object(2), 1, {}}), HomeVerdict::not_here);
  EXPECT_EQ(verdict(home::CancelMove{object(2)}), HomeVerdict::not_here);
}

TEST_F(HomeTableTest, HasNoMoreThanItMay) {
  const auto refusal = [&](std::uint64_t number) {
    const HomeMail part = home::Part{.id = object(number),
                                     .move = number,
                                     .counter = 1,
                                     .object_bytes = 9,
                                     .number = 1,
                                     .bytes = bytes("ab")};
    const HomePlan plan = consume(to, to_index, 1, part);
    const auto* const refused = std::get_if<home::Refused>(&plan.letters.at(0).mail);
    return refused == nullptr ? HomeRefusal::none : refused->why;
  };
  EXPECT_EQ(refusal(11), HomeRefusal::none);
  EXPECT_EQ(refusal(12), HomeRefusal::none);
  EXPECT_EQ(refusal(13), HomeRefusal::full);
  execute(to, to_index, home::Create{object(14)});
  execute(to, to_index, home::Create{object(15)});
  EXPECT_EQ(to.plan(HomeCommand(home::Create{object(16)})).verdict, HomeVerdict::full);
  execute(to, to_index, home::Drain{true});
  EXPECT_EQ(to.plan(HomeCommand(home::Create{object(16)})).verdict, HomeVerdict::draining);
  EXPECT_EQ(refusal(17), HomeRefusal::draining);
  EXPECT_FALSE(to.is_drained());
}

TEST_F(HomeTableTest, NothingIsMovedToAClosedGroup) {
  execute(from, from_index, move_of(1, 2, all, 5));
  execute(from, from_index, home::Close{2});
  EXPECT_EQ(from.plan(HomeCommand(move_of(2, 2, all, 5))).verdict, HomeVerdict::closed);
  EXPECT_FALSE(from.has_closed(2)) << "an object is under way there";
  execute(from, from_index, home::CancelMove{object(1)});
  EXPECT_TRUE(from.has_closed(2));
  EXPECT_FALSE(from.has_closed(3));
}

TEST(HomeTable, IsUndoneAndRestored) {
  const HomeTable table = example_homes();
  const std::vector<std::byte> state = table.snapshot();
  EXPECT_EQ(state, golden("home_table_v1.bin"));
  HomeTable other(1);
  ASSERT_TRUE(other.restore(state));
  EXPECT_EQ(other.snapshot(), state);
  log::Index index = 100;
  consume(other, index, 2, home::Refused{object(3), 2, HomeRefusal::cancelled});
  execute(other, index, home::Erase{object(1)});
  execute(other, index, home::Drain{false});
  execute(other, index, home::Close{8});
  execute(other, index, move_of(3, 2, bytes("x"), 1));
  execute(other, index, home::SetShards{{5}});
  EXPECT_EQ(other.snapshot(), state) << "what is settled";
  HomeTable undone = other;
  undone.undo(101);
  undone.settle(200);
  EXPECT_EQ(undone.snapshot(), state);
  other.settle(200);
  EXPECT_NE(other.snapshot(), state);
  HomeTable stranger(2);
  EXPECT_FALSE(stranger.restore(state)) << "of another group";
  for (std::size_t length = 0; length < state.size(); ++length) {
    EXPECT_FALSE(undone.restore(base::Bytes(state).first(length)));
  }
  EXPECT_EQ(undone.snapshot(), state);
}

TEST(Directory, ASlotHoldsGroupAndCounter) {
  for (const DirectoryEntry& entry :
       {DirectoryEntry{1, 1, 0}, DirectoryEntry{~GroupNumber{0}, kMoveCounterMax, 0xFFFF},
        DirectoryEntry{7, 0x123456789ABC, 5}}) {
    EXPECT_EQ(entry_of(home_of(entry)), entry);
  }
}

TEST(Directory, FollowsNoticesAndTellsBothHomes) {
  Table table;
  const auto notice = [&](GroupNumber from, const HomeMail& mail) {
    DirectoryPlan plan = plan_notice(table.index(), from, mail);
    if (plan.command) table.apply(*plan.command);
    return plan;
  };
  const auto known = [&] {
    const auto home = table.index().find(object(1));
    return home ? entry_of(*home) : DirectoryEntry{};
  };
  EXPECT_EQ(notice(4, home::Settled{.id = object(1), .counter = 1}).letters.size(), 1u);
  EXPECT_EQ(known(), (DirectoryEntry{.group = 4, .counter = 1}));
  const DirectoryPlan moved =
      notice(5, home::Settled{.id = object(1), .counter = 2, .former = 4, .length_class = 3});
  ASSERT_EQ(moved.letters.size(), 2u);
  EXPECT_EQ(moved.letters[0].to, 5u);
  EXPECT_EQ(moved.letters[1].to, 4u);
  EXPECT_EQ(moved.letters[1].mail, HomeMail(home::Logged{object(1), 2}));
  EXPECT_EQ(known(), (DirectoryEntry{.group = 5, .counter = 2, .length_class = 3}));
  EXPECT_FALSE(notice(4, home::Settled{.id = object(1), .counter = 2}).command);
  EXPECT_FALSE(notice(5, home::Erased{object(1), 2}).command);
  EXPECT_EQ(notice(5, home::Erased{object(1), 3}).letters.at(0).to, 5u);
  EXPECT_EQ(known(), DirectoryEntry{});
  EXPECT_TRUE(notice(5, home::Arrived{object(1), 3}).letters.empty());
}

// A space may be a copy of another one, with the same ids.
TEST(Directory, KeepsTheFirstOfTwoGroupsThatPublishOneId) {
  Table table;
  const auto notice = [&](GroupNumber from, const HomeMail& mail) {
    DirectoryPlan plan = plan_notice(table.index(), from, mail);
    if (plan.command) table.apply(*plan.command);
    return plan.letters;
  };
  const auto group = [&] { return entry_of(table.index().find(object(1)).value()).group; };
  ASSERT_EQ(notice(4, home::Settled{.id = object(1), .counter = 1}).size(), 1u);
  EXPECT_TRUE(notice(5, home::Settled{.id = object(1), .counter = 1}).empty())
      << "it would tell of the object, and who looks it up be led to the other one";
  EXPECT_EQ(group(), 4u);
  ASSERT_EQ(notice(5, home::Erased{object(1), 2}).size(), 1u);
  EXPECT_EQ(group(), 4u);
}

}  // namespace
}  // namespace dolmen::cluster
