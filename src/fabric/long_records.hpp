// SPDX-License-Identifier: Apache-2.0
//
// AES-256-GCM by libcrypto, which takes less than half of libsodium's time for long records and
// more for short ones (docs/adr/0028-libcrypto.md). The bytes are the same.
//
// Thread contract: values, one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include "base/bytes.hpp"
#include "security/secret.hpp"

namespace dolmen::fabric {

class LongRecords {
 public:
  /// Of this many bytes on.
  static constexpr std::size_t kBytesMin = 1024;
  using Nonce = std::array<unsigned char, 12>;

  LongRecords();
  LongRecords(LongRecords&&) noexcept;
  LongRecords& operator=(LongRecords&&) noexcept;
  ~LongRecords();

  /// Before each record. False: libcrypto is of no use here (there is no memory, or it was built
  /// without this cipher), and nothing happened.
  [[nodiscard]] bool begin(const security::Secret& key, const Nonce& nonce, bool seals) noexcept;
  /// The key will be another one.
  void forget() noexcept { context_.reset(); }

  /// Both in place. Requires: begin() gave true, for this.
  void seal(base::MutableBytes bytes, base::MutableBytes tag) noexcept;
  /// False: it is not what was sealed; bytes are lost.
  [[nodiscard]] bool open(base::MutableBytes bytes, base::Bytes tag) noexcept;

 private:
  struct End {
    void operator()(void* context) const noexcept;
  };
  std::unique_ptr<void, End> context_;  ///< with the key; null: none yet
};

}  // namespace dolmen::fabric
