// SPDX-License-Identifier: Apache-2.0
//
// Any 4 KiB offered as a tree node: refused, or readable within its bounds and encoded again to the
// same bytes. The first input byte is the level; a short input is filled up with zeros.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include <dolmen/assert.hpp>

#include "store/node_cache.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen::store;
  if (size == 0) return 0;
  const unsigned level = data[0] % (kMaxTreeLevel + 1);
  NodeFrame frame{};
  const auto bytes = std::as_bytes(std::span(data + 1, std::min(size - 1, frame.size())));
  std::ranges::copy(bytes, frame.begin());
  if (node_defect(frame, level) != nullptr) return 0;

  const NodeView view(frame);
  std::vector<TreeEntry> entries;
  for (std::size_t i = 0; i < view.count(); ++i) entries.push_back(view.entry(i));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    DOLMEN_ASSERT_CMP(view.count_up_to(entries[i].key), ==, i + 1);
  }
  NodeFrame again;
  encode_node(entries, level, again);
  DOLMEN_ASSERT(again == frame);
  return 0;
}
