// SPDX-License-Identifier: Apache-2.0
//
// The real world: the only code with system calls. Factories give process-wide singletons of the
// interfaces (they wrap process-wide facts) and one Disk per directory.
#pragma once

#include <memory>
#include <string>

#include "sys/env.hpp"

namespace dolmen::sys {

/// Clock, entropy, memory and process of this Linux process.
[[nodiscard]] const Env& linux_env();

enum class DirectoryMode { open_existing, create, open_or_create };

/// The files of one directory. Errors: not_found, already_exists, io_error.
[[nodiscard]] Result<std::unique_ptr<Disk>> open_directory(const std::string& path,
                                                           DirectoryMode mode);

}  // namespace dolmen::sys
