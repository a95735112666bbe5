// SPDX-License-Identifier: Apache-2.0
//
// The footprint suite's peers and what its processes share. Each prints bytes of memory, then of
// disk.
//
// Thread contract: each function runs alone in a process of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <dolmen/id.hpp>

#include "bench/machine.hpp"
#include "bench/records.hpp"

namespace dolmen::bench {

/// Memory of this process since the object was made.
class MemoryGrowth {
 public:
  MemoryGrowth() : before_(memory_bytes()) {}
  [[nodiscard]] double bytes() const {
    return static_cast<double>(memory_bytes()) - static_cast<double>(before_);
  }

 private:
  std::uint64_t before_;
};

void load_records_lmdb(const std::string& path, std::size_t count);
void read_records_lmdb(const std::string& path, std::size_t count);
void load_records_std(std::size_t count);

void write_ids(const std::string& file, const std::vector<ObjectId>& ids);
[[nodiscard]] std::vector<ObjectId> read_ids(const std::string& file, std::size_t count);

}  // namespace dolmen::bench
