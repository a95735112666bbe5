// SPDX-License-Identifier: Apache-2.0
//
// A word that says whether this process lives, and that the kernel itself changes when it does not
// any more: sys/shared_memory.hpp. Internal to sys_linux.
#pragma once

#include <cstdint>
#include <memory>

#include <dolmen/error.hpp>

#include "sys/shared_memory.hpp"

namespace dolmen::sys {

/// Errors: limit (no thread), out_of_memory.
[[nodiscard]] Result<std::unique_ptr<LifeMark>> make_life_mark(std::uint32_t* word);

}  // namespace dolmen::sys
