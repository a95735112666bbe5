// SPDX-License-Identifier: Apache-2.0
//
// Objects between two spaces and the directory, without groups: what is decided, and when, is said
// by the test. Each space has a second member, which is never asked.
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/vector.hpp>

#include "node/directory_machine.hpp"
#include "node/home_request.hpp"
#include "node/object_parts.hpp"
#include "node/replicated_group.hpp"
#include "node/space_machine.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"
#include "txn/space_core.hpp"
#include "txn/types.hpp"

namespace dolmen::node {
namespace {

using MoveBytes = std::vector<std::byte>;
using MoveArguments = std::span<const std::byte>;
using cluster::GroupNumber;
using cluster::HomeAnswer;
using cluster::HomeRefusal;
using cluster::HomeState;
using cluster::HomeVerdict;

constexpr GroupNumber kNorth = 2;
constexpr GroupNumber kSouth = 3;
constexpr GroupNumber kShard = 9;
/// Numbers of a chest that travels in five parts, of which four are posted at once.
constexpr std::uint64_t kManyParts = 280'000;

struct Leaf {
  std::uint64_t value = 0;
};
struct Tree {
  ptr<Leaf> leaf;
};
struct Chest {
  std::uint64_t count = 0;
  ptr<Leaf> elsewhere;  ///< of another object
  vector<std::uint64_t> all;
};

ObjectId id_of(base::Bytes bytes) { return decode_ids(bytes).value().at(0); }
MoveBytes number(std::uint64_t value) {
  base::ByteWriter out;
  out.put(value);
  return out.release();
}
std::uint64_t number_in(base::Bytes bytes) { return base::load<std::uint64_t>(bytes); }

SpaceFunctions chest_functions() {
  SpaceFunctions all;
  // A chest of so many numbers, which points to another object.
  all["make"] = [](Space& space, MoveArguments count) -> Result<MoveBytes> {
    DOLMEN_TRY(const auto tree, space.create<Tree>());
    DOLMEN_TRY(const auto chest, space.create<Chest>("chest", {.capacity = 16u << 20}));
    DOLMEN_CHECK(space.transact(chest, tree, [&](mut<Chest> c, mut<Tree> t) {
      t->leaf = make<Leaf>(t, 7u);
      c->elsewhere = t->leaf;
      c->all.reserve(number_in(count));
      for (std::uint64_t i = 1; i <= number_in(count); ++i) {
        c->all.push_back(i * 0x9E3779B97F4A7C15);
      }
    }));
    DOLMEN_CHECK(publish(space, chest.id()));
    return encode_ids({chest.id()});
  };
  all["add"] = [](Space& space, MoveArguments id) -> Result<MoveBytes> {
    const Object<Chest> chest(id_of(id));
    DOLMEN_TRY(const std::uint64_t count,
               space.transact(chest, [](mut<Chest> c) { return ++c->count; }));
    return number(count);
  };
  all["drop"] = [](Space& space, MoveArguments id) -> Result<MoveBytes> {
    DOLMEN_CHECK(space.erase(id_of(id)));
    return MoveBytes{};
  };
  all["named"] = [](Space& space, MoveArguments) -> Result<MoveBytes> {
    DOLMEN_TRY(const auto chest, space.find<Chest>("chest"));
    DOLMEN_TRY(const std::uint64_t count,
               space.transact(chest, [](mut<Chest> c) { return ++c->count; }));
    return number(count);
  };
  all["sum"] = SpaceFunction::query([](Space& space, MoveArguments id) -> Result<MoveBytes> {
    const Object<Chest> chest(id_of(id));
    DOLMEN_TRY(const std::uint64_t total, space.read(chest, [](ref<Chest> c) {
      std::uint64_t of_all = c->count;
      for (const std::uint64_t each : c->all) of_all += each;
      return of_all;
    }));
    return number(total);
  });
  all["follow"] = SpaceFunction::query([](Space& space, MoveArguments id) -> Result<MoveBytes> {
    const Object<Chest> chest(id_of(id));
    DOLMEN_TRY(const std::uint64_t value,
               space.read(everything, [&] { return space.root(chest)->elsewhere->value; }));
    return number(value);
  });
  return all;
}

/// One member's machine, and what it was given.
class Replica {
 public:
  Replica(const sys::Env& env, GroupNumber self, std::uint64_t seed,
          const cluster::HomeLimits& limits)
      : env_(env), self_(self), limits_(limits), disk_(std::make_unique<sim::SimDisk>(seed)) {
    start();
  }
  void start() {
    machine_.reset();
    machine_ = SpaceMachine::open(env_, std::make_unique<sys::BorrowedDisk>(*disk_),
                                  sys::linux_env().memory->best_driver(), chest_functions(),
                                  {.image = {.segment_bytes = 9u << 20}})
                   .value();
    machine_->use_mail(group_of(self_), [](std::string_view, std::uint64_t which) {
      return Result<cluster::GroupId>(fail(Errc::not_found, "a group", which));
    });
    machine_->use_homes([] { return std::vector<GroupNumber>{kShard}; }, limits_);
  }
  SpaceMachine& machine() { return *machine_; }

 private:
  const sys::Env& env_;
  const GroupNumber self_;
  const cluster::HomeLimits limits_;
  std::unique_ptr<sim::SimDisk> disk_;
  std::unique_ptr<SpaceMachine> machine_;
};

class Group {
 public:
  Group(const sys::Env& env, GroupNumber self, const cluster::HomeLimits& limits = {})
      : one_(env, self, self, limits), two_(env, self, self + 100, limits) {}
  SpaceMachine& machine() { return leads_one_ ? one_.machine() : two_.machine(); }
  SpaceMachine& other() { return leads_one_ ? two_.machine() : one_.machine(); }
  MoveBytes apply(const MoveBytes& entry) {
    entries_.push_back(entry);
    (void)other().apply_at(entries_.size(), entry);
    return machine().apply_at(entries_.size(), entry);
  }
  void decide() {
    ASSERT_TRUE(machine().decided(entries_.size()));
    ASSERT_TRUE(other().decided(entries_.size()));
  }
  /// The other member leads from now on; the first one begins anew, from the log.
  void turn_over() {
    decide();
    leads_one_ = !leads_one_;
    Replica& former = leads_one_ ? two_ : one_;
    former.start();
    former.machine().reset();
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      (void)former.machine().apply_at(i + 1, entries_[i]);
    }
    ASSERT_TRUE(former.machine().decided(entries_.size()));
  }
  /// The other member leads from now on, and both go on.
  void hand_over() {
    decide();
    leads_one_ = !leads_one_;
  }
  /// … from a snapshot, where the log is not any more.
  void restore_other() {
    decide();
    const MoveBytes state = other().try_snapshot().value();
    ASSERT_TRUE(other().restore(state));
  }
  void expect_alike() {
    decide();
    const std::size_t kMax = std::size_t{1} << 30;
    EXPECT_EQ(one_.machine().image().pages(kMax).value(),
              two_.machine().image().pages(kMax).value());
    EXPECT_EQ(one_.machine().homes()->snapshot(), two_.machine().homes()->snapshot());
  }

 private:
  Replica one_;
  Replica two_;
  bool leads_one_ = true;
  std::vector<MoveBytes> entries_;
};

class SpaceMoveTest : public testing::Test {
 protected:
  Result<MoveBytes> call(Group& group, std::string_view function, const MoveBytes& arguments) {
    DOLMEN_TRY(
        const MoveBytes effect,
        group.machine().effect_of(encode(SpaceCall{.function = function, .arguments = arguments})));
    const MoveBytes bytes = group.apply(effect);
    group.decide();
    DOLMEN_TRY(elsewhere_, decode_elsewhere(bytes));
    if (elsewhere_) return fail(Errc::not_found, "the object");
    DOLMEN_TRY(const UntoldReply reply, decode_untold_reply(bytes));
    return decode_reply(reply.reply);
  }
  Result<MoveBytes> at(Group& group, const ObjectId& id, std::string_view function) {
    const MoveBytes arguments = encode_ids({id});
    const MoveBytes inside = encode(SpaceCall{.function = function, .arguments = arguments});
    return call(group, kAtFunction, encode(AtObject{.object = id, .call = inside}));
  }
  Result<std::uint64_t> query(Group& group, std::string_view function, const ObjectId& id) {
    DOLMEN_CHECK(group.machine().prepare_read());
    const MoveBytes arguments = encode_ids({id});
    DOLMEN_TRY(
        const MoveBytes told,
        group.machine().read(encode(SpaceCall{.function = function, .arguments = arguments})));
    DOLMEN_TRY(const MoveBytes reply, decode_reply(told));
    return number_in(reply);
  }
  HomeReply ask(Group& group, const HomeRequest& request) {
    return decode_home_reply(call(group, kHomesFunction, encode(request)).value()).value();
  }
  HomeReply move(Group& group, const ObjectId& id, GroupNumber to) {
    return ask(group, {.object = id, .group = to});
  }
  void post_parts(Group& group) {
    group.apply(group.machine().effect_of(parts_request()).value());
    group.decide();
  }
  /// The channel's next mail, as a courier would propose it; nothing: there is none.
  static std::optional<MoveBytes> request_of(MailPart& from, MailPart& to) {
    const auto& channels = from.mailbox().channels();
    const auto channel = channels.find(to.mailbox().self());
    const auto own = to.mailbox().channels().find(from.mailbox().self());
    const std::uint64_t consumed = own == to.mailbox().channels().end() ? 0 : own->second.consumed;
    if (channel == channels.end() || consumed >= channel->second.stable_posted) return std::nullopt;
    const auto& bytes = channel->second.unacknowledged[consumed - channel->second.acknowledged];
    return to.keep(
        {.received = {{.from = from.mailbox().self(), .sequence = consumed + 1, .bytes = bytes}},
         .acknowledged = {},
         .posted = {}});
  }
  bool deliver(Group& from, Group& to) {
    const auto request = request_of(*from.machine().mail(), *to.machine().mail());
    if (!request) return false;
    to.apply(to.machine().effect_of(*request).value());
    to.decide();
    return true;
  }
  /// Whatever can be done is done.
  void settle() {
    for (bool is_done = false; !is_done;) {
      is_done = true;
      for (Group* const group : {&north_, &south_}) {
        Group& other = group == &north_ ? south_ : north_;
        if (group->machine().homes()->wants_parts()) {
          post_parts(*group);
          is_done = false;
        }
        while (deliver(*group, other)) is_done = false;
        while (const auto request = request_of(*group->machine().mail(), directory_.mail())) {
          (void)directory_.apply_at(++directory_index_, directory_.effect_of(*request).value());
          ASSERT_TRUE(directory_.decided(directory_index_));
          is_done = false;
        }
        while (const auto request = request_of(directory_.mail(), *group->machine().mail())) {
          group->apply(group->machine().effect_of(*request).value());
          group->decide();
          is_done = false;
        }
      }
    }
  }
  ObjectId make(std::uint64_t count) {
    const ObjectId id = id_of(call(north_, "make", number(count)).value());
    settle();
    return id;
  }
  HomeStatus status(Group& group, const ObjectId& id) {
    return group.machine()
        .homes()
        ->answer({.kind = HomeQuery::Kind::object, .object = id})
        .objects.at(0);
  }

  sim::SimProcess process_{1};
  sys::Env env_ = [this] {
    sys::Env env = sys::linux_env();
    env.process = &process_;
    return env;
  }();
  Group north_{env_, kNorth};
  Group south_{env_, kSouth};
  DirectoryMachine directory_{kShard, 64};
  log::Index directory_index_ = 0;
  std::optional<Elsewhere> elsewhere_;
};

/// A directory to which the state of the group is copied, as for another member or for an export.
std::unique_ptr<SpaceMachine> copy_of(Group& group, const sys::Env& env, sys::Disk& disk,
                                      bool is_copy, std::size_t part_bytes) {
  auto copy = SpaceMachine::open(env, std::make_unique<sys::BorrowedDisk>(disk),
                                 sys::linux_env().memory->best_driver(), {},
                                 {.image = {.is_copy = is_copy}})
                  .value();
  const MoveBytes state = group.machine().try_snapshot().value();
  const base::Bytes reference = group.machine().reference_in(state);
  auto source = group.machine().send_state(reference, part_bytes).value();
  auto sink = copy->receive_state(reference).value();
  std::optional<MoveBytes> part;
  for (std::uint64_t number = 0; !part || !part->empty(); ++number) {
    part.reset();
    while (!part) part = source->part(number).value();
    while (!sink->take(*part).value()) continue;
  }
  while (!sink->is_done().value()) continue;
  EXPECT_TRUE(copy->image().adopt());
  return copy;
}

// A member goes on with what arrived of it; nobody goes on with a copy.
TEST_F(SpaceMoveTest, ACopyThatIsMadeWhileAnObjectArrivesHasNothingOfIt) {
  const ObjectId id = make(kManyParts);
  ASSERT_EQ(move(north_, id, kSouth).verdict, HomeVerdict::applied);
  post_parts(north_);
  for (int parts = 0; parts < 3; ++parts) ASSERT_TRUE(deliver(north_, south_));
  ASSERT_EQ(status(south_, id).state, HomeState::arriving);
  // Also where a part of the state has one page of it.
  for (const std::size_t part_bytes : {1u << 20, 4096u, 60u}) {
    sim::SimDisk disk(part_bytes);
    EXPECT_FALSE(copy_of(south_, env_, disk, true, part_bytes)->image().store().find(id).value())
        << part_bytes;
  }
  sim::SimDisk as_member(7);
  EXPECT_TRUE(copy_of(south_, env_, as_member, false, 4096)->image().store().find(id).value());
  settle();
  sim::SimDisk whole(8);
  const auto copy = copy_of(south_, env_, whole, true, 4096);
  EXPECT_TRUE(copy->image().store().find(id).value());
  EXPECT_EQ(copy->image().pages(1u << 30).value(),
            south_.machine().image().pages(1u << 30).value());
}

TEST_F(SpaceMoveTest, AnObjectMovesWithWhatWasWrittenToIt) {
  constexpr std::uint64_t kCount = 100'000;  // some 0.8 MB: two parts
  const ObjectId id = make(kCount);
  ASSERT_EQ(number_in(at(north_, id, "add").value()), 1u);
  const std::uint64_t sum = query(north_, "sum", id).value();
  EXPECT_EQ(query(north_, "follow", id).value(), 7u);
  EXPECT_EQ(move(north_, id, kSouth).verdict, HomeVerdict::applied);
  settle();
  EXPECT_EQ(directory_.find(id), (cluster::DirectoryEntry{.group = kSouth, .counter = 2}));
  EXPECT_TRUE(north_.machine().homes()->table().rows().empty());
  EXPECT_EQ(query(south_, "sum", id).value(), sum);
  EXPECT_EQ(number_in(at(south_, id, "add").value()), 2u);
  EXPECT_FALSE(at(north_, id, "add"));
  ASSERT_TRUE(elsewhere_);
  EXPECT_EQ(elsewhere_->answer, HomeAnswer::not_here);
  EXPECT_EQ(query(north_, "sum", id).error().code(), Errc::not_found);
  // What it points to stayed, and so did its name: neither leads anywhere now.
  EXPECT_EQ(query(south_, "follow", id).error().code(), Errc::deleted);
  EXPECT_EQ(call(north_, "named", {}).error().code(), Errc::not_found);
  // Who has no such program can read it there.
  ASSERT_TRUE(south_.machine().prepare_read());
  for (const std::uint64_t identity :
       {type_info<Chest>().identity, type_info<std::uint64_t>().identity}) {
    const ObjectId type = detail::SpaceCore::type_object_id(txn::type_tag_of(identity));
    const auto there = north_.machine().image().store().find(type);
    if (!there || !*there) continue;
    EXPECT_TRUE(*south_.machine().image().store().find(type));
  }
  north_.expect_alike();
  south_.expect_alike();
  // And back, where its id was before.
  EXPECT_EQ(move(south_, id, kNorth).verdict, HomeVerdict::applied);
  settle();
  EXPECT_EQ(number_in(call(north_, "named", {}).value()), 3u);
  EXPECT_EQ(query(north_, "follow", id).value(), 7u);
  EXPECT_EQ(query(north_, "sum", id).value(), sum + 2);
  EXPECT_EQ(directory_.find(id), (cluster::DirectoryEntry{.group = kNorth, .counter = 3}));
  north_.expect_alike();
  south_.expect_alike();
}

TEST_F(SpaceMoveTest, WhatLeavesIsFrozenAndThenHidden) {
  const ObjectId id = make(100'000);
  const std::uint64_t sum = query(north_, "sum", id).value();
  const HomeReply reply = move(north_, id, kSouth);
  EXPECT_EQ(reply.move, 1u);
  EXPECT_EQ(move(north_, id, kSouth).verdict, HomeVerdict::busy);
  EXPECT_EQ(call(north_, "add", encode_ids({id})).error().code(), Errc::conflict);
  EXPECT_EQ(call(north_, "drop", encode_ids({id})).error().code(), Errc::conflict);
  EXPECT_FALSE(at(north_, id, "add"));
  EXPECT_EQ(elsewhere_, (Elsewhere{.answer = HomeAnswer::frozen, .group = kSouth}));
  EXPECT_EQ(query(north_, "sum", id).value(), sum) << "it is read as long as it is the object";
  post_parts(north_);
  EXPECT_EQ(query(north_, "sum", id).error().code(), Errc::not_found) << "all of it was posted";
  ASSERT_TRUE(deliver(north_, south_));
  EXPECT_EQ(status(south_, id).state, HomeState::arriving);
  EXPECT_EQ(query(south_, "sum", id).error().code(), Errc::not_found) << "half of it is there";
  settle();
  EXPECT_EQ(query(south_, "sum", id).value(), sum);
}

TEST_F(SpaceMoveTest, WhoeverLeadsGoesOn) {
  const ObjectId id = make(kManyParts);
  const std::uint64_t sum = query(north_, "sum", id).value();
  ASSERT_EQ(move(north_, id, kSouth).verdict, HomeVerdict::applied);
  post_parts(north_);
  ASSERT_TRUE(deliver(north_, south_));
  ASSERT_TRUE(deliver(north_, south_));
  north_.turn_over();
  south_.turn_over();
  ASSERT_TRUE(deliver(north_, south_));
  ASSERT_TRUE(deliver(south_, north_));
  post_parts(north_);
  south_.restore_other();
  north_.restore_other();
  south_.turn_over();
  settle();
  EXPECT_EQ(query(south_, "sum", id).value(), sum);
  north_.expect_alike();
  south_.expect_alike();
  const auto state = south_.machine().try_snapshot();
  ASSERT_TRUE(state) << state.error().message();
  EXPECT_EQ(number_in(at(south_, id, "add").value()), 1u);
}

// It knows the parts of the first time yet, and who led when it left again was the other one.
TEST_F(SpaceMoveTest, WhoLedWhenItLeftBeforePostsWhatItIsNow) {
  const ObjectId id = make(10);
  ASSERT_EQ(move(north_, id, kSouth).verdict, HomeVerdict::applied);
  settle();
  ASSERT_EQ(number_in(at(south_, id, "add").value()), 1u);
  ASSERT_EQ(move(south_, id, kNorth).verdict, HomeVerdict::applied);
  settle();
  north_.hand_over();
  ASSERT_EQ(move(north_, id, kSouth).verdict, HomeVerdict::applied);
  north_.hand_over();
  post_parts(north_);
  EXPECT_EQ(status(north_, id).state, HomeState::leaving) << "not asked back";
  settle();
  EXPECT_EQ(number_in(at(south_, id, "add").value()), 2u);
  north_.expect_alike();
}

// Its space is open yet as it was when it led, and the image on which it stands is older than that.
TEST_F(SpaceMoveTest, WhoLedBeforeItWasFrozenPostsWhatWasFrozen) {
  const ObjectId id = make(10);
  ASSERT_EQ(number_in(at(north_, id, "add").value()), 1u);
  north_.hand_over();
  ASSERT_EQ(move(north_, id, kSouth).verdict, HomeVerdict::applied);
  north_.hand_over();
  post_parts(north_);
  EXPECT_EQ(status(north_, id).state, HomeState::leaving) << "not asked back";
  settle();
  EXPECT_EQ(number_in(at(south_, id, "add").value()), 2u);
  north_.expect_alike();
}

TEST_F(SpaceMoveTest, WhatIsRefusedIsWhereItWas) {
  const ObjectId id = make(kManyParts);
  EXPECT_EQ(ask(south_, {.kind = HomeRequest::Kind::drain}).verdict, HomeVerdict::applied);
  ASSERT_EQ(move(north_, id, kSouth).move, 1u);
  settle();
  EXPECT_EQ(status(north_, id).state, HomeState::here);
  EXPECT_EQ(status(north_, id).refused, 1u);
  EXPECT_EQ(status(north_, id).why, HomeRefusal::draining);
  EXPECT_EQ(number_in(at(north_, id, "add").value()), 1u);
  EXPECT_EQ(ask(south_, {.kind = HomeRequest::Kind::undrain}).verdict, HomeVerdict::applied);
  // Asked back when half of it is there.
  ASSERT_EQ(move(north_, id, kSouth).move, 2u);
  post_parts(north_);
  ASSERT_TRUE(deliver(north_, south_));
  EXPECT_EQ(ask(north_, {.kind = HomeRequest::Kind::cancel, .object = id}).verdict,
            HomeVerdict::applied);
  settle();
  EXPECT_EQ(status(north_, id).state, HomeState::here);
  EXPECT_FALSE(status(south_, id).state);
  ASSERT_TRUE(south_.machine().prepare_read());  // its image is read as of then
  EXPECT_EQ(south_.machine().image().store().find(id).value(), std::nullopt);
  EXPECT_EQ(number_in(at(north_, id, "add").value()), 2u);
  north_.expect_alike();
  south_.expect_alike();
  EXPECT_EQ(ask(north_, {.kind = HomeRequest::Kind::close, .group = kSouth}).verdict,
            HomeVerdict::applied);
  EXPECT_EQ(move(north_, id, kSouth).verdict, HomeVerdict::closed);
  EXPECT_EQ(move(north_, {4, 4}, kSouth).verdict, HomeVerdict::not_here);
  EXPECT_EQ(call(north_, kHomesFunction, {}).error().code(), Errc::corrupt);
}

TEST_F(SpaceMoveTest, WhatArrivesDamagedIsRefused) {
  const ObjectId id = make(10);
  ASSERT_EQ(move(north_, id, kSouth).verdict, HomeVerdict::applied);
  post_parts(north_);
  const auto& posted = north_.machine().mail()->mailbox().channels().at(group_of(kSouth));
  auto part =
      std::get<cluster::home::Part>(cluster::decode_home_mail(posted.unacknowledged.at(0)).value());
  const cluster::home::Part sent = part;
  const auto answer = [&](const cluster::home::Part& tried, std::uint64_t sequence) {
    MailPart& mail = *south_.machine().mail();
    const MoveBytes request =
        mail.keep({.received = {{.from = group_of(kNorth),
                                 .sequence = sequence,
                                 .bytes = cluster::encode(cluster::HomeMail(tried))}},
                   .acknowledged = {},
                   .posted = {}});
    south_.apply(south_.machine().effect_of(request).value());
    south_.decide();
    const auto& told = mail.mailbox().channels().at(group_of(kNorth)).unacknowledged;
    const auto last = cluster::decode_home_mail(told.back()).value();
    const auto* const refused = std::get_if<cluster::home::Refused>(&last);
    return refused == nullptr ? HomeRefusal::none : refused->why;
  };
  // A bit of a page, of a description, of a cell's head; half a cell.
  std::uint64_t sequence = 0;
  for (const std::size_t at : {part.bytes.size() - kCellBytes + 100, kCellHeadBytes + 70,
                               std::size_t{3}, std::size_t{20}, std::size_t{21}}) {
    part = sent;
    part.bytes[at] ^= std::byte{0x10};
    EXPECT_EQ(answer(part, ++sequence), HomeRefusal::damaged) << at;
    EXPECT_FALSE(status(south_, id).state);
  }
  part = sent;
  part.bytes.pop_back();
  part.object_bytes -= 1;
  EXPECT_EQ(answer(part, ++sequence), HomeRefusal::damaged);
  part = sent;
  part.object_bytes = kMovedBytesMax + 1;
  EXPECT_EQ(answer(part, ++sequence), HomeRefusal::no_space);
  EXPECT_EQ(answer(sent, ++sequence), HomeRefusal::none);
  EXPECT_EQ(status(south_, id).state, HomeState::here);
  // An id that is there.
  part = sent;
  part.move = 5;
  EXPECT_EQ(answer(part, ++sequence), HomeRefusal::exists);
  south_.expect_alike();
}

TEST_F(SpaceMoveTest, CallsWaitUntilTheImageIsWhatWasExecuted) {
  const ObjectId id = make(10);
  // Not decided yet.
  const MoveBytes effect =
      north_.machine()
          .effect_of(encode(SpaceCall{.function = "add", .arguments = encode_ids({id})}))
          .value();
  (void)north_.apply(effect);
  const MoveBytes request = encode(HomeRequest{.object = id, .group = kSouth});
  const MoveBytes asked = encode(SpaceCall{.function = kHomesFunction, .arguments = request});
  EXPECT_EQ(north_.machine().effect_of(asked).error().code(), Errc::busy);
  north_.decide();
  EXPECT_EQ(move(north_, id, kSouth).verdict, HomeVerdict::applied);
  settle();
  EXPECT_EQ(number_in(at(south_, id, "add").value()), 2u);
}

TEST(HomeRequests, ComeBackAsTheyWereAndOnlyWhole) {
  const auto expect_whole = [](const MoveBytes& bytes, const auto& decode, const auto& value) {
    EXPECT_EQ(decode(bytes).value(), value);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(decode(base::Bytes(bytes).first(length))) << length;
    }
    MoveBytes longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode(base::Bytes(longer)));
  };
  const HomeRequest move{.object = {1, 2}, .group = 3};
  expect_whole(encode(move), [](base::Bytes b) { return decode_home_request(b); }, move);
  const HomeReply reply{.verdict = HomeVerdict::busy, .move = 9};
  expect_whole(encode(reply), [](base::Bytes b) { return decode_home_reply(b); }, reply);
  const HomeQuery query{.kind = HomeQuery::Kind::list, .object = {1, 2}, .limit = 7};
  expect_whole(encode(query), [](base::Bytes b) { return decode_home_query(b); }, query);
  HomeListing listing{.is_draining = true, .rows = 5};
  listing.objects.push_back({.object = {1, 2},
                             .state = HomeState::leaving,
                             .peer = 3,
                             .counter = 4,
                             .move = 5,
                             .refused = 4,
                             .why = HomeRefusal::full});
  listing.objects.push_back({.object = {1, 3}});
  expect_whole(encode(listing), [](base::Bytes b) { return decode_home_listing(b); }, listing);
  const Elsewhere elsewhere{.answer = HomeAnswer::moved, .group = 4};
  EXPECT_EQ(decode_elsewhere(encode(elsewhere)).value(), elsewhere);
  EXPECT_EQ(decode_elsewhere(encode_reply(MoveBytes{})).value(), std::nullopt);
  MoveBytes damaged = encode(elsewhere);
  damaged[4] = std::byte{1};
  EXPECT_FALSE(decode_elsewhere(damaged));
  for (const HomeRequest& bad : {HomeRequest{}, HomeRequest{.object = {1, 1}},
                                 HomeRequest{.kind = HomeRequest::Kind::drain, .group = 1}}) {
    EXPECT_FALSE(decode_home_request(encode(bad)));
  }
}

}  // namespace
}  // namespace dolmen::node
