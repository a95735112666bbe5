// SPDX-License-Identifier: Apache-2.0
//
// Two spaces that post to each other, without groups: what is decided, and when, and what is
// proposed of what arrived, is said by the test. The rest is the campaign's of nodes.
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "node/replicated_group.hpp"
#include "node/space_machine.hpp"
#include "node/space_post.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

using Bytes = std::vector<std::byte>;
using Arguments = std::span<const std::byte>;

struct Account {
  std::int64_t balance = 0;
  std::uint64_t results = 0;
  std::uint64_t errors = 0;
};

Bytes bytes_of(std::int64_t value) {
  Bytes bytes(sizeof value);
  base::store(base::MutableBytes(bytes), 0, value);
  return bytes;
}

Result<std::int64_t> change(Space& space, std::int64_t by) {
  DOLMEN_TRY(const auto account, space.find_or_create<Account>("account"));
  return space.transact(account, [&](mut<Account> a) { return a->balance += by; });
}

/// The other one, in a cluster of two.
constexpr std::uint64_t kNorth = 2;
constexpr std::uint64_t kSouth = 3;

Result<Bytes> send(Space& space, Arguments arguments, const PostOptions& options,
                   std::string_view function = "get") {
  const auto amount = base::load<std::int64_t>(arguments);
  DOLMEN_TRY(const std::int64_t left, change(space, -amount));
  DOLMEN_CHECK(post(space, "south", function, arguments, options));
  return bytes_of(left);
}

SpaceFunctions functions() {
  SpaceFunctions all;
  all["send"] = [](Space& space, Arguments arguments) { return send(space, arguments, {}); };
  all["ask"] = [](Space& space, Arguments arguments) {
    return send(space, arguments, {.on_result = "hear", .context = arguments});
  };
  for (const char* const name : {"nobody", "refuse", "throw", "large", "bad post", "to full"}) {
    all[std::string("ask ") + name] = [name](Space& space, Arguments arguments) {
      return send(space, arguments, {.on_result = "hear", .context = arguments}, name);
    };
  }
  all["get"] = [](Space& space, Arguments arguments) -> Result<Bytes> {
    DOLMEN_TRY(const auto now, change(space, base::load<std::int64_t>(arguments)));
    return bytes_of(now);
  };
  all["refuse"] = [](Space&, Arguments) -> Result<Bytes> { return fail(Errc::limit, "test", 7); };
  all["throw"] = [](Space&, Arguments) -> Result<Bytes> { throw std::runtime_error("test"); };
  all["large"] = [](Space& space, Arguments) -> Result<Bytes> {
    DOLMEN_CHECK(change(space, 1));
    return Bytes(std::size_t{9} << 20);
  };
  all["bad post"] = [](Space& space, Arguments) -> Result<Bytes> {
    DOLMEN_CHECK(change(space, 1));
    (void)post(space, "west", "get");  // and says nothing of it
    return Bytes{};
  };
  all["to full"] = [](Space& space, Arguments) -> Result<Bytes> {
    DOLMEN_CHECK(change(space, 1));
    DOLMEN_CHECK(post(space, "north", "get", Bytes(10'000)));
    return Bytes{};
  };
  // What came back: what could not be given is had again.
  all["hear"] = [](Space& space, Arguments arguments) -> Result<Bytes> {
    DOLMEN_TRY(const PostResult told, post_result(arguments));
    DOLMEN_TRY(const auto account, space.find_or_create<Account>("account"));
    DOLMEN_CHECK(space.transact(account, [&](mut<Account> a) {
      if (told.result) {
        ++a->results;
        return;
      }
      ++a->errors;
      a->balance += base::load<std::int64_t>(told.context);
    }));
    return Bytes{};
  };
  all["look"] = SpaceFunction::query([](Space& space, Arguments) -> Result<Bytes> {
    DOLMEN_TRY(const auto account, space.find<Account>("account"));
    return space.read(account, [](ref<Account> a) {
      Bytes bytes = bytes_of(a->balance);
      for (const std::uint64_t count : {a->results, a->errors}) {
        const Bytes more = bytes_of(static_cast<std::int64_t>(count));
        bytes.insert(bytes.end(), more.begin(), more.end());
      }
      return bytes;
    });
  });
  all["sly"] = SpaceFunction::query([](Space& space, Arguments) -> Result<Bytes> {
    (void)post(space, "south", "get");
    return Bytes{};
  });
  all["within"] = [](Space& space, Arguments) -> Result<Bytes> {
    DOLMEN_TRY(const auto account, space.find_or_create<Account>("account"));
    DOLMEN_CHECK(space.transact(account, [&](mut<Account> a) -> Result<void> {
      a->balance += 1000;
      return post(space, "south", "get", bytes_of(1));
    }));
    return Bytes{};
  };
  all["post to"] = [](Space& space, Arguments arguments) -> Result<Bytes> {
    DOLMEN_CHECK(change(space, 1000));
    DOLMEN_CHECK(
        post(space, std::string(reinterpret_cast<const char*>(arguments.data()), arguments.size()),
             "get", bytes_of(1)));
    return Bytes{};
  };
  all["many"] = [](Space& space, Arguments arguments) -> Result<Bytes> {
    DOLMEN_CHECK(change(space, 1000));
    for (std::int64_t left = base::load<std::int64_t>(arguments); left > 0; --left) {
      DOLMEN_CHECK(post(space, 3, "get", bytes_of(1)));
    }
    return Bytes{};
  };
  all["long"] = [](Space& space, Arguments arguments) -> Result<Bytes> {
    DOLMEN_CHECK(change(space, 1000));
    DOLMEN_CHECK(post(space, 3, "get",
                      Bytes(static_cast<std::size_t>(base::load<std::int64_t>(arguments)))));
    return Bytes{};
  };
  return all;
}

Result<cluster::GroupId> find(std::string_view name, std::uint64_t number) {
  if (name == "north" || number == kNorth) return group_of(kNorth);
  if (name == "south" || number == kSouth) return group_of(kSouth);
  return fail(Errc::not_found, "a group");
}

/// A member of a group of one, whose log is decided when the test says so.
class Side {
 public:
  explicit Side(std::optional<std::uint64_t> number, const cluster::MailLimits& limits = {}) {
    machine_ = SpaceMachine::open(env_, std::make_unique<sys::BorrowedDisk>(*disk_),
                                  sys::linux_env().memory->best_driver(), functions(),
                                  {.image = {.segment_bytes = 9u << 20}})
                   .value();
    if (number) machine_->use_mail(group_of(*number), find, limits);
  }
  SpaceMachine& machine() { return *machine_; }
  MailPart& mail() { return *machine_->mail(); }

  /// As the leader; nothing is decided by it.
  Result<Bytes> call(std::string_view function, Bytes arguments = bytes_of(10)) {
    DOLMEN_TRY(
        const Bytes effect,
        machine_->effect_of(encode(SpaceCall{.function = function, .arguments = arguments})));
    return apply(effect);
  }
  Result<Bytes> apply(const Bytes& effect) {
    log_.push_back(effect);
    return decode_reply(machine_->apply_at(log_.size(), effect));
  }
  void decide() { ASSERT_TRUE(machine_->decided(log_.size())); }
  /// The channel's next mail from there, if there is one that is decided.
  Result<Bytes> take_from(Side& other) {
    const auto& channels = other.mail().mailbox().channels();
    const auto channel = channels.find(mail().mailbox().self());
    const cluster::GroupId from = other.mail().mailbox().self();
    const auto own = mail().mailbox().channels().find(from);
    const std::uint64_t consumed =
        own == mail().mailbox().channels().end() ? 0 : own->second.consumed;
    if (channel == channels.end() || consumed >= channel->second.stable_posted) {
      return fail(Errc::not_found, "no mail");
    }
    const auto& bytes = channel->second.unacknowledged[consumed - channel->second.acknowledged];
    const Bytes request =
        mail().keep({.received = {{.from = from, .sequence = consumed + 1, .bytes = bytes}},
                     .acknowledged = {},
                     .posted = {}});
    DOLMEN_TRY(const Bytes effect, machine_->effect_of(request));
    return apply(effect);
  }
  /// Balance, results, errors.
  std::vector<std::int64_t> look() {
    EXPECT_TRUE(machine_->prepare_read());
    const auto told = decode_reply(
        machine_->read(encode(SpaceCall{.function = "look", .arguments = {}})).value());
    std::vector<std::int64_t> values;
    for (std::size_t at = 0; told && at < told->size(); at += 8) {
      values.push_back(base::load<std::int64_t>(*told, at));
    }
    return values;
  }
  void replay(std::size_t entries) {
    machine_->reset();
    const std::vector<Bytes> log(log_.begin(), log_.begin() + static_cast<std::ptrdiff_t>(entries));
    log_.clear();
    for (const Bytes& effect : log) (void)apply(effect);
  }
  [[nodiscard]] std::size_t entries() const { return log_.size(); }

 private:
  sim::SimProcess process_{1};
  sys::Env env_ = [this] {
    sys::Env env = sys::linux_env();
    env.process = &process_;
    return env;
  }();
  std::unique_ptr<sim::SimDisk> disk_ = std::make_unique<sim::SimDisk>(1);
  std::unique_ptr<SpaceMachine> machine_;
  std::vector<Bytes> log_;
};

using Values = std::vector<std::int64_t>;

TEST(SpaceMail, IsRunOnceAtTheOtherSpaceWhenItsCauseIsDecided) {
  Side north(kNorth);
  Side south(kSouth);
  EXPECT_EQ(north.call("send").value(), bytes_of(-10));
  EXPECT_EQ(south.take_from(north).error().code(), Errc::not_found) << "it is not decided";
  north.decide();
  EXPECT_EQ(south.take_from(north).value(), bytes_of(10));
  EXPECT_EQ(south.take_from(north).error().code(), Errc::not_found);
  south.decide();
  EXPECT_EQ(north.look(), (Values{-10, 0, 0}));
  EXPECT_EQ(south.look(), (Values{10, 0, 0}));

  // What is proposed again is nothing.
  const Bytes request =
      south.mail().keep({.received = {{.from = group_of(kNorth), .sequence = 1, .bytes = {}}},
                         .acknowledged = {},
                         .posted = {}});
  EXPECT_EQ(south.machine().effect_of(request).error().code(), Errc::conflict);
  EXPECT_EQ(south.machine().effect_of(request).error().code(), Errc::not_found);
}

TEST(SpaceMail, WhatCameOfItIsToldToWhoWantsToKnow) {
  const std::pair<const char*, bool> asked[] = {{"ask", true},         {"ask nobody", false},
                                                {"ask refuse", false}, {"ask throw", false},
                                                {"ask large", false},  {"ask bad post", false}};
  for (const auto& [function, is_right] : asked) {
    Side north(kNorth);
    Side south(kSouth);
    ASSERT_TRUE(north.call(function)) << function;
    north.decide();
    EXPECT_EQ(south.take_from(north).has_value(), is_right) << function;
    south.decide();
    if (is_right) {
      EXPECT_EQ(south.look(), (Values{10, 0, 0}));
    } else {
      EXPECT_EQ(south.look(), Values{}) << function << ": nothing of it happened";
    }
    EXPECT_TRUE(north.take_from(south)) << function;
    north.decide();
    EXPECT_EQ(north.look(), is_right ? (Values{-10, 1, 0}) : (Values{0, 0, 1})) << function;
  }
}

TEST(SpaceMail, IsRefusedWhereItDoesNotBelong) {
  Side north(kNorth);
  ASSERT_TRUE(north.call("get"));
  const auto code_of = [&](std::string_view function, Bytes arguments = bytes_of(10)) {
    const auto done = north.call(function, std::move(arguments));
    north.decide();
    // Whatever the function did before that.
    EXPECT_EQ(north.look(), (Values{10, 0, 0})) << function;
    return done ? Errc{} : done.error().code();
  };
  const auto text = [](std::string_view name) {
    const base::Bytes bytes = base::as_bytes(name);
    return Bytes(bytes.begin(), bytes.end());
  };
  EXPECT_EQ(code_of("within"), Errc::invalid_argument);
  EXPECT_EQ(code_of("post to", text("west")), Errc::not_found);
  EXPECT_EQ(code_of("post to", text("north")), Errc::invalid_argument) << "its own group";
  EXPECT_EQ(code_of("many", bytes_of(1001)), Errc::limit);
  EXPECT_EQ(code_of("long", bytes_of(1 << 20)), Errc::too_large);
  EXPECT_EQ(north.mail().mailbox().bytes(), 0u);

  EXPECT_TRUE(north.machine().prepare_read());
  const auto queried = north.machine().read(encode(SpaceCall{.function = "sly", .arguments = {}}));
  EXPECT_EQ(decode_reply(queried.value()).error().code(), Errc::read_only);

  // A client that knows how a courier's requests look.
  const Bytes forged = Side(kSouth).mail().keep({});
  EXPECT_EQ(north.machine().effect_of(forged).error().code(), Errc::not_found);

  Side alone(std::nullopt);
  EXPECT_EQ(alone.call("send").error().code(), Errc::unsupported);
  alone.decide();
  EXPECT_EQ(alone.look(), Values{});
}

TEST(SpaceMail, OfAGroupThatTakesNoneIsFullInTheEnd) {
  Side north(kNorth, {.post_bytes = 500, .forward_bytes = 1'000});
  std::int64_t sent = 0;
  while (const auto done = north.call("send")) sent += 10;
  EXPECT_EQ(north.call("send").error().code(), Errc::busy);
  north.decide();
  EXPECT_GT(sent, 20);
  EXPECT_EQ(north.look(), (Values{-sent, 0, 0})) << "what could not be posted did not happen";

  // A mail that brings about more than there is room for stays where it is.
  Side south(kSouth, {.post_bytes = 500, .forward_bytes = 1'000});
  Side other(kNorth);
  ASSERT_TRUE(other.call("ask to full"));
  other.decide();
  EXPECT_EQ(south.take_from(other).error().code(), Errc::busy);
  EXPECT_EQ(south.look(), Values{});
  EXPECT_EQ(south.entries(), 0u);
}

TEST(SpaceMail, IsInTheSnapshotAndUndoneWithTheLog) {
  Side north(kNorth);
  Side south(kSouth);
  ASSERT_TRUE(north.call("send"));
  north.decide();
  const Bytes state = north.machine().try_snapshot().value();
  const Bytes reference(north.machine().reference_in(state).begin(),
                        north.machine().reference_in(state).end());
  EXPECT_TRUE(north.machine().has_state(reference));
  EXPECT_LT(reference.size(), state.size());

  // What is not decided goes.
  ASSERT_TRUE(north.call("send"));
  EXPECT_EQ(north.mail().mailbox().channels().at(group_of(kSouth)).posted, 2u);
  const std::uint64_t life = north.mail().life();
  ASSERT_TRUE(north.machine().restore(state));
  EXPECT_NE(north.mail().life(), life);
  EXPECT_EQ(north.mail().mailbox().channels().at(group_of(kSouth)).posted, 1u);
  EXPECT_EQ(north.mail().snapshot(), north.mail().mailbox().snapshot());
  EXPECT_TRUE(south.take_from(north));
  EXPECT_EQ(north.machine().try_snapshot().value(), state);
  north.replay(0);
  EXPECT_TRUE(north.mail().mailbox().channels().empty());

  // Of before there was mail; and of a space that exchanges some, where none is exchanged.
  ASSERT_TRUE(north.machine().restore(reference));
  EXPECT_TRUE(north.mail().mailbox().channels().empty());
  EXPECT_EQ(Side(std::nullopt).machine().restore(state).error().code(), Errc::corrupt);
}

TEST(SpaceMail, BytesThatNobodyWrites) {
  Side north(kNorth);
  Bytes letter = encode(SpaceLetter{.function = "get", .on_result = "hear"});
  for (std::size_t cut = 0; cut < letter.size(); ++cut) {
    EXPECT_FALSE(decode_space_letter(base::Bytes(letter).first(cut))) << cut;
  }
  EXPECT_FALSE(post_result(letter)) << "it is no result";
  letter[4] = std::byte{2};
  EXPECT_FALSE(decode_space_letter(letter));
  // A mail that says nothing is let pass.
  const Bytes request =
      north.mail().keep({.received = {{.from = group_of(kSouth), .sequence = 1, .bytes = letter}},
                         .acknowledged = {},
                         .posted = {}});
  const auto effect = north.machine().effect_of(request);
  ASSERT_TRUE(effect);
  EXPECT_EQ(north.apply(*effect).error().code(), Errc::corrupt);
  EXPECT_EQ(north.mail().mailbox().channels().at(group_of(kSouth)).consumed, 1u);
  // An effect whose mail is none does nothing, at all members alike.
  const Bytes bad = encode(SpaceEffect{.space = {}, .records = {}, .reply = {}, .mail = letter});
  EXPECT_EQ(north.apply(bad).error().code(), Errc::corrupt);
}

}  // namespace
}  // namespace dolmen::node
