// SPDX-License-Identifier: Apache-2.0
//
// Members' machines of one space without a group: what is decided, and when, is said here.
#include "node/space_machine.hpp"

#include <atomic>
#include <cstring>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include <dolmen/vector.hpp>

#include "log/message.hpp"
#include "replication/executor.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

using Bytes = std::vector<std::byte>;

struct Item {
  std::uint64_t value = 0;
  ptr<Item> next;
};
struct Pile {
  std::uint64_t count = 0;
  ptr<Item> top;
};

Bytes bytes_of(std::uint64_t value) {
  Bytes bytes(sizeof value);
  base::store(base::MutableBytes(bytes), 0, value);
  return bytes;
}

Result<Bytes> push(Space& space, std::span<const std::byte> arguments) {
  const auto value = base::load<std::uint64_t>(arguments);
  DOLMEN_TRY(const auto pile, space.find_or_create<Pile>("pile"));
  DOLMEN_TRY(const std::uint64_t count, space.transact(pile, [&](mut<Pile> p) {
    p->top = make<Item>(p, value, p->top);
    return ++p->count;
  }));
  return bytes_of(count);
}

Result<Bytes> sum(Space& space, std::span<const std::byte>) {
  DOLMEN_TRY(const auto pile, space.find<Pile>("pile"));
  DOLMEN_TRY(const std::uint64_t total, space.read(pile, [&](ref<Pile> p) {
    std::uint64_t of_all = 0;
    for (ptr<Item> item = p->top; item; item = item->next) of_all += item->value;
    return of_all;
  }));
  return bytes_of(total);
}

struct Words {
  vector<std::uint64_t> all;
};

/// So many words that are not like each other.
Result<Bytes> fill(Space& space, std::span<const std::byte> arguments) {
  const auto count = base::load<std::uint64_t>(arguments);
  DOLMEN_TRY(const auto words, space.find_or_create<Words>("words"));
  DOLMEN_CHECK(space.transact(words, [&](mut<Words> w) {
    const std::uint64_t salt = w->all.size() + 1;
    w->all.clear();
    for (std::uint64_t i = 1; i <= count; ++i) {
      w->all.push_back((i + salt) * 0x9E3779B97F4A7C15);
    }
  }));
  return bytes_of(count);
}

/// As many transactions in each of four threads, which end before it does.
Result<Bytes> crowd(Space& space, std::span<const std::byte> arguments) {
  const auto count = base::load<std::uint64_t>(arguments);
  std::atomic<std::uint64_t> done{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const auto pile = space.find_or_create<Pile>("pile" + std::to_string(i));
      for (std::uint64_t n = 0; pile && n < count; ++n) {
        if (space.transact(*pile, [](mut<Pile> p) { ++p->count; })) ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return bytes_of(done);
}

struct Entry {
  std::uint64_t index = 0;
  Bytes effect;
};

class Member {
 public:
  Member() { start(); }
  void start(std::uint32_t segment_bytes = 16u << 10) {
    SpaceFunctions functions;
    functions["push"] = push;
    functions["sum"] = sum;
    functions["fill"] = fill;
    functions["total"] = SpaceFunction::query(sum);
    functions["sly"] = SpaceFunction::query([](Space& space, std::span<const std::byte> arguments) {
      (void)push(space, arguments);  // and says nothing of it
      return Result<Bytes>(Bytes{});
    });
    functions["crowd"] = crowd;
    functions["shout"] = [](Space&, std::span<const std::byte> arguments) -> Result<Bytes> {
      return Bytes(base::load<std::uint64_t>(arguments));
    };
    functions["close"] = [](Space& space, std::span<const std::byte> arguments) -> Result<Bytes> {
      DOLMEN_TRY(Bytes reply, push(space, arguments));
      DOLMEN_CHECK(space.close());
      return reply;
    };
    functions["cut"] = [](Space& space, std::span<const std::byte> arguments) -> Result<Bytes> {
      DOLMEN_CHECK(push(space, arguments));
      DOLMEN_CHECK(space.checkpoint());
      return Bytes{};
    };
    functions["throw"] = [](Space& space, std::span<const std::byte> arguments) -> Result<Bytes> {
      if (!push(space, arguments)) return fail(Errc::corrupt, "test");
      throw std::runtime_error("changed its mind");
    };
    functions["refuse"] = [](Space&, std::span<const std::byte>) -> Result<Bytes> {
      return fail(Errc::limit, "a test's", 7);
    };
    machine_.reset();
    auto opened = SpaceMachine::open(
        env_, std::make_unique<sys::BorrowedDisk>(*disk_), sys::linux_env().memory->best_driver(),
        std::move(functions),
        {.image = {.segment_bytes = segment_bytes, .tail_bytes_max = 64u << 10}});
    if (!opened) throw std::runtime_error(opened.error().message());
    machine_ = std::move(*opened);
  }
  /// As the leader: the effect, and its reply.
  Result<Bytes> call(std::string_view function, std::uint64_t argument, Entry& entry) {
    const Bytes arguments = bytes_of(argument);
    DOLMEN_TRY(entry.effect, machine_->effect_of(
                                 encode(SpaceCall{.function = function, .arguments = arguments})));
    return decode_reply(machine_->apply_at(entry.index, entry.effect));
  }
  /// As the leader, without an entry.
  Result<std::uint64_t> query(std::string_view function) {
    DOLMEN_CHECK(machine_->prepare_read());
    const Bytes argument = bytes_of(7);
    DOLMEN_TRY(const Bytes told,
               machine_->read(encode(SpaceCall{.function = function, .arguments = argument})));
    DOLMEN_TRY(const Bytes reply, decode_reply(told));
    return reply.size() == 8 ? base::load<std::uint64_t>(reply) : 0;
  }
  Result<std::uint64_t> number(std::string_view function, std::uint64_t argument, Entry& entry) {
    DOLMEN_TRY(const Bytes reply, call(function, argument, entry));
    return base::load<std::uint64_t>(reply);
  }
  void apply(const Entry& entry) { (void)machine_->apply_at(entry.index, entry.effect); }
  [[nodiscard]] Bytes pages() { return machine_->image().pages(std::size_t{1} << 30).value(); }
  SpaceMachine& machine() { return *machine_; }
  sim::SimDisk& disk() { return *disk_; }
  void lose_power() {
    auto left = disk_->crash({.kind = sim::CrashPlan::Kind::none}, 1);
    machine_.reset();
    disk_ = std::move(left);
    start();
  }

 private:
  /// What is read and written ahead is so at once.
  sim::SimProcess process_{1};
  sys::Env env_ = [this] {
    sys::Env env = sys::linux_env();
    env.process = &process_;
    return env;
  }();
  std::unique_ptr<sim::SimDisk> disk_ = std::make_unique<sim::SimDisk>(1);
  std::unique_ptr<SpaceMachine> machine_;
};

/// The state of this reference, part by part.
std::unique_ptr<StateSink> bring(Member& from, Member& to, const Bytes& reference) {
  auto source = from.machine().send_state(reference, 4096).value();
  auto sink = to.machine().receive_state(reference).value();
  for (std::uint64_t number = 0;; ++number) {
    std::optional<Bytes> part;
    while (!part) part = source->part(number).value();
    while (!sink->take(*part).value()) {
    }
    if (part->empty()) break;
  }
  while (!sink->is_done().value()) {
  }
  return sink;
}

class SpaceMachineTest : public testing::Test {
 protected:
  /// One call at `leader`, decided everywhere at once.
  std::uint64_t decide(Member& leader, std::string_view function, std::uint64_t argument,
                       std::initializer_list<Member*> others) {
    Entry entry{.index = ++index_, .effect = {}};
    const std::uint64_t reply = leader.number(function, argument, entry).value();
    EXPECT_TRUE(leader.machine().decided(index_));
    for (Member* const other : others) {
      other->apply(entry);
      EXPECT_TRUE(other->machine().decided(index_));
    }
    log_.push_back(entry);
    return reply;
  }
  void replay(Member& member) {
    member.machine().reset();
    for (const Entry& entry : log_) member.apply(entry);
    EXPECT_TRUE(member.machine().decided(index_));
  }

  std::uint64_t index_ = 0;
  std::vector<Entry> log_;
};

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

TEST_F(SpaceMachineTest, AQuerySeesWhatWasAppliedAndChangesNothing) {
  Member a;
  EXPECT_EQ(a.query("total").error().code(), Errc::not_found) << "there is nothing yet";
  EXPECT_EQ(decide(a, "push", 5, {}), 1u);
  EXPECT_EQ(a.query("total").value(), 5u);
  EXPECT_EQ(a.query("push").error().code(), Errc::read_only) << "no query";
  EXPECT_EQ(a.query("nobody").error().code(), Errc::not_found);
  EXPECT_EQ(a.query("sly").error().code(), Errc::read_only);
  EXPECT_EQ(a.query("total").value(), 5u) << "it changed nothing";
  EXPECT_EQ(a.machine().position(), a.machine().image().last_index());
  // As a command it may be called like any other.
  EXPECT_EQ(decide(a, "total", 0, {}), 5u);
  EXPECT_EQ(decide(a, "push", 6, {}), 2u);
  EXPECT_EQ(a.query("total").value(), 11u);
}

// Before what it led with is decided, and where it does not lead.
TEST_F(SpaceMachineTest, AQueryWaitsForASpace) {
  Member a;
  Member b;
  decide(a, "push", 5, {&b});
  const Bytes argument = bytes_of(0);
  const Bytes call = encode(SpaceCall{.function = "total", .arguments = argument});
  EXPECT_EQ(b.machine().read(call).error().code(), Errc::busy) << "a follower's is not open";
  EXPECT_EQ(b.query("total").value(), 5u) << "it leads now";
  EXPECT_EQ(a.machine().read(Bytes(3)).error().code(), Errc::corrupt);
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
