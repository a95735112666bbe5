// SPDX-License-Identifier: Apache-2.0
//
// Records of a hash index (docs/index.md): a key and its value in the region's heap, which readers
// copy from afar and believe only when checksum, generation and key are what they expect. And the
// commands that a shard's log holds. The bytes: docs/formats/index.md.
//
// Values and pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "cluster/index_layout.hpp"
#include "log/message.hpp"

namespace dolmen::cluster {

inline constexpr std::size_t kRecordHeaderBytes = 24;
/// What stands in front of a record in its block, for the writer alone.
inline constexpr std::size_t kBlockHeaderBytes = 16;
/// Blocks: 64 bytes, and up to 1 MiB in four sizes per doubling.
inline constexpr std::uint32_t kBlockClasses = 57;
inline constexpr std::size_t kBlockBytesMax = std::size_t{1} << 20;
inline constexpr std::size_t kRecordKeyBytesMax = 64 * 1024;

[[nodiscard]] constexpr std::size_t block_bytes(std::uint32_t block_class) noexcept {
  const std::size_t base = std::size_t{64} << (block_class / 4);
  return base + block_class % 4 * (base / 4);
}
static_assert(block_bytes(kBlockClasses - 1) == kBlockBytesMax);
/// The smallest that has room. Nothing: none has.
[[nodiscard]] std::optional<std::uint32_t> block_class_for(std::size_t bytes) noexcept;

[[nodiscard]] constexpr std::size_t record_bytes(std::size_t key_bytes,
                                                 std::size_t value_bytes) noexcept {
  return kRecordHeaderBytes + (key_bytes + value_bytes + 7) / 8 * 8;
}
/// Longer ones are refused.
[[nodiscard]] bool is_possible_record(std::size_t key_bytes, std::size_t value_bytes) noexcept;

[[nodiscard]] std::vector<std::byte> encode_record(base::Bytes key, base::Bytes value,
                                                   const RecordPlace& place,
                                                   const IndexGeometry& geometry);
struct RecordView {
  base::Bytes key;
  base::Bytes value;
};
/// In a copy of the bytes at `place`. Nothing: they are not, as a whole, what was put there by the
/// entry that the place names.
[[nodiscard]] std::optional<RecordView> decode_record(base::Bytes bytes, const RecordPlace& place,
                                                      const IndexGeometry& geometry);
/// The same for whoever alone writes there: without a look at its checksum. Nothing: its lengths
/// are not those of so many bytes.
[[nodiscard]] std::optional<RecordView> view_record(base::Bytes bytes);

/// What an entry of a shard's log asks for.
struct IndexCommand {
  enum class Kind : std::uint8_t {
    put = 1,      ///< the key has this value
    erase = 2,    ///< the key has none
    release = 3,  ///< what was retired up to entry `upto` may be used again
    restamp = 4,  ///< the shard is of this epoch
  };
  Kind kind = Kind::put;
  ObjectId id{};  ///< homes: the key
  Home home{};    ///< homes, put: the value
  std::vector<std::byte> key{};
  std::vector<std::byte> value{};
  log::Index upto = 0;
  std::uint32_t epoch = 0;
  friend bool operator==(const IndexCommand&, const IndexCommand&) = default;

  [[nodiscard]] static IndexCommand put(const ObjectId& id, const Home& home);
  [[nodiscard]] static IndexCommand put(base::Bytes key, base::Bytes value);
  [[nodiscard]] static IndexCommand erase(const ObjectId& id);
  [[nodiscard]] static IndexCommand erase(base::Bytes key);
  [[nodiscard]] static IndexCommand release(log::Index upto);
  [[nodiscard]] static IndexCommand restamp(std::uint32_t epoch);
};

/// The same, with a key and a value that are somewhere else.
struct IndexChange {
  using Kind = IndexCommand::Kind;
  Kind kind = Kind::put;
  ObjectId id{};
  Home home{};
  base::Bytes key{};
  base::Bytes value{};
  log::Index upto = 0;
  std::uint32_t epoch = 0;

  IndexChange() = default;
  // Whoever takes a change takes a command.
  IndexChange(const IndexCommand& command) noexcept
      : kind(command.kind),
        id(command.id),
        home(command.home),
        key(command.key),
        value(command.value),
        upto(command.upto),
        epoch(command.epoch) {}
  [[nodiscard]] static IndexChange put(base::Bytes key, base::Bytes value) noexcept;
  [[nodiscard]] static IndexChange erase(base::Bytes key) noexcept;
};

/// Requires: what it holds is of that kind, and possible.
[[nodiscard]] std::vector<std::byte> encode_index_command(const IndexChange& change,
                                                          IndexKind kind);
void put_index_command(base::ByteWriter& out, const IndexChange& change, IndexKind kind);
/// Errors: corrupt. A change refers to the bytes.
[[nodiscard]] Result<IndexCommand> decode_index_command(base::Bytes bytes, IndexKind kind);
[[nodiscard]] Result<IndexChange> view_index_command(base::Bytes bytes, IndexKind kind);

}  // namespace dolmen::cluster
