// SPDX-License-Identifier: Apache-2.0
//
// A space's image on its way to another member: parts that each are an image of some of its pages
// (space_effect.hpp), ascending, all as of one record. What holds that moment still is a reader's
// pin on the store that is read.
//
// Threads: the interfaces as state_machine.hpp says; each has one thread of its own for the disk
// where there are threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/state_machine.hpp>

#include "base/mutex.hpp"
#include "node/space_effect.hpp"
#include "store/store.hpp"
#include "sys/env.hpp"

namespace dolmen::node {

class SpaceSource final : public StateSource {
 public:
  /// Of the image in `disk`, which outlives it: what is durable there holds the records of `head`.
  /// `from`: pages of lower keys are left out.
  SpaceSource(const sys::Env& env, sys::Disk& disk, const ImageHead& head, std::size_t part_bytes,
              const store::PageKey& from = {});
  ~SpaceSource() override;
  Result<std::optional<std::vector<std::byte>>> part(std::uint64_t number) override;

 private:
  [[nodiscard]] Result<std::unique_ptr<store::Store>> open_reader() const;
  [[nodiscard]] Result<void> open();
  /// The next part; empty behind the last.
  [[nodiscard]] Result<std::vector<std::byte>> read();
  [[nodiscard]] Result<void> read_object(ImageWriter& out);
  void run();
  void produce();

  const sys::Env& env_;
  sys::Disk& disk_;
  const ImageHead wanted_;
  const std::size_t part_bytes_;
  const store::PageKey from_;

  // Of whoever reads.
  std::unique_ptr<store::Store> reader_;
  store::Index as_of_ = 0;
  std::vector<store::ObjectInfo> objects_;
  std::vector<store::PageKey> changed_;
  std::size_t object_ = 0;  ///< that is read
  std::vector<std::uint32_t> pages_;
  std::size_t page_ = 0;  ///< of pages_
  bool is_inside_ = false;
  bool is_begun_ = false;

  base::Mutex mutex_;
  base::Condition more_;
  std::deque<std::vector<std::byte>> parts_ DOLMEN_GUARDED_BY(mutex_);  ///< from first_ on
  std::uint64_t first_ DOLMEN_GUARDED_BY(mutex_) = 0;
  std::uint64_t asked_ DOLMEN_GUARDED_BY(mutex_) = 0;  ///< the highest number, plus 1
  bool is_complete_ DOLMEN_GUARDED_BY(mutex_) = false;
  bool ends_ DOLMEN_GUARDED_BY(mutex_) = false;
  std::optional<Error> failure_ DOLMEN_GUARDED_BY(mutex_);
  std::unique_ptr<sys::Thread> thread_;
};

/// Becomes a space of its own beside the image, under StagedDisk's names.
class SpaceSink final : public StateSink {
 public:
  /// `disk` is the image's and outlives it; nothing staged is in it. `options`: of the store.
  /// `is_copy`: SpaceImageOptions.
  SpaceSink(const sys::Env& env, sys::Disk& disk, const ImageHead& wanted,
            const store::CreateOptions& options, bool is_copy = false);
  /// Removes what is there, unless it has become the image.
  ~SpaceSink() override;
  Result<bool> take(base::Bytes part) override;
  Result<bool> is_done() override;
  /// What the whole is, once it is done; else nothing.
  [[nodiscard]] std::optional<ImageHead> done() const { return done_; }

 private:
  struct Batch;
  [[nodiscard]] Result<void> begin(const ImageHead& head);
  [[nodiscard]] Result<void> add(const DecodedImage& image);
  /// Whether these pages of the object are to be taken in; `goes_on`: others were before them.
  [[nodiscard]] bool takes(const ImageObject& object, bool goes_on);
  void start_writing();
  [[nodiscard]] Result<void> write(Batch& batch);
  [[nodiscard]] Result<void> join();

  const sys::Env& env_;
  sys::Disk& disk_;
  const ImageHead wanted_;
  const store::CreateOptions options_;
  const bool is_copy_;
  /// Of the last object, of a copy: whether its header is here; nothing: not known yet.
  std::optional<bool> has_header_{};
  std::unique_ptr<store::Store> store_;
  ImageHead head_;
  bool is_begun_ = false;
  bool is_ended_ = false;  ///< the last part is here
  std::optional<store::PageKey> last_;
  std::uint8_t last_capacity_log2_ = 0;
  std::unique_ptr<Batch> filling_;
  std::unique_ptr<Batch> writing_;
  std::unique_ptr<sys::Thread> thread_;
  std::atomic<bool> is_written_{false};
  Result<void> written_;
  std::optional<ImageHead> done_;
};

/// Removes every staged file. Errors: io_error.
[[nodiscard]] Result<void> remove_staged(sys::Disk& disk);

}  // namespace dolmen::node
