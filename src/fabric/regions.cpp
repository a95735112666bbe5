// SPDX-License-Identifier: Apache-2.0
#include "fabric/regions.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <dolmen/assert.hpp>

namespace dolmen::fabric {
namespace {

constexpr std::size_t kAlignment = 64;

std::uint64_t& word_at(MutableBytes bytes) noexcept {
  return *static_cast<std::uint64_t*>(static_cast<void*>(bytes.data()));
}

std::size_t bytes_to_word(const std::byte* address) noexcept {
  void* aligned = const_cast<std::byte*>(address);
  std::size_t room = 16;
  std::align(8, 8, aligned, room);
  return 16 - room;
}

void copy_bytes(MutableBytes into, Bytes from) noexcept {
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::atomic_ref(into[i]).store(from[i], std::memory_order_relaxed);
  }
}

}  // namespace

void copy_words(MutableBytes into, Bytes from) noexcept {
  const std::size_t head = std::min(bytes_to_word(into.data()), from.size());
  copy_bytes(into, from.first(head));
  std::size_t at = head;
  for (; at + 8 <= from.size(); at += 8) {
    std::atomic_ref(word_at(into.subspan(at, 8)))
        .store(base::load<std::uint64_t>(from, at), std::memory_order_relaxed);
  }
  copy_bytes(into.subspan(at), from.subspan(at));
  std::atomic_thread_fence(std::memory_order_release);
}

void Regions::Free::operator()(std::byte* memory) const noexcept { std::free(memory); }

Result<MutableBytes> Regions::make(RegionId region, std::size_t bytes) {
  if (bytes == 0) return fail(Errc::invalid_argument, "a region without bytes");
  if (regions_.contains(region)) {
    return fail(Errc::already_exists, "region", static_cast<std::uint64_t>(region));
  }
  // Whole words, so that the last one can be reached as one.
  const std::size_t whole = (bytes + 7) / 8 * 8;
  if (whole < bytes || whole + kAlignment < whole) {
    return fail(Errc::out_of_memory, "region", bytes);
  }
  // Zero without being touched: what nobody writes to takes no memory, however large it is.
  auto* const all = static_cast<std::byte*>(std::calloc(whole + kAlignment, 1));
  if (all == nullptr) return fail(Errc::out_of_memory, "region", bytes);
  const std::shared_ptr<std::byte> owner(all, Free());
  void* aligned = all;
  std::size_t room = whole + kAlignment;
  auto* const memory = static_cast<std::byte*>(std::align(kAlignment, whole, aligned, room));
  regions_.emplace(region, Region{.memory = {owner, memory}, .bytes = bytes, .grants = {}});
  return MutableBytes(memory, bytes);
}

Result<void> Regions::adopt(RegionId region, MutableBytes memory) {
  if (regions_.contains(region)) {
    return fail(Errc::already_exists, "region", static_cast<std::uint64_t>(region));
  }
  const std::shared_ptr<std::byte> borrowed(std::shared_ptr<std::byte>(), memory.data());
  regions_.emplace(region, Region{.memory = borrowed, .bytes = memory.size(), .grants = {}});
  return {};
}

Result<Regions::Region*> Regions::find(RegionId region) {
  const auto found = regions_.find(region);
  if (found == regions_.end()) {
    return fail(Errc::not_found, "region", static_cast<std::uint64_t>(region));
  }
  return &found->second;
}

Result<void> Regions::close(RegionId region) {
  DOLMEN_CHECK(find(region));
  regions_.erase(region);
  return {};
}

Result<void> Regions::grant(RegionId region, NodeId node, Rights rights) {
  DOLMEN_TRY(Region* const found, find(region));
  for (auto& [holder, held] : found->grants) {
    if (holder == node) {
      held = rights;
      return {};
    }
  }
  found->grants.emplace_back(node, rights);
  return {};
}

Result<void> Regions::revoke(RegionId region, NodeId node) {
  DOLMEN_TRY(Region* const found, find(region));
  std::erase_if(found->grants, [&](const auto& grant) { return grant.first == node; });
  return {};
}

Result<Regions::Held> Regions::hold(RegionId region) const {
  const auto found = regions_.find(region);
  if (found == regions_.end()) {
    return fail(Errc::not_found, "region", static_cast<std::uint64_t>(region));
  }
  return Held{.memory = found->second.memory, .bytes = found->second.bytes};
}

Rights Regions::rights(RegionId region, NodeId node) const noexcept {
  const auto found = regions_.find(region);
  if (found == regions_.end()) return {};
  const auto& grants = found->second.grants;
  const auto grant = std::ranges::find(grants, node, &std::pair<NodeId, Rights>::first);
  return grant == grants.end() ? Rights{} : grant->second;
}

Result<void> Regions::check(NodeId node, RegionId region, std::uint64_t offset, std::uint64_t bytes,
                            bool Rights::* right) const {
  DOLMEN_CHECK(reach(node, region, offset, bytes, right));
  return {};
}

Result<MutableBytes> Regions::reach(NodeId node, RegionId region, std::uint64_t offset,
                                    std::uint64_t bytes, bool Rights::* right) const {
  const auto number = static_cast<std::uint64_t>(region);
  const auto found = regions_.find(region);
  if (found == regions_.end()) return fail(Errc::not_found, "region", number);
  const Region& memory = found->second;
  const auto grant = std::ranges::find(memory.grants, node, &std::pair<NodeId, Rights>::first);
  if (grant == memory.grants.end() || !(grant->second.*right)) {
    return fail(Errc::no_right, "region", number);
  }
  if (offset > memory.bytes || bytes > memory.bytes - offset) {
    return fail(Errc::out_of_bounds, "region", number);
  }
  return MutableBytes(memory.memory.get(), memory.bytes).subspan(offset, bytes);
}

Result<void> Regions::write(NodeId node, RegionId region, std::uint64_t offset, Bytes bytes) {
  DOLMEN_TRY(const MutableBytes place, reach(node, region, offset, bytes.size(), &Rights::write));
  copy_words(place, bytes);
  return {};
}

Result<Bytes> Regions::read(NodeId node, RegionId region, std::uint64_t offset,
                            std::size_t bytes) const {
  return reach(node, region, offset, bytes, &Rights::read);
}

Result<std::uint64_t> Regions::compare_and_swap(NodeId node, RegionId region, std::uint64_t offset,
                                                std::uint64_t expected, std::uint64_t desired) {
  DOLMEN_ASSERT_CMP(offset % 8, ==, 0u);
  DOLMEN_TRY(const MutableBytes place, reach(node, region, offset, 8, &Rights::atomic));
  std::atomic_ref(word_at(place)).compare_exchange_strong(expected, desired);
  return expected;
}

Result<std::uint64_t> Regions::fetch_add(NodeId node, RegionId region, std::uint64_t offset,
                                         std::uint64_t delta) {
  DOLMEN_ASSERT_CMP(offset % 8, ==, 0u);
  DOLMEN_TRY(const MutableBytes place, reach(node, region, offset, 8, &Rights::atomic));
  return std::atomic_ref(word_at(place)).fetch_add(delta);
}

}  // namespace dolmen::fabric
