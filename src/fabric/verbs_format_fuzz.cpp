// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a control message, and, cut by the lengths that stand in them, as the pieces of
// messages.
#include <algorithm>
#include <cstdint>
#include <span>

#include <dolmen/assert.hpp>

#include "fabric/assembly.hpp"
#include "fabric/verbs_format.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen;
  using namespace dolmen::fabric;
  const Bytes bytes = std::as_bytes(std::span(data, size));
  if (const auto control = decode_verbs_control(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(encode(*control), bytes));
  }
  Assembly assembly;
  for (Bytes rest = bytes; rest.size() >= 2;) {
    const std::size_t length =
        std::min<std::size_t>(base::load<std::uint16_t>(rest), rest.size() - 2);
    const Bytes piece = rest.subspan(2, length);
    rest = rest.subspan(2 + length);
    const auto head = decode_verbs_piece(piece);
    if (!head) continue;
    DOLMEN_ASSERT(std::ranges::equal(encode(*head), piece.first(kVerbsPieceHeadBytes)));
    if (!head->is_data) continue;
    const auto message = assembly.add(head->left, piece.subspan(kVerbsPieceHeadBytes));
    if (!message) break;
    DOLMEN_ASSERT_CMP(message->bytes.size(), <=, kVerbsMessageMax);
  }
  return 0;
}
