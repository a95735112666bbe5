// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <string_view>

namespace dolmen::base {

/// For tests: whether each is to run at its full length (`make soak`).
inline bool at_full_length() {
  const char* const soak = std::getenv("DOLMEN_SOAK");
  return soak != nullptr && std::string_view(soak) == "1";
}

}  // namespace dolmen::base
