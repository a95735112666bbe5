// SPDX-License-Identifier: Apache-2.0
#include "node/home_part.hpp"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "node/replicated_group.hpp"

namespace dolmen::node {

using cluster::GroupNumber;
using cluster::HomeCommand;
using cluster::HomePlan;
using cluster::HomeVerdict;

namespace {

constexpr std::size_t kIdBytes = 16;
/// Of no entry.
constexpr log::Index kTrial = ~log::Index{0};

std::unexpected<Error> damaged_homes_of_entry() {
  return fail(Errc::corrupt, "what an entry says about homes of objects");
}

}  // namespace

std::vector<std::byte> encode_home_commands(const std::vector<HomeCommand>& commands) {
  DOLMEN_ASSERT_CMP(commands.size(), <=, kHomeCommandsMax);
  base::ByteWriter out;
  for (const HomeCommand& command : commands) {
    const std::vector<std::byte> bytes = cluster::encode(command);
    out.put(static_cast<std::uint32_t>(bytes.size()));
    out.put_bytes(bytes);
  }
  return out.release();
}

Result<std::vector<HomeCommand>> decode_home_commands(base::Bytes bytes) {
  base::ByteReader in(bytes);
  std::vector<HomeCommand> commands;
  while (in.remaining() > 0) {
    const base::Bytes one = in.take(in.get<std::uint32_t>());
    if (in.failed() || commands.size() == kHomeCommandsMax) return damaged_homes_of_entry();
    DOLMEN_TRY(HomeCommand command, cluster::decode_home_command(one));
    commands.push_back(std::move(command));
  }
  return commands;
}

std::vector<std::byte> encode(const AtObject& at) {
  base::ByteWriter out;
  out.put_id(at.object);
  out.put_bytes(at.call);
  return out.release();
}

Result<AtObject> decode_at_object(base::Bytes bytes) {
  base::ByteReader in(bytes);
  AtObject at;
  at.object = in.get_id();
  at.call = in.take(in.remaining());
  if (in.failed() || at.object.is_null()) return fail(Errc::corrupt, "a call of an object");
  return at;
}

std::vector<std::byte> encode_ids(const std::vector<ObjectId>& ids) {
  base::ByteWriter out;
  for (const ObjectId& id : ids) out.put_id(id);
  return out.release();
}

Result<std::vector<ObjectId>> decode_ids(base::Bytes bytes) {
  base::ByteReader in(bytes);
  std::vector<ObjectId> ids;
  const std::size_t count = bytes.size() / kIdBytes;
  bool is_right = count > 0 && count <= kHomeCommandsMax && bytes.size() % kIdBytes == 0;
  for (std::size_t i = 0; is_right && i < count; ++i) {
    ids.push_back(in.get_id());
    is_right = !ids.back().is_null();
  }
  if (!is_right) return fail(Errc::corrupt, "ids of objects");
  return ids;
}

HomePart::HomePart(const cluster::GroupId& self, Shards shards, const cluster::HomeLimits& limits)
    : shards_(std::move(shards)),
      limits_(limits),
      table_(static_cast<GroupNumber>(self.low), limits) {}

Result<bool> HomePart::publish(const ObjectId& id, std::vector<HomeCommand>& commands) const {
  const auto found = table_.rows().find(id);
  if (found != table_.rows().end()) {
    if (found->second.state == cluster::HomeState::here) {
      return table_.find(id).answer == cluster::HomeAnswer::untold;
    }
    // The directory knows it. Who waited for the move could stand in its way.
    if (found->second.state == cluster::HomeState::leaving) return false;
    return fail(Errc::busy, "publish(): what became of an object of this id is not known yet");
  }
  const auto is_same = [&](const HomeCommand& command) {
    const auto* const create = std::get_if<cluster::home::Create>(&command);
    return create != nullptr && create->id == id;
  };
  if (std::ranges::any_of(commands, is_same)) return true;
  if (table_.is_draining()) {
    return fail(Errc::unsupported, "publish(): this space gives its objects away and takes none");
  }
  if (commands.size() + 1 >= kHomeCommandsMax / 2) {
    return fail(Errc::limit, "publish(): objects of a call", commands.size());
  }
  if (table_.rows().size() + commands.size() >= limits_.objects_max) {
    return fail(Errc::limit, "publish(): objects of a space", limits_.objects_max);
  }
  if (table_.shards().empty() && commands.empty()) {
    std::vector<GroupNumber> shards = shards_();
    if (shards.empty() || std::ranges::find(shards, GroupNumber{0}) != shards.end()) {
      return fail(Errc::unsupported,
                  "publish(): the cluster has no directory, as far as this node knows: "
                  "`dolmen directory create` makes one");
    }
    commands.emplace_back(cluster::home::SetShards{std::move(shards)});
  }
  commands.emplace_back(cluster::home::Create{.id = id});
  return true;
}

void HomePart::erase(const ObjectId& id, std::vector<HomeCommand>& commands) const {
  const auto found = table_.rows().find(id);
  bool is_here = found != table_.rows().end() && found->second.state == cluster::HomeState::here;
  for (const HomeCommand& command : commands) {
    if (const auto* const create = std::get_if<cluster::home::Create>(&command)) {
      is_here = is_here || create->id == id;
    } else if (const auto* const erased = std::get_if<cluster::home::Erase>(&command)) {
      if (erased->id == id) return;
    }
  }
  if (is_here) commands.emplace_back(cluster::home::Erase{id});
}

bool HomePart::carry_out(log::Index index, const std::vector<HomeCommand>& commands,
                         cluster::MailChange& change, std::vector<HomeDone>* done) {
  const std::optional<cluster::HomeMail> mail = mail_in(change);
  for (const HomeCommand& command : commands) {
    const auto* const take = std::get_if<cluster::home::Take>(&command);
    // One of a later version is consumed, and nothing else.
    if (take != nullptr && !mail) continue;
    const HomePlan plan =
        take == nullptr
            ? table_.plan(command)
            : table_.plan(*take, static_cast<GroupNumber>(change.received->from.low), *mail);
    if (plan.verdict != HomeVerdict::applied) {
      table_.undo(index);
      return false;
    }
    for (const cluster::HomeLetter& letter : plan.letters) {
      change.posted.push_back({.to = group_of(letter.to), .bytes = cluster::encode(letter.mail)});
    }
    for (const cluster::HomeBytes& bytes : plan.bytes) {
      if (done == nullptr) break;
      const bool is_erase = bytes.kind == cluster::HomeBytes::Kind::erase;
      if (is_erase && DOLMEN_PLANTED("homes.erase_forgotten")) continue;
      const bool is_publish = bytes.kind == cluster::HomeBytes::Kind::publish;
      if (is_publish && DOLMEN_PLANTED("homes.publish_forgotten")) continue;
      done->push_back(
          {.kind = bytes.kind, .id = bytes.id, .part = {bytes.part.begin(), bytes.part.end()}});
    }
    std::vector<bool> were_hidden;
    for (const auto& [id, row] : plan.rows) were_hidden.push_back(is_hidden(id));
    table_.apply(index, plan);
    for (std::size_t i = 0; i < plan.rows.size(); ++i) {
      if (were_hidden[i] != is_hidden(plan.rows[i].first)) ++hidings_;
    }
  }
  return true;
}

Result<void> HomePart::judge(const std::vector<HomeCommand>& commands, cluster::MailChange change,
                             const MailPart& mail) {
  const std::uint64_t hidings = hidings_;
  const bool is_done = carry_out(kTrial, commands, change, nullptr);
  table_.undo(kTrial);
  hidings_ = hidings;
  const bool is_full = DOLMEN_BUGGIFY("node.outbox_full");
  if (is_done && !is_full && mail.mailbox().judge(change) == cluster::MailVerdict::applied) {
    return {};
  }
  return fail(Errc::busy, "a group that cannot tell others of objects now");
}

Result<void> HomePart::apply(log::Index index, base::Bytes commands, cluster::MailChange change,
                             MailPart& mail, std::vector<HomeDone>* done) {
  DOLMEN_TRY(const auto decoded, decode_home_commands(commands));
  const std::optional<cluster::HomeMail> consumed = mail_in(change);
  const bool is_done = carry_out(index, decoded, change, done);
  ++changes_;
  if (is_done && mail.apply(index, std::move(change)) == cluster::MailVerdict::applied) {
    is_used_ = true;
    if (consumed) remember_refusal(*consumed);
    return {};
  }
  if (is_done) ++hidings_;  // whatever it was is not so
  table_.undo(index);
  if (done != nullptr) done->clear();
  return fail(Errc::conflict, "homes of objects that are others by now");
}

void HomePart::reset() {
  table_ = cluster::HomeTable(table_.self(), limits_);
  is_used_ = false;
  ++hidings_;
  ++changes_;
}

std::vector<std::byte> HomePart::snapshot() const {
  if (!is_used_ || DOLMEN_PLANTED("homes.not_in_snapshot")) return {};
  return table_.snapshot();
}

Result<void> HomePart::restore(base::Bytes snapshot) {
  reset();
  if (snapshot.empty()) return {};
  is_used_ = true;
  return table_.restore(snapshot);
}

}  // namespace dolmen::node
