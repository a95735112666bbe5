// SPDX-License-Identifier: Apache-2.0
//
// Any bytes, also with a checksum that fits them: what the decoder accepts is exactly what the
// encoder makes.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "log/snapshot.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen;
  const base::Bytes bytes = std::as_bytes(std::span(data, size));
  (void)log::Snapshot::decode({bytes.begin(), bytes.end()});
  if (size < 8) return 0;
  std::vector<std::byte> sealed(bytes.begin(), bytes.end());
  const base::Bytes body = base::Bytes(sealed).first(size - 8);
  base::store(base::MutableBytes(sealed), size - 8, base::checksum64(body, log::kSnapshotSeed));
  const auto snapshot = log::Snapshot::decode(sealed);
  if (!snapshot) return 0;
  const auto again = log::Snapshot::make((*snapshot)->place(), (*snapshot)->state());
  DOLMEN_ASSERT(again && std::ranges::equal((*again)->bytes(), sealed));
  return 0;
}
