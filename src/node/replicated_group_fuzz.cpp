// SPDX-License-Identifier: Apache-2.0
//
// Any text as where a member is, as rosters and logs of other members say it, and as a name in the
// directory of a memory-only member.
#include <cstdint>
#include <string>

#include <dolmen/assert.hpp>

#include "node/replicated_group.hpp"
#include "sim/sim_disk.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen;
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text.push_back(static_cast<char>(data[i]));
  const auto where = node::address(text);
  if (where) {
    DOLMEN_ASSERT(where->port != 0 && !where->host.empty());
    const std::string again = where->host + ":" + std::to_string(where->port);
    DOLMEN_ASSERT(node::address(again).value() == *where || where->host.front() == '[');
  }
  const auto peers =
      node::peers_at({{fabric::NodeId{1}, text}, {fabric::NodeId{2}, text}}, fabric::NodeId{1});
  DOLMEN_ASSERT_CMP(peers.size(), ==, where ? 1u : 0u);

  sim::SimDisk disk(1);
  if (!disk.open("next-life-" + text, sys::OpenMode::create_new)) return 0;
  const auto life = node::begin_life(disk);
  if (!life) return 0;
  DOLMEN_ASSERT_CMP(*life, !=, 0u);
  DOLMEN_ASSERT_CMP(node::begin_life(disk).value_or(*life + 1), ==, *life + 1);
  return 0;
}
