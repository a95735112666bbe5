// SPDX-License-Identifier: Apache-2.0
//
// A space whose objects are in a directory, and the directory's shard, without groups: what is
// decided, and when, is said by the test. The rest is the campaign's of nodes.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "node/directory_machine.hpp"
#include "node/home_part.hpp"
#include "node/home_request.hpp"
#include "node/replicated_group.hpp"
#include "node/space_machine.hpp"
#include "node/space_post.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "store/golden_file.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

using HomeBytes = std::vector<std::byte>;
using HomeArguments = std::span<const std::byte>;

constexpr cluster::GroupNumber kSpaceGroup = 2;
constexpr cluster::GroupNumber kShardGroup = 9;

struct Thing {
  std::uint64_t uses = 0;
};

HomeBytes text_bytes(std::string_view text) {
  const base::Bytes all = base::as_bytes(text);
  return {all.begin(), all.end()};
}
std::string_view text_in(HomeArguments arguments) {
  return {reinterpret_cast<const char*>(arguments.data()), arguments.size()};
}
ObjectId id_in(base::Bytes bytes) { return decode_ids(bytes).value().at(0); }

/// The thing of that name, and its id.
Result<HomeBytes> make_thing(Space& space, HomeArguments name) {
  DOLMEN_TRY(const auto thing, space.find_or_create<Thing>(std::string(text_in(name))));
  DOLMEN_CHECK(publish(space, thing.id()));
  return encode_ids({thing.id()});
}

SpaceFunctions thing_functions() {
  SpaceFunctions all;
  all["make"] = make_thing;
  all["keep"] = [](Space& space, HomeArguments name) -> Result<HomeBytes> {
    DOLMEN_TRY(const auto thing, space.find_or_create<Thing>(std::string(text_in(name))));
    return encode_ids({thing.id()});
  };
  all["drop"] = [](Space& space, HomeArguments id) -> Result<HomeBytes> {
    DOLMEN_CHECK(space.erase(id_in(id)));
    return HomeBytes{};
  };
  all["use"] = [](Space& space, HomeArguments name) -> Result<HomeBytes> {
    DOLMEN_TRY(const auto thing, space.find<Thing>(std::string(text_in(name))));
    DOLMEN_TRY(const std::uint64_t uses,
               space.transact(thing, [](mut<Thing> t) { return ++t->uses; }));
    return HomeBytes(uses);
  };
  all["publish"] = [](Space& space, HomeArguments id) -> Result<HomeBytes> {
    DOLMEN_CHECK(publish(space, id_in(id)));
    return HomeBytes{};
  };
  all["gone"] = [](Space& space, HomeArguments) -> Result<HomeBytes> {
    DOLMEN_TRY(const auto thing, space.find_or_create<Thing>("gone"));
    DOLMEN_CHECK(space.erase(thing.id()));
    DOLMEN_CHECK(publish(space, thing.id()));
    return HomeBytes{};
  };
  all["within"] = [](Space& space, HomeArguments) -> Result<HomeBytes> {
    DOLMEN_TRY(const auto thing, space.find_or_create<Thing>("within"));
    DOLMEN_CHECK(space.transact(
        thing, [&](mut<Thing>) -> Result<void> { return publish(space, thing.id()); }));
    return HomeBytes{};
  };
  all["sly"] = SpaceFunction::query([](Space& space, HomeArguments) -> Result<HomeBytes> {
    (void)publish(space, ObjectId{1, 1});
    return HomeBytes{};
  });
  all["nothing"] = [](Space& space, HomeArguments) -> Result<HomeBytes> {
    DOLMEN_CHECK(publish(space, ObjectId{}));
    return HomeBytes{};
  };
  return all;
}

/// A log of a group of one.
class Log {
 public:
  explicit Log(StateMachine& machine) : machine_(machine) {}
  HomeBytes apply(const HomeBytes& entry) {
    entries_.push_back(entry);
    return machine_.apply_at(entries_.size(), entry);
  }
  void decide() { ASSERT_TRUE(machine_.decided(entries_.size())); }
  void replay() {
    machine_.reset();
    const std::vector<HomeBytes> all = std::exchange(entries_, {});
    for (const HomeBytes& entry : all) (void)apply(entry);
  }

 private:
  StateMachine& machine_;
  std::vector<HomeBytes> entries_;
};

/// The channel's next mail from there, as a courier would propose it. Nothing: there is none that
/// is decided.
std::optional<HomeBytes> request_of(MailPart& from, MailPart& to) {
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

class SpaceHomeTest : public testing::Test {
 protected:
  using Shards = std::vector<cluster::GroupNumber>;
  void SetUp() override { open({}); }
  void open(const cluster::HomeLimits& limits) {
    machine_ = SpaceMachine::open(env_, std::make_unique<sys::BorrowedDisk>(*disk_),
                                  sys::linux_env().memory->best_driver(), thing_functions(),
                                  {.image = {.segment_bytes = 9u << 20}})
                   .value();
    machine_->use_mail(group_of(kSpaceGroup), [](std::string_view, std::uint64_t number) {
      return Result<cluster::GroupId>(fail(Errc::not_found, "a group", number));
    });
    machine_->use_homes([this] { return shards_; }, limits);
    log_.emplace(*machine_);
  }
  /// What the log's entry tells.
  Result<HomeBytes> told(std::string_view function, const HomeBytes& arguments) {
    DOLMEN_TRY(
        const HomeBytes effect,
        machine_->effect_of(encode(SpaceCall{.function = function, .arguments = arguments})));
    return log_->apply(effect);
  }
  Result<HomeBytes> call(std::string_view function, const HomeBytes& arguments) {
    DOLMEN_TRY(const HomeBytes bytes, told(function, arguments));
    log_->decide();
    DOLMEN_TRY(const UntoldReply reply, decode_untold_reply(bytes));
    untold_ = reply.objects;
    DOLMEN_TRY(elsewhere_, decode_elsewhere(bytes));
    if (elsewhere_) return fail(Errc::not_found, "the object");
    return decode_reply(reply.reply);
  }
  Result<HomeBytes> query(std::string_view function, const HomeBytes& arguments) {
    DOLMEN_CHECK(machine_->prepare_read());
    DOLMEN_TRY(const HomeBytes reply,
               machine_->read(encode(SpaceCall{.function = function, .arguments = arguments})));
    return decode_reply(reply);
  }
  bool is_told(const ObjectId& id) {
    return query(kToldQuery, encode_ids({id})).value() == HomeBytes{std::byte{1}};
  }
  /// All mail that there is, and what comes of it, is consumed and decided.
  void exchange() {
    for (bool is_done = false; !is_done;) {
      is_done = true;
      while (const auto request = request_of(*machine_->mail(), directory_.mail())) {
        directory_log_.apply(directory_.effect_of(*request).value());
        directory_log_.decide();
        is_done = false;
      }
      while (const auto request = request_of(directory_.mail(), *machine_->mail())) {
        log_->apply(machine_->effect_of(*request).value());
        log_->decide();
        is_done = false;
      }
    }
  }
  Result<HomeBytes> use(const ObjectId& id, std::string_view name) {
    const HomeBytes arguments = text_bytes(name);
    const HomeBytes inside = encode(SpaceCall{.function = "use", .arguments = arguments});
    return call(kAtFunction, encode(AtObject{.object = id, .call = inside}));
  }

  Shards shards_{kShardGroup};
  sim::SimProcess process_{1};
  sys::Env env_ = [this] {
    sys::Env env = sys::linux_env();
    env.process = &process_;
    return env;
  }();
  std::unique_ptr<sim::SimDisk> disk_ = std::make_unique<sim::SimDisk>(1);
  std::unique_ptr<SpaceMachine> machine_;
  std::optional<Log> log_;
  DirectoryMachine directory_{kShardGroup, 64};
  Log directory_log_{directory_};
  std::vector<ObjectId> untold_;
  std::optional<Elsewhere> elsewhere_;
};

TEST_F(SpaceHomeTest, WhatIsPublishedIsToldWhenTheDirectoryKnowsIt) {
  const ObjectId id = id_in(call("make", text_bytes("a")).value());
  EXPECT_EQ(untold_, std::vector{id});
  // Whoever asks for it meanwhile must not hear of it before either.
  EXPECT_EQ(id_in(call("make", text_bytes("a")).value()), id);
  EXPECT_EQ(untold_, std::vector{id});
  EXPECT_FALSE(is_told(id));
  EXPECT_FALSE(directory_.find(id));
  exchange();
  EXPECT_TRUE(is_told(id));
  EXPECT_EQ(directory_.find(id), (cluster::DirectoryEntry{.group = kSpaceGroup, .counter = 1}));
  const auto answer = directory_.read(encode_ids({id}));
  EXPECT_EQ(decode_directory_answer(answer.value()).value(), directory_.find(id));
  // Again: nothing, and it is told at once.
  EXPECT_EQ(id_in(call("make", text_bytes("a")).value()), id);
  EXPECT_TRUE(untold_.empty());
  EXPECT_EQ(directory_.objects(), 1u);
}

TEST_F(SpaceHomeTest, WhatIsErasedIsForgotten) {
  const ObjectId id = id_in(call("make", text_bytes("a")).value());
  exchange();
  ASSERT_TRUE(call("drop", encode_ids({id})));
  EXPECT_EQ(machine_->homes()->table().find(id).answer, cluster::HomeAnswer::erased);
  exchange();
  EXPECT_TRUE(machine_->homes()->table().rows().empty());
  EXPECT_EQ(directory_.objects(), 0u);
  // Also before the directory knew it.
  const ObjectId other = id_in(call("make", text_bytes("b")).value());
  ASSERT_TRUE(call("drop", encode_ids({other})));
  exchange();
  EXPECT_TRUE(is_told(other));
  EXPECT_TRUE(machine_->homes()->table().rows().empty());
  EXPECT_EQ(directory_.objects(), 0u);
}

TEST_F(SpaceHomeTest, ACallOfAnObjectIsExecutedWhereItLives) {
  const ObjectId id = id_in(call("make", text_bytes("a")).value());
  EXPECT_EQ(use(id, "a").value().size(), 1u);
  EXPECT_EQ(use({7, 7}, "a").error().code(), Errc::not_found);
  EXPECT_EQ(use(id, "a").value().size(), 2u) << "the one before did nothing";
  EXPECT_EQ(call(kAtFunction, HomeBytes(16)).error().code(), Errc::corrupt);
  EXPECT_EQ(call(kAtFunction, encode_ids({id})).error().code(), Errc::corrupt);
  const HomeBytes nobody = encode(SpaceCall{.function = kAtFunction, .arguments = {}});
  EXPECT_EQ(call(kAtFunction, encode(AtObject{id, nobody})).error().code(), Errc::not_found);
  ASSERT_TRUE(call("drop", encode_ids({id})));
  EXPECT_EQ(use(id, "a").error().code(), Errc::not_found);
}

TEST_F(SpaceHomeTest, WithoutAFunctionOfItsOwnASpacePublishesByNameOrId) {
  EXPECT_EQ(call(kPublishFunction, text_bytes("a")).error().code(), Errc::not_found)
      << "there is nothing in the space yet";
  const HomeBytes a = call("keep", text_bytes("a")).value();
  const HomeBytes b = call("keep", text_bytes("b")).value();
  EXPECT_EQ(call(kPublishFunction, text_bytes("a")).value(), a);
  EXPECT_EQ(untold_, std::vector{id_in(a)});
  EXPECT_EQ(call(kPublishFunction, text_bytes(id_in(b).to_string())).value(), b);
  exchange();
  EXPECT_TRUE(directory_.find(id_in(a)));
  EXPECT_TRUE(directory_.find(id_in(b)));
  // A name comes first, also one that looks like an id.
  const HomeBytes c = call("keep", text_bytes(id_in(a).to_string())).value();
  EXPECT_EQ(call(kPublishFunction, text_bytes(id_in(a).to_string())).value(), c);
  for (const std::string wrong : {"", "d", "0123456789abcdef0123456789abcdef"}) {
    EXPECT_EQ(call(kPublishFunction, text_bytes(wrong)).error().code(), Errc::not_found) << wrong;
  }
  EXPECT_EQ(query(kPublishFunction, text_bytes("a")).error().code(), Errc::not_found) << "no query";
}

TEST_F(SpaceHomeTest, IsRefusedWhereItDoesNotBelong) {
  EXPECT_EQ(call("within", {}).error().code(), Errc::invalid_argument);
  EXPECT_EQ(call("nothing", {}).error().code(), Errc::invalid_argument);
  ASSERT_TRUE(call("make", text_bytes("a")));
  EXPECT_EQ(query("sly", {}).error().code(), Errc::read_only);
  EXPECT_EQ(query(kToldQuery, {}).error().code(), Errc::corrupt);
  EXPECT_EQ(query(kToldQuery, HomeBytes(17)).error().code(), Errc::corrupt);
}

TEST_F(SpaceHomeTest, WhatIsNotThereIsNotPublished) {
  EXPECT_EQ(call("publish", encode_ids({{3, 3}})).error().code(), Errc::not_found);
  EXPECT_EQ(call("gone", {}).error().code(), Errc::not_found);
  const ObjectId id = id_in(call("make", text_bytes("a")).value());
  exchange();
  ASSERT_TRUE(call("drop", encode_ids({id})));
  exchange();
  EXPECT_EQ(call("publish", encode_ids({id})).error().code(), Errc::not_found);
  EXPECT_TRUE(machine_->homes()->table().rows().empty());
  EXPECT_EQ(directory_.objects(), 0u);
}

TEST_F(SpaceHomeTest, WithoutADirectoryNothingHappens) {
  shards_ = {0};
  EXPECT_EQ(call("make", text_bytes("a")).error().code(), Errc::unsupported);
  EXPECT_EQ(call("use", text_bytes("a")).error().code(), Errc::not_found) << "nor is it made";
  shards_ = {kShardGroup};
  EXPECT_TRUE(call("make", text_bytes("a")));
}

TEST_F(SpaceHomeTest, HasNoMoreThanItMay) {
  open({.objects_max = 3});
  ASSERT_TRUE(call("make", text_bytes("a")));
  ASSERT_TRUE(call("make", text_bytes("b")));
  ASSERT_TRUE(call("make", text_bytes("c")));
  EXPECT_EQ(call("make", text_bytes("d")).error().code(), Errc::limit);
}

TEST_F(SpaceHomeTest, IsInTheSnapshotAndUndoneWithTheLog) {
  const ObjectId id = id_in(call("make", text_bytes("a")).value());
  const HomeBytes state = machine_->try_snapshot().value();
  exchange();
  EXPECT_TRUE(is_told(id));
  ASSERT_TRUE(machine_->restore(state));
  EXPECT_EQ(machine_->homes()->table().find(id).answer, cluster::HomeAnswer::untold);
  log_->replay();
  log_->decide();
  EXPECT_EQ(machine_->homes()->table().find(id).answer, cluster::HomeAnswer::serves);
  const HomeBytes directory = directory_.snapshot();
  const std::uint64_t hash = directory_.state_hash();
  directory_log_.replay();
  directory_log_.decide();
  EXPECT_EQ(directory_.state_hash(), hash);
  DirectoryMachine other(kShardGroup, 64);
  ASSERT_TRUE(other.restore(directory));
  EXPECT_EQ(other.state_hash(), hash);
  EXPECT_EQ(other.snapshot(), directory);
  for (const std::size_t length : {std::size_t{0}, std::size_t{7}, directory.size() - 1}) {
    EXPECT_FALSE(other.restore(base::Bytes(directory).first(length))) << length;
  }
}

TEST(DirectoryMachine, ChangesByMailAloneAndIsFullInTheEnd) {
  DirectoryMachine directory(kShardGroup, 16);
  EXPECT_EQ(directory.effect_of(HomeBytes(24)).error().code(), Errc::invalid_argument);
  EXPECT_EQ(directory.read(HomeBytes(16)).error().code(), Errc::invalid_argument);
  EXPECT_EQ(directory.read(HomeBytes(15)).error().code(), Errc::invalid_argument);
  MailPart from(group_of(kSpaceGroup), [](std::string_view, std::uint64_t) {
    return Result<cluster::GroupId>(fail(Errc::not_found, "a group"));
  });
  Log log(directory);
  log::Index index = 0;
  std::uint64_t known = 0;
  bool is_full = false;
  while (!is_full) {
    const ObjectId id{known * 0x9E3779B97F4A7C15 + 1, known + 1};
    const HomeBytes mail =
        cluster::encode(cluster::HomeMail(cluster::home::Settled{.id = id, .counter = 1}));
    cluster::MailChange post;
    post.posted.push_back({.to = group_of(kShardGroup), .bytes = mail});
    ASSERT_EQ(from.apply(++index, post), cluster::MailVerdict::applied);
    from.settle(index);
    const auto request = request_of(from, directory.mail());
    ASSERT_TRUE(request);
    const auto effect = directory.effect_of(*request);
    is_full = !effect;
    if (is_full) {
      EXPECT_EQ(effect.error().code(), Errc::busy);
      EXPECT_FALSE(directory.find(id));
    } else {
      log.apply(*effect);
      log.decide();
      EXPECT_EQ(directory.objects(), ++known);
    }
    ASSERT_LT(known, 16u * 7);
  }
  EXPECT_GT(known, 16u);
}

TEST(DirectoryMachine, ItsSnapshotIsTheGoldenFile) {
  DirectoryMachine directory(kShardGroup, 16);
  Log log(directory);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    const HomeBytes mail = cluster::encode(cluster::HomeMail(
        cluster::home::Settled{.id = {0xD0, i}, .counter = i, .length_class = 12}));
    const auto from = group_of(kSpaceGroup);
    log.apply(cluster::encode(
        cluster::MailChange{.received = {{.from = from, .sequence = i, .bytes = mail}},
                            .acknowledged = {},
                            .posted = {}}));
  }
  log.decide();
  EXPECT_EQ(directory.objects(), 3u);
  EXPECT_EQ(directory.snapshot(), store::read_golden("directory_v1.bin"));
}

TEST(DirectoryAnswer, ComesBackAsItWasAndOnlyWhole) {
  for (const auto& entry : {std::optional<cluster::DirectoryEntry>(),
                            std::optional(cluster::DirectoryEntry{7, 3, 12})}) {
    HomeBytes bytes = encode_directory_answer(entry);
    EXPECT_EQ(decode_directory_answer(bytes).value(), entry);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(decode_directory_answer(base::Bytes(bytes).first(length)));
    }
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(decode_directory_answer(bytes));
  }
  EXPECT_FALSE(decode_directory_answer(HomeBytes(15)));
}

}  // namespace
}  // namespace dolmen::node
