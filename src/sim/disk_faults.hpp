// SPDX-License-Identifier: Apache-2.0
//
// Faults of a simulated disk: scripted ("the third write of a log fails") and seeded (rates).
// Deciding is deterministic: the same operations in the same order meet the same faults.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>

#include "base/random.hpp"

namespace dolmen::sim {

/// The calls that can meet a fault.
enum class FaultOn : std::uint8_t {
  any,
  read,
  write,
  resize,
  allocate,
  punch,
  sync,
  create,
  rename,
  remove,
  sync_directory,
};

enum class FaultEffect : std::uint8_t {
  fail,       ///< the call gives an error; of a write or sync, an unknown part happened
  misdirect,  ///< write only: reports success, but the bytes are at offset + shift
  lose,       ///< write only: reports success, but nothing was written
};

struct DiskFault {
  static constexpr std::uint64_t kForever = ~std::uint64_t{0};

  FaultOn on = FaultOn::any;
  std::uint64_t nth = 1;    ///< the next matching call is number 1
  std::uint64_t times = 1;  ///< how many matching calls in a row
  FaultEffect effect = FaultEffect::fail;
  Errc code = Errc::io_error;
  std::string file = {};    ///< only names that contain this
  std::uint64_t shift = 0;  ///< misdirect
};

/// Failures per million calls.
struct DiskFaultRates {
  std::uint32_t read_ppm = 0;
  std::uint32_t write_ppm = 0;  ///< also resize, allocate, punch
  std::uint32_t sync_ppm = 0;
  std::uint32_t names_ppm = 0;  ///< create, rename, remove
};

class DiskFaults {
 public:
  explicit DiskFaults(std::uint64_t seed) noexcept : random_(seed) {}

  void add(const DiskFault& fault) { scripted_.push_back({fault, 0}); }
  void set_rates(const DiskFaultRates& rates) noexcept { rates_ = rates; }
  void clear() noexcept {
    scripted_.clear();
    rates_ = {};
  }
  /// Counts the call and says which fault it meets.
  [[nodiscard]] std::optional<DiskFault> next(FaultOn on, std::string_view file);
  /// How many calls were counted: the range of `nth` for a sweep with FaultOn::any.
  [[nodiscard]] std::uint64_t calls() const noexcept { return calls_; }
  [[nodiscard]] base::Random& random() noexcept { return random_; }

 private:
  struct Scripted {
    DiskFault fault;
    std::uint64_t seen;
  };

  base::Random random_;
  std::vector<Scripted> scripted_;
  DiskFaultRates rates_;
  std::uint64_t calls_ = 0;
};

}  // namespace dolmen::sim
