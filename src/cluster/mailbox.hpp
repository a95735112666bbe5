// SPDX-License-Identifier: Apache-2.0
//
// The mail of one group, as a part of its replicated state (docs/mail.md): per other group a
// channel there, with the mails that it has not acknowledged, and a channel from there, of which
// every mail is consumed once, in order. It changes only by what the group's log says, so that all
// replicas have the same.
//
// A leader applies entries before they are stable. What they did is kept until settle(), so that
// undo() can take it back, and nothing of it leaves the group before: that is the courier's care.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "cluster/mail.hpp"
#include "log/message.hpp"

namespace dolmen::cluster {

/// The same at all replicas of the group, for they decide what becomes of an entry.
struct MailLimits {
  /// Of all mails that are not acknowledged; beyond it, entries that only post do nothing.
  std::size_t post_bytes = 64u << 20;
  /// Beyond it, neither do those that consume a mail and post its consequences. It is larger, so
  /// that groups which are full of mail for each other can still empty themselves.
  std::size_t forward_bytes = 256u << 20;
  friend bool operator==(const MailLimits&, const MailLimits&) = default;
};
/// No limit may be above this, so that a snapshot of mail fits into one of a log.
inline constexpr std::size_t kMailLimitMax = 512u << 20;

/// What became of a change; all of it or nothing happens.
enum class MailVerdict : std::uint8_t {
  applied = 1,
  duplicate = 2,  ///< the mail was consumed before
  gap = 3,        ///< mails before it were not
  full = 4,       ///< too many mails are not acknowledged
  refused = 5,    ///< it is impossible: names this group itself, or what was never posted
};

class Mailbox {
 public:
  /// Of one other group.
  struct Channel {
    MailSequence posted = 0;        ///< the last mail there
    MailSequence acknowledged = 0;  ///< … and the last that is known to have been consumed there
    MailSequence consumed = 0;      ///< the last mail from there
    /// The same, as far as the group's log is known to be decided.
    MailSequence stable_posted = 0;
    MailSequence stable_consumed = 0;
    std::deque<std::vector<std::byte>> unacknowledged{};  ///< behind `acknowledged`, up to `posted`
  };

  /// Requires: `self` is not null; limits of at most kMailLimitMax.
  explicit Mailbox(GroupId self, const MailLimits& limits = {});

  /// What apply() would say. Cost: the change, but for its bytes.
  [[nodiscard]] MailVerdict judge(const MailChange& change) const;
  /// Executes the change in the entry at `index`, not below that of any before. A change that is
  /// not applied leaves no trace.
  MailVerdict apply(log::Index index, MailChange change);
  /// Entries up to here are stable.
  void settle(log::Index index);
  /// The log lost its entries from here on. Requires: none of them was settled.
  void undo(log::Index from);

  [[nodiscard]] const GroupId& self() const noexcept { return self_; }
  [[nodiscard]] const std::map<GroupId, Channel>& channels() const noexcept { return channels_; }
  /// Of all mails that are not acknowledged, with what each takes beside its bytes.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

  /// The state behind the last settled entry: the same bytes at every replica. Cost: copies what is
  /// not acknowledged, twice where entries are not settled.
  [[nodiscard]] std::vector<std::byte> snapshot() const;
  /// Becomes what snapshot() gave, all of it settled; the next index may be any. Errors: corrupt,
  /// version_unsupported (the state is then as it was).
  [[nodiscard]] Result<void> restore(base::Bytes snapshot);

 private:
  /// One effect of an entry that is not settled yet.
  struct Step {
    enum class Kind : std::uint8_t { posted, consumed, acknowledged };
    log::Index index = 0;
    Kind kind = Kind::posted;
    GroupId peer{};
    MailSequence former = 0;  ///< consumed, acknowledged: up to where it was before
    std::vector<std::vector<std::byte>> trimmed{};  ///< acknowledged: the mails from there on
  };

  [[nodiscard]] MailVerdict judge_places(const MailChange& change) const;
  [[nodiscard]] const Channel* find(const GroupId& peer) const;
  void post(log::Index index, Letter letter);
  void trim(log::Index index, const GroupId& by, MailSequence up_to);
  void undo_last();

  GroupId self_;
  MailLimits limits_;
  std::map<GroupId, Channel> channels_;  ///< none in which nothing ever happened
  std::size_t bytes_ = 0;
  std::deque<Step> steps_;  ///< by index, ascending
};

inline constexpr std::uint32_t kMailboxVersion = 1;
/// "DLMB": the first bytes of a snapshot.
inline constexpr std::uint32_t kMailboxMagic = 0x424D4C44;

}  // namespace dolmen::cluster
