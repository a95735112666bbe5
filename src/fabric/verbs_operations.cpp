// SPDX-License-Identifier: Apache-2.0
//
// One-sided operations on regions of other nodes.
#include <algorithm>
#include <array>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/copy.hpp"
#include "fabric/verbs_endpoint.hpp"

namespace dolmen::fabric {
namespace {

constexpr std::size_t kOperationsMax = 4096;
/// A lane can be withdrawn while its successor is granted; one that allows nothing is none.
constexpr unsigned kRefusalsMax = 8;
constexpr std::size_t kEndedAtOnce = 32;

Errc code_of(VerbsControl::Status status) noexcept {
  switch (status) {
    case VerbsControl::Status::no_right:
      return Errc::no_right;
    case VerbsControl::Status::out_of_bounds:
      return Errc::out_of_bounds;
    default:
      return Errc::not_found;
  }
}

Rights only(bool Rights::* right) noexcept {
  Rights rights;
  rights.*right = true;
  return rights;
}

Error unknown() { return Error(Errc::connection_lost, "with the operation under way"); }

}  // namespace

Result<void> VerbsEndpoint::request(const Place& place, VerbsOperation operation) {
  if (operation.bytes() > traits_.operation_bytes_max) {
    return fail(Errc::too_large, "a one-sided operation", operation.bytes());
  }
  const bool is_word = operation.kind == sys::RdmaWork::Kind::compare_and_swap ||
                       operation.kind == sys::RdmaWork::Kind::fetch_add;
  if (is_word && place.offset % 8 != 0) {
    return fail(Errc::invalid_argument, "a word's offset", place.offset);
  }
  if (is_word && !device_->limits().has_atomics) {
    return fail(Errc::unsupported, "the device has no atomic operations");
  }
  DOLMEN_TRY(VerbsPeer* const peer, open_peer(place.target));
  if (peer->operations >= kOperationsMax) {
    return fail(Errc::busy, "node", static_cast<std::uint64_t>(place.target.node));
  }
  ++peer->operations;
  operation.offset = place.offset;
  operation.number = peer->next_number++;
  VerbsRemote& remote = peer->remotes[place.region];
  remote.waiting.push_back(std::move(operation));
  if (const auto pumped = pump(*peer, place.region, remote); !pumped) {
    fail_peer(*peer, pumped.error());
  }
  return {};
}

Result<void> VerbsEndpoint::write(OpId op, const Place& place, Bytes bytes, Level level) {
  if (level > Level::placed) return fail(Errc::unsupported, "memory over RDMA is not durable");
  return request(place, {.op = op, .kind = sys::RdmaWork::Kind::write, .from = bytes});
}

Result<void> VerbsEndpoint::read(OpId op, const Place& place, MutableBytes into) {
  return request(place, {.op = op, .kind = sys::RdmaWork::Kind::read, .into = into});
}

Result<void> VerbsEndpoint::compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                             std::uint64_t desired) {
  return request(place, {.op = op,
                         .kind = sys::RdmaWork::Kind::compare_and_swap,
                         .operand = expected,
                         .desired = desired});
}

Result<void> VerbsEndpoint::fetch_add(OpId op, const Place& place, std::uint64_t delta) {
  return request(place, {.op = op, .kind = sys::RdmaWork::Kind::fetch_add, .operand = delta});
}

Result<void> VerbsEndpoint::post(VerbsLane& lane, VerbsOperation operation) {
  const std::uint64_t number = lane.next_slot++;
  const std::size_t bytes = operation.bytes();
  const MutableBytes slot =
      MutableBytes(lane.slots)
          .subspan(number % VerbsLane::kDepth * VerbsLane::kSlotBytes, VerbsLane::kSlotBytes);
  sys::RdmaWork work{.kind = operation.kind,
                     .tag = number,
                     .local = slot.data(),
                     .bytes = static_cast<std::uint32_t>(bytes),
                     .local_key = lane.registered->local_key(),
                     .remote_address = lane.address + operation.offset,
                     .remote_key = lane.key,
                     .operand = operation.operand,
                     .desired = operation.desired};
  if (bytes > VerbsLane::kSlotBytes) {
    if (operation.kind == sys::RdmaWork::Kind::write) {
      DOLMEN_TRY(operation.registered, domain_->register_source(operation.from));
      work.local = operation.from.data();
    } else {
      DOLMEN_TRY(operation.registered, domain_->register_memory(operation.into, {}));
      work.local = operation.into.data();
    }
    work.local_key = operation.registered->local_key();
  } else if (operation.kind == sys::RdmaWork::Kind::write) {
    base::copy_bytes(operation.from, slot);
  }
  lane.under_way.push_back(std::move(operation));
  return lane.queue->post(work);
}

Result<void> VerbsEndpoint::pump(VerbsPeer& peer, RegionId region, VerbsRemote& remote) {
  VerbsLane* const lane = remote.lane.get();
  if (lane != nullptr && lane->is_ending && lane->under_way.empty()) {
    auto& again = lane->refused;
    for (; !again.empty(); again.pop_back()) remote.waiting.push_front(std::move(again.back()));
    tell(peer, {.kind = VerbsControl::Kind::closed, .lane = lane->id});
    remote.lane.reset();
    return pump(peer, region, remote);
  }
  if (lane != nullptr && lane->is_ending) return {};
  while (lane != nullptr && !remote.waiting.empty() && lane->under_way.size() < VerbsLane::kDepth &&
         lane->allows(remote.waiting.front())) {
    VerbsOperation operation = std::move(remote.waiting.front());
    remote.waiting.pop_front();
    DOLMEN_CHECK(post(*lane, std::move(operation)));
  }
  if (remote.waiting.empty() || remote.asked) return {};
  if (lane != nullptr && (!lane->under_way.empty() || lane->allows(remote.waiting.front()))) {
    return {};
  }
  return ask(peer, region, remote);
}

Result<void> VerbsEndpoint::ask(VerbsPeer& peer, RegionId region, VerbsRemote& remote) {
  const VerbsOperation& first = remote.waiting.front();
  auto lane = std::make_unique<VerbsLane>();
  lane->id = peer.next_lane++;
  VerbsControl question{.kind = VerbsControl::Kind::ask, .lane = lane->id, .region = region};
  question.rights = only(first.right());
  question.start = first.offset;
  question.bytes = first.bytes();
  if (first.bytes() > 0) {
    lane->slots.resize(VerbsLane::kDepth * VerbsLane::kSlotBytes);
    DOLMEN_TRY(lane->registered, domain_->register_memory(lane->slots, {}));
    DOLMEN_TRY(lane->queue,
               domain_->make_queue({.sends = VerbsLane::kDepth, .receives = 1}, random_packet()));
    question.queue = lane->queue->address();
  }
  remote.asked = std::move(lane);
  remote.asked_until = peer.next_number;
  tell(peer, question);
  return {};
}

Result<void> VerbsEndpoint::answered(VerbsPeer& peer, const VerbsControl& answer, Sink& sink) {
  const auto found = peer.remotes.find(answer.region);
  if (found == peer.remotes.end() || !found->second.asked ||
      found->second.asked->id != answer.lane) {
    return fail(Errc::corrupt, "an answer to nothing");
  }
  VerbsRemote& remote = found->second;
  std::unique_ptr<VerbsLane> lane = std::move(remote.asked);
  DOLMEN_ASSERT(!remote.waiting.empty());
  if (answer.status == VerbsControl::Status::ok && lane->queue) {
    if (answer.queue.queue == 0) return fail(Errc::corrupt, "an answer without a lane");
    DOLMEN_CHECK(lane->queue->connect(answer.queue, {}));
    if (remote.lane) tell(peer, {.kind = VerbsControl::Kind::closed, .lane = remote.lane->id});
    lane->is_open = true;
    lane->rights = answer.rights;
    lane->address = answer.start;
    lane->bytes = answer.bytes;
    lane->key = answer.key;
    lane->packet_bytes =
        sys::rdma_mtu_bytes(std::min(answer.queue.mtu, lane->queue->address().mtu));
    remote.lane = std::move(lane);
    if (!remote.lane->allows(remote.waiting.front())) {
      return fail(Errc::corrupt, "a lane that does not allow what it was asked for");
    }
    return pump(peer, answer.region, remote);
  }
  // A refusal holds for all that was waiting for the same right when it was given.
  const VerbsOperation first = std::move(remote.waiting.front());
  remote.waiting.pop_front();
  std::vector<VerbsOperation> refused;
  const bool is_general = answer.status == VerbsControl::Status::no_right ||
                          answer.status == VerbsControl::Status::not_found;
  if (is_general) {
    std::deque<VerbsOperation> others;
    for (VerbsOperation& one : remote.waiting) {
      const bool is_refused =
          one.number < remote.asked_until &&
          (answer.status == VerbsControl::Status::not_found || one.right() == first.right());
      if (is_refused) {
        refused.push_back(std::move(one));
      } else {
        others.push_back(std::move(one));
      }
    }
    remote.waiting = std::move(others);
  }
  DOLMEN_CHECK(pump(peer, answer.region, remote));
  const Result<std::uint64_t> outcome =
      answer.status == VerbsControl::Status::ok
          ? Result<std::uint64_t>(0)
          : Result<std::uint64_t>(fail(code_of(answer.status), "at the target"));
  finish(peer, first, outcome, sink);
  for (const VerbsOperation& one : refused) finish(peer, one, outcome, sink);
  return {};
}

void VerbsEndpoint::finish(VerbsPeer& peer, const VerbsOperation& operation,
                           const Result<std::uint64_t>& outcome, Sink& sink) {
  DOLMEN_ASSERT(peer.operations > 0);
  --peer.operations;
  sink.on_completed(operation.op, outcome);
}

Result<bool> VerbsEndpoint::collect(VerbsPeer& peer, VerbsRemote& remote, Sink& sink) {
  VerbsLane& lane = *remote.lane;
  if (lane.under_way.empty()) return false;
  std::array<sys::RdmaDone, kEndedAtOnce> ended{};
  DOLMEN_TRY(const std::size_t count, lane.queue->poll(ended));
  for (const sys::RdmaDone& one : std::span(ended).first(count)) {
    DOLMEN_ASSERT(!lane.under_way.empty());
    const std::uint64_t oldest = lane.next_slot - lane.under_way.size();
    DOLMEN_ASSERT_CMP(one.tag, ==, oldest);
    VerbsOperation operation = std::move(lane.under_way.front());
    lane.under_way.pop_front();
    switch (one.how) {
      case sys::RdmaDone::How::done: {
        std::uint64_t former = 0;
        const Bytes slot =
            Bytes(lane.slots)
                .subspan(oldest % VerbsLane::kDepth * VerbsLane::kSlotBytes, VerbsLane::kSlotBytes);
        if (operation.kind == sys::RdmaWork::Kind::read) {
          if (!operation.registered) {
            base::copy_bytes(slot.first(operation.into.size()), operation.into);
          }
        } else if (operation.kind != sys::RdmaWork::Kind::write) {
          former = base::load<std::uint64_t>(slot);
        }
        finish(peer, operation, former, sink);
        break;
      }
      case sys::RdmaDone::How::refused:
      case sys::RdmaDone::How::flushed: {
        const bool is_first = one.how == sys::RdmaDone::How::refused;
        if (!is_first && !lane.is_ending) return std::unexpected(unknown());
        lane.is_ending = true;
        operation.registered.reset();
        const bool is_write = operation.kind == sys::RdmaWork::Kind::write;
        if (is_first && is_write && operation.from.size() > lane.packet_bytes) {
          // Packets of it may have landed before the fence.
          finish(peer, operation, std::unexpected(unknown()), sink);
        } else if (++operation.refusals > kRefusalsMax) {
          finish(peer, operation, fail(Errc::no_right, "at the target"), sink);
        } else {
          lane.refused.push_back(std::move(operation));
        }
        break;
      }
      case sys::RdmaDone::How::failed:
        lane.refused.push_back(std::move(operation));
        return std::unexpected(unknown());
    }
  }
  return count > 0;
}

bool VerbsEndpoint::progress(VerbsPeer& peer, Sink& sink) {
  bool did_something = false;
  for (auto& [region, remote] : peer.remotes) {
    Result<void> pumped;
    if (remote.lane) {
      const Result<bool> collected = collect(peer, remote, sink);
      if (!collected) {
        pumped = std::unexpected(collected.error());
      } else {
        did_something |= *collected;
      }
    }
    if (pumped && !peer.failure) pumped = pump(peer, region, remote);
    if (!pumped) {
      fail_peer(peer, pumped.error());
      return true;
    }
  }
  return did_something;
}

void VerbsEndpoint::end_operations(VerbsPeer& peer, Sink& sink) {
  const Result<std::uint64_t> outcome = std::unexpected(unknown());
  for (auto& [region, remote] : peer.remotes) {
    if (remote.lane) {
      for (const VerbsOperation& one : remote.lane->refused) finish(peer, one, outcome, sink);
      // The device must not touch the caller's memory any more.
      remote.lane->queue.reset();
      for (const VerbsOperation& one : remote.lane->under_way) finish(peer, one, outcome, sink);
    }
    for (const VerbsOperation& one : remote.waiting) finish(peer, one, outcome, sink);
  }
  peer.remotes.clear();
  DOLMEN_ASSERT_CMP(peer.operations, ==, 0u);
}

}  // namespace dolmen::fabric
