// SPDX-License-Identifier: Apache-2.0
#include "fabric/faulty.hpp"

#include <algorithm>
#include <utility>

namespace dolmen::fabric {

Faulty::Faulty(std::unique_ptr<Endpoint> inner, const FaultOptions& options, sys::Clock& clock)
    : Decorated(std::move(inner)), options_(options), random_(options.seed), clock_(&clock) {}

Faulty::Peer* Faulty::find(NodeId node) noexcept {
  const auto found =
      std::ranges::find_if(peers_, [&](const Peer& one) { return one.name.node == node; });
  return found == peers_.end() ? nullptr : &*found;
}

std::optional<NodeName> Faulty::connected(NodeId node) const noexcept {
  for (const Peer& peer : peers_) {
    if (peer.name.node == node) return peer.name;
  }
  return std::nullopt;
}

Result<void> Faulty::may(const NodeName& to) {
  const Peer* const peer = find(to.node);
  // The inner endpoint may know a connection that was not reported yet, or already the next one.
  if (peer == nullptr || peer->name != to || peer->is_ending) {
    return fail(Errc::not_connected, "a node");
  }
  if (random_.chance(options_.busy_per_1000, 1000)) return fail(Errc::busy, "a bad moment");
  return {};
}

Result<void> Faulty::send(const NodeName& to, std::span<const Bytes> parts) {
  DOLMEN_CHECK(may(to));
  return inner().send(to, parts);
}

Result<void> Faulty::write(OpId op, const Place& place, Bytes bytes, Level level) {
  DOLMEN_CHECK(may(place.target));
  return inner().write(op, place, bytes, level);
}

Result<void> Faulty::read(OpId op, const Place& place, MutableBytes into) {
  DOLMEN_CHECK(may(place.target));
  return inner().read(op, place, into);
}

Result<void> Faulty::compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                      std::uint64_t desired) {
  DOLMEN_CHECK(may(place.target));
  return inner().compare_and_swap(op, place, expected, desired);
}

Result<void> Faulty::fetch_add(OpId op, const Place& place, std::uint64_t delta) {
  DOLMEN_CHECK(may(place.target));
  return inner().fetch_add(op, place, delta);
}

Result<MutableBytes> Faulty::map(const NodeName& target, RegionId region) {
  const Peer* const peer = find(target.node);
  if (traits().mapped && (peer == nullptr || peer->name != target || peer->is_ending)) {
    return fail(Errc::not_connected, "a node");
  }
  return inner().map(target, region);
}

class Faulty::Relay final : public Sink {
 public:
  explicit Relay(Faulty& faulty) : faulty_(&faulty) {}

  void on_connected(const NodeName& peer) override {
    faulty_->enqueue({.kind = Kind::connected, .peer = peer});
  }
  void on_lost(const NodeName& peer, const Error& why) override {
    Error told = why;
    if (std::erase(faulty_->cut_, peer.node) > 0 && why.code() == Errc::closed) {
      told = Error(Errc::connection_lost, "a fault");
    }
    if (Peer* const known = faulty_->find(peer.node); known != nullptr && known->name == peer) {
      known->is_ending = true;
    }
    faulty_->enqueue({.kind = Kind::lost, .peer = peer, .outcome = std::unexpected(told)});
  }
  void on_refused(NodeId who, const Error& why) override {
    faulty_->enqueue(
        {.kind = Kind::refused, .peer = {.node = who}, .outcome = std::unexpected(why)});
  }
  void on_message(const NodeName& from, Bytes message) override {
    faulty_->enqueue(
        {.kind = Kind::message, .peer = from, .message = {message.begin(), message.end()}});
  }
  void on_completed(OpId op, const Result<std::uint64_t>& former) override {
    faulty_->enqueue({.kind = Kind::completed, .op = op, .outcome = former});
  }

 private:
  Faulty* faulty_;
};

void Faulty::enqueue(Event event) {
  const std::uint64_t delay_ns =
      options_.delay_max_ns == 0 ? 0 : random_.between(0, options_.delay_max_ns);
  last_due_ns_ = std::max(last_due_ns_, clock_->monotonic_ns() + delay_ns);
  event.due_ns = last_due_ns_;
  events_.push_back(std::move(event));
}

void Faulty::report(const Event& event, Sink& sink) {
  switch (event.kind) {
    case Kind::connected:
      peers_.push_back({.name = event.peer});
      // It may have ended already.
      peers_.back().is_ending = std::ranges::any_of(events_, [&](const Event& later) {
        return later.kind == Kind::lost && later.peer == event.peer;
      });
      return sink.on_connected(event.peer);
    case Kind::lost:
      std::erase_if(peers_, [&](const Peer& one) { return one.name == event.peer; });
      return sink.on_lost(event.peer, event.outcome.error());
    case Kind::refused:
      return sink.on_refused(event.peer.node, event.outcome.error());
    case Kind::message:
      return sink.on_message(event.peer, event.message);
    case Kind::completed:
      return sink.on_completed(event.op, event.outcome);
  }
}

void Faulty::lose_one() {
  if (peers_.empty()) return;
  const Peer& peer = peers_[random_.below(peers_.size())];
  if (peer.is_ending) return;
  cut_.push_back(peer.name.node);
  inner().disconnect(peer.name.node);
}

Result<bool> Faulty::poll(Sink& sink) {
  if (random_.chance(options_.loss_per_million, 1'000'000)) lose_one();
  Relay relay(*this);
  DOLMEN_TRY(bool did_something, inner().poll(relay));
  const bool at_once = std::exchange(at_once_, false);
  const std::uint64_t now_ns = clock_->monotonic_ns();
  // Not what a call from the sink brings about: that is for the next poll.
  for (std::size_t left = events_.size(); left > 0 && !events_.empty(); --left) {
    if (!at_once && events_.front().due_ns > now_ns) break;
    const Event event = std::move(events_.front());
    events_.pop_front();
    report(event, sink);
    did_something = true;
  }
  return did_something;
}

Result<void> Faulty::wait(std::uint64_t until_ns) {
  if (at_once_) return inner().wait(0);
  return inner().wait(events_.empty() ? until_ns : std::min(until_ns, events_.front().due_ns));
}

void Faulty::disconnect(NodeId node) noexcept {
  std::erase_if(events_, [&](const Event& event) {
    return event.kind == Kind::message && event.peer.node == node;
  });
  std::erase(cut_, node);  // now it is this side's wish
  if (Peer* const peer = find(node); peer != nullptr) peer->is_ending = true;
  at_once_ = true;
  inner().disconnect(node);
}

}  // namespace dolmen::fabric
