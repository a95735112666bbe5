// SPDX-License-Identifier: Apache-2.0
//
// What a reader of a hash index remembers of records: where a key's was, and by which of its two
// positions (docs/index.md, One round trip for a value). It is a guess: the bucket, read anew, says
// whether it is so still. Bounded: a key has one of two rows, and takes the one that was not used
// for longer.
//
// What stays true: what is remembered was seen in the copy that is read. Threads: one at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <dolmen/id.hpp>

#include "cluster/index_layout.hpp"

namespace dolmen::cluster {

class IndexPlaces {
 public:
  struct Place {
    RecordPlace record{};
    bool is_second = false;  ///< it was found by the key's second position
  };
  /// Longer records are not guessed: what is read in vain would cost more than the way.
  static constexpr std::uint32_t kRecordBytesMax = 16 * 1024;

  /// It knows of nothing, and remembers the places of up to so many keys in the copy that is read
  /// from now on: 48 bytes each. 0: of none.
  void remember(std::size_t rows) {
    rows_.assign(rows, {});
    ++copy_;
  }
  /// Which one that is: who began to look in another one has nothing to say.
  [[nodiscard]] std::uint64_t copy() const noexcept { return copy_; }
  [[nodiscard]] std::optional<Place> recall(const ObjectId& key) noexcept;
  void learn(const ObjectId& key, const Place& place, std::uint64_t copy) noexcept;
  void forget(const ObjectId& key) noexcept;

 private:
  struct Row {
    ObjectId key{};  ///< the hash that its slot has; null: nobody's
    Place place{};
    std::uint32_t used = 0;  ///< when it was learned or recalled last: as uses_ was
  };
  static_assert(sizeof(Row) <= 48);
  /// Keys are hashes. Requires: fewer than 2^32 rows, and some.
  [[nodiscard]] std::array<Row*, 2> rows_of(const ObjectId& key) noexcept {
    const auto row = [&](std::uint64_t hash) { return &rows_[(hash >> 32) * rows_.size() >> 32]; };
    return {row(key.low), row(key.high)};
  }

  std::vector<Row> rows_;
  std::uint64_t copy_ = 0;
  std::uint32_t uses_ = 0;
};

}  // namespace dolmen::cluster
