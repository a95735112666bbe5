// SPDX-License-Identifier: Apache-2.0
//
// The singletons that linux_env() bundles, one per file of this folder. Safe from any thread.
#pragma once

#include <memory>

#include "sys/env.hpp"

namespace dolmen::sys {

[[nodiscard]] Clock& linux_clock() noexcept;
[[nodiscard]] Entropy& linux_entropy() noexcept;
[[nodiscard]] Memory& linux_memory() noexcept;
[[nodiscard]] Process& linux_process() noexcept;
[[nodiscard]] Network& linux_network() noexcept;

/// A descriptor that a Poller can watch, and no more. It is copied. Errors: limit, io_error.
[[nodiscard]] Result<std::unique_ptr<Socket>> watched_descriptor(int fd);

}  // namespace dolmen::sys
