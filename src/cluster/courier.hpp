// SPDX-License-Identifier: Apache-2.0
//
// What the leader of a group does about its mail (docs/mail.md): sends what is posted until it is
// acknowledged, has what arrives written into the own log, acknowledges what was consumed, and has
// acknowledged mails forgotten. Volatile: who begins to lead begins with a new one, and everything
// that counts is in the Mailbox. Without input or output: events in, a CourierOutput out.
//
// It says nothing to other groups but what is stable here. So it does no harm when it is the
// courier of a leader that was deposed and does not know it yet, and no message, however late or
// often it arrives, needs to say which leader it is from.
//
// Threads: one. Cost: each call but declined() and next_wakeup_ns() looks at every channel; these
// at what they name, and at every channel that something was done about.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "cluster/mail.hpp"
#include "cluster/mailbox.hpp"

namespace dolmen::cluster {

struct CourierOptions {
  /// What is not acknowledged is sent again after this, and after twice that, and so on …
  std::uint64_t resend_ns = 50'000'000;
  /// … up to this.
  std::uint64_t resend_max_ns = 2'000'000'000;
  /// How long acknowledgements are collected before the log is asked to forget the mails.
  std::uint64_t trim_ns = 20'000'000;
  /// Most bytes of mails in one message; a single larger one still travels.
  std::size_t message_bytes = 64u << 10;
  /// Per channel, most bytes of mails that are sent and not acknowledged; a single one always is.
  std::size_t window_bytes = 1u << 20;
  /// Per channel, most bytes of mails that are proposed and not applied; a single one always is.
  std::size_t proposed_bytes = 1u << 20;
};

struct CourierOutput {
  /// To whoever leads the group `to` of each; may get lost.
  std::vector<MailMessage> messages;
  /// To be put into entries of the own log, in this order. A leader that executes a mail before it
  /// proposes it adds what the mail posts. What is not proposed, or is applied with another verdict
  /// than `applied` or `duplicate`, is told to declined().
  std::vector<MailChange> proposals;
};

class Courier {
 public:
  /// `mailbox`: of the own group, with everything in it that the own log holds, stable or not;
  /// outlives the courier, and is not undone or restored while there is one.
  Courier(const Mailbox& mailbox, const CourierOptions& options, std::uint64_t now_ns);

  /// Something was applied to the mailbox, or settled there.
  void changed(std::uint64_t now_ns);
  /// Time went on. Call at next_wakeup_ns() or later.
  void tick(std::uint64_t now_ns) { changed(now_ns); }
  /// A decoded message. What is not for this group, or cannot be, is dropped.
  void receive(std::uint64_t now_ns, const MailMessage& message);
  /// This proposal came to nothing: a mail is proposed again when it arrives again, and what is
  /// acknowledged after trim_ns.
  void declined(std::uint64_t now_ns, const MailChange& proposal);

  /// kNever: nothing is waited for.
  [[nodiscard]] std::uint64_t next_wakeup_ns() const noexcept;
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
  /// What the calls since the last one of this ask for.
  [[nodiscard]] CourierOutput take_output() { return std::exchange(output_, {}); }

 private:
  /// Mails under way, in order, and their bytes.
  class Window {
   public:
    [[nodiscard]] MailSequence end() const noexcept { return end_; }
    [[nodiscard]] bool is_empty() const noexcept { return sizes_.empty(); }
    [[nodiscard]] bool has_room(std::size_t bytes, std::size_t most) const noexcept {
      return sizes_.empty() || bytes_ + bytes <= most;
    }
    void push(std::size_t bytes);
    /// Those up to here arrived, whether or not they were under way.
    void pass(MailSequence up_to);
    /// Those behind it are under way no more.
    void cut(MailSequence end);

   private:
    MailSequence end_ = 0;
    std::size_t bytes_ = 0;
    std::deque<std::size_t> sizes_;  ///< of the mails up to end_
  };
  /// One channel.
  struct Link {
    Window sent;               ///< and not acknowledged, as far as was heard
    Window proposed;           ///< of those that arrived, and not applied
    MailSequence heard = 0;    ///< the other group consumed up to here
    MailSequence trimmed = 0;  ///< … and that was proposed up to here
    MailSequence told = 0;     ///< to the other group: consumed up to here
    bool is_asked = false;     ///< what it sent was consumed before: it did not hear so
    std::uint64_t resend_at_ns = kNever;
    std::uint64_t resend_ns = 0;
  };

  void hear(const Mailbox::Channel& channel, Link& link, MailSequence consumed);
  void take_in(const Mailbox::Channel* channel, Link& link, const MailMessage& message);
  /// Whatever is to be done about the channel now.
  void serve(std::uint64_t now_ns, const GroupId& peer, const Mailbox::Channel& channel);
  void send(std::uint64_t now_ns, const GroupId& peer, const Mailbox::Channel& channel, Link& link);
  void propose_trims();

  const Mailbox& mailbox_;
  const CourierOptions options_;
  std::map<GroupId, Link> links_;
  std::uint64_t trim_at_ns_ = kNever;
  CourierOutput output_;
};

}  // namespace dolmen::cluster
