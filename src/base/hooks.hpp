// SPDX-License-Identifier: Apache-2.0
//
// How a test world looks into and disturbs production code, at named places:
//   DOLMEN_BUGGIFY("name")   true now and then: take the rare path on purpose (FoundationDB)
//   DOLMEN_PROBE("name")     a rare situation was reached; campaigns check that they reach them all
//   DOLMEN_PLANTED("name")   true only while a test plants this bug, to prove that it would be seen
//   DOLMEN_STEP("name")      a step of a protocol between threads: a test may let others go first
// All four are constant false or nothing unless the build defines DOLMEN_SIM_HOOKS=1, and cost one
// relaxed load there until a Hooks object is installed. One Hooks object per process at a time.
//
// Threads: sites may be reached from any thread; a deterministic world reaches them from one.
#pragma once

#include <atomic>
#include <string_view>

#ifndef DOLMEN_SIM_HOOKS
#define DOLMEN_SIM_HOOKS 0
#endif

namespace dolmen::base {

class Hooks {
 public:
  virtual ~Hooks() = default;
  [[nodiscard]] virtual bool buggify(std::string_view site) = 0;
  virtual void probe(std::string_view site) = 0;
  [[nodiscard]] virtual bool planted(std::string_view bug) = 0;
  virtual void step(std::string_view) {}
};

/// Installs `hooks` (null removes it); returns the former one. The caller keeps ownership.
Hooks* install_hooks(Hooks* hooks) noexcept;

namespace detail {
extern constinit std::atomic<Hooks*> installed_hooks;
}

}  // namespace dolmen::base

#if DOLMEN_SIM_HOOKS
#define DOLMEN_HOOK(call)                                                                \
  (::dolmen::base::detail::installed_hooks.load(std::memory_order_relaxed) != nullptr && \
   ::dolmen::base::detail::installed_hooks.load(std::memory_order_relaxed)->call)
#define DOLMEN_BUGGIFY(site) DOLMEN_HOOK(buggify(site))
#define DOLMEN_PLANTED(bug) DOLMEN_HOOK(planted(bug))
#define DOLMEN_PROBE(site)                                                             \
  do {                                                                                 \
    if (auto* dolmen_hooks =                                                           \
            ::dolmen::base::detail::installed_hooks.load(std::memory_order_relaxed)) { \
      dolmen_hooks->probe(site);                                                       \
    }                                                                                  \
  } while (false)
#define DOLMEN_STEP(name)                                                              \
  do {                                                                                 \
    if (auto* dolmen_hooks =                                                           \
            ::dolmen::base::detail::installed_hooks.load(std::memory_order_relaxed)) { \
      dolmen_hooks->step(name);                                                        \
    }                                                                                  \
  } while (false)
#else
#define DOLMEN_STEP(name) static_cast<void>(0)
#define DOLMEN_BUGGIFY(site) false
#define DOLMEN_PLANTED(bug) false
#define DOLMEN_PROBE(site) static_cast<void>(0)
#endif
