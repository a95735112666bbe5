// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/linux.hpp"

#include "sys/linux/parts.hpp"

namespace dolmen::sys {

const Env& linux_env() {
  static const Env env{.clock = &linux_clock(),
                       .entropy = &linux_entropy(),
                       .memory = &linux_memory(),
                       .process = &linux_process(),
                       .network = &linux_network()};
  return env;
}

}  // namespace dolmen::sys
