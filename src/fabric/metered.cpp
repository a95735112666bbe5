// SPDX-License-Identifier: Apache-2.0
#include "fabric/metered.hpp"

#include <cmath>
#include <utility>

namespace dolmen::fabric {
namespace {

void count(Transfers& meter, const Result<void>& outcome, std::size_t bytes) noexcept {
  if (outcome) {
    ++meter.count;
    meter.bytes += bytes;
  } else {
    ++(outcome.error().code() == Errc::busy ? meter.busy : meter.failed);
  }
}

}  // namespace

std::uint64_t Histogram::count() const noexcept {
  std::uint64_t sum = 0;
  for (const std::uint64_t bucket : buckets_) sum += bucket;
  return sum;
}

std::uint64_t Histogram::below_ns(double percent) const noexcept {
  const std::uint64_t all = count();
  if (all == 0) return 0;
  const double wanted = std::ceil(percent / 100.0 * static_cast<double>(all));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += buckets_[i];
    if (seen > 0 && static_cast<double>(seen) >= wanted) return std::uint64_t{2} << i;
  }
  return std::uint64_t{1} << kBuckets;
}

Metered::Metered(std::unique_ptr<Endpoint> inner, sys::Clock& clock, NodeId last)
    : Decorated(std::move(inner)), clock_(&clock), last_(last) {}

std::uint32_t Metered::index_of(NodeId node) const noexcept {
  for (std::size_t i = 1; i < peers_.size() && node <= last_; ++i) {
    if (peers_[i].node == node) return static_cast<std::uint32_t>(i);
  }
  return 0;
}

Result<void> Metered::send(const NodeName& to, std::span<const Bytes> parts) {
  auto sent = inner().send(to, parts);
  std::size_t bytes = 0;
  for (const Bytes& part : parts) bytes += part.size();
  count(peers_[index_of(to.node)].sent, sent, bytes);
  return sent;
}

template <class Call>
Result<void> Metered::ask(OpKind kind, OpId op, const Place& place, std::size_t bytes,
                          const Call& call) {
  if (free_.empty()) {
    // A place in free_ for each slot: giving one back allocates nothing.
    slots_.emplace_back();
    free_.reserve(slots_.capacity());
    free_.push_back(static_cast<std::uint32_t>(slots_.size() - 1));
  }
  const std::uint32_t slot = free_.back();
  const std::uint32_t peer = index_of(place.target.node);
  slots_[slot] = {.op = op, .kind = kind, .peer = peer, .begun_ns = clock_->monotonic_ns()};
  auto asked = call(OpId{slot});
  count(peers_[peer].operations[static_cast<std::size_t>(kind)], asked, bytes);
  if (asked) free_.pop_back();
  return asked;
}

Result<void> Metered::write(OpId op, const Place& place, Bytes bytes, Level level) {
  return ask(OpKind::write, op, place, bytes.size(),
             [&](OpId own) { return inner().write(own, place, bytes, level); });
}

Result<void> Metered::read(OpId op, const Place& place, MutableBytes into) {
  return ask(OpKind::read, op, place, into.size(),
             [&](OpId own) { return inner().read(own, place, into); });
}

Result<void> Metered::compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                       std::uint64_t desired) {
  return ask(OpKind::compare_and_swap, op, place, sizeof expected,
             [&](OpId own) { return inner().compare_and_swap(own, place, expected, desired); });
}

Result<void> Metered::fetch_add(OpId op, const Place& place, std::uint64_t delta) {
  return ask(OpKind::fetch_add, op, place, sizeof delta,
             [&](OpId own) { return inner().fetch_add(own, place, delta); });
}

class Metered::Relay final : public Sink {
 public:
  Relay(Metered& metered, Sink& outer) : metered_(&metered), outer_(&outer) {}

  void on_connected(const NodeName& peer) override {
    std::uint32_t index = metered_->index_of(peer.node);
    if (index == 0 && peer.node <= metered_->last_) {
      index = static_cast<std::uint32_t>(metered_->peers_.size());
      metered_->peers_.push_back({.node = peer.node});
    }
    ++metered_->peers_[index].connects;
    outer_->on_connected(peer);
  }
  void on_lost(const NodeName& peer, const Error& why) override {
    ++of(peer.node).losses;
    outer_->on_lost(peer, why);
  }
  void on_refused(NodeId who, const Error& why) override { outer_->on_refused(who, why); }
  void on_message(const NodeName& from, Bytes message) override {
    Transfers& received = of(from.node).received;
    ++received.count;
    received.bytes += message.size();
    outer_->on_message(from, message);
  }
  void on_completed(OpId op, const Result<std::uint64_t>& former) override {
    const auto index = static_cast<std::uint32_t>(op);
    const Slot slot = metered_->slots_[index];
    metered_->free_.push_back(index);
    OperationMeter& meter =
        metered_->peers_[slot.peer].operations[static_cast<std::size_t>(slot.kind)];
    if (former) {
      meter.latency.add(metered_->clock_->monotonic_ns() - slot.begun_ns);
    } else {
      ++meter.failed;
    }
    outer_->on_completed(slot.op, former);
  }

 private:
  PeerMeter& of(NodeId node) { return metered_->peers_[metered_->index_of(node)]; }

  Metered* metered_;
  Sink* outer_;
};

Result<bool> Metered::poll(Sink& sink) {
  Relay relay(*this, sink);
  return inner().poll(relay);
}

}  // namespace dolmen::fabric
