// SPDX-License-Identifier: Apache-2.0
#include "sim/log_checks.hpp"

#include <algorithm>

#include "sim/log_machine.hpp"

namespace dolmen::sim {

namespace {

std::string text(const char* what, std::uint64_t number) {
  return std::string(what) + std::to_string(number);
}

}  // namespace

std::vector<log::Configuration> counting_in(const log::Configuration& first,
                                            const log::DurableState& log) {
  std::vector<log::Configuration> all{first};
  bool is_settled = true;  // what a snapshot says is decided
  if (log.snapshot) all = {log.snapshot->place().configuration};
  for (const log::Entry& entry : log.entries) {
    if (log.snapshot && entry.index <= log.snapshot->last().index) continue;
    if (entry.kind == log::EntryKind::settled) is_settled = true;
    if (entry.kind != log::EntryKind::configuration) continue;
    all.push_back(log::decode_configuration(entry.payload).value());
    is_settled = false;
  }
  all.erase(all.begin(), all.end() - (is_settled ? 1 : 2));
  return all;
}

bool means(const log::DurableState& found, const log::DurableState& whole) {
  if (found.epoch != whole.epoch || found.granted_to != whole.granted_to) return false;
  const log::Index end = found.base.index + found.entries.size();
  if (end != whole.base.index + whole.entries.size()) return false;
  for (log::Index i = std::max(found.base.index, whole.base.index) + 1; i <= end; ++i) {
    if (found.entries[i - found.base.index - 1] != whole.entries[i - whole.base.index - 1]) {
      return false;
    }
  }
  const log::Index covered = whole.snapshot ? whole.snapshot->last().index : 0;
  return (found.snapshot ? found.snapshot->last().index : 0) >= covered;
}

LogChecks::CommandId LogChecks::command_of(const log::Entry& entry) {
  if (entry.kind != log::EntryKind::command || entry.payload.size() < sizeof(CommandId)) return 0;
  return base::load<CommandId>(entry.payload);
}

void LogChecks::learned_stable(std::size_t node, const log::Entry& entry) {
  learned_stable(node,
                 {.place = entry.position(), .command = command_of(entry), .sum = sum_of(entry)});
}

void LogChecks::learned_stable(std::size_t node, const Learned& entry) {
  const log::Index index = entry.place.index;
  if (index > decided_.size() + 1) return fail(text("a gap before the decided index ", index));
  if (index == decided_.size() + 1) {
    const std::uint64_t before = decided_.empty() ? 0 : decided_.back().state_hash;
    const std::uint64_t behind = hash_behind(before, entry.place.origin, entry.sum);
    decided_.push_back({entry.place.origin, entry.command, behind, entry.sum});
    if (entry.command != 0 && !places_.emplace(entry.command, index).second) {
      fail(text("decided twice: command ", entry.command));
    }
    return;
  }
  const Decided& before = decided_[index - 1];
  const bool is_same =
      before.is_unseen || (before.command == entry.command && before.sum == entry.sum);
  if (before.origin != entry.place.origin || !is_same) {
    fail(text("replica ", node) + text(" takes another entry for decided at index ", index) +
         text(": origin ", entry.place.origin) + text(" instead of ", before.origin));
  }
}

void LogChecks::learned_unseen(log::Epoch origin) {
  decided_.push_back(
      {.origin = origin, .command = 0, .state_hash = 0, .sum = 0, .is_unseen = true});
}

void LogChecks::installed(log::Index index, std::uint64_t state_hash) {
  if (index > decided_.size()) return fail(text("a snapshot of what nobody decided: ", index));
  if (decided_[index - 1].state_hash != state_hash) {
    fail(text("a snapshot of another state than the entries make, up to index ", index));
  }
}

void LogChecks::leads(std::size_t node, log::Epoch epoch) {
  const auto [place, is_new] = leaders_.emplace(epoch, node);
  if (!is_new && place->second != node) fail(text("two leaders of epoch ", epoch));
}

void LogChecks::acknowledged(CommandId command, log::Position where,
                             log::Index acknowledged_at_invocation, bool is_durable) {
  if (!is_durable) {
    fail(text("acknowledged and not durable at a majority: index ", where.index));
  }
  const auto place = places_.find(command);
  if (place == places_.end() || place->second != where.index) {
    return fail(text("acknowledged and not decided: command ", command));
  }
  if (where.index <= acknowledged_at_invocation) {
    fail(text("decided before what was acknowledged when it was sent: index ", where.index));
  }
  acknowledged_index_ = std::max(acknowledged_index_, where.index);
}

void LogChecks::finished(log::Index stable_everywhere) {
  if (stable_everywhere < acknowledged_index_) {
    fail(text("acknowledged and missing in the end: index ", acknowledged_index_));
  }
}

}  // namespace dolmen::sim
