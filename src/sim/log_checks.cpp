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
  const CommandId command = command_of(entry);
  const std::uint64_t payload_sum = base::checksum64(entry.payload, 0);
  if (entry.index > decided_.size() + 1) {
    return fail(text("a gap before the decided index ", entry.index));
  }
  if (entry.index == decided_.size() + 1) {
    const std::uint64_t before = decided_.empty() ? 0 : decided_.back().state_hash;
    decided_.push_back({entry.origin, command, hash_behind(before, entry), payload_sum});
    if (command != 0 && !places_.emplace(command, entry.index).second) {
      fail(text("decided twice: command ", command));
    }
    return;
  }
  const Decided& before = decided_[entry.index - 1];
  if (before.origin != entry.origin || before.command != command ||
      before.payload_sum != payload_sum) {
    fail(text("replica ", node) + text(" takes another entry for decided at index ", entry.index) +
         text(": origin ", entry.origin) + text(" instead of ", before.origin));
  }
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
