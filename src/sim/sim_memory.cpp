// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_memory.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <numeric>
#include <string_view>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"

namespace dolmen::sim {
namespace {

constexpr std::align_val_t kAlignment{kLineBytes};

std::unexpected<Error> failed(Errc code, fabric::RegionId region) {
  return fail(code, "region", static_cast<std::uint64_t>(region));
}

std::uint64_t line_of(std::uint64_t offset) noexcept { return offset / kLineBytes; }

}  // namespace

// --- a region's bytes ----------------------------------------------------------------------------

void SimRegion::Free::operator()(std::byte* memory) const noexcept {
  ::operator delete(memory, kAlignment);
}

SimRegion::SimRegion(std::size_t bytes, bool is_persistent)
    : memory_(static_cast<std::byte*>(::operator new(bytes, kAlignment))),
      bytes_(bytes),
      durable_(is_persistent ? bytes : 0) {
  std::memset(memory_.get(), 0, bytes);
}

void SimRegion::flush(std::uint64_t offset, std::uint64_t length) {
  if (!is_persistent() || length == 0) return;
  DOLMEN_ASSERT_CMP(offset + length, <=, bytes_);
  const std::uint64_t begin = line_of(offset) * kLineBytes;
  const std::uint64_t end =
      std::min<std::uint64_t>((line_of(offset + length - 1) + 1) * kLineBytes, bytes_);
  std::memcpy(durable_.data() + begin, memory_.get() + begin, end - begin);
}

void SimRegion::lose_power(base::Random& random, std::uint32_t survives_ppm) {
  DOLMEN_ASSERT(is_persistent());
  for (std::uint64_t at = 0; at < bytes_; at += kLineBytes) {
    const std::size_t length = std::min<std::uint64_t>(kLineBytes, bytes_ - at);
    if (std::memcmp(durable_.data() + at, memory_.get() + at, length) == 0) continue;
    const bool survives = random.below(1'000'000) < survives_ppm;
    if (survives) {
      std::memcpy(durable_.data() + at, memory_.get() + at, length);
    } else {
      std::memcpy(memory_.get() + at, durable_.data() + at, length);
    }
  }
}

// --- the owner's calls ---------------------------------------------------------------------------

Result<base::MutableBytes> SimNic::make(RegionId region, SimRegionPtr memory) {
  const auto [place, is_new] = regions_.try_emplace(region);
  if (!is_new) return failed(Errc::already_exists, region);
  place->second.first = std::move(memory);
  return place->second.first->bytes();
}

Result<void> SimNic::close(RegionId region) {
  if (regions_.erase(region) == 0) return failed(Errc::not_found, region);
  settle(region, std::nullopt);
  return {};
}

Result<void> SimNic::grant(RegionId region, NodeId node, Rights rights) {
  const auto found = regions_.find(region);
  if (found == regions_.end()) return failed(Errc::not_found, region);
  found->second.second[node] = rights;
  return {};
}

Result<void> SimNic::revoke(RegionId region, NodeId node) {
  DOLMEN_CHECK(revoke_without_draining(region, node));
  settle(region, node);
  return {};
}

Result<void> SimNic::revoke_without_draining(RegionId region, NodeId node) {
  const auto found = regions_.find(region);
  if (found == regions_.end()) return failed(Errc::not_found, region);
  found->second.second.erase(node);
  return {};
}

// --- operations of others ------------------------------------------------------------------------

Result<SimRegionPtr> SimNic::reach(NodeId node, RegionId region, std::uint64_t offset,
                                   std::uint64_t bytes, bool Rights::* right) const {
  const auto found = regions_.find(region);
  if (found == regions_.end()) return failed(Errc::not_found, region);
  const auto& [memory, grants] = found->second;
  const auto grant = grants.find(node);
  if (grant == grants.end() || !(grant->second.*right)) return failed(Errc::no_right, region);
  const std::size_t size = memory->bytes().size();
  if (offset > size || bytes > size - offset) return failed(Errc::out_of_bounds, region);
  return memory;
}

Result<void> SimNic::write(NodeId node, RegionId region, std::uint64_t offset,
                           std::vector<std::byte> bytes, bool is_flushed,
                           std::function<void()> done) {
  if (is_stopped_) return {};
  DOLMEN_TRY(SimRegionPtr memory, reach(node, region, offset, bytes.size(), &Rights::write));
  begin({.node = node,
         .region = region,
         .memory = std::move(memory),
         .offset = offset,
         .bytes = std::move(bytes),
         .is_write = true,
         .is_flushed = is_flushed,
         .order = {},
         .done = [done = std::move(done)](std::vector<std::byte>) { done(); }});
  return {};
}

Result<void> SimNic::read(NodeId node, RegionId region, std::uint64_t offset, std::size_t bytes,
                          std::function<void(std::vector<std::byte>)> done) {
  if (is_stopped_) return {};
  DOLMEN_TRY(SimRegionPtr memory, reach(node, region, offset, bytes, &Rights::read));
  begin({.node = node,
         .region = region,
         .memory = std::move(memory),
         .offset = offset,
         .bytes = std::vector<std::byte>(bytes),
         .order = {},
         .done = std::move(done)});
  return {};
}

Result<void> SimNic::atomic(NodeId node, RegionId region, std::uint64_t offset,
                            std::function<std::uint64_t(std::uint64_t)> next,
                            std::function<void(std::uint64_t)> done) {
  if (is_stopped_) return {};
  DOLMEN_TRY(SimRegionPtr memory, reach(node, region, offset, 8, &Rights::atomic));
  finish_atomic();
  const auto former = base::load<std::uint64_t>(memory->bytes(), offset);
  atomic_ = {.number = ++begun_,
             .node = node,
             .memory = std::move(memory),
             .offset = offset,
             .former = former,
             .desired = next(former),
             .done = std::move(done)};
  if (model_.atomic_with_cpu) {
    finish_atomic();
    return {};
  }
  queue_.after(model_.atomic_ns, [self = shared_from_this(), number = begun_] {
    if (self->atomic_ && self->atomic_->number == number) self->finish_atomic();
  });
  return {};
}

std::uint64_t SimNic::gap_ns() {
  return model_.line_ns + (model_.scatter_ns == 0 ? 0 : random_.below(model_.scatter_ns + 1));
}

void SimNic::begin(Access access) {
  access.lines = access.bytes.empty() ? 0
                                      : line_of(access.offset + access.bytes.size() - 1) -
                                            line_of(access.offset) + 1;
  if (!model_.is_ordered && access.lines > 1) {
    access.order.resize(access.lines);
    std::iota(access.order.begin(), access.order.end(), 0);
    for (std::size_t i = access.lines - 1; i > 0; --i) {
      std::swap(access.order[i], access.order[random_.below(i + 1)]);
    }
  }
  const std::uint64_t number = ++begun_;
  under_way_.emplace(number, std::move(access));
  queue_.after(gap_ns(), [self = shared_from_this(), number] { self->move_line(number); });
}

void SimNic::move_line(std::uint64_t number) {
  const auto found = under_way_.find(number);
  if (found == under_way_.end()) return;  // settled, or stopped
  Access& access = found->second;
  if (access.moved < access.lines) move_one(access);
  if (access.moved < access.lines) {
    queue_.after(gap_ns(), [self = shared_from_this(), number] { self->move_line(number); });
  } else if (access.is_flushed) {
    queue_.after(model_.flush_ns, [self = shared_from_this(), number] { self->finish(number); });
  } else {
    finish(number);
  }
}

void SimNic::move_one(Access& access) {
  finish_atomic();  // a card's own operations are atomic towards each other
  const std::size_t which = access.order.empty() ? access.moved : access.order[access.moved];
  ++access.moved;
  const std::uint64_t line = line_of(access.offset) + which;
  const std::uint64_t begin = std::max(access.offset, line * kLineBytes);
  const std::uint64_t end =
      std::min<std::uint64_t>(access.offset + access.bytes.size(), (line + 1) * kLineBytes);
  const base::MutableBytes there = access.memory->bytes().subspan(begin, end - begin);
  const base::MutableBytes here =
      base::MutableBytes(access.bytes).subspan(begin - access.offset, end - begin);
  if (access.is_write) {
    std::memcpy(there.data(), here.data(), here.size());
    ++lines_landed_;
  } else {
    std::memcpy(here.data(), there.data(), there.size());
  }
  trace_(base::checksum64(here, begin));
}

void SimNic::finish(std::uint64_t number) {
  const auto found = under_way_.find(number);
  if (found == under_way_.end()) return;
  Access access = std::move(found->second);
  under_way_.erase(found);
  if (access.is_flushed) access.memory->flush(access.offset, access.bytes.size());
  access.done(std::move(access.bytes));
}

void SimNic::finish_atomic() {
  if (!atomic_) return;
  Atomic atomic = std::move(*atomic_);
  atomic_.reset();
  base::store(atomic.memory->bytes(), atomic.offset, atomic.desired);
  trace_(atomic.desired);
  // Later: it may begin the next one, and this may be within another operation.
  queue_.after(0,
               [self = shared_from_this(), done = std::move(atomic.done), former = atomic.former] {
                 if (!self->is_stopped_) done(former);
               });
}

void SimNic::settle(RegionId region, std::optional<NodeId> node) {
  finish_atomic();
  std::vector<std::uint64_t> numbers;
  for (const auto& [number, access] : under_way_) {
    if (access.region == region && (!node || access.node == *node)) numbers.push_back(number);
  }
  for (const std::uint64_t number : numbers) {
    Access& access = under_way_.at(number);
    while (access.moved < access.lines) move_one(access);
    finish(number);
  }
}

void SimNic::settle() {
  finish_atomic();
  while (!under_way_.empty()) {
    Access& access = under_way_.begin()->second;
    while (access.moved < access.lines) move_one(access);
    finish(under_way_.begin()->first);
  }
}

void SimNic::stop() {
  is_stopped_ = true;
  under_way_.clear();
  atomic_.reset();
}

}  // namespace dolmen::sim
