// SPDX-License-Identifier: Apache-2.0
//
// Lock files: a flock() on an open file description, so that it ends with the process however it
// dies. The file itself stays: deleting it would let two processes lock two files of one name.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "sys/disk.hpp"

namespace dolmen::sys {

/// `directory` is the descriptor that `name` is relative to; see Disk::try_lock.
[[nodiscard]] Result<std::unique_ptr<FileLock>> lock_file(int directory, const std::string& name,
                                                          LockMode mode, std::string_view owner,
                                                          std::string* holder);

}  // namespace dolmen::sys
