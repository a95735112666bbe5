// SPDX-License-Identifier: Apache-2.0
//
// TCP between simulated hosts: streams that are cut at any byte, delayed, held back by partitions
// and reset, in virtual time. Nothing blocks: Poller::wait() says what is ready now, and whoever
// drives the world moves its clock.
//
// Threads: one. Deterministic: everything comes from the seed and the order of calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "sim/sim_env.hpp"
#include "sys/network.hpp"

namespace dolmen::sim {

struct StreamFaults {
  std::uint64_t delay_min_ns = 10'000;
  std::uint64_t delay_max_ns = 50'000;
  /// Bytes go and come in pieces of at most this; 1 cuts at every byte.
  std::size_t piece_max = 64 * 1024;
  /// What a direction holds that was not read, and so when a writer has to wait.
  std::size_t window = 256 * 1024;
  /// Of each write: the connection is reset, at both ends.
  std::uint32_t reset_ppm = 0;
};

class StreamWorld {
 public:
  StreamWorld(SimClock& clock, std::uint64_t seed);
  ~StreamWorld();
  StreamWorld(const StreamWorld&) = delete;
  StreamWorld& operator=(const StreamWorld&) = delete;

  /// The network as the host with that address sees it; valid as long as this object. Every
  /// listener and connection ends before the world does.
  [[nodiscard]] sys::Network& host(const std::string& address);
  void set_faults(const StreamFaults& faults) { faults_ = faults; }
  /// Holds back one direction for so long from now on; never shortens an earlier cut. What is on
  /// its way still arrives.
  void cut(const std::string& from, const std::string& to, std::uint64_t length_ns);
  void heal() { cuts_.clear(); }
  [[nodiscard]] std::uint64_t resets() const noexcept { return resets_; }

 private:
  struct Pipe;
  struct Wire;
  struct Listening;
  class Host;
  class Stream;
  class Door;
  class Watch;

  [[nodiscard]] std::uint64_t now_ns() const noexcept { return clock_.monotonic_ns(); }
  /// When something that leaves now is there.
  [[nodiscard]] std::uint64_t arrival_ns(const std::string& from, const std::string& to);
  [[nodiscard]] std::size_t piece(std::size_t bytes);

  SimClock& clock_;
  base::Random random_;
  StreamFaults faults_;
  std::map<std::string, std::unique_ptr<Host>> hosts_;
  std::map<sys::NetworkAddress, std::shared_ptr<Listening>> listening_;
  std::map<std::pair<std::string, std::string>, std::uint64_t> cuts_;  ///< until when
  std::uint16_t next_port_ = 1024;
  std::uint64_t resets_ = 0;
};

}  // namespace dolmen::sim
