// SPDX-License-Identifier: Apache-2.0
//
// For tests: two or three groups with objects, and one or two with shards of the directory, run
// from a seed. Logs, leaders and messages behave as in mail_world.hpp: what is not decided may be
// cut off, deposed leaders go on, messages are lost, doubled, late. Objects are made, written,
// moved to and fro, asked back, erased; groups drain; leaders read parts wrongly; clients look
// objects up, step by step. Judged is what is decided (home_judge.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "cluster/courier.hpp"
#include "cluster/home_judge.hpp"
#include "cluster/home_replica.hpp"
#include "cluster/home_search.hpp"
#include "cluster/index_table.hpp"

namespace dolmen::cluster {

class HomeWorld {
 public:
  /// `is_strict`: replicas are compared as well, and not only what comes of it.
  HomeWorld(std::uint64_t seed, bool is_strict)
      : random_(seed),
        is_strict_(is_strict),
        judge_([this](const ObjectId& id) { return directory(id); }, kWindow) {
    mail_limits_.post_bytes = random_.between(2'000, 20'000);
    options_ = {.resend_ns = random_.between(2, 40) * kMs,
                .resend_max_ns = 200 * kMs,
                .trim_ns = random_.between(0, 30) * kMs,
                .message_bytes = random_.between(1, 2'000),
                .window_bytes = random_.between(1, 4'000),
                .proposed_bytes = random_.between(1, 4'000)};
    loss_ = random_.below(30), doubling_ = random_.below(30), former_ = random_.below(30);
    unrest_ = random_.below(8);
    homes_ = static_cast<GroupNumber>(random_.between(2, 3));
    shard_bits_ = static_cast<std::uint32_t>(random_.below(2));
    const GroupNumber count = homes_ + (1u << shard_bits_);
    for (GroupNumber number = 1; number <= count; ++number) {
      groups_.push_back(
          std::make_unique<Group>(number, HomeReplica(number, mail_limits_, kLimits)));
      Group& group = *groups_.back();
      if (!is_home(group)) group.shard = std::make_unique<Table>(TableSizes{}, number);
      group.leader = make_leader(group, {});
      if (is_home(group)) append_command(group, *group.leader, shards());
    }
  }

  /// What is wrong, if anything.
  std::optional<std::string> run(std::uint64_t steps) {
    for (std::uint64_t i = 0; i < steps && judge_.is_content(); ++i) step();
    if (judge_.is_content()) calm_down();
    return judge_.complaint();
  }
  [[nodiscard]] const HomeWorldTally& tally() const noexcept { return tally_; }

 private:
  static constexpr std::uint64_t kMs = 1'000'000;
  static constexpr std::uint32_t kWindow = 2;
  static constexpr std::size_t kObjects = 8;
  static constexpr HomeLimits kLimits{
      .objects_max = 16, .arriving_max = 3, .window_parts = kWindow};

  struct Leader {
    explicit Leader(HomeReplica state) : replica(std::move(state)) {}
    std::vector<HomeEntry> log{};
    std::size_t applied = 0;  ///< a home's leader: all of it; a directory's: what it knows
    std::size_t known = 0;    ///< entries that it knows to be decided
    HomeReplica replica;
    std::optional<Courier> courier{};
    std::deque<MailChange> waiting{};  ///< proposals that are not in the log yet
  };
  struct Group {
    Group(GroupNumber n, HomeReplica r) : number(n), machine(r), stale(r.table) {}
    GroupNumber number;
    std::size_t decided = 0;  ///< of the leader's log
    HomeReplica machine;      ///< what the decided entries make
    HomeTable stale;          ///< what they made some time ago
    std::unique_ptr<Table> shard{};
    /// Of a directory: what its decided entries do to mail, with what they post.
    std::vector<MailChange> done{};
    std::unique_ptr<Leader> leader{};
    std::vector<std::unique_ptr<Leader>> former{};
  };
  struct Flight {
    std::uint64_t at_ns = 0;
    MailMessage message{};
  };
  bool happens(std::uint64_t percent) { return random_.chance(percent, 100); }
  bool is_home(const Group& group) const { return group.number <= homes_; }
  Group& any_home() { return *groups_[random_.below(homes_)]; }
  GroupNumber another(GroupNumber than) {
    const auto number = static_cast<GroupNumber>(random_.between(1, homes_ - 1));
    return number < than ? number : number + 1;
  }
  ObjectId any_object() { return id_of(random_.between(1, std::max<std::uint64_t>(1, made_))); }
  home::SetShards shards() const {
    home::SetShards shards;
    for (GroupNumber i = 0; i < 1u << shard_bits_; ++i) shards.groups.push_back(homes_ + 1 + i);
    return shards;
  }
  std::optional<DirectoryEntry> directory(const ObjectId& id) const {
    const Group& group = *groups_[homes_ + shard_of(id, shard_bits_)];
    const auto home = group.shard->index().find(id);
    return home ? std::optional(entry_of(*home)) : std::nullopt;
  }
  HomeJudge::Homes homes() const {
    HomeJudge::Homes all;
    for (GroupNumber i = 0; i < homes_; ++i) all.push_back(&groups_[i]->machine);
    return all;
  }

  void step() {
    now_ns_ += random_.below(2 * kMs);
    Group& group = *groups_[random_.below(groups_.size())];
    for (auto& each : groups_) {
      propose(*each, *each->leader, random_.below(4));
      for (auto& leader : each->former) propose(*each, *leader, random_.below(2));
    }
    const std::uint64_t what = random_.below(100);
    if (what < 34) {
      Group& home = any_home();
      const bool is_deposed = !home.former.empty() && happens(15);
      act(home, is_deposed ? *home.former[random_.below(home.former.size())] : *home.leader);
    } else if (what < 60) {
      decide(group, random_.between(1, 5));
    } else if (what < 78) {
      learn(group, *group.leader, random_.between(group.leader->known, group.decided));
    } else if (what < 78 + unrest_) {
      change_leader(group);
    } else if (what < 88 && !group.former.empty()) {
      hear_of_successor(group);
    } else if (what < 91) {
      renew(group);
    } else if (what < 93) {
      group.stale = group.machine.table;
    } else {
      search();
    }
    tick();
    deliver();
  }

  /// Whatever somebody asks of a group with objects.
  void act(Group& group, Leader& leader) {
    post_parts(group, leader);
    const std::uint64_t what = random_.below(100);
    const ObjectId id = any_object();
    const HomeTable& table = leader.replica.table;
    if (what < 8 && made_ < kObjects) {
      append_command(group, leader, home::Create{.id = id_of(++made_)});
    } else if (what < 40) {
      const HomeAnswer answer = table.find(id).answer;
      // Whoever leads looks before he writes; what it is in the log, all look.
      if (answer != HomeAnswer::serves && answer != HomeAnswer::untold && !happens(10)) return;
      append(group, leader, {.written = id, .byte = static_cast<std::byte>(random_.below(256))});
    } else if (what < 75) {
      move(group, leader, id, another(group.number));
    } else if (what < 82) {
      append_command(group, leader, home::CancelMove{id});
    } else if (what < 85) {
      append_command(group, leader, home::Erase{id});
    } else if (what < 88) {
      append_command(group, leader, home::Drain{happens(40)});
    } else if (what < 90) {
      append_command(group, leader, shards());
    }
  }

  void move(Group& group, Leader& leader, const ObjectId& id, GroupNumber to) {
    const auto found = leader.replica.objects.here.find(id);
    if (found == leader.replica.objects.here.end()) return;
    const auto part_bytes = static_cast<std::uint32_t>(random_.between(1, 6));
    append_command(group, leader,
                   home::Move{.id = id,
                              .to = to,
                              .object_bytes = found->second.size(),
                              .part_bytes = part_bytes,
                              .hash = hash_of_object(id, found->second, part_bytes)});
  }

  void post_parts(Group& group, Leader& leader) {
    for (const HomePartWanted& part : leader.replica.table.parts_wanted()) {
      const auto found = leader.replica.objects.here.find(part.id);
      if (found == leader.replica.objects.here.end()) continue;
      const auto begin = found->second.begin() + static_cast<std::ptrdiff_t>(part.offset);
      home::PostPart post{.id = part.id,
                          .number = part.number,
                          .bytes = {begin, begin + static_cast<std::ptrdiff_t>(part.bytes)}};
      if (!post.bytes.empty() && happens(rot_)) {
        post.bytes.back() ^= std::byte{1};
        ++tally_.damaged;
      }
      append_command(group, leader, post);
      if (happens(10)) post_beyond(group, leader, part.id);
    }
  }

  /// The next part, whether or not there is room for it.
  void post_beyond(Group& group, Leader& leader, const ObjectId& id) {
    const auto found = leader.replica.table.rows().find(id);
    if (found == leader.replica.table.rows().end()) return;
    const HomeRow row = found->second;
    if (row.state != HomeState::leaving || row.moved_bytes == row.object_bytes) return;
    const auto next =
        leader.replica.objects.here.at(id).begin() + static_cast<std::ptrdiff_t>(row.moved_bytes);
    const auto bytes = std::min<std::uint64_t>(row.object_bytes - row.moved_bytes, row.part_bytes);
    append_command(group, leader,
                   home::PostPart{.id = id,
                                  .number = row.parts + 1,
                                  .bytes = {next, next + static_cast<std::ptrdiff_t>(bytes)}});
  }

  void append_command(Group& group, Leader& leader, const HomeCommand& command) {
    // Mostly a leader looks first.
    const bool is_possible = leader.replica.table.plan(command).verdict == HomeVerdict::applied;
    if (is_possible || happens(10)) append(group, leader, {.command = command});
  }

  bool append(Group& group, Leader& leader, HomeEntry entry) {
    entry.number = ++entries_;
    if (entry.command) {
      // As a log holds it.
      auto again = decode_home_command(encode(*entry.command));
      judge_.require(again && *again == *entry.command, "a command is not understood");
    }
    leader.log.push_back(std::move(entry));
    bool is_done = true;
    if (is_home(group)) is_done = apply_next(group, leader);
    leader.courier->changed(now_ns_);
    collect(leader);
    return is_done;
  }

  /// The next entry of its log. Requires, of a directory's leader: it is decided.
  bool apply_next(Group& group, Leader& leader) {
    const std::size_t index = leader.applied++;
    if (is_home(group)) return leader.replica.apply(index + 1, leader.log[index]).is_applied();
    return leader.replica.mailbox.apply(index + 1, group.done[index]) == MailVerdict::applied;
  }

  void collect(Leader& leader) {
    CourierOutput output = leader.courier->take_output();
    for (MailMessage& message : output.messages) put_on_the_way(std::move(message));
    for (MailChange& change : output.proposals) leader.waiting.push_back(std::move(change));
  }

  void propose(Group& group, Leader& leader, std::size_t most) {
    for (std::size_t left = std::min(most, leader.waiting.size()); left > 0; --left) {
      MailChange change = std::move(leader.waiting.front());
      leader.waiting.pop_front();
      HomeEntry entry{.mail = change};
      if (change.received && is_home(group)) {
        entry.command = home::Take{happens(refusing_) ? HomeRefusal::no_space : HomeRefusal::none};
      }
      if (!append(group, leader, std::move(entry))) leader.courier->declined(now_ns_, change);
    }
  }

  void put_on_the_way(MailMessage message) {
    if (happens(loss_)) {
      ++tally_.lost_messages;
      return;
    }
    const std::uint64_t delay_ns = happens(10) ? random_.below(300 * kMs) : random_.below(5 * kMs);
    flights_.push_back({now_ns_ + delay_ns, std::move(message)});
    if (happens(doubling_)) put_on_the_way(MailMessage(flights_.back().message));
  }

  void deliver() {
    for (std::size_t i = 0; i < flights_.size();) {
      if (flights_[i].at_ns > now_ns_) {
        ++i;
        continue;
      }
      std::swap(flights_[i], flights_.back());
      const MailMessage message = std::move(flights_.back().message);
      flights_.pop_back();
      Group& group = *groups_[message.to.low - 1];
      Leader* leader = group.leader.get();
      if (!group.former.empty() && happens(former_)) {
        leader = group.former[random_.below(group.former.size())].get();
      }
      leader->courier->receive(now_ns_, message);
      collect(*leader);
    }
  }

  void tick() {
    for (auto& group : groups_) {
      tick(*group->leader);
      for (auto& leader : group->former) tick(*leader);
    }
  }
  void tick(Leader& leader) {
    if (leader.courier->next_wakeup_ns() > now_ns_) return;
    leader.courier->tick(now_ns_);
    collect(leader);
  }

  void decide(Group& group, std::size_t most) {
    for (; most > 0 && group.decided < group.leader->log.size(); --most) {
      const HomeEntry& entry = group.leader->log[group.decided];
      ++group.decided;
      if (!is_home(group)) {
        decide_notice(group, entry);
      } else {
        const HomeTable before = group.machine.table;
        const HomeReplica::Outcome outcome = group.machine.apply(group.decided, entry);
        group.machine.settle(group.decided);
        judge_.decided(entry, outcome, before, group.machine);
        count(entry, outcome, before, group.machine.table);
      }
      judge_.look(homes());
      for (auto& [id, object] : judge_.objects()) {
        for (GroupNumber i = 0; i < homes_ && !object.is_told; ++i) {
          object.is_told = groups_[i]->machine.table.find(id).answer == HomeAnswer::serves;
        }
      }
      judge_.look(homes());
    }
  }

  void decide_notice(Group& group, const HomeEntry& entry) {
    MailChange change = entry.mail;
    std::optional<IndexCommand> command;
    if (change.received) {
      const auto mail = decode_home_mail(change.received->bytes);
      judge_.require(mail.has_value(), "a notice is not understood");
      if (!mail) return;
      DirectoryPlan plan =
          plan_notice(group.shard->index(), number_of(change.received->from), *mail);
      for (const HomeLetter& letter : plan.letters) {
        change.posted.push_back({home_group(letter.to), encode(letter.mail)});
      }
      command = std::move(plan.command);
    }
    group.done.push_back(change);
    if (group.machine.mailbox.apply(group.decided, std::move(change)) == MailVerdict::applied &&
        command) {
      const IndexOutcome outcome = group.shard->apply(*command);
      judge_.require(outcome != IndexOutcome::no_space && outcome != IndexOutcome::absent,
                     "the directory could not do what a notice says");
    }
    group.machine.mailbox.settle(group.decided);
  }

  void count(const HomeEntry& entry, const HomeReplica::Outcome& outcome, const HomeTable& before,
             const HomeTable& after) {
    if (!outcome.is_applied()) return;
    tally_.written += entry.written.is_null() ? 0 : 1;
    if (entry.command && std::holds_alternative<home::Create>(*entry.command)) ++tally_.created;
    if (entry.command && std::holds_alternative<home::Erase>(*entry.command)) ++tally_.erased;
    if (after.is_drained() && !before.is_drained() && !before.rows().empty()) ++tally_.drained;
    if (!entry.mail.received) return;
    const auto mail = decode_home_mail(entry.mail.received->bytes);
    if (!mail) return;
    if (const auto* const arrived = std::get_if<home::Arrived>(&*mail)) {
      ++tally_.moved;
      const auto row = before.rows().find(arrived->id);
      if (row != before.rows().end() && row->second.counter > 1) ++tally_.moved_back;
    } else if (const auto* const refused = std::get_if<home::Refused>(&*mail)) {
      ++(refused->why == HomeRefusal::cancelled ? tally_.cancelled : tally_.refused);
    }
  }

  void learn(Group& group, Leader& leader, std::size_t known) {
    leader.known = known;
    while (leader.applied < known) {
      const MailChange change = leader.log[leader.applied].mail;
      if (!apply_next(group, leader)) leader.courier->declined(now_ns_, change);
    }
    leader.replica.settle(known);
    if (known == group.decided) compare(group, leader.replica);
    leader.courier->changed(now_ns_);
    collect(leader);
  }

  void compare(const Group& group, const HomeReplica& replica) {
    if (!is_strict_) return;
    judge_.require(replica.mailbox.snapshot() == group.machine.mailbox.snapshot() &&
                       replica.table.snapshot() == group.machine.table.snapshot() &&
                       replica.settled_objects() == group.machine.objects,
                   "two replicas differ");
  }

  /// The next leader has the decided entries and perhaps some more.
  void change_leader(Group& group) {
    std::vector<HomeEntry> log = group.leader->log;
    const std::size_t kept = random_.between(group.decided, log.size());
    tally_.lost_entries += log.size() - kept;
    log.resize(kept);
    std::unique_ptr<Leader> next;
    if (!group.former.empty() && happens(50)) {
      ++tally_.led_again;
      next = std::move(group.former.back());
      group.former.pop_back();
      follow(group, *next, log);
      next->courier.emplace(next->replica.mailbox, options_, now_ns_);
    } else {
      next = make_leader(group, std::move(log));
    }
    std::swap(group.leader, next);
    if (happens(70)) group.former.push_back(std::move(next));
    collect(*group.leader);
  }

  std::unique_ptr<Leader> make_leader(Group& group, std::vector<HomeEntry> log) {
    auto leader = std::make_unique<Leader>(group.machine);
    leader->known = leader->applied = group.decided;
    leader->log.assign(log.begin(), log.begin() + static_cast<std::ptrdiff_t>(group.decided));
    follow(group, *leader, log);
    leader->courier.emplace(leader->replica.mailbox, options_, now_ns_);
    return leader;
  }

  /// Takes over that log: drops what contradicts it, and applies what is lacking.
  void follow(Group& group, Leader& leader, const std::vector<HomeEntry>& log) {
    leader.courier.reset();
    leader.waiting.clear();
    std::size_t common = 0;
    while (common < std::min(log.size(), leader.log.size()) &&
           log[common].number == leader.log[common].number) {
      ++common;
    }
    judge_.require(common >= leader.known, "a decided entry was lost");
    leader.replica.undo(common + 1);
    leader.applied = std::min(leader.applied, common);
    leader.log = log;
    while (is_home(group) && leader.applied < log.size()) (void)apply_next(group, leader);
  }

  void hear_of_successor(Group& group) {
    const std::unique_ptr<Leader> leader = std::move(group.former.front());
    group.former.erase(group.former.begin());
    if (happens(50)) return;  // it died before
    follow(group, *leader, group.leader->log);
    while (leader->applied < group.decided) (void)apply_next(group, *leader);
    leader->replica.settle(group.decided);
    compare(group, leader->replica);
  }

  void renew(Group& group) {
    HomeReplica other(group.number, mail_limits_, kLimits);
    const bool is_restored = other.mailbox.restore(group.machine.mailbox.snapshot()) &&
                             other.table.restore(group.machine.table.snapshot());
    judge_.require(is_restored, "a snapshot is not understood");
    other.objects = group.machine.objects;
    group.machine = std::move(other);
    ++tally_.restored;
  }

  /// A client begins to look for an object, or does the next step of it.
  void search() {
    if (searches_.empty() || happens(20)) {
      // Where it was once, or the directory.
      const auto hint = static_cast<GroupNumber>(random_.below(homes_ + 1));
      searches_.emplace_back(any_object(), hint);
    }
    const std::size_t which = random_.below(searches_.size());
    if (!go_on(searches_[which])) {
      searches_.erase(searches_.begin() + static_cast<std::ptrdiff_t>(which));
    }
  }

  bool go_on(HomeSearch& search) {
    if (search.asks() == 0) return search.hear(directory(search.id()), judge_, tally_);
    const Group& group = *groups_[search.asks() - 1];
    const bool is_stale = happens(30);
    const HomeTable& table = is_stale ? group.stale : group.machine.table;
    return search.hear(table.find(search.id()), is_stale, judge_, tally_);
  }

  /// No more faults; everything that was begun ends, and one group is emptied.
  void calm_down() {
    loss_ = doubling_ = former_ = rot_ = refusing_ = 0;
    const auto leaving = static_cast<GroupNumber>(random_.between(1, homes_));
    for (auto& group : groups_) {
      group->former.clear();
      if (!is_home(*group)) continue;
      append_command(*group, *group->leader, shards());  // the first one may have been lost
      append_command(*group, *group->leader, home::Drain{group->number == leaving});
    }
    const std::uint64_t end_ns = now_ns_ + 120'000 * kMs;
    bool is_done = false;
    while (now_ns_ < end_ns && judge_.is_content() && !is_done) {
      now_ns_ += kMs;
      is_done = flights_.empty();
      for (auto& group : groups_) {
        if (is_home(*group)) {
          post_parts(*group, *group->leader);
          if (group->number == leaving) empty(*group);
        }
        propose(*group, *group->leader, group->leader->waiting.size());
        decide(*group, group->leader->log.size());
        learn(*group, *group->leader, group->decided);
        is_done = is_done && is_at_rest(*group, leaving);
      }
      tick();
      deliver();
    }
    if (!judge_.is_content()) return;
    judge_.require(is_done, "something that was begun did not end");
    judge_.look_at_end(homes());
  }

  void empty(Group& group) {
    const auto rows = group.leader->replica.table.rows();
    for (const auto& [id, row] : rows) {
      if (row.state != HomeState::here || !row.is_registered) continue;
      move(group, *group.leader, id, another(group.number));
    }
  }

  bool is_at_rest(const Group& group, GroupNumber leaving) const {
    if (group.machine.mailbox.bytes() != 0) return false;
    if (!is_home(group)) return true;
    if (group.number == leaving) return group.machine.table.is_drained();
    return std::ranges::all_of(group.machine.table.rows(), [](const auto& each) {
      return each.second.state == HomeState::here && each.second.is_registered;
    });
  }

  base::Random random_;
  const bool is_strict_;
  MailLimits mail_limits_;
  CourierOptions options_;
  /// In percent: lost, doubled, sent to a former leader; a change of leaders.
  std::uint64_t loss_ = 0, doubling_ = 0, former_ = 0, unrest_ = 0;
  /// … a part is read wrongly; somebody has no room.
  std::uint64_t rot_ = 2, refusing_ = 2;
  GroupNumber homes_ = 0;
  std::uint32_t shard_bits_ = 0;
  std::uint64_t now_ns_ = 1;
  std::uint64_t made_ = 0, entries_ = 0;
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<Flight> flights_;
  std::vector<HomeSearch> searches_;
  HomeJudge judge_;
  HomeWorldTally tally_;
};

}  // namespace dolmen::cluster
