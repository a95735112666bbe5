// SPDX-License-Identifier: Apache-2.0
//
// What a leader's space stands on: pages come from the image, as it was when the space was opened;
// records go nowhere but to the owner, who puts them into the group's log. Nothing waits for
// durability here: whatever leaves the home depends on the entry that the records become.
//
// Threads: append(), with_append_lock(), wait_durable() and reading from any thread, as a function
// may have some; the rest from one.
#pragma once

#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include "base/mutex.hpp"
#include "store/store.hpp"

namespace dolmen::node {

class GroupStore final : public store::Store {
 public:
  /// Objects that are in the image, and for the space are not.
  using Hides = std::function<bool(const ObjectId&)>;

  /// `image` outlives it, and holds everything up to its last record when this is made. A record of
  /// more than `record_bytes_max` is too_large.
  GroupStore(store::Store& image, std::size_t record_bytes_max, Hides hides = {})
      : image_(image),
        record_bytes_max_(record_bytes_max),
        hides_(std::move(hides)),
        last_index_(image.last_index()) {}

  /// The records since the last time, in their order.
  [[nodiscard]] std::vector<std::vector<std::byte>> take_records() {
    const base::Lock lock(mutex_);
    return std::exchange(records_, {});
  }

  /// Nothing can be appended meanwhile: read_only. Until `refuses` is false again; whether
  /// something would have been.
  void refuse_records(bool refuses) {
    const base::Lock lock(mutex_);
    refuses_ = refuses;
    if (refuses) was_refused_ = false;
  }
  [[nodiscard]] bool was_refused() const {
    const base::Lock lock(mutex_);
    return was_refused_;
  }

  Result<store::Index> append(base::Bytes payload, store::Reserve reserve,
                              void (*on_index)(void*, store::Index), void* argument) override;
  void with_append_lock(void (*body)(void*, store::Index), void* argument) override {
    const base::Lock lock(mutex_);
    body(argument, last_index());
  }
  Result<void> wait_durable(store::Index) override { return {}; }
  Result<void> prepare_segments() override { return {}; }
  store::Index last_index() const noexcept override { return last_index_.load(); }
  store::Index durable_index() const noexcept override { return last_index(); }
  const std::atomic<bool>& failed_flag() const noexcept override { return image_.failed_flag(); }

  Result<std::optional<store::ObjectInfo>> find(const ObjectId& object) override {
    if (hides_ && hides_(object)) return std::nullopt;
    return image_.find(object);
  }
  Result<void> read_page(const store::PageKey& key, base::MutableBytes out) override {
    return image_.read_page(key, out);
  }
  Result<void> read_pages(const ObjectId& object, std::span<const std::uint32_t> pages,
                          std::size_t page_bytes, std::size_t stride,
                          base::MutableBytes out) override {
    return image_.read_pages(object, pages, page_bytes, stride, out);
  }
  Result<void> for_each_object(
      const std::function<bool(const store::ObjectInfo&)>& visit) override {
    if (!hides_) return image_.for_each_object(visit);
    return image_.for_each_object(
        [&](const store::ObjectInfo& info) { return hides_(info.object) || visit(info); });
  }
  Result<std::uint32_t> page_count(const ObjectId& object) override {
    return image_.page_count(object);
  }
  Result<std::vector<std::uint32_t>> checkpointed_pages(const ObjectId& object) override {
    return image_.checkpointed_pages(object);
  }
  std::vector<store::PageKey> recovered_dirty_pages() override {
    return image_.recovered_dirty_pages();
  }
  std::vector<store::ObjectInfo> recovered_created() override { return image_.recovered_created(); }
  std::vector<ObjectId> recovered_erased() override { return image_.recovered_erased(); }

  bool checkpoint_due() const noexcept override { return image_.checkpoint_due(); }
  /// Errors: unsupported (the image does not hold every record up to request.as_of: a function asks
  /// for it).
  Result<store::CheckpointStats> checkpoint(const store::CheckpointRequest& request) override;
  Result<store::ScrubReport> scrub(
      const std::function<void(std::uint64_t done, std::uint64_t total)>& progress) override {
    return image_.scrub(progress);
  }
  store::StoreStats stats() override;
  Result<std::unique_ptr<sys::File>> scratch_file() override { return image_.scratch_file(); }
  Result<void> settle() override { return fail(Errc::unsupported, "settle"); }
  Result<void> finish() override { return fail(Errc::unsupported, "finish"); }
  Result<void> close() override { return {}; }

 private:
  store::Store& image_;
  const std::size_t record_bytes_max_;
  const Hides hides_;
  mutable base::Mutex mutex_;
  std::atomic<store::Index> last_index_;
  std::vector<std::vector<std::byte>> records_ DOLMEN_GUARDED_BY(mutex_);
  bool refuses_ DOLMEN_GUARDED_BY(mutex_) = false;
  bool was_refused_ DOLMEN_GUARDED_BY(mutex_) = false;
};

}  // namespace dolmen::node
