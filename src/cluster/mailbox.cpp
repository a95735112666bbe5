// SPDX-License-Identifier: Apache-2.0
#include "cluster/mailbox.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

/// Counted for each mail, so that empty ones are bounded as well.
constexpr std::size_t kKeptBytes = 32;
constexpr std::size_t kChannelBytes = 48;

std::size_t kept_bytes(std::size_t mail_bytes) noexcept { return kKeptBytes + mail_bytes; }

std::unexpected<Error> damaged_mailbox() { return fail(Errc::corrupt, "the mail of a group"); }

}  // namespace

Mailbox::Mailbox(GroupId self, const MailLimits& limits) : self_(self), limits_(limits) {
  DOLMEN_ASSERT(!self.is_null());
  DOLMEN_ASSERT(limits.post_bytes <= kMailLimitMax && limits.forward_bytes <= kMailLimitMax);
}

const Mailbox::Channel* Mailbox::find(const GroupId& peer) const {
  const auto found = channels_.find(peer);
  return found == channels_.end() ? nullptr : &found->second;
}

MailVerdict Mailbox::judge_places(const MailChange& change) const {
  if (change.received) {
    const auto& [from, sequence, bytes] = *change.received;
    const Channel* const channel = find(from);
    const MailSequence consumed = channel == nullptr ? 0 : channel->consumed;
    if (from == self_ || from.is_null() || sequence == 0 || sequence > kMailSequenceMax) {
      return MailVerdict::refused;
    }
    if (sequence <= consumed && !DOLMEN_PLANTED("cluster.consumed_again")) {
      return MailVerdict::duplicate;
    }
    if (sequence > consumed + 1 && !DOLMEN_PLANTED("cluster.gap_consumed")) return MailVerdict::gap;
  }
  for (const auto& [by, up_to] : change.acknowledged) {
    const Channel* const channel = find(by);
    if (channel == nullptr || up_to > channel->posted) return MailVerdict::refused;
  }
  return MailVerdict::applied;
}

MailVerdict Mailbox::judge(const MailChange& change) const {
  const MailVerdict places = judge_places(change);
  if (places != MailVerdict::applied) return places;
  std::size_t bytes = bytes_;
  std::set<GroupId> strangers;
  if (change.received && find(change.received->from) == nullptr) {
    strangers.insert(change.received->from);
  }
  for (const Letter& letter : change.posted) {
    if (letter.to == self_ || letter.to.is_null() || letter.bytes.size() > kMailBytesMax) {
      return MailVerdict::refused;
    }
    const Channel* const channel = find(letter.to);
    if (channel == nullptr) strangers.insert(letter.to);
    if (channel != nullptr && channel->posted > kMailSequenceMax - change.posted.size()) {
      return MailVerdict::refused;
    }
    bytes += kept_bytes(letter.bytes.size());
  }
  const std::size_t limit = change.received ? limits_.forward_bytes : limits_.post_bytes;
  if (!change.posted.empty() && bytes > limit) return MailVerdict::full;
  if (channels_.size() + strangers.size() > kMailPeersMax) return MailVerdict::full;
  return MailVerdict::applied;
}

MailVerdict Mailbox::apply(log::Index index, MailChange change) {
  DOLMEN_ASSERT(steps_.empty() || index >= steps_.back().index);
  const MailVerdict verdict = judge(change);
  if (verdict == MailVerdict::duplicate && DOLMEN_PLANTED("cluster.duplicate_posts")) {
    for (Letter& letter : change.posted) post(index, std::move(letter));
  }
  if (verdict != MailVerdict::applied) return verdict;
  if (change.received) {
    const auto& [from, sequence, bytes] = *change.received;
    Channel& channel = channels_[from];
    steps_.push_back(
        {.index = index, .kind = Step::Kind::consumed, .peer = from, .former = channel.consumed});
    channel.consumed = std::max(channel.consumed, sequence);
  }
  for (const auto& [by, up_to] : change.acknowledged) trim(index, by, up_to);
  for (Letter& letter : change.posted) post(index, std::move(letter));
  return MailVerdict::applied;
}

void Mailbox::post(log::Index index, Letter letter) {
  Channel& channel = channels_[letter.to];
  ++channel.posted;
  bytes_ += kept_bytes(letter.bytes.size());
  channel.unacknowledged.push_back(std::move(letter.bytes));
  steps_.push_back({.index = index, .kind = Step::Kind::posted, .peer = letter.to});
}

void Mailbox::trim(log::Index index, const GroupId& by, MailSequence up_to) {
  Channel& channel = channels_.at(by);
  if (up_to <= channel.acknowledged) return;
  Step step{
      .index = index, .kind = Step::Kind::acknowledged, .peer = by, .former = channel.acknowledged};
  for (; channel.acknowledged < up_to; ++channel.acknowledged) {
    bytes_ -= kept_bytes(channel.unacknowledged.front().size());
    step.trimmed.push_back(std::move(channel.unacknowledged.front()));
    channel.unacknowledged.pop_front();
  }
  steps_.push_back(std::move(step));
}

void Mailbox::settle(log::Index index) {
  for (; !steps_.empty() && steps_.front().index <= index; steps_.pop_front()) {
    const Step& step = steps_.front();
    Channel& channel = channels_.at(step.peer);
    if (step.kind == Step::Kind::posted) ++channel.stable_posted;
    if (step.kind == Step::Kind::consumed) ++channel.stable_consumed;
  }
}

void Mailbox::undo(log::Index from) {
  while (!steps_.empty() && steps_.back().index >= from) undo_last();
}

void Mailbox::undo_last() {
  const auto place = channels_.find(steps_.back().peer);
  DOLMEN_ASSERT(place != channels_.end());
  Channel& channel = place->second;
  Step& step = steps_.back();
  switch (step.kind) {
    case Step::Kind::posted:
      bytes_ -= kept_bytes(channel.unacknowledged.back().size());
      channel.unacknowledged.pop_back();
      --channel.posted;
      break;
    case Step::Kind::consumed:
      if (!DOLMEN_PLANTED("cluster.consumed_not_undone")) channel.consumed = step.former;
      break;
    case Step::Kind::acknowledged:
      for (auto& mail : step.trimmed) bytes_ += kept_bytes(mail.size());
      channel.unacknowledged.insert(channel.unacknowledged.begin(),
                                    std::make_move_iterator(step.trimmed.begin()),
                                    std::make_move_iterator(step.trimmed.end()));
      channel.acknowledged = step.former;
      break;
  }
  if (channel.posted == 0 && channel.consumed == 0) channels_.erase(place);
  steps_.pop_back();
}

std::vector<std::byte> Mailbox::snapshot() const {
  if (!steps_.empty()) {
    Mailbox settled = *this;
    settled.undo(steps_.front().index);
    return settled.snapshot();
  }
  base::ByteWriter out;
  out.put(kMailboxMagic);
  out.put(static_cast<std::uint16_t>(kMailboxVersion));
  out.put(std::uint16_t{0});
  out.put_id(self_);
  out.put(static_cast<std::uint32_t>(channels_.size()));
  out.put(std::uint32_t{0});
  for (const auto& [peer, channel] : channels_) {
    out.put_id(peer);
    out.put(channel.posted);
    out.put(channel.acknowledged);
    out.put(channel.consumed);
    out.put(static_cast<std::uint64_t>(channel.unacknowledged.size()));
    for (const auto& mail : channel.unacknowledged) {
      out.put(static_cast<std::uint32_t>(mail.size()));
      out.put_bytes(mail);
    }
  }
  return out.release();
}

Result<void> Mailbox::restore(base::Bytes snapshot) {
  base::ByteReader in(snapshot);
  if (in.get<std::uint32_t>() != kMailboxMagic) return damaged_mailbox();
  if (const auto version = in.get<std::uint16_t>(); version != kMailboxVersion) {
    if (in.failed()) return damaged_mailbox();
    return fail(Errc::version_unsupported, "the mail of a group", version);
  }
  if (in.get<std::uint16_t>() != 0 || in.get_id() != self_) return damaged_mailbox();
  const auto count = in.get<std::uint32_t>();
  if (in.get<std::uint32_t>() != 0 || in.failed() || count > kMailPeersMax) {
    return damaged_mailbox();
  }
  if (count > in.remaining() / kChannelBytes) return damaged_mailbox();
  std::map<GroupId, Channel> channels;
  std::size_t bytes = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const GroupId peer = in.get_id();
    Channel channel{.posted = in.get<std::uint64_t>(),
                    .acknowledged = in.get<std::uint64_t>(),
                    .consumed = in.get<std::uint64_t>()};
    const auto mails = in.get<std::uint64_t>();
    if (in.failed() || peer.is_null() || peer == self_) return damaged_mailbox();
    // Ascending, so that a state that is understood is exactly what snapshot() gives.
    if (!channels.empty() && peer <= channels.rbegin()->first) return damaged_mailbox();
    if (channel.posted > kMailSequenceMax || channel.consumed > kMailSequenceMax) {
      return damaged_mailbox();
    }
    if (channel.posted == 0 && channel.consumed == 0) return damaged_mailbox();
    if (channel.acknowledged > channel.posted) return damaged_mailbox();
    if (mails != channel.posted - channel.acknowledged) return damaged_mailbox();
    if (mails > in.remaining() / kMailHeadBytes) return damaged_mailbox();
    for (std::uint64_t m = 0; m < mails; ++m) {
      const std::size_t length = in.get<std::uint32_t>();
      const base::Bytes mail = in.take(length);
      if (in.failed() || length > kMailBytesMax) return damaged_mailbox();
      bytes += kept_bytes(length);
      channel.unacknowledged.emplace_back(mail.begin(), mail.end());
    }
    if (DOLMEN_PLANTED("cluster.sequence_restarts") && channel.unacknowledged.empty()) {
      channel.posted = channel.acknowledged = 0;
    }
    if (DOLMEN_PLANTED("cluster.inbox_forgotten")) channel.consumed = 0;
    channel.stable_posted = channel.posted;
    channel.stable_consumed = channel.consumed;
    channels.emplace_hint(channels.end(), peer, std::move(channel));
  }
  if (!in.finished()) return damaged_mailbox();
  channels_ = std::move(channels);
  bytes_ = bytes;
  steps_.clear();
  return {};
}

}  // namespace dolmen::cluster
