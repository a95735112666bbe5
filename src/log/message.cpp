// SPDX-License-Identifier: Apache-2.0
#include "log/message.hpp"

#include <utility>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "log/snapshot.hpp"

namespace dolmen::log {

namespace {

constexpr std::size_t kChecksumBytes = 8;

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a message between replicas"); }

bool carries_part(MessageKind kind) {
  return kind == MessageKind::snapshot || kind == MessageKind::fetched_part;
}

bool carries_round(MessageKind kind) noexcept {
  return kind == MessageKind::append || kind == MessageKind::appended ||
         kind == MessageKind::mismatch;
}

bool carries_entries(MessageKind kind) noexcept {
  return kind == MessageKind::fetched || kind == MessageKind::append;
}

}  // namespace

bool is_well_formed(const Entry& entry) {
  const bool is_bare = entry.kind == EntryKind::opening || entry.kind == EntryKind::settled;
  if (is_bare) return entry.payload.empty();
  return entry.kind != EntryKind::configuration || decode_configuration(entry.payload).has_value();
}

std::vector<std::byte> encode(const Message& message) {
  base::ByteWriter out;
  constexpr std::size_t kHeadMax = 64;  // and the checksum, and what a part is of
  std::size_t bytes = kHeadMax + message.part.size();
  for (const Entry& entry : message.entries) bytes += kEntryHeaderBytes + entry.payload.size();
  out.reserve(bytes);
  out.put(kMessageMagic);
  out.put(static_cast<std::uint16_t>(kMessageVersion));
  out.put(static_cast<std::uint8_t>(message.kind));
  out.put(std::uint8_t{0});
  out.put(message.epoch);
  out.put(message.position.origin);
  out.put(message.position.index);
  out.put(message.stable);
  out.put(static_cast<std::uint32_t>(message.entries.size()));
  out.put(std::uint32_t{0});
  out.put(message.round);
  Index expected = message.position.index + 1;
  for (const Entry& entry : message.entries) {
    DOLMEN_ASSERT_CMP(entry.index, ==, expected);
    ++expected;
    out.put(entry.origin);
    out.put(static_cast<std::uint32_t>(entry.payload.size()));
    out.put(static_cast<std::uint8_t>(entry.kind));
    out.put(std::uint8_t{0});
    out.put(std::uint16_t{0});
    out.put_bytes(entry.payload);
  }
  if (carries_part(message.kind)) {
    out.put(message.part_of);
    out.put_bytes(message.part);
  }
  out.put(base::checksum64(out.bytes(), kMessageSeed));
  DOLMEN_ASSERT(out.size() <= kMessageBytesMax);
  return out.release();
}

Result<Message> decode_message(base::Bytes bytes) {
  if (bytes.size() > kMessageBytesMax || bytes.size() < kChecksumBytes) return damaged();
  const base::Bytes body = bytes.first(bytes.size() - kChecksumBytes);
  if (base::load<std::uint64_t>(bytes, body.size()) != base::checksum64(body, kMessageSeed)) {
    return damaged();
  }
  base::ByteReader in(body);
  if (in.get<std::uint32_t>() != kMessageMagic) return damaged();
  if (const auto version = in.get<std::uint16_t>(); version != kMessageVersion && !in.failed()) {
    return fail(Errc::version_unsupported, "a message between replicas", version);
  }
  Message message;
  const auto kind = in.get<std::uint8_t>();
  if (kind < static_cast<std::uint8_t>(MessageKind::probe) ||
      kind > static_cast<std::uint8_t>(MessageKind::hand_over)) {
    return damaged();
  }
  message.kind = static_cast<MessageKind>(kind);
  if (in.get<std::uint8_t>() != 0) return damaged();
  message.epoch = in.get<std::uint64_t>();
  message.position.origin = in.get<std::uint64_t>();
  message.position.index = in.get<std::uint64_t>();
  message.stable = in.get<std::uint64_t>();
  const auto count = in.get<std::uint32_t>();
  if (in.get<std::uint32_t>() != 0) return damaged();
  message.round = in.get<std::uint64_t>();
  if (in.failed() || (message.round != 0 && !carries_round(message.kind))) return damaged();
  if (count > in.remaining() / kEntryHeaderBytes) return damaged();
  if (count > 0 && !carries_entries(message.kind)) return damaged();
  if (message.epoch == 0 || message.epoch > kEpochMax) return damaged();
  const Index first = message.position.index + 1;
  if (first == 0 || first + count < first) return damaged();
  if (message.position.origin > message.epoch) return damaged();
  message.entries.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    Entry entry;
    entry.index = first + i;
    entry.origin = in.get<std::uint64_t>();
    const auto payload_bytes = in.get<std::uint32_t>();
    const auto entry_kind = in.get<std::uint8_t>();
    const bool spare = in.get<std::uint8_t>() != 0 || in.get<std::uint16_t>() != 0;
    const base::Bytes payload = in.take(payload_bytes);
    if (in.failed() || spare || payload_bytes > kPayloadBytesMax) return damaged();
    if (entry_kind < static_cast<std::uint8_t>(EntryKind::command) ||
        entry_kind > static_cast<std::uint8_t>(EntryKind::settled)) {
      return damaged();
    }
    entry.kind = static_cast<EntryKind>(entry_kind);
    // Origins never fall along a log, and nobody sends what a later epoch proposed.
    const Epoch before =
        message.entries.empty() ? message.position.origin : message.entries.back().origin;
    if (entry.origin == 0 || entry.origin < before || entry.origin > message.epoch) {
      return damaged();
    }
    entry.payload.assign(payload.begin(), payload.end());
    if (!is_well_formed(entry)) return damaged();
    message.entries.push_back(std::move(entry));
  }
  if (carries_part(message.kind)) {
    message.part_of = in.get<std::uint64_t>();
    const base::Bytes part = in.take(in.remaining());
    if (message.part_of == 0 || message.part_of > kSnapshotBytesMax) return damaged();
    if (message.stable > message.part_of || part.size() > message.part_of - message.stable) {
      return damaged();
    }
    message.part.assign(part.begin(), part.end());
  }
  if (!in.finished()) return damaged();
  return message;
}

}  // namespace dolmen::log
