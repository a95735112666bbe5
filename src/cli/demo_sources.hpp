// SPDX-License-Identifier: Apache-2.0
//
// The sources of the demo as text, put into the program when it is built (embed_sources.cmake), so
// that the lines it shows are the lines that ran.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dolmen::cli {

/// Generated: the whole text of each embedded file.
[[nodiscard]] std::span<const std::string_view> embedded_sources() noexcept;

/// The lines between the markers [demo:name] and [/demo:name], without their common indentation;
/// empty if no source has them.
[[nodiscard]] std::vector<std::string> source_lines(std::string_view name);

}  // namespace dolmen::cli
