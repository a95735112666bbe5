// SPDX-License-Identifier: Apache-2.0
//
// What commands do, and how entries are applied and undone. What mails do: home_table_mail.cpp.
#include "cluster/home_table.hpp"

#include <algorithm>
#include <bit>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

HomePlan no_home_plan(HomeVerdict verdict) { return {.verdict = verdict}; }

}  // namespace

HomeTable::HomeTable(GroupNumber self, const HomeLimits& limits) : self_(self), limits_(limits) {
  DOLMEN_ASSERT(self != 0);
  DOLMEN_ASSERT(limits.objects_max <= kHomeObjectsMax && limits.window_parts > 0);
}

const HomeRow* HomeTable::row(const ObjectId& id) const {
  const auto found = rows_.find(id);
  return found == rows_.end() ? nullptr : &found->second;
}

GroupNumber HomeTable::directory_of(const ObjectId& id) const {
  DOLMEN_ASSERT(!shards_.empty());
  if (DOLMEN_PLANTED("cluster.home_first_shard")) return shards_.front();
  return shards_[shard_of(id, static_cast<std::uint32_t>(std::bit_width(shards_.size()) - 1))];
}

bool HomeTable::has_closed(GroupNumber group) const {
  return closed_.contains(group) && std::ranges::none_of(leaving_, [&](const ObjectId& id) {
           return rows_.at(id).peer == group;
         });
}

HomeFound HomeTable::find(const ObjectId& id) const {
  const HomeRow* const found = row(id);
  if (found == nullptr) return {};
  switch (found->state) {
    case HomeState::here:
      if (found->is_registered || found->counter > 1 || DOLMEN_PLANTED("cluster.home_told_early")) {
        return {.answer = HomeAnswer::serves};
      }
      return {.answer = HomeAnswer::untold};
    case HomeState::leaving:
      if (DOLMEN_PLANTED("cluster.home_written_while_leaving")) {
        return {.answer = HomeAnswer::serves};
      }
      return {.answer = HomeAnswer::frozen,
              .group = found->peer,
              .is_current = found->parts == 0 || found->moved_bytes < found->object_bytes ||
                            DOLMEN_PLANTED("cluster.home_read_when_sent")};
    case HomeState::arriving:
      break;
    case HomeState::gone:
      return {.answer = HomeAnswer::moved, .group = found->peer};
    case HomeState::erased:
      return {.answer = HomeAnswer::erased};
  }
  return {};
}

std::vector<HomePartWanted> HomeTable::parts_wanted() const {
  std::vector<HomePartWanted> wanted;
  for (const ObjectId& id : leaving_) {
    HomeRow row = rows_.at(id);
    // An object without bytes travels in one part.
    while (!row.is_cancelled && row.parts - row.acknowledged < limits_.window_parts &&
           (row.parts == 0 || row.moved_bytes < row.object_bytes)) {
      const std::uint64_t bytes =
          std::min<std::uint64_t>(row.part_bytes, row.object_bytes - row.moved_bytes);
      wanted.push_back({.id = id,
                        .number = ++row.parts,
                        .offset = row.moved_bytes,
                        .bytes = static_cast<std::size_t>(bytes)});
      row.moved_bytes += bytes;
    }
  }
  return wanted;
}

HomePlan HomeTable::plan(const HomeCommand& command) const {
  return std::visit([this](const auto& each) { return plan(each); }, command);
}

// A mail is planned together with who it is from.
HomePlan HomeTable::plan(const home::Take&) const { return no_home_plan(HomeVerdict::invalid); }

HomePlan HomeTable::plan(const home::SetShards& shards) const {
  const std::size_t count = shards.groups.size();
  if (!std::has_single_bit(count) || count > std::size_t{1} << kShardBitsMax ||
      std::ranges::any_of(shards.groups, [&](GroupNumber g) { return g == 0 || g == self_; })) {
    return no_home_plan(HomeVerdict::invalid);
  }
  return {.shards = shards.groups};
}

HomePlan HomeTable::plan(const home::Create& create) const {
  if (create.id.is_null()) return no_home_plan(HomeVerdict::invalid);
  if (shards_.empty()) return no_home_plan(HomeVerdict::no_directory);
  if (row(create.id) != nullptr) return no_home_plan(HomeVerdict::exists);
  if (is_draining_) return no_home_plan(HomeVerdict::draining);
  if (rows_.size() >= limits_.objects_max) return no_home_plan(HomeVerdict::full);
  HomePlan plan;
  plan.rows.emplace_back(create.id, HomeRow{.length_class = create.length_class, .counter = 1});
  plan.letters.push_back(
      {directory_of(create.id),
       home::Settled{.id = create.id, .counter = 1, .length_class = create.length_class}});
  return plan;
}

HomePlan HomeTable::plan(const home::Erase& erase) const {
  const HomeRow* const found = row(erase.id);
  if (found == nullptr) return no_home_plan(HomeVerdict::not_here);
  if (found->state == HomeState::leaving) return no_home_plan(HomeVerdict::busy);
  if (found->state != HomeState::here) return no_home_plan(HomeVerdict::not_here);
  if (found->counter >= kMoveCounterMax) return no_home_plan(HomeVerdict::invalid);
  HomeRow row = *found;
  row.state = HomeState::erased;
  HomePlan plan;
  // Two notices about one object are never under way: the directory is told that it was erased
  // when it has logged where it was.
  if (row.is_registered || DOLMEN_PLANTED("cluster.home_moved_unregistered")) {
    row.is_registered = true;
    ++row.counter;
    plan.letters.push_back(
        {directory_of(erase.id), home::Erased{.id = erase.id, .counter = row.counter}});
  }
  plan.rows.emplace_back(erase.id, row);
  plan.bytes.push_back({.kind = HomeBytes::Kind::erase, .id = erase.id});
  return plan;
}

HomePlan HomeTable::plan(const home::Move& move) const {
  if (move.to == 0 || move.to == self_ || move.part_bytes == 0 ||
      move.part_bytes > kHomePartBytesMax || move.object_bytes > kHomeObjectBytesMax ||
      (move.object_bytes + move.part_bytes - 1) / move.part_bytes > ~std::uint32_t{0}) {
    return no_home_plan(HomeVerdict::invalid);
  }
  const HomeRow* const found = row(move.id);
  if (found == nullptr) return no_home_plan(HomeVerdict::not_here);
  if (found->state == HomeState::leaving) return no_home_plan(HomeVerdict::busy);
  if (found->state != HomeState::here) return no_home_plan(HomeVerdict::not_here);
  if (!found->is_registered && !DOLMEN_PLANTED("cluster.home_moved_unregistered")) {
    return no_home_plan(HomeVerdict::busy);
  }
  if (closed_.contains(move.to)) return no_home_plan(HomeVerdict::closed);
  if (found->counter >= kMoveCounterMax - 1) return no_home_plan(HomeVerdict::invalid);
  HomeRow row = *found;
  row.state = HomeState::leaving;
  row.peer = move.to;
  row.move = moves_ + 1;
  row.object_bytes = move.object_bytes;
  row.part_bytes = move.part_bytes;
  row.hash = move.hash;
  HomePlan plan{.is_move = true};
  plan.rows.emplace_back(move.id, row);
  return plan;
}

HomePlan HomeTable::plan(const home::PostPart& part) const {
  const HomeRow* const found = row(part.id);
  if (found == nullptr || found->state != HomeState::leaving) {
    return no_home_plan(HomeVerdict::not_here);
  }
  HomeRow row = *found;
  if (row.is_cancelled || part.number != row.parts + 1 ||
      (row.parts > 0 && row.moved_bytes == row.object_bytes)) {
    return no_home_plan(HomeVerdict::invalid);
  }
  if (row.parts - row.acknowledged >= limits_.window_parts &&
      !DOLMEN_PLANTED("cluster.home_window_ignored")) {
    return no_home_plan(HomeVerdict::busy);
  }
  const std::uint64_t rest = row.object_bytes - row.moved_bytes;
  if (part.bytes.size() != std::min<std::uint64_t>(row.part_bytes, rest)) {
    return no_home_plan(HomeVerdict::invalid);
  }
  row.parts = part.number;
  row.moved_bytes += part.bytes.size();
  HomePlan plan;
  plan.letters.push_back({row.peer, home::Part{.id = part.id,
                                               .move = row.move,
                                               .counter = row.counter,
                                               .length_class = row.length_class,
                                               .object_bytes = row.object_bytes,
                                               .hash = row.hash,
                                               .number = part.number,
                                               .bytes = part.bytes}});
  if (row.moved_bytes == row.object_bytes && DOLMEN_PLANTED("cluster.home_erased_when_sent")) {
    row = {.state = HomeState::gone,
           .length_class = row.length_class,
           .counter = row.counter + 1,
           .peer = row.peer};
    plan.bytes.push_back({.kind = HomeBytes::Kind::erase, .id = part.id});
  }
  plan.rows.emplace_back(part.id, row);
  return plan;
}

HomePlan HomeTable::plan(const home::CancelMove& cancel) const {
  const HomeRow* const found = row(cancel.id);
  if (found == nullptr || found->state != HomeState::leaving) {
    return no_home_plan(HomeVerdict::not_here);
  }
  HomePlan plan;
  if (found->is_cancelled) return plan;
  HomeRow row = *found;
  // Nobody knows of it yet; or else who gets it decides.
  const bool is_secret = row.parts == 0;
  if (!is_secret) {
    plan.letters.push_back({row.peer, home::Cancel{.id = cancel.id, .move = row.move}});
    row.is_cancelled = true;
  }
  if (is_secret || DOLMEN_PLANTED("cluster.home_cancelled_alone")) {
    row = {.is_registered = true, .length_class = row.length_class, .counter = row.counter};
  }
  plan.rows.emplace_back(cancel.id, row);
  return plan;
}

HomePlan HomeTable::plan(const home::Drain& drain) const {
  return {.is_draining = drain.is_draining};
}

HomePlan HomeTable::plan(const home::Close& close) const {
  if (close.group == 0 || close.group == self_) return no_home_plan(HomeVerdict::invalid);
  if (closed_.contains(close.group)) return {};
  if (closed_.size() >= kGroupsMax) return no_home_plan(HomeVerdict::full);
  return {.close = close.group};
}

void HomeTable::set_row(const ObjectId& id, const std::optional<HomeRow>& row) {
  const auto found = rows_.find(id);
  if (found != rows_.end()) {
    if (found->second.state == HomeState::leaving) leaving_.erase(id);
    if (found->second.state == HomeState::arriving) --arriving_;
  }
  if (!row) {
    rows_.erase(id);
    return;
  }
  if (row->state == HomeState::leaving) leaving_.insert(id);
  if (row->state == HomeState::arriving) ++arriving_;
  rows_.insert_or_assign(id, *row);
}

void HomeTable::apply(log::Index index, const HomePlan& plan) {
  DOLMEN_ASSERT(plan.verdict == HomeVerdict::applied);
  DOLMEN_ASSERT(steps_.empty() || index >= steps_.back().index);
  Step step{.index = index, .is_draining = is_draining_, .moves = moves_};
  for (const auto& [id, changed] : plan.rows) {
    const HomeRow* const former = row(id);
    step.rows.emplace_back(id, former == nullptr ? std::nullopt : std::optional(*former));
    set_row(id, changed);
  }
  if (plan.shards) {
    step.shards = shards_;
    shards_ = *plan.shards;
  }
  if (plan.is_draining) is_draining_ = *plan.is_draining;
  if (plan.close != 0) {
    step.closed = plan.close;
    closed_.insert(plan.close);
  }
  if (plan.is_move) ++moves_;
  steps_.push_back(std::move(step));
}

void HomeTable::settle(log::Index index) {
  while (!steps_.empty() && steps_.front().index <= index) steps_.pop_front();
}

void HomeTable::undo(log::Index from) {
  for (; !steps_.empty() && steps_.back().index >= from; steps_.pop_back()) {
    const Step& step = steps_.back();
    for (auto each = step.rows.rbegin(); each != step.rows.rend(); ++each) {
      if (!DOLMEN_PLANTED("cluster.home_not_undone")) set_row(each->first, each->second);
    }
    if (step.shards) shards_ = *step.shards;
    if (step.closed != 0) closed_.erase(step.closed);
    is_draining_ = step.is_draining;
    moves_ = step.moves;
  }
}

}  // namespace dolmen::cluster
