// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_env.hpp"

#include "base/checksum.hpp"

namespace dolmen::sim {

void SimEntropy::fill(base::MutableBytes out) noexcept {
  const base::Lock lock(mutex_);
  for (std::byte& b : out) b = static_cast<std::byte>(random_() >> 56);
}

Result<std::unique_ptr<sys::Thread>> SimProcess::start_thread(const char* name,
                                                              std::function<void()>) {
  return fail(Errc::unsupported, name);
}

Result<void> SimProcess::on_fork_child(void (*)(void*), void*) { return {}; }

SimEnv::SimEnv(std::uint64_t seed, sys::Memory& memory, std::uint64_t pid) noexcept
    : entropy_(base::mix_seed(seed, 3)),
      process_(pid),
      env_{.clock = &clock_, .entropy = &entropy_, .memory = &memory, .process = &process_} {}

}  // namespace dolmen::sim
