// SPDX-License-Identifier: Apache-2.0
#include "replication/membership.hpp"

#include <utility>

#include <dolmen/assert.hpp>

namespace dolmen::replication {

namespace {

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "of a group's members"); }

std::string text_of(base::Bytes bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const std::byte byte : bytes) text.push_back(static_cast<char>(byte));
  return text;
}

}  // namespace

void put_addresses(base::ByteWriter& out, const Addresses& addresses) {
  for (const auto& [node, text] : addresses) {
    DOLMEN_ASSERT_CMP(text.size(), <=, kAddressBytesMax);
    out.put(static_cast<std::uint64_t>(node));
    out.put(static_cast<std::uint8_t>(text.size()));
    out.put_bytes(base::as_bytes(text));
  }
}

std::optional<Addresses> take_addresses(base::ByteReader& in, std::size_t count) {
  if (count > kAddressesMax) return std::nullopt;
  Addresses addresses;
  for (std::size_t i = 0; i < count; ++i) {
    const fabric::NodeId node{in.get<std::uint64_t>()};
    std::string text = text_of(in.take(in.get<std::uint8_t>()));
    if (in.failed() || node == fabric::NodeId::nobody) return std::nullopt;
    if (!addresses.empty() && node <= addresses.rbegin()->first) return std::nullopt;
    addresses.emplace_hint(addresses.end(), node, std::move(text));
  }
  return addresses;
}

std::vector<std::byte> encode(const Roster& roster) {
  base::ByteWriter out;
  std::vector<std::byte> configuration;
  if (roster.configuration) configuration = log::encode(*roster.configuration);
  out.put(roster.as_of);
  out.put(static_cast<std::uint32_t>(roster.is_settled ? 1 : 0));
  out.put(static_cast<std::uint32_t>(configuration.size()));
  out.put(static_cast<std::uint32_t>(roster.addresses.size()));
  out.put(static_cast<std::uint32_t>(roster.groups.size()));
  out.put_bytes(configuration);
  put_addresses(out, roster.addresses);
  for (const GroupId& group : roster.groups) out.put_id(group);
  return out.release();
}

Result<Roster> decode_roster(base::Bytes body) {
  base::ByteReader in(body);
  Roster roster{.as_of = in.get<std::uint64_t>()};
  const auto settled = in.get<std::uint32_t>();
  const auto configuration_bytes = in.get<std::uint32_t>();
  const auto addresses = in.get<std::uint32_t>();
  const auto groups = in.get<std::uint32_t>();
  if (in.failed() || settled > 1) return damaged();
  roster.is_settled = settled == 1;
  if (configuration_bytes != 0) {
    DOLMEN_TRY(roster.configuration, log::decode_configuration(in.take(configuration_bytes)));
  }
  auto known = take_addresses(in, addresses);
  if (!known) return damaged();
  roster.addresses = std::move(*known);
  for (std::uint32_t i = 0; i < groups && !in.failed(); ++i) {
    const GroupId group = in.get_id();
    if (group.is_null()) return damaged();
    if (!roster.groups.empty() && !(roster.groups.back() < group)) return damaged();
    roster.groups.push_back(group);
  }
  if (!in.finished()) return damaged();
  return roster;
}

std::vector<std::byte> encode(const Change& change) {
  DOLMEN_ASSERT_CMP(change.address.size(), <=, kAddressBytesMax);
  base::ByteWriter out;
  out.put(change.number);
  out.put(static_cast<std::uint64_t>(change.kind));
  out.put(static_cast<std::uint64_t>(change.replica));
  out.put(static_cast<std::uint64_t>(change.instead));
  out.put_bytes(base::as_bytes(change.address));
  return out.release();
}

Result<Change> decode_change(base::Bytes body) {
  base::ByteReader in(body);
  Change change{.number = in.get<std::uint64_t>()};
  const auto kind = in.get<std::uint64_t>();
  change.replica = log::ReplicaId{in.get<std::uint64_t>()};
  change.instead = log::ReplicaId{in.get<std::uint64_t>()};
  if (in.failed() || kind < static_cast<std::uint64_t>(ChangeKind::learn) ||
      kind > static_cast<std::uint64_t>(ChangeKind::leave)) {
    return damaged();
  }
  change.kind = static_cast<ChangeKind>(kind);
  const bool has_node = node_of(change.replica) != fabric::NodeId::nobody;
  if (!has_node || change.replica == change.instead) return damaged();
  if (change.kind != ChangeKind::vote && change.instead != log::ReplicaId{}) return damaged();
  if (in.remaining() > kAddressBytesMax) return damaged();
  if (change.kind != ChangeKind::learn && in.remaining() != 0) return damaged();
  change.address = text_of(in.take(in.remaining()));
  return change;
}

std::vector<std::byte> encode(const ChangeReply& reply) {
  base::ByteWriter out;
  out.put(reply.number);
  out.put(static_cast<std::uint64_t>(reply.status));
  out.put(reply.value);
  return out.release();
}

Result<ChangeReply> decode_change_reply(base::Bytes body) {
  base::ByteReader in(body);
  ChangeReply reply{.number = in.get<std::uint64_t>()};
  const auto status = in.get<std::uint64_t>();
  reply.value = in.get<std::uint64_t>();
  if (!in.finished() || status < static_cast<std::uint64_t>(ChangeStatus::done) ||
      status > static_cast<std::uint64_t>(ChangeStatus::full)) {
    return damaged();
  }
  reply.status = static_cast<ChangeStatus>(status);
  return reply;
}

}  // namespace dolmen::replication
