// SPDX-License-Identifier: Apache-2.0
#include "replication/memory_witness.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <utility>

#include "base/hooks.hpp"
#include "fabric/shm_memory.hpp"
#include "log/witness_area.hpp"
#include "replication/shared_lanes.hpp"

namespace dolmen::replication {

namespace {

using fabric::shm::word_at;

constexpr std::size_t kAreaBytesMin = 4096;

}  // namespace

Result<void> check_area_bytes(std::size_t bytes) {
  if (bytes >= kAreaBytesMin && bytes <= log::kLaneBytesMax && bytes % 8 == 0) return {};
  return fail(Errc::invalid_argument, "an area's bytes: 4 KiB to 1 GiB, a multiple of 8", bytes);
}

Result<std::unique_ptr<MemoryWitness>> MemoryWitness::make(const sys::Env& env,
                                                           fabric::Endpoint& endpoint,
                                                           const MemoryWitnessOptions& options) {
  if (!endpoint.traits().mapped) {
    return fail(Errc::unsupported, "a witness that is memory alone, where memory is not mapped");
  }
  DOLMEN_CHECK(check_area_bytes(options.area_bytes));
  return std::unique_ptr<MemoryWitness>(new MemoryWitness(env, endpoint, options));
}

Result<void> MemoryWitness::add(const GroupId& group, log::ReplicaId self,
                                const log::Configuration& first) {
  const bool is_again = DOLMEN_PLANTED("replication.witness_again");
  Kept kept{.self = is_again ? replica_of(node_of(self), kFirstLife) : self, .first = first};
  bool is_witness = false;
  for (const log::ReplicaId voter : first.voters) {
    if (node_of(voter) == node_of(self)) is_witness = first.is_witness(voter);
    if (!first.is_witness(voter)) kept.servers.push_back(node_of(voter));
  }
  if (!is_witness) {
    return fail(Errc::invalid_argument, "a witness: the group has this member as a server");
  }
  if (kept.servers.size() * log::kAreasOfServer > kWitnessSlots) {
    return fail(Errc::limit, "servers of a witness", kept.servers.size());
  }
  const fabric::RegionId region = directory_region(group);
  DOLMEN_TRY(kept.directory, endpoint_.make_region(region, kDirectoryBytes));
  for (const fabric::NodeId server : kept.servers) DOLMEN_CHECK(make_areas(kept, server));
  base::ByteWriter card;
  card.put(kWitnessDirectoryMagic);
  card.put(kDirectoryVersion);
  card.put_id(group);
  card.put(static_cast<std::uint64_t>(self));
  std::ranges::copy(card.bytes(), kept.directory.begin() + kDirectoryCardAt);
  // Last: whoever may look finds all of it.
  for (const fabric::NodeId server : kept.servers) {
    DOLMEN_CHECK(endpoint_.grant(region, server, {.read = true, .write = true}));
  }
  groups_.insert_or_assign(group, std::move(kept));
  return {};
}

/// Those that `server` alone writes, and all servers read.
Result<void> MemoryWitness::make_areas(Kept& kept, fabric::NodeId server) {
  for (std::uint32_t number = 0; number < log::kAreasOfServer; ++number) {
    const fabric::RegionId region{next_region_};
    DOLMEN_TRY(const base::MutableBytes area, endpoint_.make_region(region, options_.area_bytes));
    ++next_region_;
    for (const fabric::NodeId reader : kept.servers) {
      DOLMEN_CHECK(endpoint_.grant(region, reader, {.read = true, .write = reader == server}));
    }
    base::ByteWriter slot;
    slot.put(static_cast<std::uint64_t>(server));
    slot.put(number);
    slot.put(static_cast<std::uint32_t>(region));
    const std::size_t at = kDirectorySlotsAt + kept.areas.size() * kDirectorySlotBytes;
    std::ranges::copy(slot.bytes(), kept.directory.begin() + static_cast<std::ptrdiff_t>(at));
    kept.areas.push_back(area);
  }
  return {};
}

Result<bool> MemoryWitness::turn() {
  DOLMEN_TRY(const bool was_busy, endpoint_.poll(*this));
  const std::uint64_t now_ns = env_.clock->monotonic_ns();
  for (auto& [group, kept] : groups_) {
    if (kept.is_taken_in() || now_ns < kept.ask_at_ns) continue;
    kept.ask_at_ns = now_ns + options_.join_ns;
    for (const fabric::NodeId server : kept.servers) {
      const auto to = endpoint_.connected(server);
      if (!to) continue;
      send(*to, {.kind = EnvelopeKind::join, .group = group, .from = kept.self}, {});
      send(*to, {.kind = EnvelopeKind::ask_roster, .group = group}, {});
    }
  }
  return was_busy;
}

Result<void> MemoryWitness::wait() {
  std::uint64_t until_ns = ~std::uint64_t{0};
  for (const auto& [group, kept] : groups_) {
    if (!kept.is_taken_in()) until_ns = std::min(until_ns, kept.ask_at_ns);
  }
  return endpoint_.wait(until_ns);
}

log::Epoch MemoryWitness::Kept::word() const {
  return word_at<std::uint64_t>(directory, kDirectoryWordAt).load(std::memory_order_seq_cst);
}

bool MemoryWitness::Kept::is_taken_in() const {
  return roster.configuration && roster.configuration->is_voter(self) && roster.is_settled;
}

bool MemoryWitness::is_taken_in(const GroupId& group) const {
  const auto found = groups_.find(group);
  return found != groups_.end() && found->second.is_taken_in();
}

// --- what arrives --------------------------------------------------------------------------------

void MemoryWitness::on_connected(const fabric::NodeName& /*peer*/) {}
void MemoryWitness::on_lost(const fabric::NodeName& /*peer*/, const Error& /*why*/) {}
void MemoryWitness::on_refused(fabric::NodeId /*who*/, const Error& /*why*/) {}
void MemoryWitness::on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) {}

// What does not decode is of a broken program: it is dropped.
void MemoryWitness::on_message(const fabric::NodeName& from, base::Bytes message) {
  const auto opened = decode_envelope(message);
  if (!opened) return;
  const auto& [envelope, body] = *opened;
  if (envelope.kind == EnvelopeKind::ask_roster) {
    return send(from, {.kind = EnvelopeKind::roster, .group = envelope.group},
                encode(roster_of(envelope.group)));
  }
  const auto found = groups_.find(envelope.group);
  if (found == groups_.end()) return;
  Kept& kept = found->second;
  const auto reply = [&](EnvelopeKind kind, base::Bytes answer) {
    send(from, {.kind = kind, .group = envelope.group, .from = kept.self}, answer);
  };
  switch (envelope.kind) {
    case EnvelopeKind::roster: {
      auto told = decode_roster(body);
      if (!told || !told->configuration || told->as_of < kept.roster.as_of) return;
      kept.roster = std::move(*told);
      return;
    }
    case EnvelopeKind::ask_status:
      return reply(EnvelopeKind::status, encode(status_of(kept)));
    case EnvelopeKind::request:
    case EnvelopeKind::ask_outcome: {
      const auto request = decode_request(body);
      if (!request) return;
      return reply(EnvelopeKind::reply,
                   encode(Reply{.number = request->number, .status = ReplyStatus::not_leader}));
    }
    case EnvelopeKind::change: {
      const auto asked = decode_change(body);
      if (!asked) return;
      return reply(
          EnvelopeKind::change_reply,
          encode(ChangeReply{.number = asked->number, .status = ChangeStatus::not_leader}));
    }
    default:
      return;  // nobody has anything else to say to it
  }
}

// What cannot be sent is asked for again.
void MemoryWitness::send(const fabric::NodeName& to, const Envelope& envelope, base::Bytes body) {
  const std::vector<std::byte> head = encode(envelope);
  const std::array<base::Bytes, 2> parts{head, body};
  (void)endpoint_.send(to, parts);
}

Roster MemoryWitness::roster_of(const GroupId& group) const {
  Roster roster;
  const auto found = groups_.find(group);
  if (found != groups_.end()) roster = found->second.roster;
  roster.groups.clear();
  for (const auto& [kept_group, kept] : groups_) roster.groups.push_back(kept_group);
  return roster;
}

std::optional<MemberStatus> MemoryWitness::status(const GroupId& group) const {
  const auto found = groups_.find(group);
  if (found == groups_.end()) return std::nullopt;
  return status_of(found->second);
}

log::Epoch MemoryWitness::word(const GroupId& group) const {
  const auto found = groups_.find(group);
  return found == groups_.end() ? 0 : found->second.word();
}

MemberStatus MemoryWitness::status_of(const Kept& kept) {
  MemberStatus status{
      .self = kept.self,
      .epoch = kept.word(),
      .configuration = kept.roster.configuration.value_or(kept.first),
      .level = Level::replicated,
  };
  for (const base::MutableBytes area : kept.areas) {
    const auto found = log::read_area(area);
    if (!found || found->header.owner != kept.self || found->end() <= status.end) continue;
    status.end = found->end();
    status.stable = std::min(found->stable, status.end.index);
    status.base = found->snapshot ? found->snapshot->last().index : 0;
    status.leader = found->header.name.epoch == status.epoch ? found->header.writer : log::kNobody;
  }
  return status;
}

}  // namespace dolmen::replication
