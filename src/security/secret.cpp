// SPDX-License-Identifier: Apache-2.0
#include "security/secret.hpp"

#include <cstring>

#include <sodium.h>

#include <dolmen/assert.hpp>

namespace dolmen::security {

Result<void> prepare() {
  if (sodium_init() < 0) return fail(Errc::unsupported, "libsodium does not start");
  return {};
}

Secret::Secret(base::Bytes bytes) {
  DOLMEN_ASSERT_CMP(bytes.size(), ==, bytes_.size());
  std::memcpy(bytes_.data(), bytes.data(), bytes_.size());
}

Secret::~Secret() { sodium_memzero(bytes_.data(), bytes_.size()); }

}  // namespace dolmen::security
