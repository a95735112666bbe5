// SPDX-License-Identifier: Apache-2.0
//
// Copies bytes as memcpy() does. std::ranges::copy() from constant bytes goes byte by byte in
// libstdc++ 12 (it asks whether source and destination may be copied as memory in the wrong order).
#pragma once

#include <cstring>

#include <dolmen/assert.hpp>

#include "base/bytes.hpp"

namespace dolmen::base {

/// Requires: room for all of them; no overlap.
inline void copy_bytes(Bytes from, MutableBytes into) noexcept {
  DOLMEN_ASSERT_CMP(from.size(), <=, into.size());
  if (!from.empty()) std::memcpy(into.data(), from.data(), from.size());
}

}  // namespace dolmen::base
