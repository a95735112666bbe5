// SPDX-License-Identifier: Apache-2.0
//
// What decorators have in common: an endpoint that hands every call on to the one it holds.
//
// Thread contract: as that of the endpoint it holds.
#pragma once

#include <memory>
#include <utility>

#include "fabric/fabric.hpp"

namespace dolmen::fabric {

class Decorated : public Endpoint {
 public:
  Decorated(const Decorated&) = delete;
  Decorated& operator=(const Decorated&) = delete;

  [[nodiscard]] NodeName self() const noexcept override { return inner_->self(); }
  [[nodiscard]] const Traits& traits() const noexcept override { return inner_->traits(); }
  [[nodiscard]] std::optional<NodeName> connected(NodeId node) const noexcept override {
    return inner_->connected(node);
  }
  using Endpoint::send;
  [[nodiscard]] Result<void> send(const NodeName& to, std::span<const Bytes> parts) override {
    return inner_->send(to, parts);
  }
  [[nodiscard]] Result<MutableBytes> make_region(RegionId region, std::size_t bytes) override {
    return inner_->make_region(region, bytes);
  }
  [[nodiscard]] Result<void> close_region(RegionId region) override {
    return inner_->close_region(region);
  }
  [[nodiscard]] Result<void> grant(RegionId region, NodeId node, Rights rights) override {
    return inner_->grant(region, node, rights);
  }
  [[nodiscard]] Result<void> revoke(RegionId region, NodeId node) override {
    return inner_->revoke(region, node);
  }
  [[nodiscard]] Result<void> write(OpId op, const Place& place, Bytes bytes, Level level) override {
    return inner_->write(op, place, bytes, level);
  }
  [[nodiscard]] Result<void> read(OpId op, const Place& place, MutableBytes into) override {
    return inner_->read(op, place, into);
  }
  [[nodiscard]] Result<void> compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                              std::uint64_t desired) override {
    return inner_->compare_and_swap(op, place, expected, desired);
  }
  [[nodiscard]] Result<void> fetch_add(OpId op, const Place& place, std::uint64_t delta) override {
    return inner_->fetch_add(op, place, delta);
  }
  [[nodiscard]] Result<MutableBytes> map(const NodeName& target, RegionId region) override {
    return inner_->map(target, region);
  }
  void unmap(const NodeName& target, RegionId region) noexcept override {
    inner_->unmap(target, region);
  }
  [[nodiscard]] bool lives(const NodeName& target) const noexcept override {
    return inner_->lives(target);
  }
  [[nodiscard]] Result<bool> poll(Sink& sink) override { return inner_->poll(sink); }
  [[nodiscard]] Result<void> wait(std::uint64_t until_ns) override {
    return inner_->wait(until_ns);
  }
  void wake() noexcept override { inner_->wake(); }
  void disconnect(NodeId node) noexcept override { inner_->disconnect(node); }

 protected:
  /// Requires: not null.
  explicit Decorated(std::unique_ptr<Endpoint> inner) noexcept : inner_(std::move(inner)) {}
  [[nodiscard]] Endpoint& inner() const noexcept { return *inner_; }

 private:
  std::unique_ptr<Endpoint> inner_;
};

}  // namespace dolmen::fabric
