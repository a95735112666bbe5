// SPDX-License-Identifier: Apache-2.0
//
// Work in a child of this process, so that what has to be tidied up behind it is tidied up however
// it ends: for commands that need a temporary directory.
//
// Threads: the process has one.
#pragma once

#include <functional>

#include <dolmen/error.hpp>

namespace dolmen::sys {

/// Calls `make`, and goes on in a child that has everything this process has: only there it
/// returns, and from `make`'s error. This process waits for the child, passes SIGHUP, SIGINT,
/// SIGQUIT and SIGTERM on to it (unless it ignores them), calls `tidy`, and ends as the child did:
/// with its exit code, or by the same signal. No such signal gets between `make` and `tidy`; if
/// this process is killed, the child is, too, and nobody tidies up. Requires: nothing waits in
/// buffers of standard output. Errors: those of `make`; io_error (no child, and it was tidied up).
[[nodiscard]] Result<void> go_on_in_child(const std::function<Result<void>()>& make,
                                          const std::function<void()>& tidy);

}  // namespace dolmen::sys
