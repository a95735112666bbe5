// SPDX-License-Identifier: Apache-2.0
//
// What has to be true of the mail between the groups of a cluster of nodes in the end.
#include <algorithm>
#include <string>

#include "sim/node_run.hpp"

namespace dolmen::sim {

/// Why mail is not at rest; empty: it is. Requires: every group has a leader.
std::string NodeRun::mail_unrest() const {
  for (const auto& [number, group] : root_.groups()) {
    if (number == cluster::kRootGroup || group.shape) continue;
    const MailBank* const bank = nodes_[*leader_of(number)]->banks.bank(number);
    if (bank == nullptr) return "group " + std::to_string(number) + " has no bank";
    for (const auto& [to, book] : bank->books()) {
      const MailBank* const other =
          nodes_[*leader_of(static_cast<cluster::GroupNumber>(to.low))]->banks.bank(
              static_cast<cluster::GroupNumber>(to.low));
      const auto its = other == nullptr ? MailBank::Book{} : [&] {
        const auto found = other->books().find(node::group_of(number));
        return found == other->books().end() ? MailBank::Book{} : found->second;
      }();
      if (its.came.size() < book.sent.size()) {
        return "group " + std::to_string(number) + ": mail to " + std::to_string(to.low) +
               " has not arrived: " + std::to_string(its.came.size()) + " of " +
               std::to_string(book.sent.size());
      }
    }
    const cluster::Mailbox& mailbox =
        nodes_[*leader_of(number)]->banks.bank(number)->mail_state();
    if (mailbox.bytes() != 0) {
      return "group " + std::to_string(number) + ": mail that arrived was not forgotten";
    }
  }
  return "";
}

void NodeRun::judge_mail() {
  std::int64_t money = 0;
  for (const auto& [number, group] : root_.groups()) {
    if (number == cluster::kRootGroup || group.shape) continue;
    const MailBank& bank = *nodes_[*leader_of(number)]->banks.bank(number);
    money += bank.balance();
    for (const auto& [to, book] : bank.books()) {
      const auto other = static_cast<cluster::GroupNumber>(to.low);
      const auto& books = nodes_[*leader_of(other)]->banks.bank(other)->books();
      const auto its = books.find(node::group_of(number));
      // Each once, in the order in which they were sent.
      const bool is_right = its == books.end() ? book.sent.empty() : its->second.came == book.sent;
      if (!is_right) {
        return violated("group " + std::to_string(other) + " has not what group " +
                        std::to_string(number) + " sent it");
      }
      result_.transfers += book.sent.size();
    }
    for (const auto& [from, book] : bank.books()) {
      const auto other = static_cast<cluster::GroupNumber>(from.low);
      const auto& books = nodes_[*leader_of(other)]->banks.bank(other)->books();
      if (!book.came.empty() && !books.contains(node::group_of(number))) {
        return violated("group " + std::to_string(number) + " got what nobody sent");
      }
    }
  }
  if (money != 0) violated("money was lost or made: " + std::to_string(money));
}

}  // namespace dolmen::sim
