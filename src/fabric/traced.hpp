// SPDX-License-Identifier: Apache-2.0
//
// Writes down what passes through an endpoint, a line for each call and each event, such as
//
//   1/1 write 2/1 region 7 at 64, 8 bytes, op 5: ok
//   1/1 completed op 5: 0
//   1/1 lost 2/1: connection_lost: ...
//
// (nodes as id/incarnation). Of poll(), wait() and wake() only failures are. Allocates per line.
//
// Thread contract: as the endpoint's; lines are written by its thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "fabric/decorated.hpp"

namespace dolmen::fabric {

class Traced final : public Decorated {
 public:
  /// A line, without an end of line; valid during the call, which must not use the endpoint.
  using Write = std::function<void(std::string_view line)>;

  Traced(std::unique_ptr<Endpoint> inner, Write write);

  using Endpoint::send;
  [[nodiscard]] Result<void> send(const NodeName& to, std::span<const Bytes> parts) override;
  [[nodiscard]] Result<MutableBytes> make_region(RegionId region, std::size_t bytes) override;
  [[nodiscard]] Result<void> close_region(RegionId region) override;
  [[nodiscard]] Result<void> grant(RegionId region, NodeId node, Rights rights) override;
  [[nodiscard]] Result<void> revoke(RegionId region, NodeId node) override;
  [[nodiscard]] Result<void> write(OpId op, const Place& place, Bytes bytes, Level level) override;
  [[nodiscard]] Result<void> read(OpId op, const Place& place, MutableBytes into) override;
  [[nodiscard]] Result<void> compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                              std::uint64_t desired) override;
  [[nodiscard]] Result<void> fetch_add(OpId op, const Place& place, std::uint64_t delta) override;
  [[nodiscard]] Result<MutableBytes> map(const NodeName& target, RegionId region) override;
  [[nodiscard]] Result<bool> poll(Sink& sink) override;
  [[nodiscard]] Result<void> wait(std::uint64_t until_ns) override;
  void disconnect(NodeId node) noexcept override;

 private:
  class Relay;

  void line(const std::string& what) const { write_(who_ + what); }
  template <class T>
  Result<T> told(const std::string& what, Result<T> outcome) const;

  Write write_;
  std::string who_;
};

}  // namespace dolmen::fabric
