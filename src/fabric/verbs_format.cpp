// SPDX-License-Identifier: Apache-2.0
#include "fabric/verbs_format.hpp"

#include <algorithm>

namespace dolmen::fabric {
namespace {

constexpr std::uint32_t kQueueMax = 0xFF'FFFF;
constexpr std::uint8_t kMtuMax = 5;

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "bytes from another node"); }

std::uint8_t bits_of(const Rights& rights) noexcept {
  return static_cast<std::uint8_t>((rights.read ? 1 : 0) | (rights.write ? 2 : 0) |
                                   (rights.atomic ? 4 : 0));
}

bool is_sound(const sys::RdmaAddress& queue) noexcept {
  return queue.queue != 0 && queue.queue <= kQueueMax && queue.first_packet <= kQueueMax &&
         queue.mtu >= 1 && queue.mtu <= kMtuMax;
}

/// What this kind of message cannot do without.
bool is_sound(const VerbsControl& control) noexcept {
  const bool has_queue = control.queue != sys::RdmaAddress{};
  if (has_queue && !is_sound(control.queue)) return false;
  switch (control.kind) {
    case VerbsControl::Kind::hello:
      return has_queue && control.buffers >= kVerbsBuffersMin &&
             control.buffers <= kVerbsBuffersMax;
    case VerbsControl::Kind::ask: {
      const std::uint8_t needed = bits_of(control.rights);
      return needed == 1 || needed == 2 || needed == 4;
    }
    case VerbsControl::Kind::answer:
      return control.status == VerbsControl::Status::ok || !has_queue;
    case VerbsControl::Kind::ready:
    case VerbsControl::Kind::withdrawn:
    case VerbsControl::Kind::closed:
      return !has_queue;
  }
  return false;
}

}  // namespace

std::array<std::byte, kVerbsControlBytes> encode(const VerbsControl& control) noexcept {
  std::array<std::byte, kVerbsControlBytes> bytes{};
  const auto put = [&](std::size_t at, auto value) { base::store(MutableBytes(bytes), at, value); };
  put(0, kVerbsVersion);
  put(1, control.kind);
  put(2, control.status);
  put(3, bits_of(control.rights));
  put(4, control.lane);
  put(8, control.region);
  put(12, control.key);
  put(16, control.start);
  put(24, control.bytes);
  put(32, control.queue.gid);
  put(48, control.queue.queue);
  put(52, control.queue.first_packet);
  put(56, control.queue.lid);
  put(58, control.queue.mtu);
  put(60, control.buffers);
  return bytes;
}

Result<VerbsControl> decode_verbs_control(Bytes bytes) {
  if (bytes.empty()) return damaged();
  if (const auto version = base::load<std::uint8_t>(bytes); version != kVerbsVersion) {
    return fail(Errc::version_unsupported, "the other node's protocol", version);
  }
  if (bytes.size() != kVerbsControlBytes) return damaged();
  VerbsControl control;
  control.kind = base::load<VerbsControl::Kind>(bytes, 1);
  const auto status = base::load<std::uint8_t>(bytes, 2);
  const auto rights = base::load<std::uint8_t>(bytes, 3);
  if (status > 3 || rights > 7 || bytes[59] != std::byte{0}) return damaged();
  control.status = static_cast<VerbsControl::Status>(status);
  control.rights = {
      .read = (rights & 1) != 0, .write = (rights & 2) != 0, .atomic = (rights & 4) != 0};
  control.lane = base::load<std::uint32_t>(bytes, 4);
  control.region = base::load<RegionId>(bytes, 8);
  control.key = base::load<std::uint32_t>(bytes, 12);
  control.start = base::load<std::uint64_t>(bytes, 16);
  control.bytes = base::load<std::uint64_t>(bytes, 24);
  std::ranges::copy(bytes.subspan(32, 16), control.queue.gid.begin());
  control.queue.queue = base::load<std::uint32_t>(bytes, 48);
  control.queue.first_packet = base::load<std::uint32_t>(bytes, 52);
  control.queue.lid = base::load<std::uint16_t>(bytes, 56);
  control.queue.mtu = base::load<std::uint8_t>(bytes, 58);
  control.buffers = base::load<std::uint32_t>(bytes, 60);
  if (!is_sound(control)) return damaged();
  return control;
}

std::array<std::byte, kVerbsPieceHeadBytes> encode(const VerbsPieceHead& head) noexcept {
  std::array<std::byte, kVerbsPieceHeadBytes> bytes{};
  base::store(MutableBytes(bytes), 0, head.left);
  base::store(MutableBytes(bytes), 4, head.credits);
  base::store(MutableBytes(bytes), 6, static_cast<std::uint8_t>(head.is_data ? 1 : 0));
  return bytes;
}

Result<VerbsPieceHead> decode_verbs_piece(Bytes piece) {
  if (piece.size() < kVerbsPieceHeadBytes) return damaged();
  VerbsPieceHead head{.left = base::load<std::uint32_t>(piece, 0),
                      .credits = base::load<std::uint16_t>(piece, 4)};
  const auto kind = base::load<std::uint8_t>(piece, 6);
  if (kind > 1 || piece[7] != std::byte{0} || head.left > kVerbsMessageMax) return damaged();
  head.is_data = kind == 1;
  const std::size_t expected = head.is_data ? std::min<std::size_t>(head.left, kVerbsPieceData) : 0;
  if (piece.size() != kVerbsPieceHeadBytes + expected) return damaged();
  if (!head.is_data && head.left != 0) return damaged();
  return head;
}

}  // namespace dolmen::fabric
