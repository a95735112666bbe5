// SPDX-License-Identifier: Apache-2.0
//
// `dolmen bench`: the whole command, so that the dolmen program only has to hand its arguments
// over. The suites start the running program again as `<program> bench --child …` for what needs a
// process of its own; whoever embeds this must pass everything behind the word bench on, unread.
//
// Thread contract: one call at a time; the command pins and unpins the calling thread.
#pragma once

#include <span>
#include <string>

namespace dolmen::bench {

/// Runs `dolmen bench <arguments>` and gives its exit code: 0 measured, 1 dolmen could not be
/// measured, 2 arguments not understood. Rows go to stdout, progress and notes to stderr.
int command(std::span<const std::string> arguments);

}  // namespace dolmen::bench
