// SPDX-License-Identifier: Apache-2.0
//
// Turns an errno into an error of the table, with "<about>: <the system's text>" as context and the
// number as detail. Thread-safe; takes a lock and may allocate, so not for signal handlers.
#pragma once

#include <string_view>

#include <dolmen/error.hpp>

namespace dolmen::sys {

[[nodiscard]] std::unexpected<Error> system_failure(
    int number, std::string_view about,
    std::source_location where = std::source_location::current());

/// The same as an error of another code.
[[nodiscard]] std::unexpected<Error> system_failure_as(
    Errc code, int number, std::string_view about,
    std::source_location where = std::source_location::current());

}  // namespace dolmen::sys
