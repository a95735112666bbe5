// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a call, an effect, a reply and an image of a replicated space: what is understood is
// exactly what is written again, and an image that is understood can be loaded and sent on.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include <dolmen/assert.hpp>

#include "node/space_effect.hpp"
#include "node/space_image.hpp"
#include "sim/sim_disk.hpp"
#include "sys/linux/linux.hpp"

namespace {

using namespace dolmen;

void try_image(base::Bytes bytes) {
  const auto decoded = node::decode_image(bytes);
  if (!decoded) return;
  DOLMEN_ASSERT(node::decode_image_head(bytes).value().last_index == decoded->head.last_index);
  std::size_t capacity = 0;
  for (const auto& object : decoded->objects) capacity += object.pages.size();
  if (capacity > 64 || decoded->objects.size() > 64) return;
  auto image = node::SpaceImage::open(sys::linux_env(), std::make_unique<sim::SimDisk>(1),
                                      {.segment_bytes = 16u << 10});
  DOLMEN_ASSERT(image);
  if (!(*image)->load(bytes)) return;  // an index that no space has
  DOLMEN_ASSERT((*image)->last_index() == decoded->head.last_index);
  const auto again = (*image)->snapshot(std::size_t{1} << 30);
  DOLMEN_ASSERT(again);
  // Pages of zeros are not sent on.
  DOLMEN_ASSERT(again->size() <= bytes.size());
  const auto twice = node::decode_image(*again);
  DOLMEN_ASSERT(twice && twice->objects.size() == decoded->objects.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<std::byte> copy = [&] {
    std::vector<std::byte> bytes(size);
    std::ranges::transform(std::span(data, size), bytes.begin(),
                           [](std::uint8_t byte) { return std::byte{byte}; });
    return bytes;
  }();
  const base::Bytes bytes(copy);
  if (const auto call = node::decode_space_call(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*call), bytes));
  }
  if (const auto effect = node::decode_space_effect(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*effect), bytes));
  }
  if (const auto reply = node::decode_reply(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode_reply(reply), bytes));
  }
  try_image(bytes);
  return 0;
}
