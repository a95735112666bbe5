// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a mail and as a command about homes: what the decoders accept is exactly what the
// encoders make.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "cluster/home.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen;
  const base::Bytes bytes = std::as_bytes(std::span(data, size));
  if (const auto mail = cluster::decode_home_mail(bytes)) {
    DOLMEN_ASSERT(cluster::is_home_mail(bytes));
    DOLMEN_ASSERT(std::ranges::equal(cluster::encode(*mail), bytes));
  }
  if (const auto command = cluster::decode_home_command(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(cluster::encode(*command), bytes));
  }
  return 0;
}
