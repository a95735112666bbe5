// SPDX-License-Identifier: Apache-2.0
#include "cluster/directory.hpp"

#include <variant>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

std::optional<DirectoryEntry> known_entry(const HashIndex& table, const ObjectId& id) {
  const std::optional<Home> home = table.find(id);
  if (!home) return std::nullopt;
  return entry_of(*home);
}

}  // namespace

Home home_of(const DirectoryEntry& entry) noexcept {
  DOLMEN_ASSERT(entry.counter <= kMoveCounterMax);
  return {.location = entry.counter >> 16 << 32 | entry.group,
          .generation = static_cast<std::uint16_t>(entry.counter),
          .length_class = entry.length_class};
}

DirectoryEntry entry_of(const Home& home) noexcept {
  return {.group = static_cast<GroupNumber>(home.location),
          .counter = home.location >> 32 << 16 | home.generation,
          .length_class = home.length_class};
}

DirectoryPlan plan_notice(const HashIndex& table, GroupNumber from, const HomeMail& mail) {
  DirectoryPlan plan;
  if (const auto* const settled = std::get_if<home::Settled>(&mail)) {
    const auto known = known_entry(table, settled->id);
    // Another group has published an object of this id: whoever looks it up is led there, so of
    // this one nobody is told.
    if (known && known->group != from && settled->former == 0) return plan;
    if (!known || settled->counter > known->counter) {
      plan.command = IndexCommand::put(
          settled->id,
          home_of(
              {.group = from, .counter = settled->counter, .length_class = settled->length_class}));
    }
    const home::Logged logged{.id = settled->id, .counter = settled->counter};
    plan.letters.push_back({from, logged});
    const bool is_told = settled->former != 0 && settled->former != from;
    if (is_told && !DOLMEN_PLANTED("cluster.directory_tells_one")) {
      plan.letters.push_back({settled->former, logged});
    }
  } else if (const auto* const erased = std::get_if<home::Erased>(&mail)) {
    const auto known = known_entry(table, erased->id);
    if (known && known->group == from && erased->counter > known->counter) {
      plan.command = IndexCommand::erase(erased->id);
    }
    plan.letters.push_back({from, home::Logged{.id = erased->id, .counter = erased->counter}});
  }
  return plan;
}

}  // namespace dolmen::cluster
