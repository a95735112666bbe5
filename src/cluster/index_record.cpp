// SPDX-License-Identifier: Apache-2.0
#include "cluster/index_record.hpp"

#include <algorithm>
#include <bit>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

/// "DLIR": not what a bucket's checksum is seeded with.
constexpr std::uint64_t kRecordSeed = 0x52494C44;

std::uint64_t record_seed(const RecordPlace& place, const IndexGeometry& geometry) noexcept {
  const std::uint64_t of_table = base::mix_seed(kRecordSeed, geometry.table.high);
  return base::mix_seed(base::mix_seed(of_table, geometry.table.low), place.granule);
}

std::vector<std::byte> copy_of(base::Bytes bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

std::optional<std::uint32_t> block_class_for(std::size_t bytes) noexcept {
  if (bytes > kBlockBytesMax) return std::nullopt;
  if (bytes <= block_bytes(0)) return 0;
  const auto doubling = static_cast<std::uint32_t>(std::bit_width(bytes - 1)) - 7;  // 65 … 128: 0
  std::uint32_t found = doubling * 4;
  while (block_bytes(found) < bytes) ++found;
  return found;
}

bool is_possible_record(std::size_t key_bytes, std::size_t value_bytes) noexcept {
  return key_bytes <= kRecordKeyBytesMax && value_bytes <= kBlockBytesMax &&
         kBlockHeaderBytes + record_bytes(key_bytes, value_bytes) <= kBlockBytesMax;
}

std::vector<std::byte> encode_record(base::Bytes key, base::Bytes value, const RecordPlace& place,
                                     const IndexGeometry& geometry) {
  DOLMEN_ASSERT_CMP(place.bytes, ==, record_bytes(key.size(), value.size()));
  base::ByteWriter out;
  out.reserve(place.bytes);
  out.put(std::uint64_t{0});
  out.put(place.generation);
  out.put(static_cast<std::uint32_t>(key.size()));
  out.put(static_cast<std::uint32_t>(value.size()));
  out.put_bytes(key);
  out.put_bytes(value);
  out.pad_to(8);
  out.patch(0, base::checksum64(out.bytes().subspan(8), record_seed(place, geometry)));
  return out.release();
}

std::optional<RecordView> view_record(base::Bytes bytes) {
  if (bytes.size() < kRecordHeaderBytes) return std::nullopt;
  const auto key_bytes = base::load<std::uint32_t>(bytes, 16);
  const auto value_bytes = base::load<std::uint32_t>(bytes, 20);
  if (!is_possible_record(key_bytes, value_bytes) ||
      record_bytes(key_bytes, value_bytes) != bytes.size()) {
    return std::nullopt;
  }
  const base::Bytes both = bytes.subspan(kRecordHeaderBytes);
  return RecordView{.key = both.first(key_bytes), .value = both.subspan(key_bytes, value_bytes)};
}

std::optional<RecordView> decode_record(base::Bytes bytes, const RecordPlace& place,
                                        const IndexGeometry& geometry) {
  if (bytes.size() != place.bytes) return std::nullopt;
  const auto found = view_record(bytes);
  if (!found || DOLMEN_PLANTED("cluster.record_unmatched")) return found;
  const std::size_t end = kRecordHeaderBytes + found->key.size() + found->value.size();
  const bool is_padded =
      std::ranges::all_of(bytes.subspan(end), [](std::byte b) { return b == std::byte{0}; });
  const auto checksum = base::load<std::uint64_t>(bytes);
  const auto generation = base::load<std::uint64_t>(bytes, 8);
  if (checksum != base::checksum64(bytes.subspan(8), record_seed(place, geometry)) || !is_padded ||
      generation != place.generation) {
    return std::nullopt;
  }
  return found;
}

IndexCommand IndexCommand::put(const ObjectId& id, const Home& home) {
  return {.kind = Kind::put, .id = id, .home = home};
}
IndexCommand IndexCommand::put(base::Bytes key, base::Bytes value) {
  return {.kind = Kind::put, .key = copy_of(key), .value = copy_of(value)};
}
IndexCommand IndexCommand::erase(const ObjectId& id) { return {.kind = Kind::erase, .id = id}; }
IndexCommand IndexCommand::erase(base::Bytes key) {
  return {.kind = Kind::erase, .key = copy_of(key)};
}
IndexCommand IndexCommand::release(log::Index upto) {
  return {.kind = Kind::release, .upto = upto};
}
IndexCommand IndexCommand::restamp(std::uint32_t epoch) {
  return {.kind = Kind::restamp, .epoch = epoch};
}

IndexChange IndexChange::put(base::Bytes key, base::Bytes value) noexcept {
  IndexChange change;
  change.key = key;
  change.value = value;
  return change;
}
IndexChange IndexChange::erase(base::Bytes key) noexcept {
  IndexChange change;
  change.kind = Kind::erase;
  change.key = key;
  return change;
}

std::vector<std::byte> encode_index_command(const IndexChange& change, IndexKind kind) {
  base::ByteWriter out;
  put_index_command(out, change, kind);
  return out.release();
}

void put_index_command(base::ByteWriter& out, const IndexChange& command, IndexKind kind) {
  using Kind = IndexCommand::Kind;
  out.put(static_cast<std::uint8_t>(command.kind));
  if (command.kind == Kind::release) {
    out.put(command.upto);
  } else if (command.kind == Kind::restamp) {
    out.put(command.epoch);
  } else if (kind == IndexKind::homes) {
    DOLMEN_ASSERT(!command.id.is_null());
    out.put_id(command.id);
    if (command.kind == Kind::put) {
      out.put(command.home.location);
      out.put(command.home.node);
      out.put(command.home.generation);
      out.put(command.home.length_class);
    }
  } else {
    DOLMEN_ASSERT(is_possible_record(command.key.size(), command.value.size()));
    out.put(static_cast<std::uint32_t>(command.key.size()));
    out.put_bytes(command.key);
    if (command.kind == Kind::put) out.put_bytes(command.value);
  }
}

Result<IndexCommand> decode_index_command(base::Bytes bytes, IndexKind kind) {
  DOLMEN_TRY(const IndexChange change, view_index_command(bytes, kind));
  return IndexCommand{.kind = change.kind,
                      .id = change.id,
                      .home = change.home,
                      .key = copy_of(change.key),
                      .value = copy_of(change.value),
                      .upto = change.upto,
                      .epoch = change.epoch};
}

Result<IndexChange> view_index_command(base::Bytes bytes, IndexKind kind) {
  using Kind = IndexCommand::Kind;
  const auto bad = [] { return fail(Errc::corrupt, "a command of an index"); };
  base::ByteReader in(bytes);
  const auto number = in.get<std::uint8_t>();
  if (number < 1 || number > 4) return bad();
  IndexChange command;
  command.kind = static_cast<Kind>(number);
  if (command.kind == Kind::release) {
    command.upto = in.get<log::Index>();
  } else if (command.kind == Kind::restamp) {
    command.epoch = in.get<std::uint32_t>();
  } else if (kind == IndexKind::homes) {
    command.id = in.get_id();
    if (command.id.is_null()) in.fail();
    if (command.kind == Kind::put) {
      command.home.location = in.get<std::uint64_t>();
      command.home.node = in.get<std::uint16_t>();
      command.home.generation = in.get<std::uint16_t>();
      command.home.length_class = in.get<std::uint16_t>();
    }
  } else {
    const auto key_bytes = in.get<std::uint32_t>();
    command.key = in.take(key_bytes);
    if (command.kind == Kind::put) command.value = in.take(in.remaining());
    if (!is_possible_record(command.key.size(), command.value.size())) in.fail();
  }
  if (!in.finished()) return bad();
  return command;
}

}  // namespace dolmen::cluster
