// SPDX-License-Identifier: Apache-2.0
//
// Reading the log back: which transactions of the tail are there, and where it ends. The hard part
// is to tell a torn tail from damage. A record that does not verify was certainly durable if the
// root says so (its durable index, or a later segment), or if any valid record behind it was
// appended when it was already durable: then the log is damaged, and nothing is cut off. Otherwise
// the crash interrupted it, and the log ends before it; what lies behind it was never acknowledged.
//
// Reads only. Not thread-safe; one scan, one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "store/root.hpp"
#include "store/tail_memory.hpp"
#include "sys/disk.hpp"

namespace dolmen::store {

/// Gets each transaction above the checkpoint, in order. The bytes stay where they are as long as
/// the LogScan lives.
using TransactionSink = std::function<Result<void>(Index index, base::Bytes payload)>;

/// Records at the log's end of which nothing proves that they were ever synced. After a failed sync
/// they may be readable without being on the disk, and another sync would not change that: before
/// anything is built on them they have to be written again.
struct UnprovenTail {
  std::uint32_t file = 0;
  std::uint32_t offset = 0;
  std::uint32_t bytes = 0;  ///< 0: there are none
};

struct LogScan {
  Index end = 0;                 ///< index of the last complete transaction
  std::uint64_t tail_bytes = 0;  ///< of records above the checkpoint
  std::uint64_t record_count = 0;
  UnprovenTail unproven;
  std::unique_ptr<TailMemory> memory;  ///< what the delivered payloads lie in
};

struct LogScanOptions {
  sys::Memory* memory = nullptr;  ///< where large blocks come from; null = the heap
  /// Stops behind this record and does not judge what follows: somebody may be appending.
  Index stop_after = ~Index{0};
};

/// Errors: corrupt (context names segment file and byte), io_error, and the sink's own.
[[nodiscard]] Result<LogScan> scan_log(sys::Disk& disk, const Root& root,
                                       const TransactionSink& sink,
                                       const LogScanOptions& options = {});

}  // namespace dolmen::store
