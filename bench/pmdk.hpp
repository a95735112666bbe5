// SPDX-License-Identifier: Apache-2.0
//
// A PMDK object pool as the suites use it: in memory (/dev/shm), with PMEM_IS_PMEM_FORCE=1, so that
// its flushes are cache-line flushes, as on persistent memory, instead of msync. Include it only
// where DOLMEN_BENCH_PMDK is 1.
//
// Thread contract: as libpmemobj says; one thread here.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

#include <unistd.h>

#include <libpmemobj.h>

#include "bench/harness.hpp"
#include "bench/machine.hpp"

namespace dolmen::bench {

inline constexpr const char* kPmdkMode = "pool in /dev/shm, PMEM_IS_PMEM_FORCE=1";

class PmdkPool {
 public:
  PmdkPool(const std::string& name, std::uint64_t bytes)
      : path_("/dev/shm/dolmen-bench-" + std::to_string(::getpid()) + "-" + name) {
    ::setenv("PMEM_IS_PMEM_FORCE", "1", 1);
    if (filesystem_of("/dev/shm") != "tmpfs") throw Failure("/dev/shm is no tmpfs here");
    pool_ = pmemobj_create(path_.c_str(), "dolmen-bench",
                           std::max<std::uint64_t>(bytes, PMEMOBJ_MIN_POOL), 0600);
    // The name is gone at once, so that a crash leaves no memory behind.
    ::unlink(path_.c_str());
    if (pool_ == nullptr) throw Failure(std::string("pmemobj_create: ") + pmemobj_errormsg());
  }
  ~PmdkPool() { pmemobj_close(pool_); }
  PmdkPool(const PmdkPool&) = delete;
  PmdkPool& operator=(const PmdkPool&) = delete;

  [[nodiscard]] PMEMobjpool* get() const noexcept { return pool_; }
  /// Zeroed memory, outside any transaction.
  [[nodiscard]] PMEMoid allocate(std::size_t bytes) const {
    PMEMoid oid = OID_NULL;
    if (pmemobj_zalloc(pool_, &oid, bytes, 1) != 0) {
      throw Failure(std::string("pmemobj_zalloc: ") + pmemobj_errormsg());
    }
    return oid;
  }

 private:
  std::string path_;
  PMEMobjpool* pool_ = nullptr;
};

}  // namespace dolmen::bench
