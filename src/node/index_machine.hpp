// SPDX-License-Identifier: Apache-2.0
//
// A shard of an index as a replicated state machine (docs/index.md, As a service), and what its
// clients send (docs/formats/index.md, Requests).
//
// Threads: one (the member's).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <dolmen/index.hpp>
#include <dolmen/state_machine.hpp>

#include "cluster/hash_index.hpp"
#include "cluster/index_shape.hpp"
#include "sys/clock.hpp"

namespace dolmen::node {

/// The shard's; nothing moves it yet.
inline constexpr std::uint32_t kIndexEpoch = 1;
/// Most changes of one request.
inline constexpr std::size_t kIndexChangesMax = 1024;

/// What a client sends, and what the log holds of it.
struct IndexRequest {
  std::optional<std::vector<std::byte>> asked{};  ///< the value of this key; else:
  log::Index release = 0;                         ///< first, of the log; 0: nothing
  std::vector<cluster::IndexCommand> changes{};   ///< put and erase
  friend bool operator==(const IndexRequest&, const IndexRequest&) = default;
};
/// Requires: the commands are possible; not more than kIndexChangesMax.
[[nodiscard]] std::vector<std::byte> encode(const IndexRequest& request);
/// Errors: corrupt.
[[nodiscard]] Result<IndexRequest> decode_index_request(base::Bytes bytes);

/// Of a request that asked. Errors: corrupt.
[[nodiscard]] Result<std::optional<std::vector<std::byte>>> decode_index_value(base::Bytes reply);
/// Of each change. Errors: corrupt.
[[nodiscard]] Result<std::vector<cluster::IndexOutcome>> decode_index_outcomes(base::Bytes reply,
                                                                               std::size_t count);

class IndexMachine final : public StateMachine {
 public:
  /// `clock` outlives it. Errors: invalid_argument.
  [[nodiscard]] static Result<cluster::IndexGeometry> geometry_of(const IndexShardOptions& options);
  IndexMachine(sys::Clock& clock, const cluster::IndexGeometry& geometry, std::uint64_t grace_ns)
      : clock_(clock), geometry_(geometry), grace_ns_(grace_ns) {}

  [[nodiscard]] std::size_t memory_bytes() const override;
  void use_memory(std::span<std::byte> memory) override;
  [[nodiscard]] std::vector<std::byte> apply(Bytes command) override;
  [[nodiscard]] std::vector<std::byte> snapshot() const override;
  [[nodiscard]] Result<void> restore(Bytes state) override;
  void reset() override;
  [[nodiscard]] Result<std::vector<std::byte>> effect_of(Bytes request) override;

  /// Requires: reset() or restore() was called.
  [[nodiscard]] const cluster::HashIndex& table() const { return *index_; }

 private:
  void clear();
  cluster::IndexOutcome apply(const cluster::IndexCommand& command);

  sys::Clock& clock_;
  const cluster::IndexGeometry geometry_;
  const std::uint64_t grace_ns_;
  std::vector<std::uint64_t> own_;  ///< where no memory was given
  base::MutableBytes memory_{};
  bool is_used_ = false;
  std::optional<cluster::HashIndex> index_;
  /// What was applied when the leader last let memory be used again, and when.
  log::Index marked_ = 0;
  std::uint64_t marked_ns_ = 0;
};

}  // namespace dolmen::node
