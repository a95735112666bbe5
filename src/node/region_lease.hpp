// SPDX-License-Identifier: Apache-2.0
//
// What a client knows of the lease of whose memory it reads (docs/index.md, By a lease). Without
// input or output. Times are of the client's own clock.
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <optional>

#include "replication/lease_message.hpp"

namespace dolmen::node {

class RegionLease {
 public:
  /// A question that is not answered is asked again after this; one that was answered by nothing
  /// after the other.
  static constexpr std::uint64_t kAgainNs = 5'000'000;
  static constexpr std::uint64_t kNoneNs = 50'000'000;

  /// Another leader, or the same one in another epoch: nothing of what was told counts.
  void begin(log::Epoch epoch);
  /// What to ask now, if anything: half of what there was is gone. `now_ns`: read before it is
  /// sent. What is not sent is asked again like what is lost.
  [[nodiscard]] std::optional<replication::AskLease> ask(std::uint64_t now_ns);
  /// The answer of whoever leads in begin()'s epoch.
  void told(std::uint64_t now_ns, const replication::LeaseTold& told);
  /// What was read of the leader's memory before this is the latest. 0: nothing is.
  [[nodiscard]] std::uint64_t until_ns() const noexcept { return until_ns_; }
  /// An answer may be under way.
  [[nodiscard]] bool is_asking() const noexcept { return asked_ns_ != 0; }

 private:
  log::Epoch epoch_ = 0;
  std::uint64_t number_ = 0;    ///< of the last question, whatever the epoch
  std::uint64_t asked_ns_ = 0;  ///< when it was asked; 0: it was answered
  std::uint64_t next_ns_ = 0;   ///< when to ask again
  std::uint64_t until_ns_ = 0;
};

}  // namespace dolmen::node
