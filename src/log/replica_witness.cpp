// SPDX-License-Identifier: Apache-2.0
//
// Witnesses without compute (docs/direct-path.md): a candidate takes their grant itself, a leader
// writes its lane there itself.
#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "log/replica.hpp"

namespace dolmen::log {

bool Replica::is_memory(ReplicaId id) const noexcept {
  return memory_ != nullptr && options_.witnesses_are_memory &&
         std::ranges::any_of(counting(), [&](const Configured& configured) {
           return configured.configuration.is_witness(id);
         });
}

void Replica::push_memory_write(Peer& witness, LaneWrite write) {
  ++witness.at_witness.under_way;
  write.to = witness.id;
  write.lane.epoch = epoch_;
  if (!write.is_raise) write.round = ask_in_round(witness);
  lane_writes_.push_back(std::move(write));
}

/// What comes of those of another epoch, or another role in it, is not heard.
void Replica::forget_operations() {
  for (Peer& witness : peers_) witness.at_witness = {};
}

void Replica::ask_memory(Peer& witness) {
  if (witness.at_witness.under_way == 0) push_memory_write(witness, {.is_raise = true});
}

// The own area with the later log is kept until another one has all of it.
void Replica::raised(std::uint64_t now_ns, ReplicaId from, Epoch epoch, Epoch former,
                     std::span<const AreaView> areas) {
  Peer* const witness = peer(from);
  if (is_superseded_ || epoch != epoch_ || witness == nullptr || !witness->is_memory) return;
  AtWitness& there = witness->at_witness;
  there.under_way -= there.under_way > 0 ? 1 : 0;
  if (former > epoch_ && former <= kEpochMax) return enter_epoch(now_ns, former, kNobody);
  if (role_ == Role::candidate && stage_ == Stage::probing) {
    // It has no opinion on a leader's silence; that it can be reached is what it says.
    witness->granted = true;
    return count_grants(now_ns);
  }
  const bool is_asked = role_ == Role::candidate && stage_ == Stage::asking && !witness->granted;
  // To another candidate, that is.
  if (is_asked && former == epoch_ && !DOLMEN_PLANTED("log.witness_grants_twice")) {
    return on_refuse(now_ns, witness, {.kind = MessageKind::refuse, .epoch = epoch_});
  }
  const bool is_new_leader = role_ == Role::leader && !there.is_raised;
  if (!is_asked && !is_new_leader) return;
  there = {.is_raised = true, .under_way = there.under_way, .area_bytes = ~std::size_t{0}};
  Position kept_end;
  for (const AreaView& area : areas) {
    if (area.own) there.area_bytes = std::min(there.area_bytes, area.bytes.size() / 8 * 8);
    std::optional<AreaLog> found = read_area(area.bytes);
    if (!found || found->header.owner != from || found->header.name.epoch > epoch_) continue;
    if (area.own && found->end() >= kept_end && !DOLMEN_PLANTED("log.area_kept_blindly")) {
      kept_end = found->end();
      there.kept = *area.own;
    }
    if (!there.latest || found->end() > there.latest->end()) {
      there.latest = std::make_shared<const AreaLog>(std::move(*found));
    }
  }
  if (there.area_bytes == ~std::size_t{0}) there.area_bytes = 0;  // none is free for this server
  if (is_new_leader) {
    there.latest.reset();
    return write_memory(*witness);
  }
  DOLMEN_PROBE("log.memory_granted");
  if (DOLMEN_PLANTED("log.areas_unread")) there.latest.reset();
  witness->granted = true;
  witness->end = there.latest ? there.latest->end() : Position{};
  count_grants(now_ns);
}

void Replica::raise_failed(std::uint64_t /*now_ns*/, ReplicaId from, Epoch epoch) {
  Peer* const witness = peer(from);
  if (epoch != epoch_ || witness == nullptr || !witness->is_memory) return;
  AtWitness& there = witness->at_witness;
  there.under_way -= there.under_way > 0 ? 1 : 0;
}

/// A candidate's: it has all of it already.
void Replica::adopt_from_memory(std::uint64_t now_ns, Peer& witness) {
  DOLMEN_PROBE("log.adopted_from_memory");
  const std::shared_ptr<const AreaLog> latest = std::exchange(witness.at_witness.latest, nullptr);
  if (latest == nullptr) return;
  if (latest->snapshot && latest->snapshot->last().index > stable_) install(latest->snapshot);
  // What does not follow is no log of this group's: the next attempt starts when patience ends.
  if (!take_over(latest->entries) || end() != latest->end()) return;
  set_stable(std::min(latest->stable, last_index()));
  ask_the_rest(now_ns);
  count_grants(now_ns);
}

void Replica::tick_memory(std::uint64_t now_ns, Peer& witness) {
  if (now_ns < witness.sent_ns + options_.heartbeat_ns) return;
  witness.sent_ns = now_ns;
  AtWitness& there = witness.at_witness;
  if (there.under_way > 0) return;
  if (!there.is_raised) return ask_memory(witness);
  write_memory(witness);
  // Whether the word is still its epoch, and the memory there.
  if (there.under_way > 0) return;
  push_memory_write(witness, {.lane = {.number = witness.lane.number},
                              .offset = witness.lane_used,
                              .end = witness.written,
                              .area = there.area});
}

/// Whether there is enough behind the lane's snapshot that a newer one makes room.
bool Replica::is_filling(const Peer& witness) noexcept {
  return witness.lane_used - witness.at_witness.entries_at > witness.at_witness.area_bytes / 4;
}

bool Replica::wants_snapshot() const noexcept {
  if (role_ != Role::leader) return false;
  const Index known = snapshot_ ? snapshot_->last().index : 0;
  const std::size_t state_bytes = snapshot_ ? snapshot_->bytes().size() : 0;
  if (stable_ <= known) return false;
  return std::ranges::any_of(peers_, [&](const Peer& peer) {
    const AtWitness& there = peer.at_witness;
    if (!peer.is_memory || !there.is_raised || state_bytes > there.area_bytes / 2) return false;
    if (there.lacks_room && there.lacked_at == known) return true;
    return peer.is_direct && there.snapshot_end == known && is_filling(peer);
  });
}

std::optional<std::size_t> Replica::area_bytes() const noexcept {
  std::optional<std::size_t> smallest;
  for (const Peer& peer : peers_) {
    const std::size_t bytes = peer.at_witness.area_bytes;
    if (!peer.is_memory || !peer.at_witness.is_raised || bytes == 0) continue;
    smallest = std::min(smallest.value_or(bytes), bytes);
  }
  return smallest;
}

// As much of the log as there is room for, at least up to an entry of this epoch: then the lane has
// all that the one in the kept area has.
void Replica::begin_lane_there(Peer& witness) {
  AtWitness& there = witness.at_witness;
  const Index known = snapshot_ ? snapshot_->last().index : 0;
  if (there.lacks_room && there.lacked_at == known) return;
  const base::Bytes snapshot = snapshot_ ? snapshot_->bytes() : base::Bytes{};
  const std::size_t entries_at = area_base_bytes(snapshot.size());
  Index last = known;
  std::size_t size = entries_at;
  while (last < own_written_) {
    const std::size_t more = lane_entry_bytes(at(last + 1).payload.size());
    if (more > there.area_bytes || size > there.area_bytes - more) break;
    size += more;
    ++last;
  }
  there.lacks_room = size > there.area_bytes || last < std::max(opening_, witness.written);
  there.lacked_at = known;
  if (there.lacks_room) {
    DOLMEN_PROBE("log.memory_lacks_room");
    return;
  }
  DOLMEN_PROBE("log.memory_lane");
  std::vector<std::byte> bytes(size);
  const LaneName name{epoch_, ++witness.lanes_given};
  encode_area_header(
      bytes,
      {.owner = witness.id, .writer = self_, .name = name, .snapshot_bytes = snapshot.size()});
  std::ranges::copy(snapshot, bytes.begin() + kAreaHeaderBytes);
  std::size_t offset = entries_at;
  for (Index i = known + 1; i <= last; ++i) {
    const std::size_t more = lane_entry_bytes(at(i).payload.size());
    encode_lane_entry(base::MutableBytes(bytes).subspan(offset, more), at(i), stable_, epoch_);
    offset += more;
  }
  there.area = (there.kept + 1) % kAreasOfServer;
  if (DOLMEN_PLANTED("log.area_in_place")) there.area = there.kept;
  there.is_landed = false;
  there.entries_at = entries_at;
  there.snapshot_end = known;
  witness.is_direct = true;
  witness.lane = {.number = name.number, .bytes = there.area_bytes};
  witness.lane_used = size;
  witness.written = last;
  push_memory_write(witness,
                    {.lane = name, .end = last, .area = there.area, .made = std::move(bytes)});
}

void Replica::write_memory(Peer& witness) {
  AtWitness& there = witness.at_witness;
  // Areas have one writer: whose memory another process took over writes no more.
  if (!there.is_raised || !owns_memory()) return;
  if (!witness.is_direct) return begin_lane_there(witness);
  const Index known = snapshot_ ? snapshot_->last().index : 0;
  const bool is_behind = witness.written < base_.index;  // what it lacks is gone
  const bool is_useful = known > there.snapshot_end && (is_behind || is_filling(witness));
  if (is_useful && there.is_landed) begin_lane_there(witness);
  if (witness.written < base_.index) return;
  std::vector<std::byte> bytes;
  const std::uint64_t offset = witness.lane_used;
  Index last = witness.written;
  while (last < own_written_) {
    const std::size_t more = lane_entry_bytes(at(last + 1).payload.size());
    if (more > there.area_bytes - witness.lane_used) break;
    bytes.resize(bytes.size() + more);
    encode_lane_entry(base::MutableBytes(bytes).last(more), at(last + 1), stable_, epoch_);
    witness.lane_used += more;
    ++last;
  }
  if (last == witness.written) return;
  witness.written = last;
  push_memory_write(witness, {.lane = {.number = witness.lane.number},
                              .offset = offset,
                              .end = last,
                              .area = there.area,
                              .made = std::move(bytes)});
}

void Replica::landed_in_memory(std::uint64_t now_ns, Peer& witness, LaneName lane, Index end,
                               Epoch word) {
  AtWitness& there = witness.at_witness;
  there.under_way -= there.under_way > 0 ? 1 : 0;
  if (!there.is_raised) return;
  if (word > epoch_ && word <= kEpochMax) return enter_epoch(now_ns, word, kNobody);
  if (word != epoch_) return lose_memory(witness);
  witness.heard_ns = now_ns;
  if (lane.number <= witness.lanes_dropped) return;
  if (lane.number == witness.lane.number && !there.is_landed) {
    there.is_landed = true;
    there.kept = there.area;
  }
  witness.matched = std::max(witness.matched, end);
  write_memory(witness);
  count_matches(now_ns);
}

void Replica::memory_failed(Peer& witness, LaneName lane) {
  AtWitness& there = witness.at_witness;
  there.under_way -= there.under_way > 0 ? 1 : 0;
  if (lane.number == 0 || lane.number > witness.lanes_dropped) lose_memory(witness);
}

/// Which areas are whole is to be found out again; what is reported of earlier lanes counts no
/// more.
void Replica::lose_memory(Peer& witness) {
  DOLMEN_PROBE("log.memory_lost");
  const ReplicaId id = witness.id;
  std::erase_if(lane_writes_, [&](const LaneWrite& write) {
    if (write.to != id) return false;
    --witness.at_witness.under_way;
    return true;
  });
  witness.lanes_dropped = witness.lanes_given;
  witness.is_direct = false;
  witness.lane = {};
  witness.written = witness.matched;
  witness.at_witness = {.under_way = witness.at_witness.under_way};
}

}  // namespace dolmen::log
