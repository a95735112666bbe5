// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_hooks.hpp"

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"

namespace dolmen::sim {

SimHooks::SimHooks(SimHookOptions options)
    : options_(std::move(options)), former_(base::install_hooks(this)) {}

SimHooks::~SimHooks() {
  base::Hooks* const removed = base::install_hooks(former_);
  DOLMEN_ASSERT(removed == this);
}

bool SimHooks::buggify(std::string_view site) {
  if (!options_.buggify) return false;
  const base::Lock lock(mutex_);
  auto found = streams_.find(site);
  if (found == streams_.end()) {
    base::Random random(base::checksum64(base::as_bytes(site), options_.seed));
    const bool active = random.chance(1, 4);
    found = streams_.emplace(std::string(site), Stream{{.active = active}, random}).first;
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
  if (bug != options_.planted) return false;
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
