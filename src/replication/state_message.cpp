// SPDX-License-Identifier: Apache-2.0
#include "replication/state_message.hpp"

#include "base/checksum.hpp"

namespace dolmen::replication {

namespace {

/// "DLST"
constexpr std::uint64_t kPartSeed = 0x54534C44;

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a message about a state"); }

std::uint64_t checksum_of(const StatePart& part) {
  return base::checksum64(part.bytes, kPartSeed + part.part);
}

}  // namespace

std::vector<std::byte> encode(const AskState& ask) {
  base::ByteWriter out;
  out.put(ask.transfer);
  out.put(ask.part);
  out.put(static_cast<std::uint32_t>(ask.reference.size()));
  out.put(std::uint32_t{0});
  out.put_bytes(ask.reference);
  out.put_bytes(ask.question);
  return out.release();
}

std::array<std::byte, kStatePartHeadBytes> encode_head(const StatePart& part) {
  std::array<std::byte, kStatePartHeadBytes> head{};
  base::store(base::MutableBytes(head), 0, part.transfer);
  base::store(base::MutableBytes(head), 8, part.part);
  base::store(base::MutableBytes(head), 16, static_cast<std::uint64_t>(part.status));
  base::store(base::MutableBytes(head), 24, checksum_of(part));
  return head;
}

std::vector<std::byte> encode(const StatePart& part) {
  base::ByteWriter out;
  out.reserve(kStatePartHeadBytes + part.bytes.size());
  out.put_bytes(encode_head(part));
  out.put_bytes(part.bytes);
  return out.release();
}

Result<AskState> decode_ask_state(base::Bytes body) {
  base::ByteReader in(body);
  AskState ask{.transfer = in.get<std::uint64_t>(), .part = in.get<std::uint64_t>()};
  const auto reference_bytes = in.get<std::uint32_t>();
  const auto reserved = in.get<std::uint32_t>();
  if (in.failed() || ask.transfer == 0 || reserved != 0 || reference_bytes > kReferenceBytesMax) {
    return damaged();
  }
  ask.reference = in.take(reference_bytes);
  if (in.failed() || in.remaining() > kQuestionBytesMax) return damaged();
  ask.question = in.take(in.remaining());
  return ask;
}

Result<StatePart> decode_state_part(base::Bytes body) {
  base::ByteReader in(body);
  StatePart part{.transfer = in.get<std::uint64_t>(), .part = in.get<std::uint64_t>()};
  const auto status = in.get<std::uint64_t>();
  const auto checksum = in.get<std::uint64_t>();
  if (in.failed() || part.transfer == 0 || status > static_cast<std::uint64_t>(StateStatus::busy) ||
      in.remaining() > kStatePartBytesMax) {
    return damaged();
  }
  part.status = static_cast<StateStatus>(status);
  if (part.status != StateStatus::part && in.remaining() != 0) return damaged();
  part.bytes = in.take(in.remaining());
  if (checksum_of(part) != checksum) return damaged();
  return part;
}

}  // namespace dolmen::replication
