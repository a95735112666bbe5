// SPDX-License-Identifier: Apache-2.0
//
// An object on its way to another space (docs/formats/homes.md, A part of an object): its pages,
// and in front of them those of the objects that describe its types, as cells of one size. Every
// part holds whole cells, and each description is in one part; so a part is understood alone.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "cluster/home.hpp"
#include "store/store.hpp"
#include "sys/memory.hpp"

namespace dolmen::node {

inline constexpr std::size_t kCellHeadBytes = 24;
inline constexpr std::size_t kCellBytes = kCellHeadBytes + store::kPageBytes;
inline constexpr std::size_t kCellsOfPart = cluster::kHomePartBytesMax / kCellBytes;
inline constexpr std::uint32_t kObjectPartBytes = kCellsOfPart * kCellBytes;
/// Most that an object may take on its way: whoever leads reads all of it in one turn.
inline constexpr std::uint64_t kMovedBytesMax = 64u << 20;

struct PageCell {
  ObjectId object{};  ///< null: it only fills the part
  std::uint32_t page = 0;
  std::uint8_t capacity_log2 = 0;
  base::Bytes bytes{};  ///< store::page_bytes(capacity_log2)
};
/// What is in front of its page: kCellHeadBytes.
[[nodiscard]] std::vector<std::byte> encode_cell_head(const PageCell& cell);
/// Errors: corrupt.
[[nodiscard]] Result<std::vector<PageCell>> decode_cells(base::Bytes part);

class ObjectParts {
 public:
  /// Of an object that nobody writes while its parts are read. Equal objects have equal parts,
  /// whoever reads them. Errors: not_found, invalid_argument (it is the space's own), too_large,
  /// corrupt (it does not verify), those of the store. Cost: reads the object twice.
  [[nodiscard]] static Result<ObjectParts> make(store::Store& store, sys::Memory& memory,
                                                const ObjectId& object);

  [[nodiscard]] std::uint64_t bytes() const noexcept { return cells_.size() * kCellBytes; }
  /// cluster::hash_of_object() of all, in parts of kObjectPartBytes.
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }
  /// Requires: whole cells of it; the store has not forgotten the object. Errors: of the store.
  [[nodiscard]] Result<std::vector<std::byte>> read(store::Store& store, std::uint64_t offset,
                                                    std::size_t bytes) const;

 private:
  struct Place {
    ObjectId object{};
    std::uint32_t page = 0;
    std::uint8_t capacity_log2 = 0;
  };
  std::vector<Place> cells_;
  std::uint64_t hash_ = 0;
};

/// The cells of one object that describes a type, as those of a part that arrived. Errors: corrupt
/// (it is no description, or one of another id).
struct ArrivedType {
  std::uint32_t tag = 0;
  std::uint64_t identity = 0;
};
[[nodiscard]] Result<ArrivedType> verify_type(sys::Memory& memory, std::span<const PageCell> cells);
/// What such an object in a space describes. Requires: 2^capacity_log2 readable bytes. Errors:
/// corrupt.
[[nodiscard]] Result<ArrivedType> type_in(const std::byte* base, unsigned capacity_log2);

}  // namespace dolmen::node
