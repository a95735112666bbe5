// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 (FIPS 180-4), for identities. Own code because the library that users link depends on
// nothing but libc and libstdc++; verified against the standard's test vectors.
#pragma once

#include <array>
#include <cstddef>

#include "base/bytes.hpp"

namespace dolmen::base {

using Sha256Digest = std::array<std::byte, 32>;

[[nodiscard]] Sha256Digest sha256(Bytes bytes) noexcept;

}  // namespace dolmen::base
