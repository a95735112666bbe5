// SPDX-License-Identifier: Apache-2.0
//
// Members' machines of one space without a group: what is decided, and when, is said by the test.
#pragma once

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
#include "node/space_machine.hpp"
#include "replication/executor.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node::machine_test {

using Bytes = std::vector<std::byte>;

struct Item {
  std::uint64_t value = 0;
  ptr<Item> next;
};
struct Pile {
  std::uint64_t count = 0;
  ptr<Item> top;
};

inline Bytes bytes_of(std::uint64_t value) {
  Bytes bytes(sizeof value);
  base::store(base::MutableBytes(bytes), 0, value);
  return bytes;
}

inline Result<Bytes> push(Space& space, std::span<const std::byte> arguments) {
  const auto value = base::load<std::uint64_t>(arguments);
  DOLMEN_TRY(const auto pile, space.find_or_create<Pile>("pile"));
  DOLMEN_TRY(const std::uint64_t count, space.transact(pile, [&](mut<Pile> p) {
    p->top = make<Item>(p, value, p->top);
    return ++p->count;
  }));
  return bytes_of(count);
}

inline Result<Bytes> sum(Space& space, std::span<const std::byte>) {
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
inline Result<Bytes> fill(Space& space, std::span<const std::byte> arguments) {
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
inline Result<Bytes> crowd(Space& space, std::span<const std::byte> arguments) {
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
inline std::unique_ptr<StateSink> bring(Member& from, Member& to, const Bytes& reference) {
  auto source = from.machine().send_state(reference, 4096).value();
  auto sink = to.machine().receive_state(reference).value();
  for (std::uint64_t number = 0;; ++number) {
    std::optional<Bytes> question;
    while (!question) question = sink->question(number).value();
    std::optional<Bytes> part;
    while (!part) part = source->answer(number, *question).value();
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

}  // namespace dolmen::node::machine_test
