// SPDX-License-Identifier: Apache-2.0
//
// How readers in other processes tell the writer that they use an older checkpoint: each holds one
// of a fixed set of lock files, for as long as it lives. The files are never removed, so that
// holding one always means the same to both sides.
//
//   reader:  lock, then read the root        writer:  switch the root, then look, then reuse blocks
//
// Threads: any.
#pragma once

#include <memory>
#include <string_view>

#include "sys/disk.hpp"

namespace dolmen::store {

/// Takes a free pin; null where this process may not write to the directory (it then reads
/// unpinned, and notices by checksums when its blocks are gone). Errors: limit (too many readers),
/// io_error.
[[nodiscard]] Result<std::unique_ptr<sys::FileLock>> take_reader_pin(sys::Disk& disk,
                                                                     std::string_view owner);

/// Whether some process holds a pin. A failure to find out counts as yes.
[[nodiscard]] bool any_reader_pin(sys::Disk& disk);

}  // namespace dolmen::store
