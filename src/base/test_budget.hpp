// SPDX-License-Identifier: Apache-2.0
//
// For tests: how much each campaign runs. This is the one place where the time of the tests is
// divided: `make test` has 45 minutes on two cores for everything, of which the campaigns get what
// test_budget_test.cpp says. Without a failure in n runs, a run fails with less than 3/n (95 %).
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include <dolmen/assert.hpp>

#include "base/sanitizers.hpp"
#include "base/test_length.hpp"

namespace dolmen::base {

struct Campaign {
  std::string_view name;
  std::string_view unit;      ///< what is counted
  std::uint64_t gate;         ///< in the release build of `make test`
  std::uint64_t sanitized;    ///< in a build with sanitizers; 0: left out there
  std::uint64_t full;         ///< in `make soak`
  std::uint32_t gate_s;       ///< measured cost of `gate`, of one core
  std::uint32_t sanitized_s;  ///< of `sanitized`, address sanitizer
};

inline constexpr Campaign kCampaigns[] = {
    {"crash_states", "crash states", 6'000, 400, 1'000'000, 11, 8},
    {"kill9", "kills of a program", 40, 15, 10'000, 8, 5},
    {"kill9_threads", "kills of a program with threads", 80, 25, 10'000, 14, 6},
    {"journal_crashes", "crashed journals", 1'500, 60, 100'000, 4, 4},
    {"shm_kills", "kills beside shared rings", 200, 40, 20'000, 4, 10},
    {"log_seeds", "seeds of a simulated group", 500, 20, 1'000'000, 10, 6},
    {"log_bug_seeds", "seeds for a planted bug, at most", 300, 20, 2'500, 60, 5},
    {"member_seeds", "seeds of whole members", 60, 3, 5'000, 9, 6},
    {"memory_member_seeds", "seeds of whole members in memory alone", 40, 4, 5'000, 6, 5},
    {"mail_seeds", "seeds of groups with mail", 500, 12, 500'000, 5, 5},
    {"mail_bug_seeds", "seeds for a planted bug of mail, at most", 300, 0, 2'500, 5, 1},
    {"home_seeds", "seeds of groups with objects that move", 150, 6, 150'000, 5, 5},
    {"home_bug_seeds", "seeds for a planted bug of homes, at most", 300, 0, 2'500, 4, 1},
    {"root_seeds", "seeds of clusters and their root group", 60, 6, 50'000, 2, 1},
    {"root_bug_seeds", "seeds for a planted bug of a root group, at most", 60, 0, 2'000, 1, 1},
    {"cluster_seeds", "seeds of clusters of five groups", 100, 3, 150'000, 5, 6},
    {"node_seeds", "seeds of clusters with a root group", 120, 4, 800'000, 12, 8},
    {"space_seeds", "seeds of clusters with a space", 70, 2, 50'000, 14, 6},
    {"index_map_seeds", "seeds of an index beside a map", 25, 4, 25'000, 1, 3},
    {"ordered_map_seeds", "seeds of an ordered index beside a map", 12, 2, 25'000, 1, 3},
    {"index_torn_seeds", "seeds of readers between the stores of an index", 150, 8, 20'000, 4, 7},
    {"index_epoch_seeds", "seeds of readers of a group that elects leaders", 40, 3, 20'000, 3, 6},
    {"ordered_torn_seeds", "seeds of readers between the stores of an ordered index", 4, 1, 2'000,
     2, 2},
    {"ordered_epoch_seeds", "seeds of readers of an ordered index, while leaders are elected", 6, 1,
     5'000, 2, 2},
    {"process_kills", "kills of members", 60, 6, 5'000, 15, 3},
    {"process_pauses", "pauses of members", 10, 2, 500, 12, 4},
    {"witness_rounds", "rounds of kills of two servers and a witness", 10, 2, 300, 14, 4},
    {"member_change_rounds", "rounds of adding, removing and replacing", 4, 2, 300, 15, 10},
    {"memory_kills", "kills of members in memory alone", 20, 5, 1'000, 10, 5},
    {"index_kills", "kills of whoever leads the group of an index", 8, 4, 1'000, 5, 4},
    {"cluster_kills", "kills of nodes and clients of a cluster", 200, 12, 10'000, 25, 6},
    {"cluster_pauses", "pauses of whoever leads in a cluster", 4, 2, 300, 5, 4},
    {"cluster_partitions", "partitions of a cluster", 5, 2, 300, 10, 8},
    {"process_partitions", "partitions of members", 12, 2, 1'000, 18, 4},
};

inline const Campaign& campaign(std::string_view name) {
  for (const Campaign& each : kCampaigns) {
    if (each.name == name) return each;
  }
  DOLMEN_ASSERT(false && "a campaign without a budget");
  return kCampaigns[0];
}

/// How often the campaign of this name is to run here.
inline std::uint64_t budget(std::string_view name) {
  const Campaign& found = campaign(name);
  return at_full_length() ? found.full : kSanitized ? found.sanitized : found.gate;
}

/// Says that `runs` of them went without a failure, and how little that is.
inline void say_bound(std::string_view name, std::uint64_t runs) {
  const Campaign& found = campaign(name);
  std::printf("%lu %s without a failure: one fails with less than %.1g (95 %%)\n", runs,
              std::string(found.unit).c_str(), runs == 0 ? 1.0 : 3.0 / static_cast<double>(runs));
}

}  // namespace dolmen::base
