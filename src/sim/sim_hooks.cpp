// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_hooks.hpp"

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"

namespace dolmen::sim {

SimHooks::SimHooks(SimHookOptions options)
    : planted_(std::move(options.planted)),
      seed_(options.seed),
      buggify_(options.buggify),
      former_(base::install_hooks(this)) {}

SimHooks::~SimHooks() {
  base::Hooks* const removed = base::install_hooks(former_);
  DOLMEN_ASSERT(removed == this);
}

void SimHooks::begin(std::uint64_t seed, bool buggify) {
  const base::Lock lock(mutex_);
  seed_ = seed;
  buggify_ = buggify;
  ++begun_;
}

void SimHooks::calm() {
  const base::Lock lock(mutex_);
  buggify_ = false;
}

bool SimHooks::buggify(std::string_view site) {
  const base::Lock lock(mutex_);
  if (!buggify_) return false;
  auto found = streams_.find(site);
  if (found == streams_.end() || found->second.begun != begun_) {
    base::Random random(base::checksum64(base::as_bytes(site), seed_));
    const bool active = random.chance(1, 4);
    found = streams_.try_emplace(std::string(site)).first;
    found->second.site.active = active;
    found->second.random = random;
    found->second.begun = begun_;
  }
  Stream& stream = found->second;
  ++stream.site.reached;
  const bool fires = stream.site.active && stream.random.chance(1, 4);
  stream.site.fired += fires ? 1 : 0;
  return fires;
}

void SimHooks::probe(std::string_view site) {
  const base::Lock lock(mutex_);
  const auto found = probes_.find(site);
  if (found != probes_.end()) {
    ++found->second;
  } else {
    probes_.emplace(std::string(site), 1);
  }
}

bool SimHooks::planted(std::string_view bug) {
  if (bug != planted_) return false;
  const base::Lock lock(mutex_);
  ++planted_reached_;
  return true;
}

std::map<std::string, SimHooks::Site> SimHooks::buggify_sites() const {
  const base::Lock lock(mutex_);
  std::map<std::string, Site> sites;
  for (const auto& [name, stream] : streams_) sites.emplace(name, stream.site);
  return sites;
}

SimHooks::Counts SimHooks::probes() const {
  const base::Lock lock(mutex_);
  return probes_;
}

std::uint64_t SimHooks::planted_reached() const {
  const base::Lock lock(mutex_);
  return planted_reached_;
}

}  // namespace dolmen::sim
