// SPDX-License-Identifier: Apache-2.0
#include "node/space_image.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/commit_record.hpp"
#include "base/hooks.hpp"
#include "node/space_disk.hpp"
#include "store/log_format.hpp"

namespace dolmen::node {

namespace {

/// Pages of a store as it was opened.
class AsOpened final : public store::PageSource {
 public:
  explicit AsOpened(store::Store& store) noexcept : store_(store) {}
  Result<void> read_page_as_of(const store::PageKey& key, store::Index,
                               base::MutableBytes out) override {
    return store_.read_page(key, out);
  }

 private:
  store::Store& store_;
};

[[nodiscard]] bool is_commit_record(base::Bytes record) {
  base::CommitRecordReader reader(record);
  base::CommitSection section;
  base::CommitRun run;
  while (reader.next_section(section)) {
    while (reader.next_run(run)) {
    }
  }
  return !reader.failed();
}

}  // namespace

Result<std::vector<std::uint32_t>> pages_of(store::Store& store, const store::ObjectInfo& info,
                                            std::span<const store::PageKey> changed) {
  const std::uint32_t limit = (1u << info.capacity_log2) / store::page_bytes(info.capacity_log2);
  DOLMEN_TRY(std::vector<std::uint32_t> pages, store.checkpointed_pages(info.object));
  pages.erase(std::ranges::lower_bound(pages, limit), pages.end());
  const auto kept = static_cast<std::ptrdiff_t>(pages.size());
  auto next = std::ranges::lower_bound(changed, store::PageKey{info.object, 0});
  for (; next != changed.end() && next->object == info.object; ++next) {
    if (next->page < limit) pages.push_back(next->page);
  }
  if (kept == std::ssize(pages)) return pages;
  std::ranges::inplace_merge(pages, pages.begin() + kept);
  const auto twice = std::ranges::unique(pages);
  pages.erase(twice.begin(), twice.end());
  return pages;
}

Result<std::unique_ptr<SpaceImage>> SpaceImage::open(const sys::Env& env,
                                                     std::unique_ptr<sys::Disk> disk,
                                                     const SpaceImageOptions& options) {
  std::unique_ptr<SpaceImage> image(new SpaceImage(env, std::move(disk), options));
  DOLMEN_CHECK(image->tidy());
  const auto opened = image->open_store();
  if (opened) return image;
  const Errc code = opened.error().code();
  if (code != Errc::not_a_space && code != Errc::unfinished) {
    return std::unexpected(opened.error());
  }
  DOLMEN_CHECK(image->clear());
  return image;
}

Result<void> SpaceImage::open_store() {
  DOLMEN_TRY(store_, store::Store::open(env_, std::make_unique<ImageDisk>(*disk_),
                                        {.pinned_bytes_max = options_.pinned_bytes_max}));
  space_ = store_->stats().space_id;
  settled_at_ = store_->last_index();
  return {};
}

/// What makes the directory a space goes first: what a crash leaves is none.
Result<void> SpaceImage::clear() {
  store_.reset();
  space_ = {};
  settled_at_ = 0;
  DOLMEN_TRY(const auto names, disk_->list());
  constexpr std::string_view kRoot = "space";
  if (std::ranges::find(names, kRoot) != names.end()) {
    DOLMEN_CHECK(disk_->remove(kRoot));
    DOLMEN_CHECK(disk_->sync_directory());
  }
  for (const std::string& name : names) {
    if (name == kRoot || name.starts_with(kStagedPrefix)) continue;
    const bool is_ours = name == "pages" || name == "lock" || name == "scratch" ||
                         name.starts_with("space") || name.starts_with("log/") ||
                         name.starts_with("readers/");
    if (!is_ours) return fail(Errc::already_exists, interned(disk_->describe() + "/" + name));
    DOLMEN_CHECK(disk_->remove(name));
  }
  return disk_->sync_directory();
}

store::CreateOptions SpaceImage::create_options(const ObjectId& space) const {
  store::CreateOptions options;
  options.segment_bytes = options_.segment_bytes;
  options.tail_bytes_max = options_.tail_bytes_max;
  options.space = space;
  return options;
}

Result<void> SpaceImage::create(const ObjectId& space) {
  DOLMEN_CHECK(clear());
  DOLMEN_TRY(store_,
             store::Store::create(env_, std::make_unique<ImageDisk>(*disk_), create_options(space),
                                  {.pinned_bytes_max = options_.pinned_bytes_max}));
  space_ = store_->stats().space_id;
  return {};
}

static_assert(SpaceImageOptions{}.segment_bytes - store::kSegmentHeaderBytes -
                  store::kRecordHeaderBytes >
              kEffectBytesMax);

std::size_t SpaceImage::record_bytes_max() const noexcept {
  return options_.segment_bytes - store::kSegmentHeaderBytes - store::kRecordHeaderBytes;
}

Result<void> SpaceImage::append(base::Bytes record) {
  // The store trusts its owner; this came from another machine.
  if (!is_commit_record(record)) return fail(Errc::corrupt, "a record of a replicated space");
  // What is decided has to go in: the reserve is for nothing else here.
  const store::Index last = store_->last_index();
  if (record.size() > record_bytes_max()) {
    return fail(Errc::too_large, "a record of a replicated space", record.size());
  }
  DOLMEN_TRY(const store::Index index, store_->append(record, store::Reserve::use));
  if (index == last + 1) return {};
  return fail(Errc::corrupt, "an image with smaller segments than its options say", index);
}

Result<void> SpaceImage::settle() {
  if (!store_ || store_->last_index() == settled_at_) return {};
  const store::Index last = store_->last_index();
  DOLMEN_CHECK(store_->close());
  store_.reset();
  DOLMEN_CHECK(open_store());
  if (store_->last_index() != last) return fail(Errc::corrupt, "the log of a space's image", last);
  return {};
}

Result<void> SpaceImage::checkpoint() {
  if (!store_) return {};
  DOLMEN_CHECK(settle());
  DOLMEN_CHECK(store_->wait_durable(store_->last_index()));
  AsOpened source(*store_);
  store::CheckpointRequest request;
  request.as_of = store_->last_index();
  request.source = &source;
  for (const store::ObjectInfo& info : store_->recovered_created()) {
    // One that was erased again never reaches the disk.
    DOLMEN_TRY(const auto found, store_->find(info.object));
    if (found) request.capacity_log2.emplace_back(info.object, info.capacity_log2);
  }
  for (const store::PageKey& key : store_->recovered_dirty_pages()) {
    DOLMEN_TRY(const auto found, store_->find(key.object));
    if (found) request.pages.push_back(key);
  }
  request.erased = store_->recovered_erased();
  DOLMEN_CHECK(store_->checkpoint(request));
  return {};
}

Result<std::vector<std::byte>> SpaceImage::pages(std::size_t bytes_max) {
  ImageWriter out({.space = space_, .last_index = last_index()});
  if (!store_) return out.finish();
  DOLMEN_CHECK(store_->wait_durable(store_->last_index()));
  // Beside whoever uses the store: a reader sees everything that is durable.
  DOLMEN_TRY(const auto reader, store::Store::open(env_, std::make_unique<ImageDisk>(*disk_),
                                                   {.read_only = true, .reserve_segments = 0}));
  if (reader->last_index() != store_->last_index()) {
    return fail(Errc::corrupt, "the log of a space's image", reader->last_index());
  }
  std::vector<store::ObjectInfo> objects;
  DOLMEN_CHECK(reader->for_each_object([&](const store::ObjectInfo& info) {
    objects.push_back(info);
    return true;
  }));
  std::vector<store::PageKey> changed = reader->recovered_dirty_pages();
  std::ranges::sort(changed);
  for (const store::ObjectInfo& info : objects) {
    out.begin(info.object, info.capacity_log2);
    const std::size_t page_bytes = store::page_bytes(info.capacity_log2);
    DOLMEN_TRY(const auto numbers, pages_of(*reader, info, changed));
    for (const std::uint32_t number : numbers) {
      const base::MutableBytes room = out.page(number, page_bytes);
      DOLMEN_CHECK(reader->read_page({info.object, number}, room));
      if (is_zero(room)) out.take_back();
      if (out.size() > bytes_max) return fail(Errc::too_large, "an image of a space", bytes_max);
    }
  }
  return out.finish();
}

Result<void> SpaceImage::close() {
  if (!store_) return {};
  const auto closed = store_->close();
  store_.reset();
  return closed;
}

}  // namespace dolmen::node
