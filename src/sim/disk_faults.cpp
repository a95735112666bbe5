// SPDX-License-Identifier: Apache-2.0
#include "sim/disk_faults.hpp"

namespace dolmen::sim {
namespace {

std::uint32_t rate_of(const DiskFaultRates& rates, FaultOn on) noexcept {
  switch (on) {
    case FaultOn::any:
      return 0;
    case FaultOn::read:
      return rates.read_ppm;
    case FaultOn::write:
    case FaultOn::resize:
    case FaultOn::allocate:
    case FaultOn::punch:
      return rates.write_ppm;
    case FaultOn::sync:
    case FaultOn::sync_directory:
      return rates.sync_ppm;
    case FaultOn::create:
    case FaultOn::rename:
    case FaultOn::remove:
      return rates.names_ppm;
  }
  return 0;
}

}  // namespace

std::optional<DiskFault> DiskFaults::next(FaultOn on, std::string_view file) {
  ++calls_;
  std::optional<DiskFault> met;
  for (Scripted& scripted : scripted_) {
    const DiskFault& fault = scripted.fault;
    if (fault.on != FaultOn::any && fault.on != on) continue;
    if (!fault.file.empty() && file.find(fault.file) == std::string_view::npos) continue;
    const std::uint64_t number = ++scripted.seen;
    if (number >= fault.nth && number - fault.nth < fault.times && !met) met = fault;
  }
  const std::uint32_t rate = rate_of(rates_, on);
  if (!met && rate != 0 && random_.chance(rate, 1'000'000)) met = DiskFault();
  return met;
}

}  // namespace dolmen::sim
