// SPDX-License-Identifier: Apache-2.0
#include "cluster/index_places.hpp"

namespace dolmen::cluster {

std::optional<IndexPlaces::Place> IndexPlaces::recall(const ObjectId& key) noexcept {
  if (rows_.empty() || key.is_null()) return std::nullopt;
  for (Row* const row : rows_of(key)) {
    if (row->key != key) continue;
    row->used = ++uses_;
    return row->place;
  }
  return std::nullopt;
}

void IndexPlaces::learn(const ObjectId& key, const Place& place, std::uint64_t copy) noexcept {
  if (rows_.empty() || copy != copy_ || place.record.bytes > kRecordBytesMax) return;
  const std::array<Row*, 2> rows = rows_of(key);
  const auto age = [this](const Row* row) { return uses_ - row->used; };
  Row* taken = age(rows[0]) < age(rows[1]) ? rows[1] : rows[0];
  for (Row* const row : rows) {
    if (row->key == key) taken = row;
  }
  *taken = {.key = key, .place = place, .used = ++uses_};
}

void IndexPlaces::forget(const ObjectId& key) noexcept {
  if (rows_.empty()) return;
  for (Row* const row : rows_of(key)) {
    if (row->key == key) *row = {};
  }
}

}  // namespace dolmen::cluster
