// SPDX-License-Identifier: Apache-2.0
//
// The direct path (docs/direct-path.md): what a replica of a memory-only group does with its own
// memory, and as a leader with others'.
#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "log/replica.hpp"

namespace dolmen::log {

namespace {
/// Lanes that a follower keeps: more than a leader needs to go from one to the next.
constexpr std::size_t kLanesMax = 4;
/// Entries that poll() takes in: a follower that has much to take in must be heard meanwhile.
constexpr std::size_t kDrainedAtOnce = 1024;
}  // namespace

bool Replica::owns_memory() {
  if (is_superseded_) return false;
  if (memory_ == nullptr || memory_->word() == epoch_) return true;
  if (role_ == Role::leader && DOLMEN_PLANTED("log.own_memory_unchecked")) return true;
  stop();
  return false;
}

void Replica::stop() {
  DOLMEN_PROBE("log.superseded");
  is_superseded_ = true;
  role_ = Role::follower;
  leader_.reset();
  unsent_ = 0;
  lane_writes_.clear();
}

// A process that finds memory of an earlier one goes on from a new epoch: the earlier one, should
// it still run, then counts nothing any more, and grants nothing that this one may grant as well.
void Replica::take_up_memory(std::uint64_t now_ns) {
  const Epoch word = memory_->word();
  for (const base::Bytes lane : memory_->kept_lanes()) {
    const auto header = decode_lane_header(lane);
    if (!header || header->owner != self_ || header->name.epoch < epoch_) continue;
    in_lanes_.push_back({.name = header->name, .bytes = lane.first(header->bytes)});
  }
  if (word != 0) DOLMEN_PROBE("log.took_up_memory");
  std::ranges::sort(in_lanes_, {}, [](const InLane& lane) {
    return std::pair(lane.name.epoch, lane.name.number);
  });
  if (word < epoch_) memory_->raise(epoch_);
  epoch_ = std::max(word, epoch_);
  enter_epoch(now_ns, epoch_ + 1, kNobody);
}

// First the word: what lands later is not counted. Then the lanes: what was counted is in them.
void Replica::raise_and_drain(Epoch epoch) {
  if (DOLMEN_PLANTED("log.lanes_read_first")) drain();
  if (memory_->raise(epoch) != epoch_) stop();
  if (DOLMEN_PLANTED("log.previous_lane_only")) {
    std::erase_if(in_lanes_, [&](const InLane& lane) { return lane.name.epoch + 1 != epoch; });
  }
  if (!DOLMEN_PLANTED("log.lanes_read_first") && drain() > 0) DOLMEN_PROBE("log.drained_late");
  for (const InLane& lane : in_lanes_) memory_->drop_lane(lane.name);
  in_lanes_.clear();
  is_drained_ = true;
  lanes_made_ = 0;
  if (own_lane_.name.number != 0) memory_->drop_lane(own_lane_.name);
  own_lane_ = {};
  lane_writes_.clear();
}

bool Replica::poll() {
  if (!owns_memory() || in_lanes_.empty() || DOLMEN_BUGGIFY("log.poll_later")) return false;
  if (drain(DOLMEN_BUGGIFY("log.drain_one") ? 1 : kDrainedAtOnce) == 0) return false;
  acknowledged_ = accepted_;  // its leader knows without being told
  return true;
}

std::size_t Replica::drain(std::size_t most) {
  std::size_t count = 0;
  for (InLane& lane : in_lanes_) count += drain(lane, most - count);
  is_drained_ = count < most;
  // A leader goes to the next lane for good.
  while (in_lanes_.size() > 1 && in_lanes_[1].next != 0) {
    memory_->drop_lane(in_lanes_.front().name);
    in_lanes_.erase(in_lanes_.begin());
  }
  return count;
}

std::size_t Replica::drain(InLane& lane, std::size_t most) {
  std::size_t count = 0;
  while (count < most) {
    auto found = decode_lane_entry(lane.bytes, lane.offset, lane.name.epoch, lane.next);
    if (!found) break;
    const Index index = found->entry.index;
    if (!take_over(std::move(found->entry))) break;
    lane.offset += found->bytes;
    lane.next = index + 1;
    accepted_ = std::max(accepted_, index);
    set_stable(std::min(found->stable, index));
    ++count;
  }
  return count;
}

// Everybody who is written to has got what is in the lane before.
void Replica::begin_own_lane(std::uint64_t now_ns, std::size_t entry_bytes) {
  for (Peer& follower : peers_) {
    if (follower.is_direct && !follower.is_memory) write_lane(now_ns, follower);
  }
  if (own_lane_.name.number != 0) memory_->drop_lane(own_lane_.name);
  const std::size_t bytes = std::max(options_.lane_bytes, kLaneHeaderBytes + entry_bytes);
  own_lane_.name = {epoch_, own_lane_.name.number + 1};
  own_lane_.bytes = memory_->make_lane(self_, own_lane_.name, bytes);
  own_lane_.first = own_written_ + 1;
  own_lane_.offsets.assign(1, kLaneHeaderBytes);
  if (own_lane_.bytes.empty()) {
    DOLMEN_PROBE("log.no_room_for_lane");
    for (Peer& follower : peers_) {
      if (follower.is_direct && !follower.is_memory) leave_direct(now_ns, follower);
    }
    return;
  }
  encode_lane_header(own_lane_.bytes,
                     {.owner = self_, .writer = self_, .name = own_lane_.name, .bytes = bytes});
}

// The own memory is one like the others: first it lands, then the word is loaded, then it counts.
void Replica::land_own(std::uint64_t now_ns) {
  const Index last = last_index();
  if (memory_ == nullptr || own_written_ == last || is_superseded_) return;
  while (own_written_ < last) {
    const Entry& entry = at(own_written_ + 1);
    const std::size_t bytes = lane_entry_bytes(entry.payload.size());
    if (own_lane_.name.number == 0 ||
        (!own_lane_.bytes.empty() && bytes > own_lane_.bytes.size() - own_lane_.offsets.back())) {
      begin_own_lane(now_ns, bytes);
    }
    ++own_written_;
    if (own_lane_.bytes.empty()) continue;
    const std::size_t offset = own_lane_.offsets.back();
    encode_lane_entry(own_lane_.bytes.subspan(offset, bytes), entry, stable_, epoch_);
    own_lane_.offsets.push_back(static_cast<std::uint32_t>(offset + bytes));
  }
  if (owns_memory()) own_counted_ = last;
}

void Replica::begin_direct(std::uint64_t now_ns, Peer& follower) {
  if (follower.is_direct || !follower.in_step || own_lane_.bytes.empty()) return;
  // To reach another's memory for the first time takes as long as the rest of a take-over.
  if (now_ns < direct_from_ns_) return;
  // What it lacks has to be in the own lane, and to fit.
  if (follower.matched + 1 < own_lane_.first || follower.next_lane.number == 0) return;
  const std::size_t begin = own_offset(follower.matched + 1);
  const bool is_behind = follower.matched < own_written_;
  const std::size_t first_bytes = is_behind ? own_offset(follower.matched + 2) - begin : 0;
  if (first_bytes > follower.next_lane.bytes - kLaneHeaderBytes) return;
  DOLMEN_PROBE("log.direct");
  follower.is_direct = true;
  follower.written = follower.matched;
  follower.lane = std::exchange(follower.next_lane, {});
  follower.lane_used = kLaneHeaderBytes;
  follower.waits_ns = 0;
  write_lane(now_ns, follower);
}

void Replica::write_lane(std::uint64_t now_ns, Peer& follower) {
  while (follower.written < own_written_) {
    DOLMEN_ASSERT_CMP(follower.written + 1, >=, own_lane_.first);
    const std::size_t begin = own_offset(follower.written + 1);
    const std::size_t room = follower.lane.bytes - follower.lane_used;
    Index end = own_written_;
    if (own_lane_.offsets.back() - begin > room) {
      const auto above = std::ranges::upper_bound(own_lane_.offsets, begin + room);
      end = own_lane_.first + static_cast<Index>(above - own_lane_.offsets.begin()) - 2;
    }
    if (end <= follower.written) {
      if (follower.next_lane.number == 0) {
        DOLMEN_PROBE("log.lane_full");
        leave_direct(now_ns, follower);
        return want_lane(now_ns, follower);
      }
      DOLMEN_PROBE("log.next_lane");
      follower.lane = std::exchange(follower.next_lane, {});
      follower.lane_used = kLaneHeaderBytes;
      const std::size_t first_bytes = own_offset(follower.written + 2) - begin;
      if (first_bytes > follower.lane.bytes - kLaneHeaderBytes) {
        return leave_direct(now_ns, follower);
      }
      continue;
    }
    const std::size_t bytes = own_offset(end + 1) - begin;
    lane_writes_.push_back({.to = follower.id,
                            .lane = {epoch_, follower.lane.number},
                            .offset = follower.lane_used,
                            .bytes = own_lane_.bytes.subspan(begin, bytes),
                            .end = end,
                            .round = ask_in_round(follower)});
    follower.lane_used += bytes;
    follower.written = end;
    follower.sent = std::max(follower.sent, end);
    if (follower.waits_ns == 0) follower.waits_ns = now_ns;
  }
  // In time: a follower that sleeps, or has much to do, does not give one at once.
  want_lane(now_ns, follower);
}

void Replica::leave_direct(std::uint64_t now_ns, Peer& follower) {
  follower.is_direct = false;
  follower.lane = {};
  follower.sent = follower.written;
  if (follower.sent < last_index()) send_entries(now_ns, follower);
}

void Replica::abandon_lane(Peer& follower) {
  DOLMEN_PROBE("log.lane_abandoned");
  follower.is_direct = false;
  follower.lanes_dropped = std::max(follower.lanes_dropped, follower.lane.number);
  follower.lane = {};
}

void Replica::want_lane(std::uint64_t now_ns, Peer& follower) {
  if (follower.next_lane.number != 0) return;
  if (follower.wanted_ns != 0 && now_ns < follower.wanted_ns + options_.resend_ns) return;
  follower.wanted_ns = now_ns;
  send(follower.id, {.kind = MessageKind::want_lane,
                     .epoch = epoch_,
                     .position = {0, follower.lanes_given + std::uint64_t{1}}});
}

void Replica::on_want_lane(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (memory_ == nullptr || !hear_leader(now_ns, from, message.epoch)) return;
  const std::uint64_t number = message.position.index;
  if (number == std::uint64_t{lanes_made_} + 1 && in_lanes_.size() < kLanesMax) {
    const LaneName name{epoch_, lanes_made_ + 1};
    const base::MutableBytes bytes = memory_->make_lane(from, name, options_.lane_bytes);
    if (bytes.empty()) return;
    ++lanes_made_;
    encode_lane_header(bytes,
                       {.owner = self_, .writer = from, .name = name, .bytes = bytes.size()});
    in_lanes_.push_back({.name = name, .bytes = bytes});
  }
  if (number != lanes_made_ || in_lanes_.empty()) return;
  send(from, {.kind = MessageKind::lane,
              .epoch = epoch_,
              .position = {0, number},
              .stable = in_lanes_.back().bytes.size()});
}

void Replica::on_lane(std::uint64_t now_ns, Peer& from, const Message& message) {
  if (memory_ == nullptr || role_ != Role::leader || message.epoch != epoch_) return;
  const std::uint64_t bytes = message.stable;
  if (message.position.index != std::uint64_t{from.lanes_given} + 1) return;
  if (bytes < kLaneHeaderBytes || bytes > kLaneBytesMax || bytes % 8 != 0) return;
  if (from.next_lane.number != 0) return;
  ++from.lanes_given;
  from.next_lane = {.number = from.lanes_given, .bytes = bytes};
  from.wanted_ns = 0;
  begin_direct(now_ns, from);
}

void Replica::take_lane_writes(std::vector<LaneWrite>& writes) {
  writes.clear();
  writes.swap(lane_writes_);
}

void Replica::landed(std::uint64_t now_ns, ReplicaId to, LaneName lane, Index end, Epoch word,
                     std::uint64_t round) {
  Peer* const follower = peer(to);
  if (role_ != Role::leader || lane.epoch != epoch_ || follower == nullptr) return;
  if (end > own_written_ || is_superseded_) return;
  see_clock(now_ns);
  if (word == epoch_) hear_round(*follower, round);
  if (follower->is_memory) return landed_in_memory(now_ns, *follower, lane, end, word);
  if (lane.number <= follower->lanes_dropped || lane.number > follower->lanes_given) return;
  if (word > epoch_ && word <= kEpochMax) return enter_epoch(now_ns, word, kNobody);
  if (word != epoch_) return lane_failed(now_ns, to, lane);
  if (end > follower->matched) {
    follower->matched = end;
    follower->waits_ns = end < follower->written ? now_ns : 0;
  }
  count_matches(now_ns);
}

// What a later lane holds does not count either: it follows on what did not land.
void Replica::lane_failed(std::uint64_t now_ns, ReplicaId to, LaneName lane) {
  Peer* const follower = peer(to);
  if (role_ != Role::leader || lane.epoch != epoch_ || follower == nullptr) return;
  if (follower->is_memory) return memory_failed(*follower, lane);
  if (lane.number <= follower->lanes_dropped || lane.number > follower->lanes_given) return;
  const bool was_direct = follower->is_direct;
  abandon_lane(*follower);
  follower->lanes_dropped = std::max(follower->lanes_dropped, lane.number);
  if (was_direct) retry(now_ns, *follower, follower->matched);
}

}  // namespace dolmen::log
