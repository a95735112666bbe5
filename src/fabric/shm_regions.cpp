// SPDX-License-Identifier: Apache-2.0
#include "fabric/shm_regions.hpp"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "fabric/shm_endpoint.hpp"
#include "fabric/shm_memory.hpp"

namespace dolmen::fabric::shm {
namespace {

/// The grants table. Only the owner writes: rights first, then the node that they are for.
std::atomic_ref<std::uint64_t> grant_node(MutableBytes object, std::size_t index) noexcept {
  return word_at<std::uint64_t>(object, kGrantsAt + index * kGrantBytes);
}
std::atomic_ref<std::uint32_t> grant_rights(MutableBytes object, std::size_t index) noexcept {
  return word_at<std::uint32_t>(object, kGrantsAt + index * kGrantBytes + 8);
}

/// Regions that their owner closed, and that nobody here has from map(): memory that nobody else
/// gives back.
void give_back(std::vector<RemoteRegion>& regions, NodeId self) noexcept {
  std::erase_if(regions,
                [&](RemoteRegion& one) { return !one.handed_out() && !one.allows(self, {}); });
}

std::size_t object_bytes(std::size_t bytes) noexcept {
  return kHeaderBytes + (bytes + kHeaderBytes - 1) / kHeaderBytes * kHeaderBytes;
}

}  // namespace

Result<OwnRegion> OwnRegion::make(sys::SharedDirectory& directory, const RegionCard& card) {
  DOLMEN_TRY(auto object, directory.create(object_bytes(card.bytes)));
  write_card(object->memory().first(kHeaderBytes), card);
  DOLMEN_CHECK(object->publish(region_object(card.owner, card.region)));
  return OwnRegion(card, std::move(object));
}

MutableBytes OwnRegion::bytes() const noexcept {
  return object_->memory().subspan(kHeaderBytes, card_.bytes);
}

Result<void> OwnRegion::grant(NodeId node, const Rights& rights) noexcept {
  const MutableBytes memory = object_->memory();
  std::size_t place = kGrantsMax;
  for (std::size_t i = 0; i < kGrantsMax; ++i) {
    const std::uint64_t there = grant_node(memory, i).load(std::memory_order_relaxed);
    if (there == static_cast<std::uint64_t>(node)) {
      const std::uint32_t now = grant_rights(memory, i).load(std::memory_order_relaxed);
      if ((now & ~bits_of(rights)) != 0) {
        return fail(Errc::unsupported, "rights to mapped memory cannot be taken away");
      }
      place = i;
      break;
    }
    if (place == kGrantsMax && (there == 0 || there == kGrantOfNobody)) place = i;
    if (there == 0) break;
  }
  if (place == kGrantsMax) return fail(Errc::limit, "grants of a region", kGrantsMax);
  grant_rights(memory, place).store(bits_of(rights), std::memory_order_release);
  grant_node(memory, place).store(static_cast<std::uint64_t>(node), std::memory_order_release);
  return {};
}

void OwnRegion::forget(NodeId node) noexcept {
  const MutableBytes memory = object_->memory();
  for (std::size_t i = 0; i < kGrantsMax; ++i) {
    const std::uint64_t there = grant_node(memory, i).load(std::memory_order_relaxed);
    if (there == 0) return;
    if (there != static_cast<std::uint64_t>(node)) continue;
    // In this order nobody finds another node beside its rights.
    grant_node(memory, i).store(kGrantOfNobody, std::memory_order_seq_cst);
    grant_rights(memory, i).store(0, std::memory_order_release);
    return;
  }
}

void OwnRegion::close() noexcept {
  word_at<std::uint32_t>(object_->memory(), kRegionClosedAt).store(1, std::memory_order_seq_cst);
}

Result<RemoteRegion> RemoteRegion::open(sys::SharedDirectory& directory, const NodeName& owner,
                                        RegionId region) {
  DOLMEN_TRY(auto object,
             directory.open(region_object(owner, region), sys::SharedAccess::read_write,
                            kHeaderBytes, object_bytes(kRegionBytesMax)));
  DOLMEN_TRY(const RegionCard card, read_region_card(object->memory().first(kHeaderBytes)));
  if (card.owner != owner || card.region != region ||
      object->memory().size() != object_bytes(card.bytes)) {
    return fail(Errc::corrupt, "a region's card");
  }
  return RemoteRegion(card, std::move(object));
}

MutableBytes RemoteRegion::bytes() const noexcept {
  return object_->memory().subspan(kHeaderBytes, card_.bytes);
}

bool RemoteRegion::allows(NodeId self, const Rights& needed) noexcept {
  const std::uint32_t bits = bits_of(needed);
  const MutableBytes memory = object_->memory();
  const auto closed = word_at<std::uint32_t>(memory, kRegionClosedAt);
  if (closed.load(std::memory_order_relaxed) != 0) return false;
  if ((bits & ~rights_) == 0) return true;
  for (std::size_t i = 0; i < kGrantsMax; ++i) {
    const std::uint64_t node = grant_node(memory, i).load(std::memory_order_acquire);
    if (node == 0) break;
    if (node != static_cast<std::uint64_t>(self)) continue;
    rights_ = grant_rights(memory, i).load(std::memory_order_acquire);
    break;
  }
  return (bits & ~rights_) == 0;
}

Result<MutableBytes> RemoteRegion::hand_out(sys::SharedDirectory& directory, NodeId self) {
  if (allows(self, {.read = true, .write = true})) {
    handed_out_ = true;
    return bytes();
  }
  if (!allows(self, {.read = true})) return fail(Errc::no_right, "the region's grant");
  if (read_only_ == nullptr) {
    DOLMEN_TRY(read_only_, directory.open(region_object(card_.owner, card_.region),
                                          sys::SharedAccess::read_only, object_->memory().size(),
                                          object_->memory().size()));
  }
  handed_out_ = true;
  return read_only_->memory().subspan(kHeaderBytes, card_.bytes);
}

// --- The endpoint's part. ---

Result<MutableBytes> ShmEndpoint::make_region(RegionId region, std::size_t bytes) {
  if (bytes == 0) return fail(Errc::invalid_argument, "a region without bytes");
  if (bytes > kRegionBytesMax) return fail(Errc::limit, "a region's bytes", bytes);
  auto made =
      OwnRegion::make(*directory_, {.owner = options_.self, .region = region, .bytes = bytes});
  if (!made) {
    if (made.error().code() != Errc::no_space) return std::unexpected(made.error());
    return fail(Errc::out_of_memory, "shared memory for a region", bytes);
  }
  own_regions_.push_back(std::move(*made));
  return own_regions_.back().bytes();
}

Result<void> ShmEndpoint::close_region(RegionId region) {
  const auto found = std::ranges::find(own_regions_, region, &OwnRegion::id);
  if (found == own_regions_.end()) return fail(Errc::not_found, "a region of this node");
  return fail(Errc::unsupported, "others may have the region mapped");
}

Result<void> ShmEndpoint::grant(RegionId region, NodeId node, Rights rights) {
  const auto found = std::ranges::find(own_regions_, region, &OwnRegion::id);
  if (found == own_regions_.end()) return fail(Errc::not_found, "a region of this node");
  if (node == NodeId::nobody) return fail(Errc::invalid_argument, "a grant to nobody");
  return found->grant(node, rights);
}

Result<void> ShmEndpoint::revoke(RegionId region, NodeId) {
  const auto found = std::ranges::find(own_regions_, region, &OwnRegion::id);
  if (found == own_regions_.end()) return fail(Errc::not_found, "a region of this node");
  return fail(Errc::unsupported, "others may have the region mapped");
}

Result<void> ShmEndpoint::let_go(RegionId region) {
  const auto found = std::ranges::find(own_regions_, region, &OwnRegion::id);
  if (found == own_regions_.end()) return fail(Errc::not_found, "a region of this node");
  found->close();
  own_regions_.erase(found);
  return {};
}

void ShmEndpoint::forget_grants(NodeId node) noexcept {
  for (OwnRegion& region : own_regions_) region.forget(node);
}

void ShmEndpoint::forget_grant(RegionId region, NodeId node) noexcept {
  const auto found = std::ranges::find(own_regions_, region, &OwnRegion::id);
  if (found != own_regions_.end()) found->forget(node);
}

bool ShmEndpoint::reaches(const NodeName& target, RegionId region, const Rights& needed) {
  Peer* const peer = find_connected(target);
  if (peer == nullptr || !lives(target)) return false;
  const auto found = region_of(*peer, region);
  return found && (*found)->allows(self().node, needed);
}

Result<RemoteRegion*> ShmEndpoint::region_of(Peer& peer, RegionId region) {
  give_back(peer.regions, self().node);
  const auto found = std::ranges::find(peer.regions, region, &RemoteRegion::id);
  if (found != peer.regions.end()) return &*found;
  auto opened = RemoteRegion::open(*directory_, peer.card.name, region);
  if (!opened) return std::unexpected(opened.error());
  peer.regions.push_back(std::move(*opened));
  return &peer.regions.back();
}

void ShmEndpoint::complete(OpId op, const Result<std::uint64_t>& former) {
  completions_.emplace_back(op, former);
}

Result<std::optional<MutableBytes>> ShmEndpoint::target_of(OpId op, const Place& place,
                                                           std::size_t bytes,
                                                           const Rights& needed) {
  if (bytes > traits_.operation_bytes_max) return fail(Errc::too_large, "an operation", bytes);
  Peer* const peer = find_connected(place.target);
  if (peer == nullptr) return fail(Errc::not_connected, "the target of an operation");
  if (completions_.size() >= options_.operations_max) {
    return fail(Errc::busy, "operations that poll() has not reported yet", completions_.size());
  }
  const auto region = region_of(*peer, place.region);
  if (!region) {
    complete(op, std::unexpected(region.error()));
    return std::nullopt;
  }
  if (!(*region)->allows(self().node, needed)) {
    complete(op, fail(Errc::no_right, "the region's grant"));
    return std::nullopt;
  }
  const MutableBytes all = (*region)->bytes();
  if (place.offset > all.size() || bytes > all.size() - place.offset) {
    complete(op, fail(Errc::out_of_bounds, "an operation on a region", place.offset));
    return std::nullopt;
  }
  return all.subspan(place.offset, bytes);
}

Result<void> ShmEndpoint::write(OpId op, const Place& place, Bytes bytes, Level level) {
  if (level > traits_.level_max) return fail(Errc::unsupported, "a durable write");
  DOLMEN_TRY(const auto target, target_of(op, place, bytes.size(), {.write = true}));
  if (!target) return {};
  // What this thread stored before, messages' positions among it, is seen before this is.
  std::atomic_thread_fence(std::memory_order_release);
  copy_to_shared(target->data(), bytes);
  // Placed: out of this processor's store buffer, where nobody else would find it.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  complete(op, 0);
  return {};
}

Result<void> ShmEndpoint::read(OpId op, const Place& place, MutableBytes into) {
  DOLMEN_TRY(const auto target, target_of(op, place, into.size(), {.read = true}));
  if (!target) return {};
  // After this side's own writes have landed, whichever region they went to.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  copy_from_shared(into, target->data());
  std::atomic_thread_fence(std::memory_order_acquire);
  // What the dead left may be contradicted by the node's next life already.
  if (lives(place.target)) {
    complete(op, 0);
  } else {
    complete(op, fail(Errc::connection_lost, "its process has ended"));
  }
  return {};
}

Result<void> ShmEndpoint::compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                           std::uint64_t desired) {
  if (place.offset % kWordBytes != 0) {
    return fail(Errc::invalid_argument, "an unaligned word", place.offset);
  }
  DOLMEN_TRY(const auto target, target_of(op, place, kWordBytes, {.atomic = true}));
  if (!target) return {};
  (void)word_at<std::uint64_t>(*target, 0)
      .compare_exchange_strong(expected, desired, std::memory_order_seq_cst);
  complete(op, expected);
  return {};
}

Result<void> ShmEndpoint::fetch_add(OpId op, const Place& place, std::uint64_t delta) {
  if (place.offset % kWordBytes != 0) {
    return fail(Errc::invalid_argument, "an unaligned word", place.offset);
  }
  DOLMEN_TRY(const auto target, target_of(op, place, kWordBytes, {.atomic = true}));
  if (!target) return {};
  complete(op, word_at<std::uint64_t>(*target, 0).fetch_add(delta, std::memory_order_seq_cst));
  return {};
}

Result<MutableBytes> ShmEndpoint::map(const NodeName& target, RegionId region) {
  Peer* const peer = find_connected(target);
  if (peer == nullptr) return fail(Errc::not_connected, "the owner of a region");
  DOLMEN_TRY(RemoteRegion* const mapped, region_of(*peer, region));
  return mapped->hand_out(*directory_, self().node);
}

void ShmEndpoint::unmap(const NodeName& target, RegionId region) noexcept {
  const auto is_meant = [&](const RemoteRegion& one) {
    return one.owner() == target && one.id() == region;
  };
  std::erase_if(kept_regions_, is_meant);
  // While its owner is connected its operations use it, too; and one that is just being lost must
  // not keep it for who does not use it any more.
  Peer* const peer = find(target.node);
  if (peer == nullptr || peer->card.name != target) return;
  const auto found = std::ranges::find_if(peer->regions, is_meant);
  if (found != peer->regions.end()) found->take_back();
  give_back(peer->regions, self().node);
}

}  // namespace dolmen::fabric::shm
