// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a hello, and, cut by the lengths that stand in them, as the pieces of units.
#include <algorithm>
#include <cstdint>
#include <span>

#include <dolmen/assert.hpp>

#include "fabric/assembly.hpp"
#include "fabric/ofi_format.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen;
  using namespace dolmen::fabric;
  const Bytes bytes = std::as_bytes(std::span(data, size));
  if (const auto hello = decode_ofi_hello(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(encode(*hello).value(), bytes));
  }
  Assembly assembly;
  for (Bytes rest = bytes; rest.size() >= 2;) {
    const std::size_t length =
        std::min<std::size_t>(base::load<std::uint16_t>(rest), rest.size() - 2);
    const Bytes piece = rest.subspan(2, length);
    rest = rest.subspan(2 + length);
    const auto head = decode_ofi_piece(piece);
    if (!head) continue;
    DOLMEN_ASSERT(std::ranges::equal(encode(*head), piece.first(kOfiPieceHeadBytes)));
    if (head->kind != OfiPieceHead::Kind::data) continue;
    const auto whole = assembly.add(head->left, piece.subspan(kOfiPieceHeadBytes));
    if (!whole) break;
    if (!whole->is_complete) continue;
    DOLMEN_ASSERT_CMP(whole->bytes.size(), <=, kOfiUnitMax);
    const auto unit = decode_ofi_unit(whole->bytes);
    if (!unit) continue;
    DOLMEN_ASSERT_CMP(unit->body_bytes + kUnitHeaderBytes, ==, whole->bytes.size());
    const Bytes body = whole->bytes.subspan(kUnitHeaderBytes);
    if (unit->kind == kOfiShownRead) {
      DOLMEN_ASSERT(std::ranges::equal(encode(decode_ofi_shown(body)), body));
    } else if (unit->kind == kOfiShownWrite) {
      const auto request = decode_request_head(UnitKind::read, body);
      DOLMEN_ASSERT(!request || request->count <= kTcpBytesMax);
    }
  }
  return 0;
}
