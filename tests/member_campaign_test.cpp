// SPDX-License-Identifier: Apache-2.0
//
// Members under faults, and clients that ask until they are answered: what they saw has to be what
// one counter could have said, whatever was killed, cut off or full meanwhile. Once with journals,
// and once in memory alone: there a member that ends comes back as another replica that has
// nothing, and is taken in by itself.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "base/test_budget.hpp"
#include "replication/member_fixture.hpp"
#include "sim/linearizability_models.hpp"
#include "sim/sim_hooks.hpp"

namespace dolmen::replication {
namespace {

using sim::CounterModel;
using sim::CrashPlan;
using Counts = sim::History<CounterModel::Operation>;

constexpr std::uint64_t kMs = 1'000'000;

/// One command after the other, each repeated at one member after the other until it is answered;
/// or, when an attempt was not, asked about until that is, sometimes while it is repeated as well.
class Asker {
 public:
  Asker(MemberWorld& world, Counts& history, std::uint64_t number, std::uint64_t seed)
      : client_(world, fabric::NodeId{100 + number}),
        world_(world),
        history_(history),
        number_(number),
        random_(seed) {}

  /// Not empty: it was told what nobody may be told.
  [[nodiscard]] const std::string& violation() const { return violation_; }
  void turn() {
    if (attempt_) {
      if (const auto told = client_.answer_to(*attempt_)) {
        attempt_.reset();
        take(*told);
      } else if (world_.now_ns() > patience_end_ns_) {
        attempt_.reset();
        look_elsewhere();
      }
    }
    if (attempt_ || world_.now_ns() < not_before_ns_) return;
    if (session_ != 0 && !operation_ && !is_resting_) begin();
    if (session_ != 0 && !operation_) return;
    if (session_ == 0) {
      attempt_ = client_.ask(member_, 0, 0, {});
    } else if (is_asking_ && random_.below(4) != 0) {
      attempt_ = client_.ask_outcome(member_, session_, sequence_);
    } else {
      attempt_ = client_.ask(member_, session_, sequence_, command_);
    }
    patience_end_ns_ = world_.now_ns() + random_.between(20 * kMs, 300 * kMs);
    if (!attempt_) look_elsewhere();
  }
  /// Begins nothing more.
  void rest() { is_resting_ = true; }
  [[nodiscard]] bool is_done() const { return is_resting_ && !operation_; }
  [[nodiscard]] std::uint64_t answered() const { return answered_; }
  [[nodiscard]] std::uint64_t repeated() const { return repeated_; }
  /// Operations that it was told are given up; and how many of those it asked about were done.
  [[nodiscard]] const std::vector<std::size_t>& given_up() const { return given_up_; }
  [[nodiscard]] std::uint64_t found_done() const { return found_done_; }

 private:
  void begin() {
    const std::uint64_t amount = random_.below(3) == 0 ? 0 : 1 + random_.below(1'000'000);
    command_ = Tally::add(amount, random_.below(300));
    operation_ = history_.invoke(number_, {.added = amount});
    ++sequence_;
    is_asking_ = false;
    verdict_.reset();
  }
  void look_elsewhere() {
    ++repeated_;
    if (operation_ && random_.below(3) == 0) is_asking_ = true;
    member_ = random_.below(world_.size());
    not_before_ns_ = world_.now_ns() + random_.below(10 * kMs);
  }
  void take(const MemberClient::Told& told) {
    switch (told.status) {
      case ReplyStatus::done:
        if (session_ == 0) {
          session_ = told.value;
          sequence_ = 0;
          return;
        }
        return ends(Tally::value_of(told.result));
      case ReplyStatus::aborted:
        if (!is_asking_) violation_ = "a command that nobody asked about is given up";
        return ends(std::nullopt);
      case ReplyStatus::not_leader:
        look_elsewhere();
        if (told.value != 0) member_ = told.value - 1;
        return;
      case ReplyStatus::busy:
      case ReplyStatus::lost:
        return look_elsewhere();
      case ReplyStatus::no_right:
      case ReplyStatus::stale:
      case ReplyStatus::expired:
      case ReplyStatus::refused:
        violation_ = "a session that is in use stays, and nothing is refused here";
    }
  }

  /// What was said once is said for ever, to whoever asks or repeats the command.
  void ends(std::optional<std::uint64_t> value) {
    if (verdict_ && *verdict_ != value) {
      violation_ = "of one command it was said that it is given up, and that it is done";
    }
    if (!verdict_ && value) {
      history_.respond(*operation_).value = *value;
      ++answered_;
      if (is_asking_) ++found_done_;
    }
    if (!verdict_ && !value) given_up_.push_back(*operation_);
    const bool is_asked_again = is_asking_ && !verdict_ && random_.below(2) == 0;
    verdict_ = value;
    if (!is_asked_again) operation_.reset();
  }

  MemberClient client_;
  MemberWorld& world_;
  Counts& history_;
  const std::uint64_t number_;
  base::Random random_;
  std::size_t member_ = 0;
  std::uint64_t session_ = 0;
  std::uint64_t sequence_ = 0;
  std::vector<std::byte> command_;
  std::optional<std::size_t> operation_;
  std::optional<std::uint64_t> attempt_;
  std::uint64_t patience_end_ns_ = 0;
  std::uint64_t not_before_ns_ = 0;
  bool is_resting_ = false;
  bool is_asking_ = false;  ///< what becomes of the command, at least once
  std::optional<std::optional<std::uint64_t>> verdict_;  ///< nothing in it: it is given up
  std::vector<std::size_t> given_up_;
  std::uint64_t found_done_ = 0;
  std::uint64_t answered_ = 0;
  std::uint64_t repeated_ = 0;
  std::string violation_;
};

struct Totals {
  std::uint64_t answered = 0;
  std::uint64_t repeated = 0;
  std::uint64_t found_done = 0;
  std::uint64_t given_up = 0;
  std::uint64_t crashes = 0;
  std::uint64_t ended = 0;  ///< members, by their disks
  std::uint64_t resets = 0;
  std::uint64_t simulated_ns = 0;
};

enum class Where { journals, memory };

class Campaign {
 public:
  Campaign(Where where, std::uint64_t seed)
      : is_in_memory_(where == Where::memory),
        has_other_group_(has_other_group(where, seed)),
        random_(base::mix_seed(seed, 77)),
        world_(options_for(where, seed, random_)) {
    for (std::uint64_t i = 0; i < 3; ++i) {
      askers_.push_back(std::make_unique<Asker>(world_, history_, i, base::mix_seed(seed, i)));
    }
    down_until_ns_.resize(world_.size());
  }

  /// What was wrong; empty: nothing.
  std::string run(Totals& totals) {
    const std::uint64_t end_ns = 2'000 * kMs;
    std::uint64_t next_fault_ns = 0;
    while (world_.now_ns() < end_ns && violation_.empty()) {
      step();
      if (sleeps_at_ns_ != 0 && world_.now_ns() >= sleeps_at_ns_) {
        sleeps_at_ns_ = 0;
        world_.pause(sleeper_, random_.below(40 * kMs));
      }
      if (world_.now_ns() < next_fault_ns) continue;
      do_something_bad();
      next_fault_ns = world_.now_ns() + random_.below(150 * kMs);
    }
    heal();
    for (const auto& asker : askers_) asker->rest();
    const std::uint64_t healed_ns = world_.now_ns();
    while (violation_.empty() && !is_at_rest()) {
      step();
      if (world_.now_ns() - healed_ns > 10'000 * kMs) {
        violation_ = "it does not come to rest" + statuses(kTestGroup);
        if (has_other_group_) violation_ += "; the other group" + statuses(kOtherGroup);
      }
    }
    if (violation_.empty()) judge();
    for (const auto& asker : askers_) {
      totals.answered += asker->answered();
      totals.repeated += asker->repeated();
      totals.found_done += asker->found_done();
      totals.given_up += asker->given_up().size();
    }
    totals.crashes += crashes_;
    totals.ended += ended_;
    totals.resets += world_.network().streams().resets();
    totals.simulated_ns += world_.now_ns();
    return violation_;
  }

 private:
  static bool has_other_group(Where where, std::uint64_t seed) {
    return where == Where::memory && seed % 3 == 0;
  }
  /// A command now and then, from within who leads it.
  void load_other_group() {
    if (world_.now_ns() < other_group_at_ns_) return;
    other_group_at_ns_ = world_.now_ns() + random_.below(10 * kMs);
    const auto leader = world_.leader(kOtherGroup);
    if (!leader) return;
    world_.member(*leader).submit(kOtherGroup, Tally::add(1, random_.below(300)),
                                  [](const auto&) {});
  }
  static MemberWorldOptions options_for(Where where, std::uint64_t seed, base::Random& random) {
    MemberWorldOptions options{.seed = seed,
                               .members = random.below(3) == 0 ? 5u : 3u,
                               .is_ahead = random.below(2) == 0,
                               .step_ns = 100'000};
    if (where == Where::journals) return options;
    options.is_in_memory = true;
    options.has_other_group = has_other_group(where, seed);
    options.is_mapped = random.below(3) != 0;
    options.has_witness = options.is_mapped && random.below(2) == 0;
    options.area_bytes = std::size_t{1} << random.between(13, 16);
    options.member.memory_log_bytes = 4u << 10;
    options.member.replica.lane_bytes = std::size_t{1} << random.between(10, 16);
    return options;
  }
  void step() {
    world_.step();
    if (!world_.violation().empty()) violation_ = world_.violation();
    if (has_other_group_) load_other_group();
    for (const auto& asker : askers_) {
      asker->turn();
      if (!asker->violation().empty()) violation_ = asker->violation();
    }
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (world_.is_up(i)) continue;
      if (down_until_ns_[i] == 0) {  // its disk
        const std::optional<Error>& why = world_.why(i);
        const bool is_disk =
            why && (why->code() == Errc::store_failed || why->code() == Errc::no_space ||
                    why->code() == Errc::io_error);
        if (is_in_memory_ || !is_disk) {
          violation_ = "a member ended: " + (why ? why->message() : std::string());
          return;
        }
        ++ended_;
        kill(i);
      } else if (world_.now_ns() >= down_until_ns_[i]) {
        down_until_ns_[i] = 0;
        world_.start(i);
      }
    }
  }
  [[nodiscard]] bool is_at_rest() {
    const auto is_done = [](const auto& asker) { return asker->is_done(); };
    return std::ranges::all_of(askers_, is_done) && world_.agrees() &&
           (!is_in_memory_ || all_are_in(kTestGroup)) &&
           (!has_other_group_ || all_are_in(kOtherGroup));
  }
  [[nodiscard]] std::string statuses(const GroupId& group) {
    std::string text;
    const auto say = [&](const char* name, std::uint64_t value) {
      text += std::string(name) + std::to_string(value);
    };
    for (std::size_t i = 0; i < world_.size(); ++i) {
      const MemberStatus one = world_.status(i, group);
      say("; node ", i + 1);
      say(" life ", life_of(one.self));
      say(" role ", static_cast<std::uint64_t>(one.role));
      say(" epoch ", one.epoch);
      say(" log ", one.base);
      say(" to ", one.end.index);
      say(" stable ", one.stable);
      text += " voters";
      for (const log::ReplicaId voter : one.configuration.voters) {
        say(" ", static_cast<std::uint64_t>(node_of(voter)));
        say(".", life_of(voter));
      }
    }
    return text;
  }
  /// Whether the lives that run are the voters.
  [[nodiscard]] bool all_are_in(const GroupId& group) {
    const auto leader = world_.leader(group);
    if (!leader) return false;
    const log::Configuration now = world_.status(*leader, group).configuration;
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (!world_.is_up(i) || !now.is_voter(world_.status(i, group).self)) return false;
    }
    return now.voters.size() == world_.size() && now.learners.empty();
  }
  void judge() {
    for (std::size_t i = 1; i < world_.size(); ++i) {
      if (world_.is_memory_alone(i)) continue;
      if (world_.machine(i).value() == world_.machine(0).value()) continue;
      violation_ = "member " + std::to_string(i) + " has another state than member 0";
      return;
    }
    // What all of them have at the end is one more thing that was seen.
    history_.respond(history_.invoke(99, {.added = 0})).value = world_.machine(0).value();
    // What a client was told is given up is not in the log, and not in what others saw.
    std::vector<std::size_t> given_up;
    for (const auto& asker : askers_) {
      given_up.insert(given_up.end(), asker->given_up().begin(), asker->given_up().end());
    }
    auto operations = history_.operations();
    std::ranges::sort(given_up, std::greater{});
    for (const std::size_t one : given_up) {
      operations.erase(operations.begin() + static_cast<std::ptrdiff_t>(one));
    }
    CounterModel model;
    const auto judgement = sim::check_linearizability(model, operations);
    if (judgement.verdict != sim::Verdict::linearizable) violation_ = judgement.text;
  }

  /// In memory alone, what a majority has is there while a majority is. So nobody is lost who is
  /// needed for that, in any configuration that somebody who votes may go by: until the life that
  /// took a seat is settled there, the one before counts as lost.
  [[nodiscard]] bool may_lose(std::size_t lost) {
    if (!is_in_memory_) return true;
    return may_lose(lost, kTestGroup) && (!has_other_group_ || may_lose(lost, kOtherGroup));
  }
  [[nodiscard]] bool may_lose(std::size_t lost, const GroupId& group) {
    const auto is_left = [&](log::ReplicaId voter) {
      const auto i = static_cast<std::size_t>(node_of(voter)) - 1;
      return i != lost && world_.is_up(i) && world_.status(i, group).self == voter;
    };
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (!world_.is_up(i) || world_.is_memory_alone(i)) continue;
      const Roster roster = world_.member(i).roster(group);
      if (!roster.configuration->is_voter(world_.status(i, group).self)) continue;
      const auto& voters = roster.configuration->voters;
      const auto left = static_cast<std::size_t>(std::ranges::count_if(voters, is_left));
      if (!roster.is_settled || 2 * left <= voters.size()) return false;
    }
    return true;
  }
  void kill(std::size_t i) {
    constexpr CrashPlan::Kind kKinds[] = {CrashPlan::Kind::none, CrashPlan::Kind::all,
                                          CrashPlan::Kind::random};
    down_until_ns_[i] = world_.now_ns() + 1 + random_.below(500 * kMs);
    world_.crash(i, {.kind = kKinds[random_.below(3)], .argument = random_()});
  }
  void do_something_bad() {
    const std::size_t i = random_.below(world_.size());
    const std::size_t k = random_.below(world_.size());
    switch (random_.below(8)) {
      case 0:
      case 1:
        if (!world_.is_up(i) || !may_lose(i)) return;
        ++crashes_;
        return kill(i);
      case 2: {
        const auto leader = world_.leader();
        if (!leader) return;
        if (random_.below(2) == 0) return world_.cut_off(*leader, random_.below(800 * kMs));
        if (!may_lose(*leader)) return;
        ++crashes_;
        return kill(*leader);
      }
      case 3:
        if (i == k) return;
        return world_.network().streams().cut(MemberWorld::host(i), MemberWorld::host(k),
                                              random_.below(600 * kMs));
      case 4:
        return world_.cut_off(i, random_.below(400 * kMs));
      case 5:
        return world_.network().streams().set_faults(
            {.delay_max_ns = 50'000 + random_.below(5 * kMs),
             .piece_max = std::size_t{1} << (4 + random_.below(13)),
             .reset_ppm =
                 random_.below(2) == 0 ? 0 : static_cast<std::uint32_t>(random_.below(3000))});
      default:
        if (!is_in_memory_) return fail_disk(i);
        if (random_.below(3) == 0) return make_late(k);
        return world_.pause(i, random_.below(400 * kMs));
    }
  }
  /// A leader stands still, hears nothing when it goes on, and has clients' commands in its hand:
  /// it writes into memory that others use by then, and one of them has not looked at yet.
  void make_late(std::size_t sleeper) {
    const auto leader = world_.leader();
    if (!leader) return;
    const std::uint64_t late_ns = (200 + random_.below(400)) * kMs;
    world_.cut_off(*leader, late_ns + 200 * kMs);
    world_.pause(*leader, late_ns);
    if (sleeper == *leader) return;
    sleeper_ = sleeper;
    sleeps_at_ns_ = world_.now_ns() + late_ns - random_.below(20 * kMs);
  }
  void fail_disk(std::size_t i) {
    if (!world_.is_up(i)) return;
    if (random_.below(2) == 0) {
      return world_.disk(i).inject(
          {.on = random_.below(2) == 0 ? sim::FaultOn::sync : sim::FaultOn::write,
           .nth = 1 + random_.below(20)});
    }
    world_.disk(i).inject(
        {.on = sim::FaultOn::allocate, .nth = 1 + random_.below(3), .code = Errc::no_space});
  }
  void heal() {
    world_.network().streams().heal();
    world_.network().streams().set_faults({});
    for (std::size_t i = 0; i < world_.size(); ++i) {
      world_.pause(i, 0);
      world_.disk(i).clear_faults();
      if (!world_.is_up(i)) down_until_ns_[i] = 1;
    }
  }

  const bool is_in_memory_;
  const bool has_other_group_;
  base::Random random_;
  MemberWorld world_;
  Counts history_;
  std::vector<std::unique_ptr<Asker>> askers_;
  std::vector<std::uint64_t> down_until_ns_;  ///< 0: it runs
  std::string violation_;
  std::uint64_t crashes_ = 0;
  std::uint64_t ended_ = 0;
  std::uint64_t other_group_at_ns_ = 0;
  std::size_t sleeper_ = 0;
  std::uint64_t sleeps_at_ns_ = 0;  ///< 0: nobody is about to
};

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// As many seeds as the budget of that name says, or the one that the environment says.
Totals run_seeds(Where where, std::string_view budget, std::uint64_t& seeds) {
  const bool is_one = std::getenv("DOLMEN_MEMBER_SEED") != nullptr;
  const std::uint64_t first = from_environment("DOLMEN_MEMBER_SEED", 1);
  seeds = from_environment("DOLMEN_MEMBER_SEEDS", is_one ? 1 : base::budget(budget));
  Totals totals;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    SCOPED_TRACE("DOLMEN_MEMBER_SEED=" + std::to_string(seed));
    EXPECT_EQ(Campaign(where, seed).run(totals), "");
    if (testing::Test::HasFailure()) break;
  }
  std::printf(
      "%lu seeds, %.1f simulated minutes, %lu commands answered, %lu attempts more, %lu crashes, "
      "%lu ended by their disks, %lu connections reset; asked about, %lu were done, %lu given up\n",
      seeds, static_cast<double>(totals.simulated_ns) / 6e10, totals.answered, totals.repeated,
      totals.crashes, totals.ended, totals.resets, totals.found_done, totals.given_up);
  return totals;
}

void expect_reached(const sim::SimHooks& hooks, std::initializer_list<const char*> places) {
  auto probes = hooks.probes();
  for (const char* const place : places) EXPECT_GT(probes[place], 0u) << place;
}

TEST(MemberCampaign, ClientsSeeOneCounterWhateverFails) {
  const sim::SimHooks hooks({.buggify = false});
  std::uint64_t seeds = 0;
  const Totals totals = run_seeds(Where::journals, "member_seeds", seeds);
  if (seeds < 20) return;
  expect_reached(hooks, {"replication.undone", "log.installed", "log.compacted"});
  EXPECT_GT(totals.answered, seeds * 200);
  EXPECT_GT(totals.ended, seeds / 10);
  EXPECT_GT(totals.found_done, seeds);
  EXPECT_GT(totals.given_up, seeds);
}

TEST(MemberCampaign, InMemoryAloneAsLongAsAMajorityHasIt) {
  const sim::SimHooks hooks({.buggify = false});
  std::uint64_t seeds = 0;
  const Totals totals = run_seeds(Where::memory, "memory_member_seeds", seeds);
  if (seeds < 20) return;
  expect_reached(
      hooks, {"replication.undone", "replication.taken_in", "replication.lane_again", "log.direct",
              "log.installed", "log.compacted", "log.memory_granted", "log.adopted_from_memory"});
  EXPECT_GT(totals.answered, seeds * 200);
  EXPECT_GT(totals.crashes, seeds);
  EXPECT_GT(totals.found_done, seeds);
  EXPECT_GT(totals.given_up, seeds);
}

/// Looks for a planted bug in groups in memory, in at most so many seeds.
void expect_seen(const char* bug, std::uint64_t seeds_max) {
  const sim::SimHooks hooks({.buggify = false, .planted = bug});
  Totals totals;
  std::string violation;
  std::uint64_t seed = 0;
  while (violation.empty() && seed < seeds_max) {
    violation = Campaign(Where::memory, ++seed).run(totals);
  }
  EXPECT_GT(hooks.planted_reached(), 0u);
  EXPECT_NE(violation, "") << "in " << seed << " seeds";
  std::printf("%s, seed %lu: %s\n", bug, seed, violation.c_str());
}

// A new life that votes before it was taken in, under the name of the one that is lost.
TEST(MemberCampaign, ANewLifeThatGoesOnAsTheOneBeforeIsSeen) {
  expect_seen("replication.life_again", 40);
}

// What is given up when it is asked about, and is executed later, when the command arrives.
TEST(MemberCampaign, WhatIsGivenUpForNowIsSeen) { expect_seen("replication.given_up_for_now", 40); }

// The same of a witness: its memory is empty, and the servers take it for the one that they wrote.
TEST(MemberCampaign, AWitnessThatGoesOnWithoutItsMemoryIsSeen) {
  expect_seen("replication.witness_again", 400);
}

}  // namespace
}  // namespace dolmen::replication
