// SPDX-License-Identifier: Apache-2.0
#include "replication/envelope.hpp"

#include <utility>

namespace dolmen::replication {

namespace {

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a message to or from a member"); }

bool is_kind(std::uint8_t kind) noexcept {
  constexpr std::uint8_t kNever = 16;  // was never given
  if (kind == static_cast<std::uint8_t>(EnvelopeKind::denied)) return true;
  if (kind >= static_cast<std::uint8_t>(EnvelopeKind::ask_lease)) {
    return kind <= static_cast<std::uint8_t>(EnvelopeKind::ask_outcome);
  }
  if (kind >= static_cast<std::uint8_t>(EnvelopeKind::ask_metrics)) {
    return kind <= static_cast<std::uint8_t>(EnvelopeKind::metrics);
  }
  return kind >= static_cast<std::uint8_t>(EnvelopeKind::replica) &&
         kind <= static_cast<std::uint8_t>(EnvelopeKind::entries) && kind != kNever;
}

}  // namespace

std::vector<std::byte> encode(const Envelope& envelope) {
  // With every message: one allocation.
  std::vector<std::byte> bytes(kEnvelopeBytes);
  const base::MutableBytes out(bytes);
  base::store(out, 0, kEnvelopeMagic);
  base::store(out, 4, kEnvelopeVersion);
  base::store(out, 6, static_cast<std::uint8_t>(envelope.kind));
  base::store(out, 8, envelope.group.high);
  base::store(out, 16, envelope.group.low);
  base::store(out, 24, static_cast<std::uint64_t>(envelope.from));
  base::store(out, 32, static_cast<std::uint64_t>(envelope.to));
  base::store(out, 40, envelope.shown.index);
  base::store(out, 44, envelope.shown.generation);
  return bytes;
}

std::vector<std::byte> encode(const Request& request) {
  base::ByteWriter out;
  out.reserve(32 + request.command.size());
  out.put(request.number);
  out.put(request.session);
  out.put(request.sequence);
  out.put_bytes(request.command);
  return out.release();
}

std::vector<std::byte> encode(const ReadRequest& request) {
  base::ByteWriter out;
  out.reserve(24 + request.query.size());
  out.put(request.number);
  out.put(static_cast<std::uint64_t>(request.level));
  out.put_bytes(request.query);
  return out.release();
}

std::vector<std::byte> encode(const Reply& reply) {
  base::ByteWriter out;
  out.reserve(40 + reply.result.size());
  out.put(reply.number);
  out.put(static_cast<std::uint64_t>(reply.status));
  out.put(reply.value);
  out.put(reply.index);
  out.put(static_cast<std::uint64_t>(reply.level));
  out.put_bytes(reply.result);
  return out.release();
}

std::vector<std::byte> encode(const MemberStatus& status) {
  base::ByteWriter out;
  out.put(static_cast<std::uint64_t>(status.self));
  out.put(static_cast<std::uint32_t>(status.role));
  out.put(static_cast<std::uint32_t>(status.level));
  out.put(status.epoch);
  out.put(static_cast<std::uint64_t>(status.leader));
  out.put(status.end.origin);
  out.put(status.end.index);
  out.put(status.stable);
  out.put(status.applied);
  out.put(status.base);
  const std::vector<std::byte> configuration = log::encode(status.configuration);
  out.put(static_cast<std::uint32_t>(configuration.size()));
  out.put(static_cast<std::uint32_t>(status.followers.size()));
  out.put_bytes(configuration);
  for (const MemberStatus::Follower& follower : status.followers) {
    out.put(static_cast<std::uint64_t>(follower.id));
    out.put(follower.matched);
  }
  return out.release();
}

std::vector<std::byte> encode(const MemoryReply& reply) {
  base::ByteWriter out;
  const std::vector<std::byte> configuration = log::encode(reply.configuration);
  out.put(reply.epoch);
  out.put(reply.leader);
  out.put(reply.configured);
  out.put(reply.bytes);
  out.put(reply.region);
  out.put(static_cast<std::uint32_t>(configuration.size()));
  out.put_bytes(configuration);
  return out.release();
}

std::vector<std::byte> encode(const Denied& denied) {
  base::ByteWriter out;
  out.put(static_cast<std::uint32_t>(denied.what));
  out.put(static_cast<std::uint32_t>(denied.why));
  return out.release();
}

Result<Opened> decode_envelope(base::Bytes message) {
  base::ByteReader in(message);
  const auto magic = in.get<std::uint32_t>();
  const auto version = in.get<std::uint16_t>();
  if (in.failed() || magic != kEnvelopeMagic) return damaged();
  if (version != kEnvelopeVersion) {
    return fail(Errc::version_unsupported, "a message to or from a member", version);
  }
  const auto kind = in.get<std::uint8_t>();
  const bool is_spare_used = in.get<std::uint8_t>() != 0;
  Opened opened;
  opened.envelope.kind = static_cast<EnvelopeKind>(kind);
  opened.envelope.group = in.get_id();
  opened.envelope.from = log::ReplicaId{in.get<std::uint64_t>()};
  opened.envelope.to = log::ReplicaId{in.get<std::uint64_t>()};
  opened.envelope.shown = {.index = in.get<std::uint32_t>(), .generation = in.get<std::uint32_t>()};
  const Capability& shown = opened.envelope.shown;
  if (in.failed() || is_spare_used || opened.envelope.group.is_null()) return damaged();
  if (!is_kind(kind) || (shown.index == 0) != (shown.generation == 0)) return damaged();
  opened.body = in.take(in.remaining());
  return opened;
}

Result<Request> decode_request(base::Bytes body) {
  base::ByteReader in(body);
  Request request{.number = in.get<std::uint64_t>(),
                  .session = in.get<std::uint64_t>(),
                  .sequence = in.get<std::uint64_t>()};
  if (in.failed()) return damaged();
  if ((request.session == 0) != (request.sequence == 0)) return damaged();
  if (request.session >= kReservedSession) return damaged();
  request.command = in.take(in.remaining());
  if (request.session == 0 && !request.command.empty()) return damaged();
  return request;
}

Result<ReadRequest> decode_read_request(base::Bytes body) {
  base::ByteReader in(body);
  ReadRequest request{.number = in.get<std::uint64_t>()};
  const auto level = in.get<std::uint64_t>();
  if (in.failed() || level < static_cast<std::uint64_t>(ReadLevel::linearizable) ||
      level > static_cast<std::uint64_t>(ReadLevel::lease)) {
    return damaged();
  }
  request.level = static_cast<ReadLevel>(level);
  request.query = in.take(in.remaining());
  return request;
}

Result<Reply> decode_reply(base::Bytes body) {
  base::ByteReader in(body);
  Reply reply{.number = in.get<std::uint64_t>()};
  const auto status = in.get<std::uint64_t>();
  reply.value = in.get<std::uint64_t>();
  reply.index = in.get<std::uint64_t>();
  const auto level = in.get<std::uint64_t>();
  if (in.failed() || level > static_cast<std::uint64_t>(Level::replicated)) return damaged();
  // Elsewhere there is nothing at that place.
  const bool is_done = status == static_cast<std::uint64_t>(ReplyStatus::done);
  if (!is_done && (reply.index != 0 || level != 0)) return damaged();
  if (status < static_cast<std::uint64_t>(ReplyStatus::done) ||
      status > static_cast<std::uint64_t>(ReplyStatus::aborted)) {
    return damaged();
  }
  reply.status = static_cast<ReplyStatus>(status);
  reply.level = static_cast<Level>(level);
  reply.result = in.take(in.remaining());
  return reply;
}

Result<MemberStatus> decode_status(base::Bytes body) {
  base::ByteReader in(body);
  MemberStatus status;
  status.self = log::ReplicaId{in.get<std::uint64_t>()};
  const auto role = in.get<std::uint32_t>();
  const auto level = in.get<std::uint32_t>();
  status.epoch = in.get<std::uint64_t>();
  status.leader = log::ReplicaId{in.get<std::uint64_t>()};
  status.end.origin = in.get<std::uint64_t>();
  status.end.index = in.get<std::uint64_t>();
  status.stable = in.get<std::uint64_t>();
  status.applied = in.get<std::uint64_t>();
  status.base = in.get<std::uint64_t>();
  const auto configuration_bytes = in.get<std::uint32_t>();
  const auto followers = in.get<std::uint32_t>();
  if (in.failed() || role > static_cast<std::uint32_t>(log::Role::leader) ||
      level > static_cast<std::uint32_t>(Level::replicated)) {
    return damaged();
  }
  status.role = static_cast<log::Role>(role);
  status.level = static_cast<Level>(level);
  DOLMEN_TRY(status.configuration, log::decode_configuration(in.take(configuration_bytes)));
  if (followers > 2 * log::kMembersMax) return damaged();
  for (std::uint32_t i = 0; i < followers; ++i) {
    const log::ReplicaId id{in.get<std::uint64_t>()};
    status.followers.push_back({.id = id, .matched = in.get<std::uint64_t>()});
  }
  if (!in.finished()) return damaged();
  return status;
}

Result<MemoryReply> decode_memory_reply(base::Bytes body) {
  base::ByteReader in(body);
  MemoryReply reply{.epoch = in.get<std::uint64_t>(),
                    .leader = in.get<std::uint64_t>(),
                    .configured = in.get<std::uint64_t>(),
                    .bytes = in.get<std::uint64_t>(),
                    .region = in.get<std::uint32_t>()};
  const auto configuration_bytes = in.get<std::uint32_t>();
  if (in.failed() || reply.bytes % 8 != 0) return damaged();
  DOLMEN_TRY(reply.configuration, log::decode_configuration(in.take(configuration_bytes)));
  if (!in.finished()) return damaged();
  return reply;
}

Result<Denied> decode_denied(base::Bytes body) {
  base::ByteReader in(body);
  const auto what = in.get<std::uint32_t>();
  const auto why = in.get<std::uint32_t>();
  if (!in.finished() || what > 0xFF || !needs_right(static_cast<EnvelopeKind>(what))) {
    return damaged();
  }
  if (why != static_cast<std::uint32_t>(Right::none) &&
      why != static_cast<std::uint32_t>(Right::stale)) {
    return damaged();
  }
  return Denied{.what = static_cast<EnvelopeKind>(what), .why = static_cast<Right>(why)};
}

}  // namespace dolmen::replication
