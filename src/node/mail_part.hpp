// SPDX-License-Identifier: Apache-2.0
//
// A group's mail as a part of its state machine (docs/mail.md): what the machine of any kind that
// exchanges mail holds, and where its node's courier leaves what is to be proposed.
//
// A machine calls apply() for each entry that changes mail, settle() as entries are decided, and
// snapshot(), restore() and reset() with its own. What a log lost is undone by the last two.
//
// Threads: one (the member's).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "cluster/mailbox.hpp"

namespace dolmen::node {

class MailPart {
 public:
  /// The group with this name, or with this number if that is not 0: of those that exchange mail.
  /// Errors: not_found, invalid_argument (it exchanges none).
  using Find = std::function<Result<cluster::GroupId>(std::string_view name, std::uint64_t number)>;

  MailPart(cluster::GroupId self, Find find, const cluster::MailLimits& limits = {});

  [[nodiscard]] const cluster::Mailbox& mailbox() const noexcept { return mailbox_; }
  [[nodiscard]] Result<cluster::GroupId> find(std::string_view name, std::uint64_t number) const {
    return find_(name, number);
  }
  /// Another one after each reset() and restore(): a courier lives no longer.
  [[nodiscard]] std::uint64_t life() const noexcept { return life_; }
  /// Another one whenever a courier has something to look at.
  [[nodiscard]] std::uint64_t changes() const noexcept { return changes_; }

  cluster::MailVerdict apply(log::Index index, cluster::MailChange change);
  void settle(log::Index index);
  void reset();
  /// Empty: nothing was ever sent or received.
  [[nodiscard]] std::vector<std::byte> snapshot() const;
  /// Errors: as of Mailbox.
  [[nodiscard]] Result<void> restore(base::Bytes snapshot);

  /// What a courier proposes is kept here, and the request that is returned stands for it, within
  /// this process: what a client sends stands for nothing.
  [[nodiscard]] std::vector<std::byte> keep(cluster::MailChange proposal);
  [[nodiscard]] static bool is_request(base::Bytes request) noexcept;
  /// What the request stands for, once. Errors: not_found (nothing), conflict (by now it would do
  /// nothing).
  [[nodiscard]] Result<cluster::MailChange> take(base::Bytes request);
  void forget(base::Bytes request);

 private:
  const Find find_;
  const cluster::MailLimits limits_;
  cluster::Mailbox mailbox_;
  std::uint64_t life_ = 1;
  std::uint64_t changes_ = 1;
  std::uint64_t last_request_ = 0;
  std::map<std::uint64_t, cluster::MailChange> kept_;
};

}  // namespace dolmen::node
