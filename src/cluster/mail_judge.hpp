// SPDX-License-Identifier: Apache-2.0
//
// For tests: judges the mail of a MailWorld by what entries do when they are decided. Every mail
// has contents of its own, so that it is known again wherever it turns up.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "cluster/mail.hpp"
#include "cluster/mailbox.hpp"

namespace dolmen::cluster {

struct MailContent {
  std::uint64_t id = 0;
  std::uint64_t hops = 0;   ///< how often whoever consumes it passes something on
  std::uint64_t cause = 0;  ///< of which mail it is the consequence; 0: of none

  [[nodiscard]] std::vector<std::byte> bytes(std::size_t more) const {
    base::ByteWriter out;
    out.put(id);
    out.put(hops);
    out.put(cause);
    for (; more > 0; --more) out.put(std::uint8_t{0xAA});
    return out.release();
  }
  static MailContent of(base::Bytes bytes) {
    base::ByteReader in(bytes);
    return {in.get<std::uint64_t>(), in.get<std::uint64_t>(), in.get<std::uint64_t>()};
  }
};

class MailJudge {
 public:
  using Channels = std::map<GroupId, Mailbox::Channel>;

  void require(bool holds, const char* what) {
    if (!holds && !complaint_) complaint_ = what;
  }
  [[nodiscard]] bool is_content() const noexcept { return !complaint_; }
  [[nodiscard]] const std::optional<std::string>& complaint() const noexcept { return complaint_; }

  /// An entry of the group was decided, and made `after` of `before`; the mail that it consumed.
  void decided(const GroupId& group, const Channels& before, const Channels& after,
               const MailChange::Received* consumed) {
    const MailContent content =
        consumed == nullptr ? MailContent{} : MailContent::of(consumed->bytes);
    if (consumed != nullptr) {
      const auto& posted = posted_[{consumed->from, group}];
      auto& arrived = consumed_[{consumed->from, group}];
      require(seen_.insert(content.id).second, "a mail was consumed twice");
      require(arrived.size() < posted.size(), "a mail was consumed that was not posted for good");
      if (arrived.size() < posted.size()) {
        require(posted[arrived.size()] == content.id, "a mail was consumed out of order");
      }
      arrived.push_back(content.id);
    }
    bool is_passed_on = false;
    for (const auto& [peer, channel] : after) {
      const auto former = before.find(peer);
      const MailSequence old = former == before.end() ? 0 : former->second.posted;
      require(channel.posted >= old, "a channel's sequence went back");
      for (MailSequence sequence = old + 1; sequence <= channel.posted; ++sequence) {
        const auto& mail = channel.unacknowledged[sequence - channel.acknowledged - 1];
        const MailContent posted = MailContent::of(mail);
        require(known_.insert(posted.id).second, "a mail was posted twice");
        posted_[{group, peer}].push_back(posted.id);
        if (posted.cause == 0) continue;
        require(posted.cause == content.id, "a mail was passed on that was not consumed");
        is_passed_on = true;
      }
    }
    require(is_passed_on == (content.hops > 0), "a mail was consumed and not passed on");
  }

  /// A message leaves its group.
  void sent(const MailMessage& message) {
    require(message.consumed <= consumed_[{message.to, message.from}].size(),
            "a group said that it consumed what may still be lost");
    const auto& posted = posted_[{message.from, message.to}];
    MailSequence sequence = message.first;
    for (const auto& mail : message.mails) {
      const bool is_posted = sequence <= posted.size();
      require(is_posted && posted[sequence - 1] == MailContent::of(mail).id,
              "a mail left its group that may still be lost");
      ++sequence;
    }
  }

  [[nodiscard]] bool is_all_consumed() const {
    for (const auto& [channel, posted] : posted_) {
      const auto found = consumed_.find(channel);
      if (found == consumed_.end() ? !posted.empty() : found->second != posted) return false;
    }
    return true;
  }

 private:
  using Way = std::pair<GroupId, GroupId>;
  std::map<Way, std::vector<std::uint64_t>> posted_;
  std::map<Way, std::vector<std::uint64_t>> consumed_;
  std::set<std::uint64_t> known_;
  std::set<std::uint64_t> seen_;
  std::optional<std::string> complaint_;
};

}  // namespace dolmen::cluster
