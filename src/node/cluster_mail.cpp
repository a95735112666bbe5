// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_mail.hpp"

#include <algorithm>
#include <utility>

#include "base/hooks.hpp"
#include "node/replicated_group.hpp"

namespace dolmen::node {

using cluster::GroupNumber;
using cluster::MailChange;
using cluster::MailMessage;
using cluster::NodeNumber;

namespace {

bool exchanges_mail(const cluster::RootGroup& group) {
  return group.kind == cluster::GroupKind::space || group.is_directory();
}

std::size_t bytes_in(const MailMessage& message) {
  std::size_t bytes = cluster::kMailMessageHeadBytes;
  for (const auto& mail : message.mails) bytes += cluster::kMailHeadBytes + mail.size();
  return bytes;
}

}  // namespace

Result<cluster::GroupId> ClusterMail::find(const cluster::RootState& map, std::string_view name,
                                           std::uint64_t number) {
  if (number == 0) number = name.empty() ? 0 : map.group_named(name);
  const bool is_one = number != 0 && number <= ~GroupNumber{0};
  const auto* const group = is_one ? map.group(static_cast<GroupNumber>(number)) : nullptr;
  if (group == nullptr) {
    return fail(Errc::not_found, "post(): a group of the cluster, as far as is known here", number);
  }
  if (group->kind != cluster::GroupKind::space) {
    return fail(Errc::invalid_argument, "post(): a group that keeps no space", number);
  }
  return group_of(number);
}

std::optional<GroupNumber> ClusterMail::number_of(const cluster::GroupId& group) const {
  if (group.high != group_of(0).high || group.low > ~GroupNumber{0}) return std::nullopt;
  const auto number = static_cast<GroupNumber>(group.low);
  const cluster::RootGroup* const known = map_.group(number);
  if (known == nullptr || !exchanges_mail(*known)) return std::nullopt;
  return number;
}

/// As far as the map here says. One that is too old is replaced soon, and then it will be heard.
bool ClusterMail::may_speak(NodeNumber node, GroupNumber group) const {
  const cluster::RootGroup& its = *map_.group(group);
  return its.members.contains(node) || (its.change && its.change->add == node);
}

void ClusterMail::hear(std::uint64_t now_ns, const fabric::NodeName& from, const ObjectId& group,
                       base::Bytes body) {
  const auto message = cluster::decode_mail_message(body);
  if (!message || message->to != group) return;
  const auto speaks_for = number_of(message->from);
  const auto node = static_cast<std::uint64_t>(from.node);
  if (!speaks_for || node > ~NodeNumber{0}) return;
  const auto speaker = static_cast<NodeNumber>(node);
  if (!may_speak(speaker, *speaks_for)) {
    DOLMEN_PROBE("cluster.mail_of_no_member");
    return;
  }
  places_[*speaks_for] = {.leader = speaker};
  deliver(now_ns, *message);
}

void ClusterMail::deliver(std::uint64_t now_ns, const MailMessage& message) {
  const auto number = number_of(message.to);
  const auto found = number ? boxes_.find(*number) : boxes_.end();
  if (found == boxes_.end()) return;
  Box& box = found->second;
  // What a courier knows is of a mailbox that may have been undone in this turn.
  if (!box.courier || box.life != box.part->life()) return;
  meter_.received += message.mails.size();
  box.courier->receive(now_ns, message);
}

bool ClusterMail::turn(std::uint64_t now_ns, replication::Member& member) {
  now_ns_ = now_ns;
  bool busy = !local_.empty();
  const std::vector<MailMessage> local = std::exchange(local_, {});
  local_bytes_ = 0;
  for (const MailMessage& message : local) {
    if (const auto from = number_of(message.from)) places_[*from] = {.leader = self_};
    deliver(now_ns, message);
  }
  for (auto& [number, box] : boxes_) busy |= look_after(now_ns, member, number, box);
  return busy;
}

bool ClusterMail::look_after(std::uint64_t now_ns, replication::Member& member, GroupNumber number,
                             Box& box) {
  if (box.life != box.part->life() || !member.leads(group_of(number))) box.courier.reset();
  if (!member.leads(group_of(number))) return false;
  if (!box.courier) {
    box.life = box.part->life();
    box.serial = ++serial_;
    box.proposed_bytes = 0;
    box.sent.clear();
    box.changes = box.part->changes();
    box.courier.emplace(box.part->mailbox(), options_.courier, now_ns);
  } else if (box.changes != box.part->changes() || now_ns >= box.courier->next_wakeup_ns()) {
    box.changes = box.part->changes();
    box.courier->changed(now_ns);
  }
  cluster::CourierOutput output = box.courier->take_output();
  for (const MailMessage& message : output.messages) {
    count(box, message);
    send(now_ns, member, message);
  }
  for (MailChange& change : output.proposals) propose(member, number, box, std::move(change));
  return !output.messages.empty() || !output.proposals.empty();
}

void ClusterMail::count(Box& box, const MailMessage& message) {
  if (message.mails.empty()) return;
  cluster::MailSequence& before = box.sent[message.to];
  const cluster::MailSequence last = message.first + message.mails.size() - 1;
  meter_.sent += message.mails.size();
  if (message.first <= before) meter_.again += std::min(before, last) - message.first + 1;
  before = std::max(before, last);
}

std::optional<ClusterMail::Outbox> ClusterMail::outbox(GroupNumber group) const {
  const auto found = boxes_.find(group);
  if (found == boxes_.end()) return std::nullopt;
  const cluster::Mailbox& mailbox = found->second.part->mailbox();
  Outbox outbox{.bytes = mailbox.bytes()};
  for (const auto& [peer, channel] : mailbox.channels()) {
    outbox.mails += channel.unacknowledged.size();
  }
  return outbox;
}

void ClusterMail::send(std::uint64_t now_ns, replication::Member& member,
                       const MailMessage& message) {
  const auto number = number_of(message.to);
  if (!number) return;  // the map was replaced by one of this node's own past: it will know again
  const cluster::RootGroup& group = *map_.group(*number);
  Place& place = places_[*number];
  if (!message.mails.empty() && place.silent_since_ns == 0) place.silent_since_ns = now_ns;
  const bool is_silent =
      place.silent_since_ns != 0 && now_ns >= place.silent_since_ns + options_.elsewhere_ns;
  std::vector<NodeNumber> to;
  const bool is_there = place.leader == self_ ||
                        (place.leader != 0 && endpoint_.connected(fabric::NodeId{place.leader}));
  if (is_there && !is_silent && !DOLMEN_BUGGIFY("node.mail_to_all")) {
    to.push_back(place.leader);
  } else {
    for (const auto& [member_node, life] : group.members) to.push_back(member_node);
    if (group.change && group.change->add != 0) to.push_back(group.change->add);
  }
  std::vector<std::byte> body;
  for (const NodeNumber node : to) {
    if (node == self_) {
      const std::size_t bytes = bytes_in(message);
      if (!boxes_.contains(*number) || local_bytes_ + bytes > options_.local_bytes_max) continue;
      local_bytes_ += bytes;
      local_.push_back(message);
      continue;
    }
    const auto name = endpoint_.connected(fabric::NodeId{node});
    if (!name) continue;
    if (body.empty()) body = cluster::encode(message);
    member.say(*name, replication::EnvelopeKind::mail, message.to, body);
  }
}

void ClusterMail::propose(replication::Member& member, GroupNumber number, Box& box,
                          MailChange change) {
  // What is told when it came to nothing: without the mail's bytes.
  MailChange told{.received = {}, .acknowledged = change.acknowledged, .posted = {}};
  std::size_t bytes = sizeof(MailChange);
  if (change.received) {
    bytes += change.received->bytes.size();
    told.received = {
        .from = change.received->from, .sequence = change.received->sequence, .bytes = {}};
  }
  const bool has_room = box.proposed_bytes + bytes <= options_.proposed_bytes_max &&
                        !DOLMEN_BUGGIFY("node.mail_declined");
  if (box.proposed_bytes > 0 && !has_room) {
    return box.courier->declined(now_ns_, told);
  }
  box.proposed_bytes += bytes;
  const std::vector<std::byte> request = box.part->keep(std::move(change));
  member.submit(group_of(number), request,
                [this, number, serial = box.serial, bytes, request,
                 told = std::move(told)](const replication::Executor::Outcome& outcome) {
                  const auto found = boxes_.find(number);
                  if (found == boxes_.end()) return;
                  Box& its = found->second;
                  its.part->forget(request);
                  if (its.serial != serial || !its.courier) return;
                  its.proposed_bytes -= bytes;
                  if (outcome.status == replication::ReplyStatus::done) return;
                  if (its.life == its.part->life()) its.courier->declined(now_ns_, told);
                });
}

std::uint64_t ClusterMail::next_wakeup_ns() const noexcept {
  std::uint64_t next = cluster::Courier::kNever;
  for (const auto& [number, box] : boxes_) {
    if (box.courier) next = std::min(next, box.courier->next_wakeup_ns());
  }
  return next;
}

}  // namespace dolmen::node
