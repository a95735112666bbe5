// SPDX-License-Identifier: Apache-2.0
//
// How much memory may yet be taken for good, so that this host's other programs have some left.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dolmen::sys {

/// Of what the system says to be available all but a twentieth of the machine's memory, or 256 MiB
/// if that is more. With the path of a directory in memory no more than its file system has, but
/// for a twentieth of that. Nothing: not known. Cost: some microseconds.
[[nodiscard]] std::optional<std::uint64_t> room_in_memory(const std::string& shared = {});

/// Of a text like /proc/meminfo.
[[nodiscard]] std::optional<std::uint64_t> room_in_memory_of(std::string_view meminfo);

}  // namespace dolmen::sys
