// SPDX-License-Identifier: Apache-2.0
#include "cluster/home.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"

namespace dolmen::cluster {

namespace {

constexpr std::uint64_t kPartSeed = 0x54524150'4D484C44;   // "DLHMPART"
constexpr std::uint64_t kShardSeed = 0x44524853'4D484C44;  // "DLHMSHRD"

std::array<std::byte, 16> bytes_of(const ObjectId& id) noexcept {
  std::array<std::byte, 16> bytes{};
  base::store(bytes, 0, id.high);
  base::store(bytes, 8, id.low);
  return bytes;
}

std::unexpected<Error> damaged_home_mail() { return fail(Errc::corrupt, "a mail between homes"); }
std::unexpected<Error> damaged_home_command() {
  return fail(Errc::corrupt, "a command about homes");
}

void put_length(base::ByteWriter& out, const std::vector<std::byte>& bytes) {
  DOLMEN_ASSERT(bytes.size() <= kHomePartBytesMax);
  out.put(static_cast<std::uint32_t>(bytes.size()));
  out.put_bytes(bytes);
}

std::vector<std::byte> get_length(base::ByteReader& in) {
  const std::size_t length = in.get<std::uint32_t>();
  if (length > kHomePartBytesMax) in.fail();
  const base::Bytes bytes = in.take(length);
  return {bytes.begin(), bytes.end()};
}

/// What of a mail or command reads and writes its fields, in their order. One class for both
/// directions would hide the checks; so there are two, side by side.
struct PutHomeFields {
  base::ByteWriter& out;
  void operator()(const home::Part& part) const {
    out.put_id(part.id);
    out.put(part.move);
    out.put(part.counter);
    out.put(part.object_bytes);
    out.put(part.hash);
    out.put(part.number);
    out.put(part.length_class);
    put_length(out, part.bytes);
  }
  void operator()(const home::Took& took) const {
    out.put_id(took.id);
    out.put(took.move);
    out.put(took.parts);
  }
  void operator()(const home::Arrived& arrived) const {
    out.put_id(arrived.id);
    out.put(arrived.move);
  }
  void operator()(const home::Refused& refused) const {
    out.put_id(refused.id);
    out.put(refused.move);
    out.put(static_cast<std::uint8_t>(refused.why));
  }
  void operator()(const home::Cancel& cancel) const {
    out.put_id(cancel.id);
    out.put(cancel.move);
  }
  void operator()(const home::Settled& settled) const {
    out.put_id(settled.id);
    out.put(settled.counter);
    out.put(settled.former);
    out.put(settled.length_class);
  }
  void operator()(const home::Erased& erased) const {
    out.put_id(erased.id);
    out.put(erased.counter);
  }
  void operator()(const home::Logged& logged) const {
    out.put_id(logged.id);
    out.put(logged.counter);
  }
  void operator()(const home::Take& take) const { out.put(static_cast<std::uint8_t>(take.refuse)); }
  void operator()(const home::SetShards& shards) const {
    out.put(static_cast<std::uint32_t>(shards.groups.size()));
    for (const GroupNumber group : shards.groups) out.put(group);
  }
  void operator()(const home::Create& create) const {
    out.put_id(create.id);
    out.put(create.length_class);
  }
  void operator()(const home::Erase& erase) const { out.put_id(erase.id); }
  void operator()(const home::Move& move) const {
    out.put_id(move.id);
    out.put(move.to);
    out.put(move.part_bytes);
    out.put(move.object_bytes);
    out.put(move.hash);
  }
  void operator()(const home::PostPart& part) const {
    out.put_id(part.id);
    out.put(part.number);
    put_length(out, part.bytes);
  }
  void operator()(const home::CancelMove& cancel) const { out.put_id(cancel.id); }
  void operator()(const home::Drain& drain) const {
    out.put(static_cast<std::uint8_t>(drain.is_draining ? 1 : 0));
  }
  void operator()(const home::Close& close) const { out.put(close.group); }
};

class HomeFields {
 public:
  explicit HomeFields(base::ByteReader& in) : in_(in) {}

  void get(home::Part& part) {
    part.id = id();
    part.move = move();
    part.counter = counter();
    part.object_bytes = object_bytes();
    part.hash = in_.get<std::uint64_t>();
    part.number = part_number();
    part.length_class = in_.get<std::uint16_t>();
    part.bytes = get_length(in_);
    require(part.bytes.empty() == (part.object_bytes == 0));
    require(part.bytes.size() <= part.object_bytes);
  }
  void get(home::Took& took) {
    took.id = id();
    took.move = move();
    took.parts = part_number();
  }
  void get(home::Arrived& arrived) {
    arrived.id = id();
    arrived.move = move();
  }
  void get(home::Refused& refused) {
    refused.id = id();
    refused.move = move();
    refused.why = refusal();
    require(refused.why != HomeRefusal::none);
  }
  void get(home::Cancel& cancel) {
    cancel.id = id();
    cancel.move = move();
  }
  void get(home::Settled& settled) {
    settled.id = id();
    settled.counter = counter();
    settled.former = in_.get<GroupNumber>();
    settled.length_class = in_.get<std::uint16_t>();
  }
  void get(home::Erased& erased) {
    erased.id = id();
    erased.counter = counter();
  }
  void get(home::Logged& logged) {
    logged.id = id();
    logged.counter = counter();
  }
  void get(home::Take& take) { take.refuse = refusal(); }
  void get(home::SetShards& shards) {
    const auto count = in_.get<std::uint32_t>();
    require(std::has_single_bit(count) && count <= 1u << kShardBitsMax);
    require(count <= in_.remaining() / sizeof(GroupNumber));
    for (std::uint32_t i = 0; i < count && !in_.failed(); ++i) shards.groups.push_back(group());
  }
  void get(home::Create& create) {
    create.id = id();
    create.length_class = in_.get<std::uint16_t>();
  }
  void get(home::Erase& erase) { erase.id = id(); }
  void get(home::Move& move) {
    move.id = id();
    move.to = group();
    move.part_bytes = in_.get<std::uint32_t>();
    require(move.part_bytes > 0 && move.part_bytes <= kHomePartBytesMax);
    move.object_bytes = object_bytes();
    move.hash = in_.get<std::uint64_t>();
  }
  void get(home::PostPart& part) {
    part.id = id();
    part.number = part_number();
    part.bytes = get_length(in_);
  }
  void get(home::CancelMove& cancel) { cancel.id = id(); }
  void get(home::Drain& drain) {
    const auto flag = in_.get<std::uint8_t>();
    require(flag <= 1);
    drain.is_draining = flag == 1;
  }
  void get(home::Close& close) { close.group = group(); }

 private:
  void require(bool holds) {
    if (!holds) in_.fail();
  }
  ObjectId id() {
    const ObjectId id = in_.get_id();
    require(!id.is_null());
    return id;
  }
  MoveNumber move() {
    const auto move = in_.get<MoveNumber>();
    require(move > 0);
    return move;
  }
  MoveCounter counter() {
    const auto counter = in_.get<MoveCounter>();
    require(counter > 0 && counter <= kMoveCounterMax);
    return counter;
  }
  GroupNumber group() {
    const auto group = in_.get<GroupNumber>();
    require(group > 0);
    return group;
  }
  std::uint64_t object_bytes() {
    const auto bytes = in_.get<std::uint64_t>();
    require(bytes <= kHomeObjectBytesMax);
    return bytes;
  }
  std::uint32_t part_number() {
    const auto number = in_.get<std::uint32_t>();
    require(number > 0);
    return number;
  }
  HomeRefusal refusal() {
    const auto why = in_.get<std::uint8_t>();
    require(why <= static_cast<std::uint8_t>(HomeRefusal::type_conflict));
    return static_cast<HomeRefusal>(why);
  }

  base::ByteReader& in_;
};

/// Alternative number `kind` of the variant, with its fields; what is no such fails.
template <class Variant, std::size_t i = 0>
Variant get_alternative(base::ByteReader& in, std::size_t kind) {
  if constexpr (i < std::variant_size_v<Variant>) {
    if (kind != i) return get_alternative<Variant, i + 1>(in, kind);
    std::variant_alternative_t<i, Variant> value;
    HomeFields(in).get(value);
    return value;
  } else {
    in.fail();
    return {};
  }
}

}  // namespace

std::uint64_t hash_of_part(std::uint64_t before, base::Bytes part) noexcept {
  return base::checksum64(part, before);
}

std::uint64_t hash_before_parts(const ObjectId& id) noexcept {
  return base::checksum64(bytes_of(id), kPartSeed);
}

std::uint64_t hash_of_object(const ObjectId& id, base::Bytes bytes,
                             std::size_t part_bytes) noexcept {
  std::uint64_t hash = hash_before_parts(id);
  do {
    const base::Bytes part = bytes.first(std::min(part_bytes, bytes.size()));
    hash = hash_of_part(hash, part);
    bytes = bytes.subspan(part.size());
  } while (!bytes.empty());
  return hash;
}

std::uint32_t shard_of(const ObjectId& id, std::uint32_t shard_bits) noexcept {
  DOLMEN_ASSERT(shard_bits <= kShardBitsMax);
  if (shard_bits == 0) return 0;
  return static_cast<std::uint32_t>(base::checksum64(bytes_of(id), kShardSeed) >>
                                    (64 - shard_bits));
}

bool is_home_mail(base::Bytes mail) noexcept {
  return mail.size() >= sizeof kHomeMailMagic && base::load<std::uint32_t>(mail) == kHomeMailMagic;
}

std::vector<std::byte> encode(const HomeMail& mail) {
  base::ByteWriter out;
  out.put(kHomeMailMagic);
  out.put(static_cast<std::uint16_t>(kHomeMailVersion));
  out.put(static_cast<std::uint16_t>(mail.index() + 1));
  std::visit(PutHomeFields{out}, mail);
  return out.release();
}

Result<HomeMail> decode_home_mail(base::Bytes bytes) {
  base::ByteReader in(bytes);
  if (in.get<std::uint32_t>() != kHomeMailMagic) return damaged_home_mail();
  if (const auto version = in.get<std::uint16_t>(); version != kHomeMailVersion) {
    if (in.failed()) return damaged_home_mail();
    return fail(Errc::version_unsupported, "a mail between homes", version);
  }
  const auto kind = in.get<std::uint16_t>();
  HomeMail mail = get_alternative<HomeMail>(in, std::size_t{kind} - 1);
  if (!in.finished()) return damaged_home_mail();
  return mail;
}

std::vector<std::byte> encode(const HomeCommand& command) {
  base::ByteWriter out;
  out.put(static_cast<std::uint16_t>(kHomeCommandVersion));
  out.put(static_cast<std::uint16_t>(command.index() + 1));
  std::visit(PutHomeFields{out}, command);
  return out.release();
}

Result<HomeCommand> decode_home_command(base::Bytes bytes) {
  base::ByteReader in(bytes);
  if (const auto version = in.get<std::uint16_t>(); version != kHomeCommandVersion) {
    if (in.failed()) return damaged_home_command();
    return fail(Errc::version_unsupported, "a command about homes", version);
  }
  const auto kind = in.get<std::uint16_t>();
  HomeCommand command = get_alternative<HomeCommand>(in, std::size_t{kind} - 1);
  if (!in.finished()) return damaged_home_command();
  return command;
}

}  // namespace dolmen::cluster
