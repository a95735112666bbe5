// SPDX-License-Identifier: Apache-2.0
//
// Files that nobody else sees, and that are gone with who has them open: however its process ends.
#pragma once

#include <memory>
#include <string>

#include "sys/disk.hpp"

namespace dolmen::sys {

/// An empty directory of this object's own, as Disk says; nothing in it is ever durable, and sync()
/// does nothing. Its files have no names on the disk of `directory`, which is an existing one with
/// room for them; they take it until the Disk and all its Files are gone. Cost: a descriptor for
/// each file. Errors: not_found, io_error.
[[nodiscard]] Result<std::unique_ptr<Disk>> open_scratch(const std::string& directory);

}  // namespace dolmen::sys
