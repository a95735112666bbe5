// SPDX-License-Identifier: Apache-2.0
#include "sim/home_oracle.hpp"

#include <algorithm>
#include <variant>

#include "cluster/home.hpp"
#include "cluster/mailbox.hpp"

namespace dolmen::sim {

HomeOracle::Known& HomeOracle::know(const ObjectId& id) {
  const auto [place, is_new] = known_.try_emplace(id);
  if (is_new) ids_.push_back(id);
  return place->second;
}

void HomeOracle::look_at(const log::Replica& replica) {
  if (replica.base().index > executor_.executed() && replica.snapshot()) {
    has_gap_ = true;
    if (!executor_.restore(replica.snapshot().get())) return;
  }
  while (executor_.executed() < replica.stable()) {
    const log::Entry& entry = replica.at(executor_.executed() + 1);
    executor_.execute(entry);
    take(entry);
  }
}

void HomeOracle::take(const log::Entry& entry) {
  if (entry.kind != log::EntryKind::command ||
      entry.payload.size() < replication::kCommandHeadBytes) {
    return;
  }
  const auto change = cluster::decode_mail_change(
      base::Bytes(entry.payload).subspan(replication::kCommandHeadBytes));
  if (!change || !change->received) return;
  const auto mail = cluster::decode_home_mail(change->received->bytes);
  if (!mail) return;
  ObjectId id;
  if (const auto* const settled = std::get_if<cluster::home::Settled>(&*mail)) id = settled->id;
  if (const auto* const erased = std::get_if<cluster::home::Erased>(&*mail)) id = erased->id;
  if (id.is_null()) return;
  Known& known = know(id);
  const auto home = machine_.find(id);
  if (home) known.homes[home->counter] = home->group;
  if (!home && !known.homes.empty()) known.is_erased = true;
}

void HomeOracle::look_at(const MailBank& bank, const std::function<bool(const ObjectId&)>& is_own) {
  const auto& rows = bank.homes().rows();
  for (const auto& [id, row] : rows) {
    if (!is_own(id)) continue;
    Told& told = know(id).told;
    if (row.state == cluster::HomeState::here && row.is_registered) {
      told.counter = std::max(told.counter, row.counter);
    }
  }
  for (const ObjectId& id : bank.erased()) {
    if (!rows.contains(id) && is_own(id)) know(id).told.is_erased = true;
  }
}

std::optional<ObjectId> HomeOracle::pick(base::Random& random) const {
  if (ids_.empty()) return std::nullopt;
  // Mostly one of the last ones: of those something is going on.
  const std::size_t recent = std::min<std::size_t>(ids_.size(), 4);
  if (random.chance(1, 2)) return ids_[ids_.size() - 1 - random.below(recent)];
  return ids_[random.below(ids_.size())];
}

HomeOracle::Told HomeOracle::told(const ObjectId& id) const {
  const auto found = known_.find(id);
  return found == known_.end() ? Told{} : found->second.told;
}

std::string HomeOracle::judge(const ObjectId& id, const Told& before,
                              const std::optional<cluster::DirectoryEntry>& found) {
  Known& known = know(id);
  const std::string name = "a look-up of " + id.to_string();
  if (!found) {
    if (before.counter == 0) return "";
    if (!known.is_erased && !has_gap_) return name + " does not find what was told of";
    known.told.is_erased = true;
    return "";
  }
  if (before.is_erased) return name + " finds what is known to be erased";
  if (found->counter < before.counter) return name + " finds a former home";
  const auto home = known.homes.find(found->counter);
  if (!has_gap_ && (home == known.homes.end() || home->second != found->group)) {
    return name + " finds what was not decided";
  }
  known.told.counter = std::max(known.told.counter, found->counter);
  return "";
}

}  // namespace dolmen::sim
