// SPDX-License-Identifier: Apache-2.0
#include "node/upkeep.hpp"

#include <new>

#include "base/hooks.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {

namespace {

// Short enough that a burst of commits does not outrun the log by much, long enough to cost
// nothing.
constexpr std::uint64_t kPollNs = 2'000'000;
/// A deferred commit is durable after this time at the latest, if the machine lives that long.
constexpr std::uint64_t kDeferredNs = 50'000'000;
/// Checkpoints write no faster than this, so that commits find the disk free.
constexpr std::uint64_t kCheckpointBytesPerSecond = 400u << 20;
/// After a failed checkpoint (disk full) the next try waits.
constexpr std::uint64_t kRetryNs = 500'000'000;

}  // namespace

Result<std::unique_ptr<Upkeep>> Upkeep::start(const sys::Env& env, detail::SpaceCore& core) {
  std::unique_ptr<Upkeep> upkeep(new Upkeep(env, core));
  DOLMEN_TRY(upkeep->thread_,
             env.process->start_thread("dolmen-upkeep", [self = upkeep.get()] { self->run(); }));
  return upkeep;
}

Upkeep::~Upkeep() {
  if (core_.forked()) {
    (void)thread_.release();  // the thread lives in the parent
    return;
  }
  stop_.store(true, std::memory_order_release);
  thread_.reset();
}

void Upkeep::run() {
  last_sync_ns_ = env_.clock->monotonic_ns();
  while (!stopped()) {
    env_.clock->sleep_ns(kPollNs);
    if (core_.store().failed()) continue;
    prepare();
    const std::uint64_t now_ns = env_.clock->monotonic_ns();
    sync(now_ns);
    checkpoint(now_ns);
  }
}

// Whatever fails here shows where somebody needs it: no_space and want of memory at the next append
// or checkpoint of a caller, a failed log in every call.

void Upkeep::prepare() {
  try {
    (void)core_.store().prepare_segments();
  } catch (const std::bad_alloc&) {
    DOLMEN_PROBE("node.upkeep_without_memory");
  }
}

void Upkeep::sync(std::uint64_t now_ns) {
  if (now_ns - last_sync_ns_ < kDeferredNs) return;
  last_sync_ns_ = now_ns;
  store::Store& store = core_.store();
  if (store.durable_index() < store.last_index()) (void)store.wait_durable(store.last_index());
}

void Upkeep::checkpoint(std::uint64_t now_ns) {
  if (now_ns < not_before_ns_ || !core_.store().checkpoint_due()) return;
  if (!core_.checkpoint(kCheckpointBytesPerSecond, [this] { return stopped(); })) {
    not_before_ns_ = now_ns + kRetryNs;
  }
}

}  // namespace dolmen::node
