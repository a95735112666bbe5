// SPDX-License-Identifier: Apache-2.0
//
// A space's image on its way to another member: parts that each are an image of some of its pages
// (space_effect.hpp), ascending, all as of one record. What holds that moment still is a reader's
// pin on the store that is read. To who has an older image it is listed (page_list.hpp), and sent
// as far as it asks (space_merge.hpp).
//
// Threads: the interfaces as state_machine.hpp says; each has one thread of its own for the disk
// where there are threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/state_machine.hpp>

#include "base/mutex.hpp"
#include "node/page_list.hpp"
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
  /// To a PageQuestion. Errors: as part(); corrupt (none, or of a page that is not here).
  Result<std::optional<std::vector<std::byte>>> answer(
      std::uint64_t number, std::span<const std::byte> question) override;
  Result<std::shared_ptr<const std::vector<std::byte>>> share(
      std::uint64_t number, std::span<const std::byte> question) override;

 private:
  using Bytes = std::vector<std::byte>;
  using Shared = std::shared_ptr<const Bytes>;  ///< null: it is not ready
  [[nodiscard]] Result<Shared> share_part(std::uint64_t number);
  [[nodiscard]] Result<Shared> share_answer(std::uint64_t number, base::Bytes question);
  [[nodiscard]] Result<std::unique_ptr<store::Store>> open_reader() const;
  [[nodiscard]] Result<void> open();
  /// The next part; empty behind the last.
  [[nodiscard]] Result<std::vector<std::byte>> read();
  [[nodiscard]] Result<void> read_object(ImageWriter& out);
  /// Those of objects_[object_].
  [[nodiscard]] Result<void> look_into_object();
  // Of questions: space_listing.cpp.
  [[nodiscard]] Result<Bytes> answer_to(base::Bytes question);
  [[nodiscard]] Result<Bytes> list(const PageQuestion& question);
  [[nodiscard]] Result<void> list_object(PageList& out, std::size_t& pages, std::uint64_t seed);
  [[nodiscard]] Result<Bytes> pages(const PageQuestion& question);
  void answer_next();
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
  std::uint64_t lists_ = 0;  ///< that were made
  ListSum sum_;              ///< of them

  base::Mutex mutex_;
  base::Condition more_;
  std::deque<Shared> parts_ DOLMEN_GUARDED_BY(mutex_);  ///< from first_ on
  std::uint64_t first_ DOLMEN_GUARDED_BY(mutex_) = 0;
  std::uint64_t asked_ DOLMEN_GUARDED_BY(mutex_) = 0;  ///< the highest number, plus 1
  bool is_complete_ DOLMEN_GUARDED_BY(mutex_) = false;
  bool ends_ DOLMEN_GUARDED_BY(mutex_) = false;
  std::optional<Error> failure_ DOLMEN_GUARDED_BY(mutex_);
  std::map<std::uint64_t, Bytes> questions_ DOLMEN_GUARDED_BY(mutex_);  ///< that wait
  std::map<std::uint64_t, Shared> answers_ DOLMEN_GUARDED_BY(mutex_);   ///< of lately
  std::unique_ptr<sys::Thread> thread_;
};

/// One thing at a time, by a thread of its own where there are threads, else at once.
class Worker {
 public:
  /// Requires: it is idle. `what` outlives it, and `body` may throw bad_alloc.
  void start(const sys::Env& env, const char* name, const char* what,
             std::function<Result<void>()> body);
  /// From start() to join().
  [[nodiscard]] bool is_at_work() const noexcept { return is_at_work_; }
  [[nodiscard]] bool is_over() const noexcept { return is_over_.load(std::memory_order_acquire); }
  /// Waits for it.
  [[nodiscard]] Result<void> join();
  /// The same; what came of it is no matter.
  void end() noexcept { thread_.reset(); }

 private:
  std::atomic<bool> is_over_{false};
  bool is_at_work_ = false;
  Result<void> result_;
  std::unique_ptr<sys::Thread> thread_;
};

/// Pages that become durable together: parts, and what they hold.
struct PageBatch final : store::PageSource {
  struct Page {
    store::PageKey key;
    base::Bytes bytes;
  };
  std::deque<std::vector<std::byte>> parts;
  std::size_t bytes = 0;    ///< of the parts
  std::vector<Page> pages;  ///< ascending
  std::vector<std::pair<ObjectId, std::uint8_t>> objects;

  Result<void> read_page_as_of(const store::PageKey& key, store::Index,
                               base::MutableBytes out) override;
  std::optional<base::Bytes> lend_page(const store::PageKey& key, store::Index) override;

 private:
  std::size_t next_ = 0;  ///< of pages: most likely the one that is asked for next
};

/// A space of its own beside the image, under StagedDisk's names, that is filled.
class StagedSpace {
 public:
  /// `disk` is the image's and outlives it; nothing staged is in it. `options`: of the store.
  StagedSpace(const sys::Env& env, sys::Disk& disk, const ImageHead& wanted,
              const store::CreateOptions& options);
  /// Removes what is there, unless it has become the image.
  ~StagedSpace();
  StagedSpace(const StagedSpace&) = delete;
  StagedSpace& operator=(const StagedSpace&) = delete;

  /// With the first part, and again with each. Errors: corrupt (of another moment, or of before
  /// what is wanted); as of Store::create().
  [[nodiscard]] Result<void> begin(const ImageHead& head);
  [[nodiscard]] bool is_begun() const noexcept { return store_ != nullptr; }
  /// Takes the batch's list of objects. Errors: as of Store::checkpoint().
  [[nodiscard]] Result<void> write(PageBatch& batch);
  /// Makes durable what was written, which may take as long as the disk takes for all of it.
  /// Errors: as of Store::settle().
  [[nodiscard]] Result<void> settle();
  /// It is whole. Requires: nothing was written since settle().
  [[nodiscard]] Result<void> finish();
  [[nodiscard]] std::optional<ImageHead> done() const { return done_; }

 private:
  const sys::Env& env_;
  sys::Disk& disk_;
  const ImageHead wanted_;
  const store::CreateOptions options_;
  std::unique_ptr<store::Store> store_;
  ImageHead head_;
  std::optional<ImageHead> done_;
};

/// What an image is received by.
class ImageSink : public StateSink {
 public:
  /// What the whole is, once it is done; else nothing.
  [[nodiscard]] virtual std::optional<ImageHead> done() const = 0;
};

/// Takes all pages in.
class SpaceSink final : public ImageSink {
 public:
  /// As StagedSpace. `is_copy`: SpaceImageOptions.
  SpaceSink(const sys::Env& env, sys::Disk& disk, const ImageHead& wanted,
            const store::CreateOptions& options, bool is_copy = false);
  ~SpaceSink() override;
  Result<bool> take(base::Bytes part) override;
  Result<bool> take_over(std::vector<std::byte>& part) override;
  Result<bool> is_done() override;
  [[nodiscard]] StatePages pages() const override { return {.received = received_, .kept = 0}; }
  [[nodiscard]] std::optional<ImageHead> done() const override { return staged_.done(); }

 private:
  [[nodiscard]] Result<void> add(const DecodedImage& image);
  /// Whether these pages of the object are to be taken in; `goes_on`: others were before them.
  [[nodiscard]] bool takes(const ImageObject& object, bool goes_on);
  /// `is_last`: all is to be durable then.
  void start_writing(bool is_last);
  [[nodiscard]] Result<void> join();

  const sys::Env& env_;
  const bool is_copy_;
  /// Of the last object, of a copy: whether its header is here; nothing: not known yet.
  std::optional<bool> has_header_{};
  StagedSpace staged_;
  bool is_ended_ = false;    ///< the last part is here
  bool is_settled_ = false;  ///< … and durable, or will be once nothing is written any more
  std::optional<store::PageKey> last_;
  std::uint8_t last_capacity_log2_ = 0;
  std::uint64_t received_ = 0;
  std::unique_ptr<PageBatch> filling_;
  std::unique_ptr<PageBatch> writing_;
  std::vector<std::vector<std::byte>> spare_;  ///< memory of parts that are written
  Worker worker_;
};

/// Removes every staged file. Errors: io_error.
[[nodiscard]] Result<void> remove_staged(sys::Disk& disk);

}  // namespace dolmen::node
