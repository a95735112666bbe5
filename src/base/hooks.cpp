// SPDX-License-Identifier: Apache-2.0
#include "base/hooks.hpp"

namespace dolmen::base {

namespace detail {
constinit std::atomic<Hooks*> installed_hooks{nullptr};
}

Hooks* install_hooks(Hooks* hooks) noexcept {
  return detail::installed_hooks.exchange(hooks, std::memory_order_acq_rel);
}

}  // namespace dolmen::base
