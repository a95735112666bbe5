// SPDX-License-Identifier: Apache-2.0
//
// The hooks of a simulated world (base/hooks.hpp): rare paths taken on purpose, rare situations
// counted, one bug planted. Per seed a BUGGIFY site is active with probability 1/4; an active one
// fires with probability 1/4. Every site has its own random stream, so one more site changes
// nothing for others.
//
// Threads: safe from any; deterministic when sites are reached in a fixed order.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/hooks.hpp"
#include "base/mutex.hpp"
#include "base/random.hpp"

namespace dolmen::sim {

struct SimHookOptions {
  std::uint64_t seed = 0;
  bool buggify = true;
  std::string planted = {};  ///< name of the bug that is planted; empty = none
};

/// Installed from construction to destruction; one at a time in a process.
class SimHooks final : public base::Hooks {
 public:
  explicit SimHooks(SimHookOptions options);
  ~SimHooks() override;
  SimHooks(const SimHooks&) = delete;
  SimHooks& operator=(const SimHooks&) = delete;

  /// The sites of another seed from now on; what was counted stays.
  void begin(std::uint64_t seed, bool buggify);
  /// No site fires until begin().
  void calm();

  bool buggify(std::string_view site) override;
  void probe(std::string_view site) override;
  bool planted(std::string_view bug) override;

  struct Site {
    bool active = false;  ///< in the latest seed
    std::uint64_t reached = 0;
    std::uint64_t fired = 0;
  };
  using Counts = std::map<std::string, std::uint64_t, std::less<>>;
  /// Every BUGGIFY site that was reached.
  [[nodiscard]] std::map<std::string, Site> buggify_sites() const;
  /// How often each probe was reached.
  [[nodiscard]] Counts probes() const;
  /// How often the place of the planted bug was reached.
  [[nodiscard]] std::uint64_t planted_reached() const;

 private:
  struct Stream {
    Site site;
    base::Random random{0};
    std::uint64_t begun = 0;  ///< the begin() that it is of
  };

  const std::string planted_;
  mutable base::Mutex mutex_;
  std::uint64_t seed_ DOLMEN_GUARDED_BY(mutex_);
  bool buggify_ DOLMEN_GUARDED_BY(mutex_);
  std::uint64_t begun_ DOLMEN_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Stream, std::less<>> streams_ DOLMEN_GUARDED_BY(mutex_);
  Counts probes_ DOLMEN_GUARDED_BY(mutex_);
  std::uint64_t planted_reached_ DOLMEN_GUARDED_BY(mutex_) = 0;
  base::Hooks* const former_;  ///< the last: this one is installed when all else is there
};

}  // namespace dolmen::sim
