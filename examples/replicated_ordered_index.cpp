// SPDX-License-Identifier: Apache-2.0
//
// An ordered index that three processes keep, in two shards: what is on which page of a book, read
// page by page and chapter by chapter in the memory of whoever leads, who is killed again and
// again.
#include <array>
#include <cstdio>
#include <map>
#include <string>

#include <dolmen/index_key.hpp>
#include <dolmen/ordered_index.hpp>

#include "replicated_demo.hpp"

namespace {

using dolmen::OrderedIndex;

/// The order of the bytes is that of the pages.
OrderedIndex::Value page_key(int page) { return dolmen::key_of("book", page); }

}  // namespace

int main(int count, char** words) {
  if (demo::is_member(count, words)) {
    constexpr dolmen::OrderedShardOptions kSmall{.node_bytes = 1 << 20, .record_bytes = 1 << 20};
    auto first = dolmen::OrderedIndexShard::make(kSmall).value();
    auto second = dolmen::OrderedIndexShard::make(kSmall).value();
    const std::array<dolmen::ReplicatedMachine, 2> machines{
        {{.group = 1, .machine = &first.machine()}, {.group = 2, .machine = &second.machine()}}};
    return demo::serve(words, machines);
  }

  demo::Trio members(2);
  constexpr std::uint64_t kShards[] = {1, 2};
  const OrderedIndex::Value splits[] = {page_key(100)};
  auto index = OrderedIndex::make(members.group(), kShards, splits).value();
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  std::map<OrderedIndex::Value, std::string> expected;
  unsigned kills = 0;
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < 40; ++i) {
      const OrderedIndex::Value key = page_key((round * 40 + i) * 77 % 200);
      const std::string text = "written in round " + std::to_string(round);
      if (const auto put = index.put(key, OrderedIndex::of(text)); !put) {
        std::fprintf(stderr, "putting: %s\n", put.error().message().c_str());
        return 1;
      }
      expected[key] = text;
    }
    // A chapter, which is in both shards.
    const OrderedIndex::Value from = page_key(60);
    const OrderedIndex::Value to = page_key(140);
    const auto chapter = index.scan({.from = from, .to = to}, 1'000);
    if (!chapter) {
      std::fprintf(stderr, "scanning: %s\n", chapter.error().message().c_str());
      return 1;
    }
    auto known = expected.lower_bound(from);
    for (const OrderedIndex::Entry& entry : chapter->entries) {
      const bool is_right = known != expected.end() && entry.key == known->first &&
                            std::ranges::equal(entry.value, OrderedIndex::of(known->second));
      if (!is_right) {
        std::fprintf(stderr, "not what was put\n");
        return 1;
      }
      ++known;
    }
    if (known != expected.lower_bound(to) || !chapter->is_last) {
      std::fprintf(stderr, "a page is missing\n");
      return 1;
    }
    if (members.kill_leader(client) != 0) ++kills;
  }
  const dolmen::IndexCounts counts = index.counts();
  std::printf("%llu parts of a chapter were read in the memory of whoever led, %llu asked for\n",
              static_cast<unsigned long long>(counts.one_sided),
              static_cast<unsigned long long>(counts.asked));
  return members.stop() && counts.one_sided > 0 && kills > 0 ? 0 : 1;
}
