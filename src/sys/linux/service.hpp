// SPDX-License-Identifier: Apache-2.0
//
// What whoever started this process wants to know of it, or says about it: service managers and
// batch systems.
//
// Thread-safe.
#pragma once

#include <string>
#include <string_view>

#include <dolmen/error.hpp>

namespace dolmen::sys {

/// Tells a service manager that asked for it (systemd's NOTIFY_SOCKET), as "READY=1". Nothing where
/// none did. Errors: not_found, io_error (it asked, and does not listen).
[[nodiscard]] Result<void> tell_service_manager(std::string_view state);

/// This host's address for others: the first of an interface that is up and leads outside, of IPv4
/// before IPv6; "127.0.0.1" where there is none.
[[nodiscard]] std::string own_host_address();

}  // namespace dolmen::sys
