// SPDX-License-Identifier: Apache-2.0
//
// 32 bytes that nobody else may know. Values, one thread at a time.
#pragma once

#include <array>
#include <span>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"

namespace dolmen::security {

/// Once per process, before anything else of this layer. Errors: unsupported.
[[nodiscard]] Result<void> prepare();

/// Wiped when it is given up.
class Secret {
 public:
  Secret() = default;
  explicit Secret(base::Bytes bytes);  ///< Requires: 32 bytes
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;
  ~Secret();

  [[nodiscard]] const unsigned char* data() const noexcept { return bytes_.data(); }
  [[nodiscard]] unsigned char* data() noexcept { return bytes_.data(); }
  [[nodiscard]] base::MutableBytes bytes() noexcept {
    return std::as_writable_bytes(std::span(bytes_));
  }
  [[nodiscard]] base::Bytes bytes() const noexcept { return std::as_bytes(std::span(bytes_)); }

 private:
  std::array<unsigned char, 32> bytes_{};
};

}  // namespace dolmen::security
