// SPDX-License-Identifier: Apache-2.0
//
// Puts together what came in pieces. Values; pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"

namespace dolmen::fabric {

class Assembly {
 public:
  struct Whole {
    bool is_complete = false;
    base::Bytes bytes;
  };
  /// What `data` completes: valid until the next call and as long as `data`. Not complete: more is
  /// to come. `left`: bytes from this piece on, at least those of `data`, which the caller checked.
  /// Errors: corrupt (not what follows the piece before).
  [[nodiscard]] Result<Whole> add(std::uint32_t left, base::Bytes data);

 private:
  std::vector<std::byte> whole_;
  std::uint32_t left_ = 0;
};

}  // namespace dolmen::fabric
