// SPDX-License-Identifier: Apache-2.0
//
// The bytes of commands and replies (docs/formats/root.md). A command is understood whatever its
// values are: the state refuses those that are none. Only what would be no command is `corrupt`.
#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>
#include <variant>

#include "cluster/root.hpp"

namespace dolmen::cluster {

namespace {

constexpr std::uint16_t kReplyVersion = 1;

std::unexpected<Error> damaged_command() { return fail(Errc::corrupt, "a command to the root"); }
std::unexpected<Error> damaged_reply() { return fail(Errc::corrupt, "an answer of the root"); }

/// Visits the fields of each kind in the order of its bytes. `Io` reads or writes them.
template <class Io>
struct RootFields {
  Io io;

  template <class C>
  void visit(C& c)
    requires requires { c.cluster; }
  {
    io.id(c.cluster);
    io.number(c.size);
    io.number(c.shard_bits);
    io.list(c.nodes, [this](auto& founder) {
      io.string(founder.name);
      io.string(founder.address);
      io.bytes(founder.identity);
    });
    io.bytes(c.owner);
    io.list(c.clients, [this](auto& client) {
      io.number(client.client);
      io.string(client.name);
      io.bytes(client.key);
      io.rights(client.rights);
    });
    io.last(c.lease_ms);
  }
  template <class C>
  void visit(C& c)
    requires requires { c.weight; }
  {
    io.string(c.name);
    io.string(c.address);
    io.bytes(c.identity);
    io.number(c.weight);
  }
  template <class C>
  void visit(C& c)
    requires requires { c.client; }
  {
    io.number(c.client);
    if constexpr (requires { c.key; }) {
      io.string(c.name);
      io.bytes(c.key);
      io.number(c.expires_s);
      io.rights(c.rights);
      io.number(c.generation);
      io.number(c.groups_max);
    }
    io.bytes(c.signature);
  }
  template <class C>
  void visit(C& c)
    requires requires { c.token; }
  {
    io.number(c.token);
    io.string(c.name);
    io.string(c.address);
    io.bytes(c.identity);
    io.bytes(c.signature);
  }
  template <class C>
  void visit(C& c)
    requires requires { c.node; }
  {
    io.number(c.node);
    if constexpr (requires { c.address; }) io.string(c.address);
    if constexpr (requires { c.life; }) io.number(c.life);
    if constexpr (requires { c.signature; }) io.bytes(c.signature);
  }
  template <class C>
  void visit(C& c)
    requires requires { c.kind; }
  {
    io.kind(c.kind);
    io.number(c.size);
    io.string(c.name);
  }
  template <class C>
  void visit(C& c)
    requires requires { c.bits; }
  {
    io.number(c.bits);
    io.number(c.size);
  }
  template <class C>
  void visit(C& c)
    requires requires { c.seed; }
  {
    io.string(c.name);
    io.number(c.size);
    io.number(c.shards);
    io.number(c.seed);
    io.number(c.bucket_bytes);
    io.number(c.record_bytes);
    io.table(c.table);
    io.list(c.splits, [this](auto& split) { io.string(split); });
  }
  template <class C>
  void visit(C& c)
    requires requires { c.group; }
  {
    if constexpr (requires { c.shard; }) io.number(c.shard);
    io.number(c.group);
    if constexpr (requires { c.size; }) io.number(c.size);
    if constexpr (requires { c.name; }) io.string(c.name);
    if constexpr (requires { c.add; }) {
      io.number(c.add);
      io.number(c.leave);
    }
    if constexpr (requires { c.since; }) {
      io.number(c.since);
      io.number(c.as_of);
      io.flag(c.is_done);
      io.list(c.members, [this](auto& seat) {
        io.number(seat.node);
        io.number(seat.life);
      });
    }
  }
};

struct RootWriter {
  base::ByteWriter& out;

  void id(const ObjectId& id) { out.put_id(id); }
  template <class T>
  void number(T value) {
    out.put(value);
  }
  /// At the end, or left out: 0.
  void last(std::uint32_t value) {
    if (value != 0) out.put(value);
  }
  void flag(bool value) { out.put(static_cast<std::uint8_t>(value ? 1 : 0)); }
  void kind(GroupKind kind) { out.put(static_cast<std::uint8_t>(kind)); }
  void table(TableKind table) { out.put(static_cast<std::uint8_t>(table)); }
  void rights(ClientRights rights) { out.put(static_cast<std::uint8_t>(rights)); }
  void string(const std::string& text) { out.put_string(text); }
  void bytes(base::Bytes bytes) { out.put_bytes(bytes); }
  template <class T, class Body>
  void list(const std::vector<T>& all, const Body& body) {
    out.put(static_cast<std::uint16_t>(all.size()));
    for (const T& each : all) body(each);
  }
};

struct RootReader {
  base::ByteReader& in;

  void id(ObjectId& id) { id = in.get_id(); }
  template <class T>
  void number(T& value) {
    value = in.get<T>();
  }
  void last(std::uint32_t& value) {
    if (in.failed() || in.remaining() == 0) return;
    value = in.get<std::uint32_t>();
    if (value == 0) in.fail();
  }
  void flag(bool& value) {
    const auto byte = in.get<std::uint8_t>();
    if (byte > 1) in.fail();
    value = byte == 1;
  }
  void kind(GroupKind& kind) {
    const auto byte = in.get<std::uint8_t>();
    if (byte < 1 || byte > 3) in.fail();
    kind = static_cast<GroupKind>(byte);
  }
  void table(TableKind& table) {
    const auto byte = in.get<std::uint8_t>();
    if (byte < 1 || byte > 2) in.fail();
    table = static_cast<TableKind>(byte);
  }
  void rights(ClientRights& rights) {
    const auto byte = in.get<std::uint8_t>();
    if (byte > static_cast<std::uint8_t>(ClientRights::owner)) in.fail();
    rights = static_cast<ClientRights>(byte);
  }
  void string(std::string& text) { text = in.get_string(); }
  void bytes(base::MutableBytes into) {
    const base::Bytes bytes = in.take(into.size());
    if (!in.failed()) std::ranges::copy(bytes, into.begin());
  }
  template <class T, class Body>
  void list(std::vector<T>& all, const Body& body) {
    const std::size_t count = in.get<std::uint16_t>();
    for (std::size_t i = 0; i < count && !in.failed(); ++i) body(all.emplace_back());
  }
};

/// The kind in the bytes, by the place in the variant; ascending, and those between are nobody's.
/// Places may change, kinds never: what stands in logs is read by them.
constexpr std::array<std::uint16_t, std::variant_size_v<RootCommand>> kKinds{
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    root::kReleaseNameKind,
    root::kCreateDirectoryKind};
template <std::size_t Place, class C>
constexpr bool is_at() {
  return std::is_same_v<std::variant_alternative_t<Place, RootCommand>, C>;
}
static_assert(is_at<0, root::Init>() && is_at<9, root::CreateGroup>() &&
              is_at<14, root::AddClient>() && is_at<17, root::CreateIndex>() &&
              is_at<18, root::ReleaseName>() && is_at<19, root::CreateDirectory>());

/// No command's: behind all of them.
constexpr std::size_t place_of(std::uint16_t kind) {
  return static_cast<std::size_t>(std::ranges::find(kKinds, kind) - kKinds.begin());
}

template <std::size_t Place = 0>
bool take(RootCommand& command, std::size_t place, base::ByteReader& in) {
  if constexpr (Place < std::variant_size_v<RootCommand>) {
    if (place != Place) return take<Place + 1>(command, place, in);
    RootFields<RootReader>{.io = {in}}.visit(command.emplace<Place>());
    return true;
  } else {
    return false;
  }
}

}  // namespace

std::vector<std::byte> encode(const RootCommand& command) {
  base::ByteWriter out;
  out.put(static_cast<std::uint16_t>(kRootCommandVersion));
  out.put(kKinds[command.index()]);
  std::visit([&](const auto& one) { RootFields<RootWriter>{.io = {out}}.visit(one); }, command);
  return out.release();
}

Result<RootCommand> decode_root_command(base::Bytes bytes) {
  if (bytes.size() > kRootCommandBytesMax) return damaged_command();
  base::ByteReader in(bytes);
  const auto version = in.get<std::uint16_t>();
  const auto kind = in.get<std::uint16_t>();
  if (in.failed()) return damaged_command();
  if (version != kRootCommandVersion) {
    return fail(Errc::version_unsupported, "a command to the root", version);
  }
  RootCommand command;
  if (!take(command, place_of(kind), in) || !in.finished()) return damaged_command();
  return command;
}

std::vector<std::byte> encode(const RootReply& reply) {
  base::ByteWriter out;
  out.put(kReplyVersion);
  out.put(static_cast<std::uint8_t>(reply.status));
  out.put(std::uint8_t{0});
  out.put(std::uint32_t{0});
  out.put(reply.value);
  return out.release();
}

Result<RootReply> decode_root_reply(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto version = in.get<std::uint16_t>();
  if (version != kReplyVersion) {
    if (in.failed()) return damaged_reply();
    return fail(Errc::version_unsupported, "an answer of the root", version);
  }
  // A status that this program does not know is one that it can show and refuse.
  RootReply reply{.status = static_cast<RootStatus>(in.get<std::uint8_t>())};
  const bool is_padded = in.get<std::uint8_t>() == 0 && in.get<std::uint32_t>() == 0;
  reply.value = in.get<std::uint64_t>();
  if (!in.finished() || !is_padded || reply.status == RootStatus{}) return damaged_reply();
  return reply;
}

}  // namespace dolmen::cluster
