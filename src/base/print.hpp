// SPDX-License-Identifier: Apache-2.0
//
// The library's only way to say something that no caller can be told: the process is about to end.
#pragma once

namespace dolmen::base {

/// "dolmen: <text>" and a line end, to standard error.
void print_last_words(const char* text) noexcept;

}  // namespace dolmen::base
