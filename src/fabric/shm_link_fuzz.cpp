// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as the object of a connection and as what its writer does: the first eight are the tail
// that it publishes, the rest lies in the object, once as it is and once behind a card that fits.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "fabric/shm_layout.hpp"
#include "fabric/shm_link.hpp"
#include "fabric/shm_memory.hpp"

namespace {

using namespace dolmen;
using namespace dolmen::fabric::shm;

class Memory final : public sys::SharedObject {
 public:
  base::MutableBytes memory() const noexcept override {
    return {static_cast<std::byte*>(static_cast<void*>(words_.get())), kBytes};
  }
  static constexpr std::size_t kBytes = kHeaderBytes + 2 * kRingBytesMin;

 private:
  std::unique_ptr<std::uint64_t[]> words_ = std::make_unique<std::uint64_t[]>(kBytes / 8);
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kMessageMax = 2000;
  const base::Bytes bytes = std::as_bytes(std::span(data, size));
  if (bytes.size() < 8) return 0;
  auto object = std::make_unique<Memory>();
  const base::MutableBytes memory = object->memory();
  const base::Bytes rest = bytes.subspan(8, std::min(bytes.size() - 8, memory.size()));
  std::ranges::copy(rest, memory.begin());
  (void)read_node_card(memory.first(kHeaderBytes));
  (void)read_region_card(memory.first(kHeaderBytes));
  if (const auto card = read_link_card(memory.first(kHeaderBytes))) {
    DOLMEN_ASSERT_CMP(card->ring_bytes, <=, kRingBytesMax);
  }
  // The acceptor's ring is its own to write; the dialer's tail comes in two steps.
  std::ranges::fill(memory.first(kHeaderBytes), std::byte{});
  std::ranges::copy(rest.first(std::min(rest.size(), memory.size() - kHeaderBytes)),
                    memory.begin() + kHeaderBytes);
  const LinkCard card{.dialer = {.node = fabric::NodeId{1}},
                      .acceptor = {.node = fabric::NodeId{2}},
                      .ring_bytes = kRingBytesMin};
  Link link(card, false, nullptr, std::move(object),
            {.message_bytes_out = 100, .message_bytes_in = kMessageMax, .queue_bytes = 100});
  const auto tail = word_at<std::uint64_t>(memory.subspan(kLinkRingsAt), kRingTailAt);
  const auto last = base::load<std::uint64_t>(bytes);
  for (const std::uint64_t published : {last / 2 / 8 * 8, last}) {
    tail.store(published);
    std::size_t looked = 0;
    for (;;) {
      const auto message = link.receive(looked);
      if (!message || !*message) break;
      DOLMEN_ASSERT_CMP((*message)->size(), <=, kMessageMax);
    }
    DOLMEN_ASSERT_CMP(looked, <=, kRingBytesMin);
    (void)link.release();
    (void)link.closed_by_peer();
  }
  return 0;
}
