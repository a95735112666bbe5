// SPDX-License-Identifier: Apache-2.0
//
// An open file descriptor as a sys::File. Owned by one holder, usable from any thread; read() makes
// no allocation and takes no lock unless it fails.
#pragma once

#include <memory>
#include <string>

#include "sys/disk.hpp"

namespace dolmen::sys {

/// Takes ownership of `fd`. `name` is for messages.
[[nodiscard]] std::unique_ptr<File> make_file(int fd, std::string name, bool writable);

/// Calls `call` until it is not interrupted by a signal.
template <class Call>
auto without_interruption(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

}  // namespace dolmen::sys
