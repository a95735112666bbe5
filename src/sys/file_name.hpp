// SPDX-License-Identifier: Apache-2.0
//
// Which names a sys::Disk accepts; one rule for the real and the simulated one.
#pragma once

#include <string_view>

namespace dolmen::sys {

/// "file" or "folder/file", and nothing that leads out of the directory.
[[nodiscard]] constexpr bool is_valid_file_name(std::string_view name) noexcept {
  const auto is_part = [](std::string_view part) {
    return !part.empty() && part != "." && part != ".." &&
           part.find('/') == std::string_view::npos && part.find('\0') == std::string_view::npos;
  };
  const std::size_t slash = name.find('/');
  if (slash == std::string_view::npos) return is_part(name);
  return is_part(name.substr(0, slash)) && is_part(name.substr(slash + 1));
}

}  // namespace dolmen::sys
