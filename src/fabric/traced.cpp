// SPDX-License-Identifier: Apache-2.0
#include "fabric/traced.hpp"

#include <array>
#include <cstdint>
#include <type_traits>

namespace dolmen::fabric {
namespace {

std::string text(NodeId node) { return std::to_string(static_cast<std::uint64_t>(node)); }
std::string text(const NodeName& name) {
  return text(name.node) + "/" + std::to_string(name.incarnation);
}
std::string text(RegionId region) {
  return "region " + std::to_string(static_cast<std::uint32_t>(region));
}
std::string text(OpId op) { return "op " + std::to_string(static_cast<std::uint64_t>(op)); }
std::string text(const Place& place, std::size_t bytes, OpId op) {
  return text(place.target) + " " + text(place.region) + " at " + std::to_string(place.offset) +
         ", " + std::to_string(bytes) + " bytes, " + text(op);
}
std::string text(const Rights& rights) {
  std::string words = "rights";
  if (rights.read) words += " read";
  if (rights.write) words += " write";
  if (rights.atomic) words += " atomic";
  return words;
}
constexpr std::array<std::string_view, 3> kLevels{"local", "placed", "durable"};

}  // namespace

Traced::Traced(std::unique_ptr<Endpoint> inner, Write write)
    : Decorated(std::move(inner)), write_(std::move(write)), who_(text(self()) + " ") {}

template <class T>
Result<T> Traced::told(const std::string& what, Result<T> outcome) const {
  line(what + ": " + (outcome ? "ok" : outcome.error().message()));
  return outcome;
}

Result<void> Traced::send(const NodeName& to, std::span<const Bytes> parts) {
  std::size_t bytes = 0;
  for (const Bytes& part : parts) bytes += part.size();
  return told("send " + text(to) + ", " + std::to_string(bytes) + " bytes",
              inner().send(to, parts));
}

Result<MutableBytes> Traced::make_region(RegionId region, std::size_t bytes) {
  return told("make " + text(region) + ", " + std::to_string(bytes) + " bytes",
              inner().make_region(region, bytes));
}

Result<void> Traced::close_region(RegionId region) {
  return told("close " + text(region), inner().close_region(region));
}

Result<void> Traced::grant(RegionId region, NodeId node, Rights rights) {
  return told("grant " + text(region) + " to " + text(node) + ", " + text(rights),
              inner().grant(region, node, rights));
}

Result<void> Traced::revoke(RegionId region, NodeId node) {
  return told("revoke " + text(region) + " from " + text(node), inner().revoke(region, node));
}

Result<void> Traced::write(OpId op, const Place& place, Bytes bytes, Level level) {
  return told("write " + text(place, bytes.size(), op) + ", " +
                  std::string(kLevels[static_cast<std::size_t>(level)]),
              inner().write(op, place, bytes, level));
}

Result<void> Traced::read(OpId op, const Place& place, MutableBytes into) {
  return told("read " + text(place, into.size(), op), inner().read(op, place, into));
}

Result<void> Traced::compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                      std::uint64_t desired) {
  return told("compare_and_swap " + text(place, sizeof expected, op) + ", " +
                  std::to_string(expected) + " to " + std::to_string(desired),
              inner().compare_and_swap(op, place, expected, desired));
}

Result<void> Traced::fetch_add(OpId op, const Place& place, std::uint64_t delta) {
  return told("fetch_add " + text(place, sizeof delta, op) + ", " + std::to_string(delta),
              inner().fetch_add(op, place, delta));
}

Result<MutableBytes> Traced::map(const NodeName& target, RegionId region) {
  return told("map " + text(target) + " " + text(region), inner().map(target, region));
}

class Traced::Relay final : public Sink {
 public:
  Relay(const Traced& traced, Sink& outer) : traced_(&traced), outer_(&outer) {}

  void on_connected(const NodeName& peer) override {
    traced_->line("connected " + text(peer));
    outer_->on_connected(peer);
  }
  void on_lost(const NodeName& peer, const Error& why) override {
    traced_->line("lost " + text(peer) + ": " + why.message());
    outer_->on_lost(peer, why);
  }
  void on_refused(NodeId who, const Error& why) override {
    traced_->line("refused " + text(who) + ": " + why.message());
    outer_->on_refused(who, why);
  }
  void on_message(const NodeName& from, Bytes message) override {
    traced_->line("message from " + text(from) + ", " + std::to_string(message.size()) + " bytes");
    outer_->on_message(from, message);
  }
  void on_completed(OpId op, const Result<std::uint64_t>& former) override {
    traced_->line("completed " + text(op) + ": " +
                  (former ? std::to_string(*former) : former.error().message()));
    outer_->on_completed(op, former);
  }

 private:
  const Traced* traced_;
  Sink* outer_;
};

Result<bool> Traced::poll(Sink& sink) {
  Relay relay(*this, sink);
  Result<bool> polled = inner().poll(relay);
  return polled ? polled : told("poll", std::move(polled));
}

Result<void> Traced::wait(std::uint64_t until_ns) {
  Result<void> waited = inner().wait(until_ns);
  return waited ? waited : told("wait", std::move(waited));
}

void Traced::disconnect(NodeId node) noexcept {
  line("disconnect " + text(node));
  inner().disconnect(node);
}

}  // namespace dolmen::fabric
