// SPDX-License-Identifier: Apache-2.0
#include "replication/envelope.hpp"

#include <utility>

namespace dolmen::replication {

namespace {

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a message to or from a member"); }

bool is_known(EnvelopeKind kind) {
  if (kind == EnvelopeKind::ask_state || kind == EnvelopeKind::state) return true;
  return kind >= EnvelopeKind::replica && kind <= EnvelopeKind::join;
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
  return bytes;
}

std::vector<std::byte> encode(const Request& request) {
  base::ByteWriter out;
  out.put(request.number);
  out.put(request.session);
  out.put(request.sequence);
  out.put_bytes(request.command);
  return out.release();
}

std::vector<std::byte> encode(const Reply& reply) {
  base::ByteWriter out;
  out.put(reply.number);
  out.put(static_cast<std::uint64_t>(reply.status));
  out.put(reply.value);
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
  if (in.failed() || is_spare_used || opened.envelope.group.is_null()) return damaged();
  if (!is_known(opened.envelope.kind)) return damaged();
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

Result<Reply> decode_reply(base::Bytes body) {
  base::ByteReader in(body);
  Reply reply{.number = in.get<std::uint64_t>()};
  const auto status = in.get<std::uint64_t>();
  reply.value = in.get<std::uint64_t>();
  if (in.failed() || status < static_cast<std::uint64_t>(ReplyStatus::done) ||
      status > static_cast<std::uint64_t>(ReplyStatus::lost)) {
    return damaged();
  }
  reply.status = static_cast<ReplyStatus>(status);
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

}  // namespace dolmen::replication
