// SPDX-License-Identifier: Apache-2.0
//
// For tests: the rule of level `epoch` (docs/index.md, As a service) in a model of its group: three
// members that promise epochs, elect leaders, accept, decide and apply, each message as late as it
// likes, while readers read the copy of whom they take for the leader, and lines, in pieces,
// between all stores. What they say is judged.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/test_budget.hpp"
#include "cluster/index_reader_fixture.hpp"

namespace dolmen::cluster {

inline constexpr std::size_t kMembers = 3;

/// What a group may do wrong.
enum class Fault : std::uint8_t {
  none,
  line_after_grant,      ///< a promise is shown when its grant has left
  told_before_own_entry  ///< a leader lets itself be read before it has executed an entry of its
                         ///< own
};

/// Kit: a Table (a copy of a shard), Hints, make_table(), put_command() and erase_command(), and a
/// Reading: one that is under way, which judges what it says when it is over.
template <class Kit>
class EpochCampaign {
  using Table = typename Kit::Table;

 public:
  EpochCampaign(std::uint64_t seed, Fault fault) : random_(seed), fault_(fault) {
    for (std::size_t i = 0; i < kMembers; ++i) {
      members_[i].table = Kit::make_table();
    }
    const auto& geometry = members_[0].table->geometry();
    for (int i = 0; i < 3; ++i) readers_.push_back({.hints = typename Kit::Hints(geometry)});
    keys_ = 4 + random_.below(20);
    elects_one_in_ = 20 + random_.below(200);
  }

  TornReport run(std::string_view bug, std::uint64_t steps) {
    const IndexHooks hooks(bug, [this] { read(); });
    for (std::uint64_t i = 0; i < steps && !report_.is_wrong; ++i) {
      step();
      read();
    }
    return report_;
  }
  [[nodiscard]] std::uint64_t elections() const { return elections_; }

 private:
  struct Entry {
    std::uint64_t origin = 0;
    std::optional<IndexCommand> command{};
    std::uint64_t key = 0;
    std::uint64_t number = 0;  ///< in the judge's count
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  using Log = std::vector<Entry>;
  struct Member {
    std::unique_ptr<Table> table{};
    std::uint64_t promised = 0;
    std::array<std::uint64_t, 2> line{};
    Log log{};
    std::uint64_t accepted_in = 0;  ///< the epoch in which it last took a leader's log
    std::size_t stable = 0;
    std::size_t executed = 0;
    // As a candidate or leader of `promised`:
    std::size_t grants = 0;
    bool leads = false;
    Log latest{};
    std::array<std::size_t, kMembers> matched{};
  };
  struct Reader {
    typename Kit::Hints hints;
    std::size_t leader = 0;
    LedEpoch led{};  ///< lines 0: it knows of nobody
    std::size_t other = 0;
    std::unique_ptr<typename Kit::Reading> reading{};
  };

  void later(std::function<void()> message) { messages_.push_back(std::move(message)); }

  void step() {
    if (random_.chance(1, elects_one_in_)) stand(random_.below(kMembers));
    const std::size_t i = random_.below(kMembers);
    if (members_[i].leads && random_.chance(1, 3)) propose(i);
    if (members_[i].leads) send_log(i, random_.below(kMembers));
    if (!messages_.empty() && random_.chance(3, 4)) {
      std::swap(messages_[random_.below(messages_.size())], messages_.back());
      const auto message = std::move(messages_.back());
      messages_.pop_back();
      message();
    }
    execute(random_.below(kMembers));
  }

  void promise(std::size_t i, std::uint64_t epoch) {
    Member& member = members_[i];
    member.promised = epoch;
    member.leads = false;
    member.grants = 0;
    if (fault_ == Fault::line_after_grant) {
      later([this, i, epoch] { members_[i].line[0] = std::max(members_[i].line[0], epoch); });
    } else {
      member.line[0] = epoch;
    }
  }

  void stand(std::size_t candidate) {
    const std::uint64_t epoch = ++latest_epoch_;
    promise(candidate, epoch);
    members_[candidate].latest = {};
    members_[candidate].matched = {};
    granted(candidate, epoch, members_[candidate].log);
    for (std::size_t i = 0; i < kMembers; ++i) {
      if (i == candidate) continue;
      later([this, candidate, epoch, i] {
        if (members_[i].promised >= epoch) return;
        promise(i, epoch);
        later([this, candidate, epoch, log = members_[i].log] { granted(candidate, epoch, log); });
      });
    }
  }

  void granted(std::size_t candidate, std::uint64_t epoch, const Log& log) {
    Member& member = members_[candidate];
    if (member.promised != epoch || member.leads) return;
    const auto rank = [](const Log& one) {
      return std::pair(one.empty() ? 0 : one.back().origin, one.size());
    };
    if (rank(log) > rank(member.latest)) member.latest = log;
    if (2 * ++member.grants <= kMembers) return;
    ++elections_;
    member.leads = true;
    member.log = std::exchange(member.latest, {});
    member.log.push_back({.origin = epoch});
    member.matched[candidate] = member.log.size();
  }

  void propose(std::size_t leader) {
    Member& member = members_[leader];
    const std::uint64_t key = random_.below(keys_);
    const bool is_put = random_.chance(3, 4);
    const std::uint64_t value = ++values_;
    const Table& table = *member.table;
    const auto number = judge_.begins(key, is_put ? IndexJudge::Value(value) : std::nullopt);
    member.log.push_back(
        {member.promised,
         is_put ? Kit::put_command(table, key, value) : Kit::erase_command(table, key), key,
         number});
    member.matched[leader] = member.log.size();
  }

  void send_log(std::size_t leader, std::size_t to) {
    if (leader == to) return;
    const Member& from = members_[leader];
    later([this, leader, to, epoch = from.promised, log = from.log, stable = from.stable] {
      Member& member = members_[to];
      if (member.promised > epoch) return;
      if (member.promised < epoch) promise(to, epoch);
      if (member.accepted_in == epoch && member.log.size() > log.size()) return;
      member.accepted_in = epoch;
      member.log = log;
      member.stable = std::max(member.stable, stable);
      later([this, leader, to, epoch, size = log.size()] { accepted(leader, to, epoch, size); });
    });
  }

  void accepted(std::size_t leader, std::size_t by, std::uint64_t epoch, std::size_t size) {
    Member& member = members_[leader];
    if (!member.leads || member.promised != epoch) return;
    member.matched[by] = std::max(member.matched[by], size);
    auto matched = member.matched;
    std::ranges::sort(matched);
    const std::size_t decided = matched[kMembers / 2];
    if (decided > member.stable && member.log[decided - 1].origin == epoch) member.stable = decided;
  }

  /// A leader tells its clients of what it has executed.
  void execute(std::size_t i) {
    Member& member = members_[i];
    while (member.executed < member.stable) {
      const Entry entry = member.log[member.executed];
      if (entry.command && member.table->apply(*entry.command) == IndexOutcome::no_space) {
        member.table->apply(IndexCommand::release(member.table->last()));
        if (member.table->apply(*entry.command) == IndexOutcome::no_space) report_.is_wrong = true;
      }
      ++member.executed;
      if (member.leads && entry.command) judge_.ends(entry.key, entry.number);
    }
  }

  void read() {
    for (Reader& reader : readers_) {
      if (!random_.chance(1, 3)) continue;
      for (std::uint64_t i = random_.below(20); i > 0; --i) step(reader);
    }
  }

  void ask_who_leads(Reader& reader) {
    const std::size_t i = random_.below(kMembers);
    const Member& member = members_[i];
    if (!member.leads) return;
    const bool has_caught_up =
        member.executed > 0 && member.log[member.executed - 1].origin == member.promised;
    if (!has_caught_up && fault_ != Fault::told_before_own_entry) return;
    reader.leader = i;
    reader.other = (i + 1 + random_.below(kMembers - 1)) % kMembers;
    reader.led = {.epoch = member.promised, .lines = 2};
  }

  void step(Reader& reader) {
    if (reader.led.lines == 0) ask_who_leads(reader);
    if (reader.led.lines == 0) return;
    Table& table = *members_[reader.leader].table;
    if (!reader.reading) {
      reader.reading = std::make_unique<typename Kit::Reading>(table, reader.hints, reader.led,
                                                               keys_, judge_, random_);
    }
    const std::array<base::Bytes, 3> regions{table.region(),
                                             std::as_bytes(std::span(members_[reader.leader].line)),
                                             std::as_bytes(std::span(members_[reader.other].line))};
    if (!reader.reading->step(regions, random_)) return;
    const LookupState state = reader.reading->judge(table, judge_, report_);
    if (state == LookupState::deposed) reader.led = {};
    reader.reading.reset();
  }

  base::Random random_;
  const Fault fault_;
  std::uint64_t keys_ = 1;
  std::uint64_t elects_one_in_ = 1;
  std::array<Member, kMembers> members_;
  std::vector<std::function<void()>> messages_;
  std::vector<Reader> readers_;
  std::uint64_t latest_epoch_ = 0;
  std::uint64_t elections_ = 0;
  std::uint64_t values_ = 0;
  IndexJudge judge_;
  TornReport report_;
};

/// Seeds of the budget without a fault: what readers say is linearizable whoever leads.
template <class Campaign>
void expect_linearizable(const char* budget, std::uint64_t steps) {
  const std::uint64_t seeds = base::budget(budget);
  TornReport sum;
  std::uint64_t elections = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    Campaign campaign(seed, Fault::none);
    const TornReport report = campaign.run({}, steps);
    ASSERT_FALSE(report.is_wrong) << "seed " << seed;
    sum.found += report.found;
    sum.absent += report.absent;
    sum.asked += report.asked;
    elections += campaign.elections();
  }
  std::printf("%lu found, %lu absent, %lu asked; %lu elections\n", sum.found, sum.absent, sum.asked,
              elections);
  base::say_bound(budget, seeds);
  EXPECT_GT(sum.found, 1'000u);
  EXPECT_GT(sum.absent, 100u);
  EXPECT_GT(elections, seeds);
}

/// A planted bug, or a fault of the group, is seen by one of 300 seeds.
template <class Campaign>
void expect_wrong(std::string_view bug, Fault fault, std::uint64_t steps) {
  if (base::kSanitized) GTEST_SKIP() << "the release build looks for planted bugs";
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    if (!Campaign(seed, fault).run(bug, steps).is_wrong) continue;
    std::printf("seen after %lu seeds\n", seed);
    return;
  }
  FAIL() << "not seen";
}

}  // namespace dolmen::cluster
