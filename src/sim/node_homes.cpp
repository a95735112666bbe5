// SPDX-License-Identifier: Apache-2.0
//
// What has to be true of objects and the directory of a cluster of nodes in the end.
#include <bit>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/checksum.hpp"
#include "cluster/home.hpp"
#include "node/cluster_rights.hpp"
#include "sim/node_run.hpp"

namespace dolmen::sim {

/// Why homes are not at rest; empty: they are. Requires: every group has a leader.
std::string NodeRun::homes_unrest() const {
  if (directory_shards_ > 0 && !root_.has_directory()) return "no directory";
  for (const auto& [number, group] : root_.groups()) {
    if (group.is_directory()) {
      const auto* const directory = nodes_[*leader_of(number)]->machines.directory(number);
      if (directory == nullptr) return "the directory has no table";
      if (directory->mail().mailbox().bytes() != 0) return "the directory's mail did not arrive";
    }
    if (group.kind != cluster::GroupKind::space || keeps_space(number)) continue;
    const MailBank& bank = *nodes_[*leader_of(number)]->banks.bank(number);
    for (const auto& [id, row] : bank.homes().rows()) {
      if (row.state != cluster::HomeState::here || !row.is_registered) {
        return "group " + std::to_string(number) + ": an object that the directory does not know";
      }
    }
  }
  return "";
}

/// Every object that was published and not erased is at one home, with all that was written to it,
/// and in the directory, and nothing else is.
void NodeRun::judge_homes() {
  for (const Client& one : clients_) {
    const auto* const its = std::get_if<3>(&one.client);
    if (its == nullptr) continue;
    result_.homes_read += (*its)->answered();
    result_.homes_by_lease += (*its)->read_by_lease();
  }
  struct Known {
    cluster::GroupNumber made = 0;
    std::vector<cluster::GroupNumber> homes{};
    std::uint64_t count = 0;    ///< as it says itself
    std::uint64_t written = 0;  ///< as groups say
    bool is_erased = false;
  };
  std::map<ObjectId, Known> all;
  for (const auto& [group, one] : root_.groups()) {
    if (one.kind != cluster::GroupKind::space || keeps_space(group)) continue;
    const MailBank& bank = *nodes_[*leader_of(group)]->banks.bank(group);
    for (const ObjectId& id : bank.published()) all[id].made = group;
    for (const ObjectId& id : bank.erased()) all[id].is_erased = true;
    for (const auto& [id, count] : bank.written()) all[id].written += count;
    for (const auto& [id, count] : bank.objects()) {
      all[id].homes.push_back(group);
      all[id].count = count;
    }
    for (const auto& [id, row] : bank.homes().rows()) {
      if (!bank.objects().contains(id)) {
        return violated("group " + std::to_string(group) + " has a row and no object");
      }
    }
    if (bank.homes().rows().size() != bank.objects().size()) {
      return violated("group " + std::to_string(group) + " has an object and no row");
    }
  }
  if (!all.empty() && !root_.has_directory()) return violated("no directory knows it");
  std::map<cluster::GroupNumber, std::uint64_t> expected;  // by shard
  const auto led = [&](cluster::GroupNumber number) {
    return nodes_[*leader_of(number)]->machines.directory(number);
  };
  for (const auto& [id, known] : all) {
    const std::string name = "object " + id.to_string();
    ++result_.published;
    result_.written += known.written;
    const auto entry = led(directory_of(id))->find(id);
    if (known.made == 0) return violated(name + " was made nowhere");
    if (known.homes.size() != (known.is_erased ? 0 : 1)) {
      return violated(name + " is at " + std::to_string(known.homes.size()) + " homes");
    }
    if (known.is_erased == entry.has_value() || (entry && entry->group != known.homes[0])) {
      return violated("the directory is wrong about " + name);
    }
    if (known.is_erased) continue;
    ++expected[directory_of(id)];
    if (known.homes[0] != known.made) ++result_.moved;
    if (known.count != known.written) {
      return violated(name + " was written " + std::to_string(known.written) + " times, and says " +
                      std::to_string(known.count));
    }
  }
  if (!root_.has_directory()) return;
  if (root_.shards().size() != directory_shards_) violated("another number of shards");
  for (const cluster::GroupNumber number : root_.shards()) {
    if (led(number)->objects() != expected[number]) {
      violated("the directory knows objects that nobody has");
    }
    for (const auto& [member, life] : root_.group(number)->members) {
      if (nodes_[member - 1]->is_gone) continue;
      const auto* const one = nodes_[member - 1]->machines.directory(number);
      const bool is_equal = one->shown() != nullptr && one->shown()->check() &&
                            one->shown()->fingerprint() == one->planned().fingerprint();
      if (!is_equal) violated("node " + std::to_string(member) + " shows another directory");
    }
  }
}

cluster::GroupNumber NodeRun::directory_of(const ObjectId& id) const {
  const auto& shards = root_.shards();
  return shards[cluster::shard_of(id, static_cast<std::uint32_t>(std::countr_zero(shards.size())))];
}

std::optional<std::uint64_t> NodeRun::hash_of(const Node& node, cluster::GroupNumber number) {
  if (const node::IndexMachine* const shard = node.machines.find(number)) {
    return base::checksum64(shard->table().snapshot(), 1);
  }
  if (const node::OrderedMachine* const shard = node.machines.ordered(number)) {
    return base::checksum64(shard->table().snapshot(), 1);
  }
  if (const node::DirectoryMachine* const directory = node.machines.directory(number)) {
    return directory->state_hash();
  }
  if (const SpaceTally* const space = node.banks.space(number)) return space->value();
  const MailBank* const bank = node.banks.bank(number);
  return bank == nullptr ? std::nullopt : std::optional(bank->state_hash());
}

/// Who looks objects up in memory: one with each clock that clients have.
void NodeRun::add_home_clients(cluster::GroupNumber number) {
  HomeOracle& oracle =
      *home_oracles_.emplace(number, std::make_unique<HomeOracle>(number, kDirectoryBuckets))
           .first->second;
  for (std::size_t k = 0; k < 2; ++k) {
    const std::size_t index = clients_.size();
    ClusterClient::Place place{.group = node::group_of(number),
                               .members = {},
                               .number = k,
                               .has_lease = has_leases(options_.seed)};
    if (place.has_lease) place.drift_ppm = k % 2 == 0 ? 50'000 : -50'000;
    for (std::size_t node = 0; node < kNodesMax; ++node) place.members.push_back(id_of(node));
    const auto who = static_cast<cluster::ClientNumber>(1 + index % kHonestClients);
    if (options_.has_intruders) {
      place.shown = [this, who] { return node::handle_of(root_, who); };
    }
    clients_.push_back({});
    clients_.back().client =
        std::make_unique<HomeClient>(fabric_, client_endpoint(index, who), std::move(place),
                                     node::DirectoryMachine::geometry_of(number, kDirectoryBuckets),
                                     oracle, base::mix_seed(options_.seed, 5'000 + index));
    schedule_client(index, now_ns() + 1);
  }
}

void NodeRun::look_at_homes(Node& node, cluster::GroupNumber number, const log::Replica& replica) {
  if (home_oracles_.empty()) return;
  if (node.machines.directory(number) != nullptr) return home_oracles_.at(number)->look_at(replica);
  const MailBank* const bank = node.banks.bank(number);
  if (bank == nullptr) return;
  Judged& judged = node.judged[number];
  if (judged.homes == bank->home_part().changes()) return;
  judged.homes = bank->home_part().changes();
  for (const auto& [shard, oracle] : home_oracles_) {
    oracle->look_at(*bank, [&](const ObjectId& id) { return directory_of(id) == shard; });
  }
}

}  // namespace dolmen::sim
