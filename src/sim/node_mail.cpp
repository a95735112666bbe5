// SPDX-License-Identifier: Apache-2.0
//
// What has to be true of the mail between the groups of a cluster of nodes in the end.
#include <map>
#include <string>
#include <utility>

#include "sim/node_run.hpp"

namespace dolmen::sim {

/// Why mail is not at rest; empty: it is. Requires: every group has a leader.
std::string NodeRun::mail_unrest() const {
  std::map<cluster::GroupNumber, SpaceBooks> all;
  for (const auto& [number, group] : root_.groups()) {
    if (group.kind != cluster::GroupKind::space) continue;
    auto books = books_of(number);
    if (!books) return "group " + std::to_string(number) + ": " + books.error().message();
    all.emplace(number, std::move(*books));
  }
  for (const auto& [number, its] : all) {
    for (const auto& [to, book] : its.books) {
      const auto other = all.find(static_cast<cluster::GroupNumber>(to.low));
      std::size_t came = 0;
      if (other != all.end()) {
        const auto found = other->second.books.find(node::group_of(number));
        came = found == other->second.books.end() ? 0 : found->second.came.size();
      }
      if (came < book.sent.size()) {
        return "group " + std::to_string(number) + ": mail to " + std::to_string(to.low) +
               " has not arrived: " + std::to_string(came) + " of " +
               std::to_string(book.sent.size());
      }
    }
    if (nodes_[*leader_of(number)]->banks.mail_of(number)->mailbox().bytes() != 0) {
      return "group " + std::to_string(number) + ": mail that arrived was not forgotten";
    }
  }
  return homes_unrest();
}

void NodeRun::judge_mail() {
  std::int64_t money = 0;
  std::map<cluster::GroupNumber, SpaceBooks> all;
  for (const auto& [number, group] : root_.groups()) {
    if (group.kind != cluster::GroupKind::space) continue;
    auto books = books_of(number);
    if (!books) return violated("books: " + books.error().message());
    all.emplace(number, std::move(*books));
  }
  for (const auto& [number, its] : all) {
    money += its.balance;
    for (const auto& [to, book] : its.books) {
      const auto other = static_cast<cluster::GroupNumber>(to.low);
      const auto& books = all.at(other).books;
      const auto found = books.find(node::group_of(number));
      // Each once, in the order in which they were sent.
      const bool is_right =
          found == books.end() ? book.sent.empty() : found->second.came == book.sent;
      if (!is_right) {
        return violated("group " + std::to_string(other) + " has not what group " +
                        std::to_string(number) + " sent it");
      }
      result_.transfers += book.sent.size();
      if (keeps_space(number) || keeps_space(other)) result_.of_spaces += book.sent.size();
    }
    for (const auto& [from, book] : its.books) {
      const auto other = static_cast<cluster::GroupNumber>(from.low);
      if (!book.came.empty() && !all.at(other).books.contains(node::group_of(number))) {
        return violated("group " + std::to_string(number) + " got what nobody sent");
      }
    }
  }
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i]->core) continue;
    const node::ClusterMail& mail = nodes_[i]->core->mail();
    result_.mails_sent += mail.meter().sent;
    result_.mails_again += mail.meter().again;
    result_.mails_received += mail.meter().received;
    for (const auto& [number, group] : root_.groups()) {
      const auto outbox = mail.outbox(number);
      if (outbox && leader_of(number) == i) result_.mails_left += outbox->mails;
    }
  }
  if (money != 0) violated("money was lost or made: " + std::to_string(money));
}

}  // namespace dolmen::sim
