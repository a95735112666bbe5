// SPDX-License-Identifier: Apache-2.0
//
// For tests: what a replica of a group with objects makes of entries: its mail, its homes, and the
// objects' bytes, which are undone as a whole.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "cluster/home_table.hpp"
#include "cluster/mailbox.hpp"

namespace dolmen::cluster {

/// Of groups in these tests.
inline GroupId home_group(GroupNumber number) { return {0, number}; }
inline GroupNumber number_of(const GroupId& id) { return static_cast<GroupNumber>(id.low); }

struct HomeEntry {
  std::uint64_t number = 0;  ///< no other entry, of any log, has it
  MailChange mail{};         ///< without what follows from the command
  std::optional<HomeCommand> command{};
  ObjectId written{};  ///< this object gets one byte more
  std::byte byte{};
};

struct HomeReplica {
  using Bytes = std::vector<std::byte>;
  struct Objects {
    std::map<ObjectId, Bytes> here{};
    std::map<ObjectId, Bytes> aside{};
    friend bool operator==(const Objects&, const Objects&) = default;
  };

  HomeReplica(GroupNumber self, const MailLimits& mail, const HomeLimits& homes)
      : mailbox(home_group(self), mail), table(self, homes) {}

  struct Outcome {
    MailVerdict mail = MailVerdict::applied;
    HomeVerdict home = HomeVerdict::applied;
    [[nodiscard]] bool is_applied() const {
      return mail == MailVerdict::applied && home == HomeVerdict::applied;
    }
  };
  Outcome apply(log::Index index, const HomeEntry& entry) {
    if (!entry.written.is_null()) return {.home = write(index, entry)};
    HomePlan plan;
    std::optional<HomeMail> mail;
    if (entry.mail.received) {
      auto decoded = decode_home_mail(entry.mail.received->bytes);
      if (decoded) mail = std::move(*decoded);
    }
    if (mail && entry.command) {
      plan = table.plan(std::get<home::Take>(*entry.command), number_of(entry.mail.received->from),
                        *mail);
    } else if (entry.command) {
      plan = table.plan(*entry.command);
    }
    if (plan.verdict != HomeVerdict::applied) return {.home = plan.verdict};
    MailChange change = entry.mail;
    for (const HomeLetter& letter : plan.letters) {
      change.posted.push_back({home_group(letter.to), encode(letter.mail)});
    }
    const MailVerdict verdict = mailbox.apply(index, std::move(change));
    if (verdict != MailVerdict::applied) return {.mail = verdict};
    table.apply(index, plan);
    if (!plan.bytes.empty()) {
      former.emplace_back(index, objects);
      for (const HomeBytes& each : plan.bytes) execute(each, plan);
    }
    if (const auto* const create =
            entry.command ? std::get_if<home::Create>(&*entry.command) : nullptr) {
      former.emplace_back(index, objects);
      objects.here[create->id];
    }
    return {};
  }

  void settle(log::Index index) {
    mailbox.settle(index);
    table.settle(index);
    while (!former.empty() && former.front().first <= index) former.pop_front();
  }
  void undo(log::Index from) {
    mailbox.undo(from);
    table.undo(from);
    for (; !former.empty() && former.back().first >= from; former.pop_back()) {
      objects = std::move(former.back().second);
    }
  }
  /// What a snapshot would hold of the objects.
  [[nodiscard]] const Objects& settled_objects() const {
    return former.empty() ? objects : former.front().second;
  }

  Mailbox mailbox;
  HomeTable table;
  Objects objects{};
  std::deque<std::pair<log::Index, Objects>> former{};

 private:
  HomeVerdict write(log::Index index, const HomeEntry& entry) {
    const HomeAnswer answer = table.find(entry.written).answer;
    if (answer != HomeAnswer::serves && answer != HomeAnswer::untold) {
      return answer == HomeAnswer::frozen ? HomeVerdict::busy : HomeVerdict::not_here;
    }
    former.emplace_back(index, objects);
    objects.here[entry.written].push_back(entry.byte);
    return HomeVerdict::applied;
  }
  void execute(const HomeBytes& each, const HomePlan& plan) {
    Bytes& aside = objects.aside[each.id];
    switch (each.kind) {
      case HomeBytes::Kind::put_aside:
        for (const auto& [id, row] : plan.rows) {
          if (id == each.id && row && row->parts == 1) aside.clear();
        }
        aside.insert(aside.end(), each.part.begin(), each.part.end());
        return;
      case HomeBytes::Kind::publish:
        objects.here[each.id] = std::move(aside);
        break;
      case HomeBytes::Kind::drop:
        break;
      case HomeBytes::Kind::erase:
        objects.here.erase(each.id);
        break;
    }
    objects.aside.erase(each.id);
  }
};

}  // namespace dolmen::cluster
