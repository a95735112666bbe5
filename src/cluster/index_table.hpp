// SPDX-License-Identifier: Apache-2.0
//
// A hash index in memory of its own, for tests and fuzzers, whose keys and values are numbers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "cluster/hash_index.hpp"

namespace dolmen::cluster {

struct TableSizes {
  IndexKind kind = IndexKind::homes;
  std::uint32_t buckets = 64;
  std::uint8_t depth_max = 9;
  std::uint64_t heap_bytes = 0;
};

/// A key is a number; what a record's key looks like is derived from it.
inline ObjectId id_of(std::uint64_t key) { return {key * 0x9E3779B97F4A7C15ull + 1, key}; }
inline std::string text_of(std::uint64_t key) {
  return "key " + std::to_string(key) + std::string(key % 3 * 10, 'k');
}
inline std::string value_text(std::uint64_t value) {
  return std::to_string(value) + std::string(value % 5 * 40, 'v');
}

class Table {
 public:
  explicit Table(const TableSizes& sizes = {}, std::uint64_t table = 7)
      : geometry_{.table = {table, 9},
                  .seed = 1234,
                  .heap_bytes = sizes.heap_bytes,
                  .bucket_count = sizes.buckets,
                  .depth_max = sizes.depth_max,
                  .kind = sizes.kind},
        words_(geometry_.region_bytes() / 8),
        index_(HashIndex::make(region(), geometry_, 1).value()) {}

  base::MutableBytes region() { return std::as_writable_bytes(std::span(words_)); }
  HashIndex& index() { return index_; }
  const IndexGeometry& geometry() const { return geometry_; }
  bool is_homes() const { return geometry_.kind == IndexKind::homes; }

  IndexOutcome apply(const IndexCommand& command) {
    // As a log holds it.
    const auto bytes = encode_index_command(command, geometry_.kind);
    return index_.apply(++last_, decode_index_command(bytes, geometry_.kind).value());
  }
  IndexCommand put_command(std::uint64_t key, std::uint64_t value) const {
    if (is_homes()) {
      return IndexCommand::put(id_of(key), Home{.location = value,
                                                .node = static_cast<std::uint16_t>(value * 3),
                                                .generation = static_cast<std::uint16_t>(value)});
    }
    return IndexCommand::put(base::as_bytes(text_of(key)), base::as_bytes(value_text(value)));
  }
  IndexCommand erase_command(std::uint64_t key) const {
    return is_homes() ? IndexCommand::erase(id_of(key))
                      : IndexCommand::erase(base::as_bytes(text_of(key)));
  }
  /// As readers see it.
  std::optional<Bucket> bucket(BucketNumber number) {
    return decode_bucket(base::Bytes(region()).subspan(geometry_.bucket_at(number), kBucketBytes),
                         number, geometry_);
  }
  /// What `find()` gives, as a number.
  std::optional<std::uint64_t> find(std::uint64_t key) const {
    if (is_homes()) {
      const auto home = index_.find(id_of(key));
      if (!home || put_command(key, home->location).home != *home) return std::nullopt;
      return home->location;
    }
    const auto bytes = index_.find(base::as_bytes(text_of(key)));
    if (!bytes) return std::nullopt;
    return number_of(*bytes);
  }
  /// Nothing: it is not what any put wrote.
  static std::optional<std::uint64_t> number_of(base::Bytes value) {
    std::uint64_t number = 0;
    for (const std::byte digit : value) {
      if (digit < std::byte{'0'} || digit > std::byte{'9'}) break;
      number = number * 10 + (static_cast<std::uint64_t>(digit) - '0');
    }
    const std::string text = value_text(number);
    if (!std::ranges::equal(value, base::as_bytes(text))) return std::nullopt;
    return number;
  }
  log::Index last() const { return last_; }
  void goes_on_at(log::Index last) { last_ = last; }

 private:
  IndexGeometry geometry_;
  std::vector<std::uint64_t> words_;
  HashIndex index_;
  log::Index last_ = 0;
};

}  // namespace dolmen::cluster
