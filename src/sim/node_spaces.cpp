// SPDX-License-Identifier: Apache-2.0
//
// The group of a cluster of nodes that keeps a real space: its machine, and what has to be true of
// it in the end.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/node_run.hpp"

namespace dolmen::sim {

Result<StateMachine*> BankMachines::open_space(cluster::GroupNumber number) {
  space_.reset();
  space_group_ = number;
  DOLMEN_TRY(space_, SpaceTally::open(*ground_.env, **ground_.disk, ground_.accounts));
  if (find_) space_->use_mail(node::group_of(number), find_, limits_);
  if (find_ && shards_) space_->use_homes(shards_);
  return space_.get();
}

Result<void> BankMachines::clear(cluster::GroupNumber number) {
  banks_.erase(number);
  if (number != space_group_) return {};
  space_.reset();
  DOLMEN_TRY(const auto names, (*ground_.disk)->list());
  for (const std::string& name : names) DOLMEN_CHECK((*ground_.disk)->remove(name));
  return (*ground_.disk)->sync_directory();
}

Result<SpaceBooks> NodeRun::books_of(cluster::GroupNumber number) const {
  const Node& leader = *nodes_[*leader_of(number)];
  if (SpaceTally* const space = leader.banks.space(number)) return space->books();
  const MailBank* const bank = leader.banks.bank(number);
  if (bank == nullptr) return fail(Errc::not_found, "a bank");
  return SpaceBooks{.balance = bank->balance(), .books = bank->books()};
}

void NodeRun::judge_space(cluster::GroupNumber number) {
  SpaceTally& leads = *nodes_[*leader_of(number)]->banks.space(number);
  const auto balances = leads.balances();
  if (!balances) return violated("accounts: " + balances.error().message());
  const std::string wrong = accounts_.verdict(*balances);
  if (!wrong.empty()) return violated("accounts: " + wrong);
  result_.accounts = accounts_.counts();
  std::optional<std::vector<std::byte>> first;
  for (const auto& [member, life] : root_.group(number)->members) {
    if (nodes_[member - 1]->is_gone) continue;
    const std::string name = "node " + std::to_string(member);
    SpaceTally* const space = nodes_[member - 1]->banks.space(number);
    if (space == nullptr) return violated(name + " has no space");
    auto image = space->image();
    if (!image) return violated("an image does not read: " + image.error().message());
    if (!first) first = *image;
    if (!is_same_image(*first, *image)) return violated(name + " has another image");
    if (!space->value()) continue;
    // What all of them have at the end is one more thing that was seen.
    auto& history = groups_.at(number).history;
    history.respond(history.invoke(99, {.added = 0})).value = *space->value();
  }
}

}  // namespace dolmen::sim
