// SPDX-License-Identifier: Apache-2.0
//
// The one implementation of Store: root, log and pages put together. docs/adr/0002-log-and-root.md
// says why they are as they are.
//
// Invariant: readers see the page tree and the recovered tail that belong together; both change at
// one moment, under state_mutex_, when the first checkpoint after recovery is published.
//
// Lock order: none of this class's locks is held while a PageSource, a disk or the log works.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "store/log.hpp"
#include "store/log_scan.hpp"
#include "store/page_store.hpp"
#include "store/root_keeper.hpp"
#include "store/segment_pool.hpp"
#include "store/store.hpp"
#include "store/tail_index.hpp"

namespace dolmen::store {

/// What scratch_file() gives.
inline constexpr std::string_view kScratchFile = "scratch";

/// Recovery's result: what the root and the log tail say, before anything is written.
struct Recovered {
  RootChoice choice;
  LogScan scan;
  std::shared_ptr<const TailIndex> tail;  ///< null when the tail is empty, and of a journal
  /// Of a journal; they lie in the scan's memory.
  std::vector<std::pair<Index, base::Bytes>> records;
};

/// Reads root and tail of what has to hold `contents`. Errors: not_a_space, version_unsupported,
/// corrupt, io_error.
[[nodiscard]] Result<Recovered> recover(sys::Disk& disk, sys::Memory* memory,
                                        std::string_view root_file = kRootFile,
                                        Contents contents = Contents::objects);
/// The same beside a writer that may be switching roots, recycling segments and writing records.
[[nodiscard]] Result<Recovered> recover_beside_writer(sys::Disk& disk, sys::Memory* memory,
                                                      Contents contents = Contents::objects);

/// "pid 123 on host h: command line".
[[nodiscard]] std::string describe_process(const sys::Env& env);

class DurableStore final : public Store {
 public:
  /// Recovers and opens. `lock`: the writer lock, or a reader's pin (may be null). Only a writer
  /// may name another root file.
  [[nodiscard]] static Result<std::unique_ptr<Store>> open(const sys::Env& env,
                                                           std::unique_ptr<sys::Disk> disk,
                                                           std::unique_ptr<sys::FileLock> lock,
                                                           const OpenOptions& options,
                                                           std::string_view root_file = kRootFile);

  Result<Index> append(base::Bytes payload, Reserve reserve, void (*on_index)(void*, Index),
                       void* argument) override;
  void with_append_lock(void (*body)(void*, Index), void* argument) override;
  Result<void> wait_durable(Index index) override;
  Result<void> prepare_segments() override;
  Index last_index() const noexcept override;
  Index durable_index() const noexcept override;
  const std::atomic<bool>& failed_flag() const noexcept override;

  Result<std::optional<ObjectInfo>> find(const ObjectId& object) override;
  Result<void> read_page(const PageKey& key, base::MutableBytes out) override;
  Result<void> read_pages(const ObjectId& object, std::span<const std::uint32_t> pages,
                          std::size_t page_bytes, std::size_t stride,
                          base::MutableBytes out) override;
  Result<void> for_each_object(const std::function<bool(const ObjectInfo&)>& visit) override;
  Result<std::uint32_t> page_count(const ObjectId& object) override;
  Result<std::vector<std::uint32_t>> checkpointed_pages(const ObjectId& object) override;
  std::vector<PageKey> recovered_dirty_pages() override;
  std::vector<ObjectInfo> recovered_created() override;
  std::vector<ObjectId> recovered_erased() override;

  bool checkpoint_due() const noexcept override;
  Result<CheckpointStats> checkpoint(const CheckpointRequest& request) override;
  Result<ScrubReport> scrub(
      const std::function<void(std::uint64_t done, std::uint64_t total)>& progress) override;
  StoreStats stats() override;
  Result<std::unique_ptr<sys::File>> scratch_file() override;
  Result<void> settle() override;
  Result<void> finish() override;
  Result<void> close() override;

 private:
  DurableStore(std::unique_ptr<sys::Disk> disk, std::unique_ptr<sys::FileLock> lock,
               Recovered recovered, const OpenOptions& options);
  [[nodiscard]] Result<void> start(const sys::Env& env, const OpenOptions& options,
                                   std::string_view root_file);
  [[nodiscard]] Result<void> collect_forgotten_pages();
  [[nodiscard]] std::shared_ptr<const TailIndex> tail();
  /// `tail`: as it was before; `pages`, with their bytes, as read_pages() has them.
  [[nodiscard]] Result<void> read_pages_with(const TailIndex* tail, const ObjectId& object,
                                             std::span<const std::uint32_t> pages,
                                             std::size_t page_bytes, std::size_t stride,
                                             base::MutableBytes out);
  [[nodiscard]] Error explain_to_reader(const Error& error);
  [[nodiscard]] std::uint64_t tail_bytes() const noexcept;
  void hold_blocks_for_readers();
  [[nodiscard]] Result<void> switch_to_checkpoint(Index as_of, const TreeRoot& tree,
                                                  std::vector<std::uint32_t>& dropped);
  void take_on(Index as_of, const TreeRoot& tree, const std::vector<std::uint32_t>& dropped);
  void overwrite_dropped_headers(const std::function<void(Root&)>& change);
  [[nodiscard]] Result<void> scrub_log(ScrubReport& report);
  [[nodiscard]] Result<LogScan> scan_own_log();
  [[nodiscard]] Result<LogScan> scan_beside_writer();

  // Destroyed in reverse: the lock last but the disk, so that nobody else writes while files are
  // open.
  std::unique_ptr<sys::Disk> disk_;
  std::unique_ptr<sys::FileLock> lock_;
  const Root opened_root_;
  const Index recovered_end_;
  const UnprovenTail unproven_;
  const bool read_only_;
  const std::uint64_t pinned_bytes_max_;
  std::unique_ptr<RootKeeper> keeper_;  // null for readers, as are pool and log
  std::unique_ptr<SegmentPool> pool_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<PageStore> pages_;
  RootChoice choice_;
  std::vector<PageKey> forgotten_pages_;  // checkpointed, and zeros since then without a range

  base::Mutex state_mutex_;
  std::shared_ptr<const TailIndex> tail_ DOLMEN_GUARDED_BY(state_mutex_);
  std::atomic<bool> has_tail_;

  std::atomic<bool> closed_{false};
  bool is_unsettled_ = false;  // checkpoints that are not durable, of a space that is unfinished
  std::atomic<bool> has_scratch_{false};
  std::atomic<Index> checkpoint_index_;
  std::atomic<std::uint64_t> recovered_tail_bytes_;       // 0 after the first checkpoint
  std::atomic<std::uint64_t> checkpointed_log_bytes_{0};  // of what the log appended since opening
};

}  // namespace dolmen::store
