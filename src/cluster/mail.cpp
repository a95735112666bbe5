// SPDX-License-Identifier: Apache-2.0
#include "cluster/mail.hpp"

#include <utility>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"

namespace dolmen::cluster {

namespace {

constexpr std::size_t kChangeHeadBytes = 12;
constexpr std::size_t kReceivedHeadBytes = 28;
constexpr std::size_t kAcknowledgedBytes = 24;
constexpr std::size_t kLetterHeadBytes = 20;
constexpr std::uint16_t kHasReceived = 1;

std::unexpected<Error> damaged_change() { return fail(Errc::corrupt, "a change of mail"); }
std::unexpected<Error> damaged_message() { return fail(Errc::corrupt, "a message between groups"); }

bool is_place(MailSequence sequence) noexcept {
  return sequence > 0 && sequence <= kMailSequenceMax;
}

void put_mail(base::ByteWriter& out, const std::vector<std::byte>& bytes) {
  DOLMEN_ASSERT(bytes.size() <= kMailBytesMax);
  out.put(static_cast<std::uint32_t>(bytes.size()));
  out.put_bytes(bytes);
}

std::vector<std::byte> get_mail(base::ByteReader& in) {
  const std::size_t length = in.get<std::uint32_t>();
  if (length > kMailBytesMax) in.fail();
  const base::Bytes bytes = in.take(length);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

std::size_t encoded_bytes(const MailChange& change) noexcept {
  std::size_t bytes = kChangeHeadBytes + change.acknowledged.size() * kAcknowledgedBytes;
  if (change.received) bytes += kReceivedHeadBytes + change.received->bytes.size();
  for (const Letter& letter : change.posted) bytes += kLetterHeadBytes + letter.bytes.size();
  return bytes;
}

std::vector<std::byte> encode(const MailChange& change) {
  DOLMEN_ASSERT(encoded_bytes(change) <= kMailChangeBytesMax);
  base::ByteWriter out;
  out.put(static_cast<std::uint16_t>(kMailChangeVersion));
  out.put(change.received ? kHasReceived : std::uint16_t{0});
  out.put(static_cast<std::uint32_t>(change.acknowledged.size()));
  out.put(static_cast<std::uint32_t>(change.posted.size()));
  if (change.received) {
    out.put_id(change.received->from);
    out.put(change.received->sequence);
    put_mail(out, change.received->bytes);
  }
  for (const auto& [by, up_to] : change.acknowledged) {
    out.put_id(by);
    out.put(up_to);
  }
  for (const Letter& letter : change.posted) {
    out.put_id(letter.to);
    put_mail(out, letter.bytes);
  }
  return out.release();
}

Result<MailChange> decode_mail_change(base::Bytes bytes) {
  if (bytes.size() > kMailChangeBytesMax) return damaged_change();
  base::ByteReader in(bytes);
  if (const auto version = in.get<std::uint16_t>(); version != kMailChangeVersion) {
    if (in.failed()) return damaged_change();
    return fail(Errc::version_unsupported, "a change of mail", version);
  }
  const auto flags = in.get<std::uint16_t>();
  const auto acknowledged = in.get<std::uint32_t>();
  const auto posted = in.get<std::uint32_t>();
  if (in.failed() || flags > kHasReceived) return damaged_change();
  if (acknowledged > in.remaining() / kAcknowledgedBytes) return damaged_change();
  if (posted > in.remaining() / kLetterHeadBytes) return damaged_change();
  MailChange change;
  if ((flags & kHasReceived) != 0) {
    MailChange::Received received{.from = in.get_id(), .sequence = in.get<std::uint64_t>()};
    received.bytes = get_mail(in);
    if (in.failed() || received.from.is_null() || !is_place(received.sequence)) {
      return damaged_change();
    }
    change.received = std::move(received);
  }
  change.acknowledged.reserve(acknowledged);
  for (std::uint32_t i = 0; i < acknowledged; ++i) {
    const GroupId by = in.get_id();
    const auto up_to = in.get<std::uint64_t>();
    if (in.failed() || by.is_null() || !is_place(up_to)) return damaged_change();
    if (i > 0 && by <= change.acknowledged.back().by) return damaged_change();
    change.acknowledged.push_back({by, up_to});
  }
  change.posted.reserve(posted);
  for (std::uint32_t i = 0; i < posted; ++i) {
    const GroupId to = in.get_id();
    std::vector<std::byte> mail = get_mail(in);
    if (in.failed() || to.is_null()) return damaged_change();
    change.posted.push_back({to, std::move(mail)});
  }
  if (!in.finished()) return damaged_change();
  return change;
}

std::vector<std::byte> encode(const MailMessage& message) {
  DOLMEN_ASSERT(message.mails.empty() == (message.first == 0));
  base::ByteWriter out;
  out.put(kMailMessageMagic);
  out.put(static_cast<std::uint16_t>(kMailMessageVersion));
  out.put(std::uint16_t{0});
  out.put_id(message.from);
  out.put_id(message.to);
  out.put(message.consumed);
  out.put(message.first);
  out.put(static_cast<std::uint32_t>(message.mails.size()));
  out.put(std::uint32_t{0});
  for (const auto& mail : message.mails) put_mail(out, mail);
  out.put(base::checksum64(out.bytes(), kMailMessageMagic));
  DOLMEN_ASSERT(out.size() <= kMailMessageBytesMax);
  return out.release();
}

Result<MailMessage> decode_mail_message(base::Bytes bytes) {
  if (bytes.size() > kMailMessageBytesMax || bytes.size() < kMailMessageTailBytes) {
    return damaged_message();
  }
  const base::Bytes body = bytes.first(bytes.size() - kMailMessageTailBytes);
  const auto checksum = base::load<std::uint64_t>(bytes, body.size());
  if (checksum != base::checksum64(body, kMailMessageMagic)) return damaged_message();
  base::ByteReader in(body);
  if (in.get<std::uint32_t>() != kMailMessageMagic) return damaged_message();
  if (const auto version = in.get<std::uint16_t>(); version != kMailMessageVersion) {
    if (in.failed()) return damaged_message();
    return fail(Errc::version_unsupported, "a message between groups", version);
  }
  if (in.get<std::uint16_t>() != 0) return damaged_message();
  MailMessage message{.from = in.get_id(), .to = in.get_id()};
  message.consumed = in.get<std::uint64_t>();
  message.first = in.get<std::uint64_t>();
  const auto count = in.get<std::uint32_t>();
  if (in.get<std::uint32_t>() != 0 || in.failed()) return damaged_message();
  if (message.from.is_null() || message.to.is_null() || message.from == message.to) {
    return damaged_message();
  }
  if (message.consumed > kMailSequenceMax) return damaged_message();
  if (count > in.remaining() / kMailHeadBytes) return damaged_message();
  if (count == 0 ? message.first != 0 : !is_place(message.first)) return damaged_message();
  if (count > 0 && count - 1 > kMailSequenceMax - message.first) return damaged_message();
  message.mails.reserve(count);
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) message.mails.push_back(get_mail(in));
  if (!in.finished()) return damaged_message();
  return message;
}

}  // namespace dolmen::cluster
