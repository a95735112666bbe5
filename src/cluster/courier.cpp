// SPDX-License-Identifier: Apache-2.0
#include "cluster/courier.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

/// What the other group may know of.
MailSequence sendable(const Mailbox::Channel& channel) {
  return DOLMEN_PLANTED("cluster.sent_before_stable") ? channel.posted : channel.stable_posted;
}
MailSequence tellable(const Mailbox::Channel& channel) {
  return DOLMEN_PLANTED("cluster.told_before_stable") ? channel.consumed : channel.stable_consumed;
}

}  // namespace

void Courier::Window::push(std::size_t bytes) {
  ++end_;
  bytes_ += bytes;
  sizes_.push_back(bytes);
}

void Courier::Window::pass(MailSequence up_to) {
  end_ = std::max(end_, up_to);
  while (!sizes_.empty() && (up_to >= end_ || sizes_.size() > end_ - up_to)) {
    bytes_ -= sizes_.front();
    sizes_.pop_front();
  }
}

void Courier::Window::cut(MailSequence end) {
  for (; end_ > end && !sizes_.empty(); --end_) {
    bytes_ -= sizes_.back();
    sizes_.pop_back();
  }
}

Courier::Courier(const Mailbox& mailbox, const CourierOptions& options, std::uint64_t now_ns)
    : mailbox_(mailbox), options_(options) {
  DOLMEN_ASSERT(options.resend_ns > 0 && options.resend_max_ns >= options.resend_ns);
  DOLMEN_ASSERT(options.message_bytes <= kMailMessageBytesMax / 4);
  changed(now_ns);
}

void Courier::changed(std::uint64_t now_ns) {
  for (const auto& [peer, channel] : mailbox_.channels()) serve(now_ns, peer, channel);
  if (now_ns >= trim_at_ns_) propose_trims();
}

void Courier::receive(std::uint64_t now_ns, const MailMessage& message) {
  if (message.to != mailbox_.self() || message.from == mailbox_.self()) return;
  const auto& channels = mailbox_.channels();
  const auto found = channels.find(message.from);
  const Mailbox::Channel* const channel = found == channels.end() ? nullptr : &found->second;
  if (channel == nullptr && message.mails.empty()) return;
  const bool is_known = channel != nullptr || links_.contains(message.from);
  if (!is_known && links_.size() >= kMailPeersMax) return;
  Link& link = links_[message.from];
  if (channel != nullptr) hear(*channel, link, message.consumed);
  take_in(channel, link, message);
  if (channel != nullptr) serve(now_ns, message.from, *channel);
  if (now_ns >= trim_at_ns_) propose_trims();
}

void Courier::hear(const Mailbox::Channel& channel, Link& link, MailSequence consumed) {
  // A deposed leader may hear of mails that its successor posted.
  if (consumed > channel.posted) {
    DOLMEN_PROBE("cluster.heard_of_unknown_mail");
    return;
  }
  if (consumed <= link.heard) return;
  link.heard = consumed;
  link.resend_ns = 0;
}

void Courier::take_in(const Mailbox::Channel* channel, Link& link, const MailMessage& message) {
  const MailSequence consumed = channel == nullptr ? 0 : channel->consumed;
  const MailSequence stable = channel == nullptr ? 0 : channel->stable_consumed;
  link.proposed.pass(consumed);
  MailSequence sequence = message.first;
  for (const auto& mail : message.mails) {
    if (sequence > link.proposed.end() + 1) {
      DOLMEN_PROBE("cluster.mail_out_of_order");
      return;
    }
    if (sequence <= stable) link.is_asked = true;
    const bool is_next = sequence == link.proposed.end() + 1;
    if (is_next) {
      if (!link.proposed.has_room(mail.size(), options_.proposed_bytes)) return;
      if (DOLMEN_BUGGIFY("cluster.mail_untaken")) return;  // it comes again
      link.proposed.push(mail.size());
    }
    if (is_next || (sequence > consumed && DOLMEN_PLANTED("cluster.proposed_again"))) {
      output_.proposals.push_back(
          {.received = {{.from = message.from, .sequence = sequence, .bytes = mail}}});
    }
    ++sequence;
  }
}

void Courier::declined(std::uint64_t now_ns, const MailChange& proposal) {
  const auto& channels = mailbox_.channels();
  if (proposal.received) {
    const auto link = links_.find(proposal.received->from);
    if (link != links_.end()) link->second.proposed.cut(proposal.received->sequence - 1);
  }
  for (const auto& [by, up_to] : proposal.acknowledged) {
    const auto link = links_.find(by);
    const auto channel = channels.find(by);
    if (link == links_.end() || channel == channels.end()) continue;
    link->second.trimmed = channel->second.acknowledged;
    trim_at_ns_ = std::min(trim_at_ns_, now_ns + options_.trim_ns);
  }
}

void Courier::serve(std::uint64_t now_ns, const GroupId& peer, const Mailbox::Channel& channel) {
  Link& link = links_[peer];
  link.heard = std::max(link.heard, channel.acknowledged);
  link.proposed.pass(channel.consumed);
  const bool was_under_way = !link.sent.is_empty();
  link.sent.pass(link.heard);
  if (link.sent.is_empty()) {
    link.resend_at_ns = kNever;
  } else if (link.resend_ns == 0) {
    // Something was acknowledged since: the others get their time anew.
    link.resend_ns = options_.resend_ns;
    link.resend_at_ns = now_ns + link.resend_ns;
  }
  const bool is_due = now_ns >= link.resend_at_ns;
  if (was_under_way && (is_due || DOLMEN_BUGGIFY("cluster.mail_again"))) {
    link.sent.cut(link.heard);
    link.resend_ns = std::min(2 * link.resend_ns, options_.resend_max_ns);
    link.resend_at_ns = now_ns + link.resend_ns;
  }
  send(now_ns, peer, channel, link);
  if (DOLMEN_PLANTED("cluster.trimmed_when_sent")) link.heard = link.sent.end();
  const bool is_trimmable = link.heard > std::max(link.trimmed, channel.acknowledged);
  if (is_trimmable && trim_at_ns_ == kNever) {
    trim_at_ns_ = now_ns + (DOLMEN_BUGGIFY("cluster.trim_early") ? 0 : options_.trim_ns);
  }
}

void Courier::send(std::uint64_t now_ns, const GroupId& peer, const Mailbox::Channel& channel,
                   Link& link) {
  const auto begin_message = [&] {
    link.told = tellable(channel);
    link.is_asked = false;
    return MailMessage{.from = mailbox_.self(), .to = peer, .consumed = link.told};
  };
  while (link.sent.end() < sendable(channel)) {
    const auto at = [&](MailSequence sequence) -> const std::vector<std::byte>& {
      return channel.unacknowledged[sequence - channel.acknowledged - 1];
    };
    const std::size_t most = DOLMEN_BUGGIFY("cluster.window_small") ? 1 : options_.window_bytes;
    if (!link.sent.has_room(at(link.sent.end() + 1).size(), most)) break;
    MailMessage message = begin_message();
    message.first = link.sent.end() + 1;
    std::size_t bytes = 0;
    while (link.sent.end() < sendable(channel)) {
      const std::vector<std::byte>& mail = at(link.sent.end() + 1);
      if (!link.sent.has_room(mail.size(), options_.window_bytes)) break;
      bytes += kMailHeadBytes + mail.size();
      const bool is_full = bytes > options_.message_bytes || DOLMEN_BUGGIFY("cluster.mail_alone");
      if (!message.mails.empty() && is_full) break;
      message.mails.push_back(mail);
      link.sent.push(mail.size());
    }
    if (link.resend_at_ns == kNever) {
      link.resend_ns = options_.resend_ns;
      link.resend_at_ns = now_ns + link.resend_ns;
    }
    output_.messages.push_back(std::move(message));
  }
  const bool is_news = tellable(channel) > link.told;
  const bool is_asked = link.is_asked && !DOLMEN_PLANTED("cluster.told_once");
  if (is_news || is_asked) output_.messages.push_back(begin_message());
}

void Courier::propose_trims() {
  trim_at_ns_ = kNever;
  MailChange change;
  for (const auto& [peer, channel] : mailbox_.channels()) {
    Link& link = links_[peer];
    const bool is_known = link.heard <= std::max(link.trimmed, channel.acknowledged);
    if (is_known) continue;
    link.trimmed = link.heard;
    change.acknowledged.push_back({peer, link.heard});
  }
  if (!change.acknowledged.empty()) output_.proposals.push_back(std::move(change));
}

std::uint64_t Courier::next_wakeup_ns() const noexcept {
  std::uint64_t next = trim_at_ns_;
  for (const auto& [peer, link] : links_) next = std::min(next, link.resend_at_ns);
  return next;
}

}  // namespace dolmen::cluster
