// SPDX-License-Identifier: Apache-2.0
//
// Which process is meant, when ids are given out again. Safe from any thread.
#pragma once

#include "sys/shared_memory.hpp"

namespace dolmen::sys {

/// This process. Errors: unsupported (no /proc).
[[nodiscard]] Result<ProcessMark> own_mark();
/// A descriptor that becomes readable when the process has ended. Errors: not_found (it has ended),
/// unsupported (another process-id name space, no /proc), io_error.
[[nodiscard]] Result<int> open_process(const ProcessMark& process);

}  // namespace dolmen::sys
