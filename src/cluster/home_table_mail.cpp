// SPDX-License-Identifier: Apache-2.0
//
// What the mails of other groups do to a HomeTable (docs/homes.md, How).
#include <type_traits>
#include <variant>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "cluster/home_table.hpp"

namespace dolmen::cluster {

namespace {

/// As it was before it began to leave.
HomeRow row_here(const HomeRow& row) {
  return {.is_registered = true, .length_class = row.length_class, .counter = row.counter};
}

HomePlan refusal_of(GroupNumber from, const ObjectId& id, MoveNumber move, HomeRefusal why) {
  HomePlan plan;
  plan.letters.push_back({from, home::Refused{.id = id, .move = move, .why = why}});
  return plan;
}

}  // namespace

HomePlan HomeTable::plan(const home::Take& take, GroupNumber from, const HomeMail& mail) const {
  // Nobody sends that before he knows whom to tell, so this group knows it as well, or shall not
  // get anything before.
  return std::visit(
      [&](const auto& each) -> HomePlan {
        using Mail = std::remove_cvref_t<decltype(each)>;
        if constexpr (std::is_same_v<Mail, home::Part>) {
          return this->take(take.refuse, from, each);
        } else if constexpr (std::is_same_v<Mail, home::Settled> ||
                             std::is_same_v<Mail, home::Erased>) {
          return {};  // for the directory
        } else {
          return this->take(from, each);
        }
      },
      mail);
}

const HomeRow* HomeTable::moving(HomeState state, const ObjectId& id, GroupNumber peer,
                                 MoveNumber move) const {
  const HomeRow* const found = row(id);
  if (found == nullptr || found->state != state) return nullptr;
  return found->peer == peer && found->move == move ? found : nullptr;
}

HomeRefusal HomeTable::reason_against(HomeRefusal said, const home::Part& part) const {
  if (is_draining_ && !DOLMEN_PLANTED("cluster.home_drain_ignored")) return HomeRefusal::draining;
  if (said != HomeRefusal::none) return said;
  if (part.counter >= kMoveCounterMax - 1) return HomeRefusal::exists;
  if (part.number > 1) return HomeRefusal::none;
  // A tombstone is in nobody's way: the directory had logged the home that the object leaves now.
  const HomeRow* const found = row(part.id);
  if (found != nullptr && (found->state != HomeState::gone || found->counter > part.counter)) {
    return HomeRefusal::exists;
  }
  const bool is_full = rows_.size() >= limits_.objects_max || arriving_ >= limits_.arriving_max;
  return is_full || shards_.empty() ? HomeRefusal::full : HomeRefusal::none;
}

HomePlan HomeTable::take(HomeRefusal refuse, GroupNumber from, const home::Part& part) const {
  const HomeRow* const found = moving(HomeState::arriving, part.id, from, part.move);
  // What follows on a part that was refused.
  if (part.number > 1 && found == nullptr) return {};
  if (found != nullptr && part.number != found->parts + 1) return {};
  HomeRow row;
  if (found != nullptr) {
    row = *found;
  } else {
    row = {.state = HomeState::arriving,
           .length_class = part.length_class,
           .counter = part.counter,
           .peer = from,
           .move = part.move,
           .object_bytes = part.object_bytes,
           .hash = part.hash,
           .moved_hash = hash_before_parts(part.id)};
  }
  HomeRefusal why = reason_against(refuse, part);
  row.parts = part.number;
  row.moved_bytes += part.bytes.size();
  row.moved_hash = hash_of_part(row.moved_hash, part.bytes);
  const bool is_whole = row.moved_bytes == row.object_bytes;
  if (row.moved_bytes > row.object_bytes || part.object_bytes != row.object_bytes) {
    why = HomeRefusal::damaged;
  }
  if (is_whole && row.moved_hash != row.hash && !DOLMEN_PLANTED("cluster.home_hash_ignored")) {
    why = HomeRefusal::damaged;
  }
  if (why != HomeRefusal::none) {
    HomePlan plan = refusal_of(from, part.id, part.move, why);
    if (found != nullptr) {
      plan.rows.emplace_back(part.id, std::nullopt);
      plan.bytes.push_back({.kind = HomeBytes::Kind::drop, .id = part.id});
    }
    return plan;
  }
  HomePlan plan;
  plan.bytes.push_back(
      {.kind = HomeBytes::Kind::put_aside, .id = part.id, .part = base::Bytes(part.bytes)});
  if (!is_whole && !DOLMEN_PLANTED("cluster.home_visible_early")) {
    plan.letters.push_back(
        {from, home::Took{.id = part.id, .move = part.move, .parts = row.parts}});
    plan.rows.emplace_back(part.id, row);
    return plan;
  }
  const bool is_counted = !DOLMEN_PLANTED("cluster.home_counter_kept");
  const HomeRow here{.length_class = row.length_class,
                     .counter = row.counter + (is_counted ? 1 : 0)};
  plan.rows.emplace_back(part.id, here);
  plan.bytes.push_back({.kind = HomeBytes::Kind::publish, .id = part.id});
  plan.letters.push_back({from, home::Arrived{.id = part.id, .move = part.move}});
  plan.letters.push_back({directory_of(part.id), home::Settled{.id = part.id,
                                                               .counter = here.counter,
                                                               .former = from,
                                                               .length_class = row.length_class}});
  return plan;
}

HomePlan HomeTable::take(GroupNumber from, const home::Took& took) const {
  const HomeRow* const found = moving(HomeState::leaving, took.id, from, took.move);
  if (found == nullptr || took.parts <= found->acknowledged || took.parts > found->parts) return {};
  HomeRow row = *found;
  row.acknowledged = took.parts;
  HomePlan plan;
  plan.rows.emplace_back(took.id, row);
  return plan;
}

HomePlan HomeTable::take(GroupNumber from, const home::Arrived& arrived) const {
  const HomeRow* const found = moving(HomeState::leaving, arrived.id, from, arrived.move);
  if (found == nullptr) return {};
  HomePlan plan;
  plan.bytes.push_back({.kind = HomeBytes::Kind::erase, .id = arrived.id});
  if (DOLMEN_PLANTED("cluster.home_no_tombstone")) {
    plan.rows.emplace_back(arrived.id, std::nullopt);
    return plan;
  }
  plan.rows.emplace_back(arrived.id, HomeRow{.state = HomeState::gone,
                                             .length_class = found->length_class,
                                             .counter = found->counter + 1,
                                             .peer = from});
  return plan;
}

HomePlan HomeTable::take(GroupNumber from, const home::Refused& refused) const {
  const HomeRow* const found = moving(HomeState::leaving, refused.id, from, refused.move);
  if (found == nullptr) return {};
  HomePlan plan;
  plan.rows.emplace_back(refused.id, row_here(*found));
  return plan;
}

HomePlan HomeTable::take(GroupNumber from, const home::Cancel& cancel) const {
  // If it is here already, who wants it back hears so; if it was refused, that as well.
  if (moving(HomeState::arriving, cancel.id, from, cancel.move) == nullptr) return {};
  HomePlan plan = refusal_of(from, cancel.id, cancel.move, HomeRefusal::cancelled);
  plan.rows.emplace_back(cancel.id, std::nullopt);
  plan.bytes.push_back({.kind = HomeBytes::Kind::drop, .id = cancel.id});
  return plan;
}

HomePlan HomeTable::take(GroupNumber from, const home::Logged& logged) const {
  const HomeRow* const found = row(logged.id);
  if (found == nullptr) return {};
  HomePlan plan;
  HomeRow row = *found;
  switch (found->state) {
    case HomeState::here:
      if (found->is_registered || found->counter != logged.counter) return {};
      row.is_registered = true;
      plan.rows.emplace_back(logged.id, row);
      return plan;
    case HomeState::leaving:
      // The directory heard of the new home, and tells it, before that tells this one.
      if (found->counter + 1 != logged.counter) return {};
      plan.rows.emplace_back(logged.id, std::nullopt);
      plan.bytes.push_back({.kind = HomeBytes::Kind::erase, .id = logged.id});
      return plan;
    case HomeState::arriving:
      return {};
    case HomeState::gone:
      if (logged.counter < found->counter) return {};
      plan.rows.emplace_back(logged.id, std::nullopt);
      return plan;
    case HomeState::erased:
      if (found->counter != logged.counter) return {};
      if (found->is_registered) {
        plan.rows.emplace_back(logged.id, std::nullopt);
        return plan;
      }
      row.is_registered = true;
      ++row.counter;
      plan.letters.push_back({from, home::Erased{.id = logged.id, .counter = row.counter}});
      plan.rows.emplace_back(logged.id, row);
      return plan;
  }
  return {};
}

}  // namespace dolmen::cluster
