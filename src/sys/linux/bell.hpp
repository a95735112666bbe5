// SPDX-License-Identifier: Apache-2.0
//
// A bell is a named pipe: a byte in it is a ring that waits for its owner, so none is missed
// whatever comes first. A pipe and not a futex, because one wait must end by a ring or by the end
// of a process, and the system lets a futex wait for no process.
#pragma once

#include <memory>
#include <string>

#include "sys/shared_memory.hpp"

namespace dolmen::sys {

[[nodiscard]] Result<std::unique_ptr<OwnBell>> make_own_bell(int directory,
                                                             const std::string& name);
/// Takes ownership of `fd`, an end of the pipe that can be written to.
[[nodiscard]] std::unique_ptr<Bell> make_bell_of(int fd);
/// Whether `name` still is the file that `fd` has open.
[[nodiscard]] bool is_named(int fd, int directory, const std::string& name) noexcept;

}  // namespace dolmen::sys
