// SPDX-License-Identifier: Apache-2.0
//
// Bytes as libsodium takes them. Internal to this layer.
#pragma once

#include "base/bytes.hpp"

namespace dolmen::security {

inline const unsigned char* raw(base::Bytes bytes) noexcept {
  return static_cast<const unsigned char*>(static_cast<const void*>(bytes.data()));
}
inline unsigned char* raw(base::MutableBytes bytes) noexcept {
  return static_cast<unsigned char*>(static_cast<void*>(bytes.data()));
}

}  // namespace dolmen::security
