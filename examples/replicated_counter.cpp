// SPDX-License-Identifier: Apache-2.0
//
// A counter that three processes keep. Its leader is killed again and again while a client counts;
// every number that the client was told is right, and nothing it was told is lost.
#include "replicated_counter.hpp"

#include <cstring>

#include "replicated_demo.hpp"

int main(int count, char** words) {
  Counter counter;
  if (demo::is_member(count, words)) return demo::serve(words, counter);

  demo::Trio members;
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  const std::uint64_t one = 1;
  std::uint64_t expected = 0;
  unsigned kills = 0;
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 40; ++i) {
      const auto answer = client.call(std::as_bytes(std::span(&one, 1)));
      if (!answer) {
        std::fprintf(stderr, "counting: %s\n", answer.error().message().c_str());
        return 1;
      }
      std::uint64_t total = 0;
      std::memcpy(&total, answer->data(), sizeof total);
      if (total != ++expected) {
        std::fprintf(stderr, "told %llu instead of %llu\n", static_cast<unsigned long long>(total),
                     static_cast<unsigned long long>(expected));
        return 1;
      }
    }
    if (members.kill_leader(client) != 0) ++kills;
  }
  std::printf("counted to %llu; the leader was killed %u times meanwhile\n",
              static_cast<unsigned long long>(expected), kills);
  return members.stop() && expected == 400 && kills > 0 ? 0 : 1;
}
