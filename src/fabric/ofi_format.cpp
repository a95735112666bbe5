// SPDX-License-Identifier: Apache-2.0
#include "fabric/ofi_format.hpp"

#include <algorithm>

#include "base/checksum.hpp"

namespace dolmen::fabric {
namespace {

constexpr std::uint8_t kHello = 1;
constexpr std::size_t kProviderAt = 16;
constexpr std::size_t kAddressAt = kProviderAt + kOfiProviderMax;

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "bytes from another node"); }

bool is_zero(Bytes bytes) noexcept {
  return std::ranges::all_of(bytes, [](std::byte one) { return one == std::byte{0}; });
}

}  // namespace

Result<std::array<std::byte, kOfiHelloBytes>> encode(const OfiHello& hello) {
  if (hello.provider.size() > kOfiProviderMax || hello.address.size() > kOfiAddressMax) {
    return fail(Errc::limit, "a fabric with long names", hello.address.size());
  }
  std::array<std::byte, kOfiHelloBytes> bytes{};
  const auto put = [&](std::size_t at, auto value) { base::store(MutableBytes(bytes), at, value); };
  put(0, kOfiVersion);
  put(1, kHello);
  put(2, static_cast<std::uint16_t>(hello.address.size()));
  put(4, hello.buffers);
  put(8, hello.token);
  std::ranges::copy(base::as_bytes(hello.provider), bytes.begin() + kProviderAt);
  std::ranges::copy(hello.address, bytes.begin() + kAddressAt);
  return bytes;
}

Result<OfiHello> decode_ofi_hello(Bytes bytes) {
  if (bytes.empty()) return damaged();
  if (const auto version = base::load<std::uint8_t>(bytes); version != kOfiVersion) {
    return fail(Errc::version_unsupported, "the other node's protocol", version);
  }
  if (bytes.size() != kOfiHelloBytes) return damaged();
  const auto kind = base::load<std::uint8_t>(bytes, 1);
  const auto address_bytes = base::load<std::uint16_t>(bytes, 2);
  OfiHello hello{.token = base::load<std::uint64_t>(bytes, 8),
                 .buffers = base::load<std::uint32_t>(bytes, 4),
                 .provider = {},
                 .address = {}};
  if (kind != kHello || address_bytes == 0 || address_bytes > kOfiAddressMax || hello.token == 0 ||
      hello.buffers < kOfiBuffersMin || hello.buffers > kOfiBuffersMax) {
    return damaged();
  }
  const Bytes provider = bytes.subspan(kProviderAt, kOfiProviderMax);
  const auto end = std::ranges::find(provider, std::byte{0});
  if (end == provider.begin() || !is_zero(Bytes(end, provider.end()))) return damaged();
  for (const std::byte one : Bytes(provider.begin(), end)) {
    hello.provider.push_back(static_cast<char>(one));
  }
  const Bytes address = bytes.subspan(kAddressAt);
  if (!is_zero(address.subspan(address_bytes))) return damaged();
  hello.address.assign(address.begin(), address.begin() + address_bytes);
  return hello;
}

std::array<std::byte, kOfiPieceHeadBytes> encode(const OfiPieceHead& head) noexcept {
  std::array<std::byte, kOfiPieceHeadBytes> bytes{};
  base::store(MutableBytes(bytes), 0, head.token);
  base::store(MutableBytes(bytes), 8, head.sequence);
  base::store(MutableBytes(bytes), 12, head.left);
  base::store(MutableBytes(bytes), 16, head.credits);
  base::store(MutableBytes(bytes), 18, head.kind);
  return bytes;
}

Result<OfiPieceHead> decode_ofi_piece(Bytes piece) {
  if (piece.size() < kOfiPieceHeadBytes) return damaged();
  OfiPieceHead head{.token = base::load<std::uint64_t>(piece, 0),
                    .sequence = base::load<std::uint32_t>(piece, 8),
                    .left = base::load<std::uint32_t>(piece, 12),
                    .credits = base::load<std::uint16_t>(piece, 16),
                    .kind = base::load<OfiPieceHead::Kind>(piece, 18)};
  if (head.kind > OfiPieceHead::Kind::credits || piece[19] != std::byte{0}) return damaged();
  const bool is_data = head.kind == OfiPieceHead::Kind::data;
  if (is_data ? head.left == 0 || head.left > kOfiUnitMax : head.left != 0) return damaged();
  if (piece.size() != kOfiPieceHeadBytes + std::min<std::size_t>(head.left, kOfiPieceData)) {
    return damaged();
  }
  return head;
}

std::array<std::byte, kOfiShownBytes> encode(const OfiShown& shown) noexcept {
  std::array<std::byte, kOfiShownBytes> bytes{};
  base::store(MutableBytes(bytes), 0, shown.start);
  base::store(MutableBytes(bytes), 8, shown.key);
  base::store(MutableBytes(bytes), 16, shown.checksum);
  return bytes;
}

std::uint64_t shown_checksum(Bytes bytes, std::uint64_t token, std::uint16_t number) noexcept {
  return base::checksum64(bytes, base::mix_seed(token, number));
}

OfiShown decode_ofi_shown(Bytes bytes) noexcept {
  return {.start = base::load<std::uint64_t>(bytes, 0),
          .key = base::load<std::uint64_t>(bytes, 8),
          .checksum = base::load<std::uint64_t>(bytes, 16)};
}

Result<UnitHeader> decode_ofi_unit(Bytes unit) {
  if (unit.size() < kUnitHeaderBytes) return damaged();
  const Bytes head = unit.first(kUnitHeaderBytes);
  const auto kind = base::load<UnitKind>(head, 4);
  if (kind >= kOfiShownWrite && kind <= kOfiTaken) {
    const UnitHeader header{.body_bytes = base::load<std::uint32_t>(head, 0),
                            .kind = kind,
                            .detail = base::load<std::uint8_t>(head, 5),
                            .number = base::load<std::uint16_t>(head, 6)};
    const std::size_t body = kind == kOfiShownWrite  ? kRequestHeadBytes + kOfiShownBytes
                             : kind == kOfiShownRead ? kOfiShownBytes
                                                     : 0;
    if (header.detail != 0 || header.body_bytes != body || unit.size() != head.size() + body) {
      return damaged();
    }
    return header;
  }
  DOLMEN_TRY(const UnitHeader header, decode_unit_header(head));
  if (header.kind == UnitKind::ready || unit.size() != kUnitHeaderBytes + header.body_bytes) {
    return damaged();
  }
  return header;
}

}  // namespace dolmen::fabric
