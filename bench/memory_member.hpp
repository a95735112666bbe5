// SPDX-License-Identifier: Apache-2.0
//
// A member of a group of three for the suites that measure one: in the memories of the three, or
// with journals; over shared memory or tcp. Its command counts.
//
// Throws Failure. Thread contract: one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness.hpp"
#include "replication/member.hpp"

namespace dolmen::bench {

inline constexpr std::uint32_t kGroupMembers = 3;

struct MemberPlan {
  std::uint32_t number = 0;  ///< 1, 2, 3
  std::uint32_t life = 1;
  std::string shared_directory{};      ///< they meet there; else
  std::vector<std::uint16_t> ports{};  ///< on loopback
  std::string journal{};               ///< its directory; empty: memory alone
  std::uint64_t spin_ns = 0;           ///< ~0: never sleeps
  log::ReplicaOptions replica{};

  /// As words of a command line, and back.
  [[nodiscard]] std::vector<std::string> words() const;
  static MemberPlan of_words(const std::vector<std::string>& words);
};

class MemoryMember {
 public:
  explicit MemoryMember(const MemberPlan& plan);
  ~MemoryMember();
  /// Does what there is to do; false: nothing.
  bool turn();
  void wait();
  [[nodiscard]] replication::MemberStatus status() const;
  [[nodiscard]] bool leads() const;
  void submit(base::Bytes entry, replication::Member::Answer answer);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace dolmen::bench
