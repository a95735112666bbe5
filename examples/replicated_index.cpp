// SPDX-License-Identifier: Apache-2.0
//
// An index that three processes keep: what a program knows of pages, found by their names. Clients
// read it in the memory of whoever leads, who is killed again and again; nothing that was put is
// lost, and nothing old is seen.
#include <map>
#include <string>

#include <dolmen/index.hpp>

#include "replicated_demo.hpp"

namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

int main(int count, char** words) {
  if (demo::is_member(count, words)) {
    auto shard = dolmen::IndexShard::make({.bucket_bytes = 1 << 20, .record_bytes = 4 << 20});
    return demo::serve(words, shard.value().machine());
  }

  demo::Trio members;
  constexpr std::uint64_t kShards[] = {1};
  auto index = dolmen::Index::make(members.group(), kShards).value();
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  std::map<std::string, std::string> expected;
  unsigned kills = 0;
  for (int round = 0; round < 8; ++round) {
    for (int i = 0; i < 30; ++i) {
      const std::string page = "page " + std::to_string(i * 7 % 40);
      const std::string text = "seen in round " + std::to_string(round);
      if (const auto put = index.put(bytes(page), bytes(text)); !put) {
        std::fprintf(stderr, "putting: %s\n", put.error().message().c_str());
        return 1;
      }
      expected[page] = text;
    }
    for (int i = 0; i < 40; ++i) {
      const std::string page = "page " + std::to_string(i);
      const auto got = index.get(bytes(page));
      if (!got) {
        std::fprintf(stderr, "getting: %s\n", got.error().message().c_str());
        return 1;
      }
      const bool is_right = got->has_value() == expected.contains(page) &&
                            (!*got || std::ranges::equal(**got, bytes(expected[page])));
      if (!is_right) {
        std::fprintf(stderr, "%s: not what was put\n", page.c_str());
        return 1;
      }
    }
    if (members.kill_leader(client) != 0) ++kills;
  }
  const dolmen::IndexCounts counts = index.counts();
  std::printf("%llu pages were read in the memory of whoever led, %llu asked for\n",
              static_cast<unsigned long long>(counts.one_sided),
              static_cast<unsigned long long>(counts.asked));
  return members.stop() && counts.one_sided > 0 && kills > 0 ? 0 : 1;
}
