// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as what a joined endpoint says.
#include <algorithm>
#include <cstdint>
#include <span>

#include <dolmen/assert.hpp>

#include "fabric/joined_format.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen::fabric;
  const Bytes bytes = std::as_bytes(std::span(data, size));
  if (const auto message = decode_joined(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(encode(*message).bytes(), bytes));
  }
  return 0;
}
