// SPDX-License-Identifier: Apache-2.0
//
// For tests: two to four groups and their mail, run from a seed. A group's log is a sequence of
// entries of which a part is decided; a change of leaders may cut off the rest. Leaders that were
// deposed go on with the log that they had, until they hear of it. Messages are lost, doubled,
// late, and go to former leaders too. Client posts and mails that are passed on are all different,
// and what becomes of them is judged from what is decided (mail_judge.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "cluster/courier.hpp"
#include "cluster/mail_judge.hpp"
#include "cluster/mailbox.hpp"

namespace dolmen::cluster {

/// How often what a campaign is for was reached.
struct MailWorldTally {
  std::uint64_t consumed = 0, lost_entries = 0, kept_entries = 0, duplicates = 0, declined = 0,
                full = 0, led_again = 0, restored = 0, lost_messages = 0, heard_by_deposed = 0,
                said_by_deposed = 0;
  void add(const MailWorldTally& other) {
    consumed += other.consumed, lost_entries += other.lost_entries;
    kept_entries += other.kept_entries, duplicates += other.duplicates;
    declined += other.declined, full += other.full, led_again += other.led_again;
    restored += other.restored, lost_messages += other.lost_messages;
    heard_by_deposed += other.heard_by_deposed, said_by_deposed += other.said_by_deposed;
  }
};

class MailWorld {
 public:
  /// `is_strict`: what crosses from group to group is judged as well, and that replicas are equal,
  /// not only what comes of it.
  MailWorld(std::uint64_t seed, bool is_strict) : random_(seed), is_strict_(is_strict) {
    limits_ = {.post_bytes = random_.between(500, 3'000), .forward_bytes = 1u << 20};
    options_ = {.resend_ns = random_.between(2, 40) * kMs,
                .resend_max_ns = 200 * kMs,
                .trim_ns = random_.between(0, 30) * kMs,
                .message_bytes = random_.between(1, 2'000),
                .window_bytes = random_.between(1, 4'000),
                .proposed_bytes = random_.between(1, 4'000)};
    loss_ = random_.below(40), doubling_ = random_.below(40), former_ = random_.below(40);
    carelessness_ = random_.below(10), unrest_ = random_.below(12);
    const std::uint64_t count = random_.between(2, 4);
    for (std::uint64_t i = 1; i <= count; ++i) {
      groups_.emplace_back(GroupId{0, i}, limits_);
      groups_.back().leader = make_leader(groups_.back());
    }
  }

  /// What is wrong, if anything.
  std::optional<std::string> run(std::uint64_t steps) {
    for (std::uint64_t i = 0; i < steps && judge_.is_content(); ++i) step();
    if (judge_.is_content()) calm_down();
    return judge_.complaint();
  }
  [[nodiscard]] const MailWorldTally& tally() const noexcept { return tally_; }

 private:
  static constexpr std::uint64_t kMs = 1'000'000;

  struct Entry {
    std::uint64_t number = 0;  ///< no other entry, of any log, has it
    MailChange change{};
  };
  /// Who leads, or believes so: a log and what was made of it.
  struct Leader {
    Leader(GroupId self, const MailLimits& limits) : mailbox(self, limits) {}
    std::vector<Entry> log{};  ///< all of it is applied
    std::size_t known = 0;     ///< entries that it knows to be decided
    Mailbox mailbox;
    std::optional<Courier> courier{};
    std::deque<MailChange> waiting{};            ///< proposals that are not in the log yet
    std::map<GroupId, MailSequence> proposed{};  ///< mails up to here, by this courier
  };
  struct Group {
    Group(GroupId self, const MailLimits& limits) : id(self), machine(self, limits) {}
    GroupId id{};
    std::size_t decided = 0;  ///< of the leader's log
    Mailbox machine;          ///< what the decided entries make
    std::unique_ptr<Leader> leader{};
    std::vector<std::unique_ptr<Leader>> former{};
  };
  struct Flight {
    std::uint64_t at_ns = 0;
    MailMessage message{};
  };

  bool happens(std::uint64_t percent) { return random_.chance(percent, 100); }
  Group& any_group() { return groups_[random_.below(groups_.size())]; }
  Group& group_of(const GroupId& id) { return groups_[id.low - 1]; }
  GroupId another(const Group& than) {
    const std::uint64_t number = random_.between(1, groups_.size() - 1);
    return {0, number < than.id.low ? number : number + 1};
  }

  void step() {
    now_ns_ += random_.below(2 * kMs);
    Group& group = any_group();
    const std::uint64_t what = random_.below(100);
    propose(group, *group.leader, random_.below(4));
    for (auto& leader : group.former) propose(group, *leader, random_.below(2));
    if (what < 20) {
      post(group, *group.leader);
    } else if (what < 24 && !group.former.empty()) {
      post(group, *group.former[random_.below(group.former.size())]);
    } else if (what < 50) {
      decide(group, random_.between(1, 4));
    } else if (what < 70) {
      learn(group, *group.leader, random_.between(group.leader->known, group.decided));
    } else if (what < 70 + unrest_) {
      change_leader(group);
    } else if (what < 84 && !group.former.empty()) {
      hear_of_successor(group);
    } else if (what < 87) {
      renew(group);
    }
    tick();
    deliver();
  }

  /// No more faults; everything has to arrive.
  void calm_down() {
    loss_ = doubling_ = former_ = carelessness_ = 0;
    for (Group& group : groups_) group.former.clear();
    const std::uint64_t end_ns = now_ns_ + 60'000 * kMs;
    while (now_ns_ < end_ns && judge_.is_content()) {
      now_ns_ += kMs;
      bool is_done = flights_.empty();
      for (Group& group : groups_) {
        propose(group, *group.leader, group.leader->waiting.size());
        decide(group, group.leader->log.size());
        learn(group, *group.leader, group.decided);
        is_done = is_done && group.machine.bytes() == 0;
      }
      tick();
      deliver();
      if (is_done && judge_.is_all_consumed()) break;
    }
    if (!judge_.is_content()) return;
    judge_.require(judge_.is_all_consumed(), "a mail never arrived");
    for (Group& group : groups_) {
      judge_.require(group.machine.bytes() == 0, "an acknowledged mail was never forgotten");
      compare(group, group.leader->mailbox);
    }
  }

  Letter letter(const Group& from, std::uint64_t hops, std::uint64_t cause) {
    const MailContent content{.id = ++ids_, .hops = hops, .cause = cause};
    return {another(from), content.bytes(random_.below(200))};
  }

  void post(Group& group, Leader& leader) {
    MailChange change;
    for (std::uint64_t i = random_.between(1, 2); i > 0; --i) {
      change.posted.push_back(letter(group, random_.below(3), 0));
    }
    if (leader.mailbox.judge(change) == MailVerdict::full) {
      ++tally_.full;
      return;
    }
    append(leader, std::move(change));
    leader.courier->changed(now_ns_);
    collect(group, leader);
  }

  MailVerdict append(Leader& leader, MailChange change) {
    leader.log.push_back({++entries_, change});
    return leader.mailbox.apply(leader.log.size(), std::move(change));
  }

  void collect(Group& group, Leader& leader) {
    CourierOutput output = leader.courier->take_output();
    for (MailMessage& message : output.messages) {
      if (is_strict_) judge_.sent(message);
      if (&leader != group.leader.get()) ++tally_.said_by_deposed;
      put_on_the_way(std::move(message));
    }
    for (const MailChange& change : output.proposals) {
      if (!change.received) continue;
      MailSequence& last = leader.proposed[change.received->from];
      judge_.require(!is_strict_ || change.received->sequence > last, "a mail was proposed twice");
      last = change.received->sequence;
    }
    for (MailChange& change : output.proposals) {
      if (happens(carelessness_)) {
        ++tally_.declined;
        decline(leader, change);
        // It may be proposed all the same: whoever declined it did not know.
        if (happens(50)) continue;
      }
      leader.waiting.push_back(std::move(change));
    }
  }

  void propose(Group& group, Leader& leader, std::size_t most) {
    const std::size_t count = std::min(most, leader.waiting.size());
    for (std::size_t i = 0; i < count; ++i) {
      MailChange change = std::move(leader.waiting.front());
      leader.waiting.pop_front();
      propose(group, leader, std::move(change));
    }
    leader.courier->changed(now_ns_);
    collect(group, leader);
  }

  void propose(Group& group, Leader& leader, MailChange change) {
    const MailChange original = change;
    if (change.received) {
      const MailContent content = MailContent::of(change.received->bytes);
      if (content.hops > 0) change.posted.push_back(letter(group, content.hops - 1, content.id));
    }
    const MailVerdict verdict = append(leader, std::move(change));
    if (verdict == MailVerdict::duplicate) ++tally_.duplicates;
    if (verdict != MailVerdict::applied && verdict != MailVerdict::duplicate) {
      decline(leader, original);
    }
  }

  void decline(Leader& leader, const MailChange& change) {
    leader.courier->declined(now_ns_, change);
    if (!change.received) return;
    MailSequence& last = leader.proposed[change.received->from];
    last = std::min(last, change.received->sequence - 1);
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
    // Copies go on the way while this looks for what is due.
    for (std::size_t i = 0; i < flights_.size();) {
      if (flights_[i].at_ns > now_ns_) {
        ++i;
        continue;
      }
      std::swap(flights_[i], flights_.back());
      const std::vector<std::byte> bytes = encode(flights_.back().message);
      flights_.pop_back();
      const auto message = decode_mail_message(bytes);
      judge_.require(message.has_value(), "a message is not understood");
      if (!message) return;
      Group& group = group_of(message->to);
      Leader* leader = group.leader.get();
      if (!group.former.empty() && happens(former_)) {
        ++tally_.heard_by_deposed;
        leader = group.former[random_.below(group.former.size())].get();
      }
      leader->courier->receive(now_ns_, *message);
      collect(group, *leader);
    }
  }

  void tick() {
    for (Group& group : groups_) {
      tick(group, *group.leader);
      for (auto& leader : group.former) tick(group, *leader);
    }
  }
  void tick(Group& group, Leader& leader) {
    if (leader.courier->next_wakeup_ns() > now_ns_) return;
    leader.courier->tick(now_ns_);
    collect(group, leader);
  }

  void decide(Group& group, std::size_t most) {
    for (; most > 0 && group.decided < group.leader->log.size(); --most) {
      const MailChange& change = group.leader->log[group.decided].change;
      ++group.decided;
      const auto before = group.machine.channels();
      const MailVerdict verdict = group.machine.apply(group.decided, change);
      group.machine.settle(group.decided);
      const bool is_consumed = change.received && verdict == MailVerdict::applied;
      tally_.consumed += is_consumed ? 1 : 0;
      judge_.decided(group.id, before, group.machine.channels(),
                     is_consumed ? &*change.received : nullptr);
    }
  }

  void learn(Group& group, Leader& leader, std::size_t known) {
    leader.known = known;
    leader.mailbox.settle(known);
    if (known == group.decided) compare(group, leader.mailbox);
    leader.courier->changed(now_ns_);
    collect(group, leader);
  }

  void compare(const Group& group, const Mailbox& mailbox) {
    if (!is_strict_) return;
    judge_.require(mailbox.snapshot() == group.machine.snapshot(), "two replicas differ");
  }

  /// The next leader has the decided entries and perhaps some more.
  void change_leader(Group& group) {
    std::vector<Entry> log = group.leader->log;
    const std::size_t kept = random_.between(group.decided, log.size());
    tally_.lost_entries += log.size() - kept;
    tally_.kept_entries += kept - group.decided;
    log.resize(kept);
    std::unique_ptr<Leader> next;
    if (!group.former.empty() && happens(30)) {
      ++tally_.led_again;
      next = std::move(group.former.back());
      group.former.pop_back();
      follow(*next, log);
      next->courier.emplace(next->mailbox, options_, now_ns_);
    } else {
      next = make_leader(group, std::move(log));
    }
    std::swap(group.leader, next);
    if (happens(70)) group.former.push_back(std::move(next));
    collect(group, *group.leader);
  }

  /// From what the group's decided entries made, and what its log holds beyond.
  std::unique_ptr<Leader> make_leader(Group& group, std::vector<Entry> log = {}) {
    auto leader = std::make_unique<Leader>(group.id, limits_);
    leader->mailbox = group.machine;
    leader->known = group.decided;
    leader->log.assign(log.begin(), log.begin() + static_cast<std::ptrdiff_t>(group.decided));
    follow(*leader, log);
    leader->courier.emplace(leader->mailbox, options_, now_ns_);
    return leader;
  }

  /// Takes over that log: drops what contradicts it, and applies what is lacking.
  void follow(Leader& leader, const std::vector<Entry>& log) {
    leader.courier.reset();
    leader.waiting.clear();
    leader.proposed.clear();
    std::size_t common = 0;
    while (common < std::min(log.size(), leader.log.size()) &&
           log[common].number == leader.log[common].number) {
      ++common;
    }
    judge_.require(common >= leader.known, "a decided entry was lost");
    leader.mailbox.undo(common + 1);
    leader.log.resize(common);
    for (std::size_t i = common; i < log.size(); ++i) {
      leader.log.push_back(log[i]);
      leader.mailbox.apply(i + 1, log[i].change);
    }
  }

  void hear_of_successor(Group& group) {
    const std::unique_ptr<Leader> leader = std::move(group.former.front());
    group.former.erase(group.former.begin());
    if (happens(50)) return;  // it died before
    follow(*leader, group.leader->log);
    leader->mailbox.settle(group.decided);
    compare(group, leader->mailbox);
  }

  void renew(Group& group) {
    const std::vector<std::byte> state = group.machine.snapshot();
    Mailbox other(group.id, limits_);
    const auto restored = other.restore(state);
    judge_.require(restored.has_value(), "a snapshot is not understood");
    if (!restored) return;
    ++tally_.restored;
    group.machine = std::move(other);
  }

  base::Random random_;
  const bool is_strict_;
  MailLimits limits_;
  CourierOptions options_;
  /// In percent: lost, doubled, sent to a former leader; not proposed; a change of leaders.
  std::uint64_t loss_ = 0, doubling_ = 0, former_ = 0, carelessness_ = 0, unrest_ = 0;
  std::uint64_t now_ns_ = 1;
  std::uint64_t ids_ = 0, entries_ = 0;
  std::vector<Group> groups_;
  std::vector<Flight> flights_;
  MailJudge judge_;
  MailWorldTally tally_;
};

}  // namespace dolmen::cluster
