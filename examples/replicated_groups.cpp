// SPDX-License-Identifier: Apache-2.0
//
// Two counters in three processes: two groups, each with its log and its leader, and of each
// process one journal and one sync for both. Who leads one of them is killed again and again; what
// the clients of either were told is right.
#include <array>
#include <cstring>

#include "replicated_counter.hpp"
#include "replicated_demo.hpp"

int main(int count, char** words) {
  std::array<Counter, 2> counters;
  if (demo::is_member(count, words)) {
    const std::array<dolmen::ReplicatedMachine, 2> machines{
        {{.group = 1, .machine = &counters[0]}, {.group = 2, .machine = &counters[1]}}};
    return demo::serve(words, machines);
  }

  demo::Trio members(2);
  std::array clients{dolmen::ReplicatedClient::make(members.group(), 1).value(),
                     dolmen::ReplicatedClient::make(members.group(), 2).value()};
  std::array<std::uint64_t, 2> expected{};
  unsigned kills = 0;
  for (std::uint64_t round = 0; round < 8; ++round) {
    for (std::uint64_t i = 0; i < 20; ++i) {
      for (std::size_t group = 0; group < 2; ++group) {
        const std::uint64_t amount = group + 1;
        const auto answer = clients[group].call(std::as_bytes(std::span(&amount, 1)));
        if (!answer) {
          std::fprintf(stderr, "group %zu: %s\n", group + 1, answer.error().message().c_str());
          return 1;
        }
        std::uint64_t total = 0;
        std::memcpy(&total, answer->data(), sizeof total);
        expected[group] += amount;
        if (total == expected[group]) continue;
        std::fprintf(stderr, "group %zu told %llu instead of %llu\n", group + 1,
                     static_cast<unsigned long long>(total),
                     static_cast<unsigned long long>(expected[group]));
        return 1;
      }
    }
    if (members.kill_leader(clients[round % 2]) != 0) ++kills;
  }
  const auto groups = clients[0].groups();
  if (!groups || groups->size() != 2) return 1;
  std::printf("counted to %llu and %llu; a leader was killed %u times meanwhile\n",
              static_cast<unsigned long long>(expected[0]),
              static_cast<unsigned long long>(expected[1]), kills);
  return members.stop() && expected[0] == 160 && expected[1] == 320 && kills > 0 ? 0 : 1;
}
