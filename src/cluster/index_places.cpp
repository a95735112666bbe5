// SPDX-License-Identifier: Apache-2.0
#include "cluster/index_places.hpp"

namespace dolmen::cluster {

std::optional<IndexPlaces::Place> IndexPlaces::recall(const ObjectId& key) const noexcept {
  if (rows_.empty()) return std::nullopt;
  const Row& row = rows_[row_of(key)];
  if (row.key != key || key.is_null()) return std::nullopt;
  return row.place;
}

void IndexPlaces::learn(const ObjectId& key, const Place& place, std::uint64_t copy) noexcept {
  if (rows_.empty() || copy != copy_ || place.record.bytes > kRecordBytesMax) return;
  rows_[row_of(key)] = {.key = key, .place = place};
}

void IndexPlaces::forget(const ObjectId& key) noexcept {
  if (rows_.empty()) return;
  Row& row = rows_[row_of(key)];
  if (row.key == key) row = {};
}

}  // namespace dolmen::cluster
