// SPDX-License-Identifier: Apache-2.0
#include "store/page_store.hpp"

#include <algorithm>
#include <deque>
#include <new>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "base/mutex.hpp"
#include "store/checkpoint_merge.hpp"
#include "store/page_reader.hpp"
#include "store/page_scrub.hpp"

namespace dolmen::store {
namespace {

// Free frames that stay on the disk for the next checkpoint: punching and refilling them costs more
// than they do. 1 MiB, or a thirty-second of what lives.
constexpr std::uint64_t kKeepFramesMin = 256;
constexpr std::uint64_t kKeepShare = 32;
// A hole costs 3 µs on one disk and 4 ms on another (one that discards at once), and readers wait
// for it. So the longest runs go first, for so long per checkpoint.
constexpr std::uint64_t kPunchNsMax = 50'000'000;

// Marks all that a tree uses.
class MapBuilder final : public TreeVisitor {
 public:
  explicit MapBuilder(BlockMap& map) : map_(map) {}
  Result<bool> node(const TreeEntry& where, const NodeView& view) override {
    DOLMEN_CHECK(mark(where.loc));
    if (view.level() > 0) return true;
    for (std::size_t i = 0; i < view.count(); ++i) DOLMEN_CHECK(mark(view.entry(i).loc));
    return true;
  }

 private:
  Result<void> mark(BlockLoc loc) {
    if (map_.mark(loc)) return {};
    return fail(Errc::corrupt, "a block of the pages file has two users or none", loc.unit());
  }
  BlockMap& map_;
};

class ObjectLister final : public TreeVisitor {
 public:
  explicit ObjectLister(const std::function<bool(const ObjectInfo&)>& visit) : visit_(visit) {}
  bool enter(const TreeEntry& child, unsigned /*level*/, const PageKey* next) override {
    // A child between two pages of one object, its first page not among them, begins no object.
    const bool inside = next != nullptr && next->object == child.key.object;
    return !inside || child.key.page == 0;
  }
  Result<bool> node(const TreeEntry& /*where*/, const NodeView& view) override {
    for (std::size_t i = 0; view.level() == 0 && i < view.count(); ++i) {
      const TreeEntry entry = view.entry(i);
      if (entry.key.page != 0) continue;
      const ObjectInfo info{entry.key.object, static_cast<std::uint8_t>(entry.loc.tag())};
      if (!visit_(info)) return false;
    }
    return true;
  }

 private:
  const std::function<bool(const ObjectInfo&)>& visit_;
};

}  // namespace

struct PageStore::Impl {
  // What a publish gave up, and the newest root that uses it: gone when no reader has it any more.
  struct GivenUp {
    std::weak_ptr<const TreeRoot> last_user;
    std::vector<BlockRun> units;
  };
  // A checkpoint that is on the disk and not published.
  struct Written {
    TreeRoot root;
    std::vector<BlockRun> fresh;
    std::vector<BlockRun> given_up;
  };

  Impl(const sys::Env& environment, sys::Disk& directory, std::unique_ptr<sys::File> pages,
       const ObjectId& space_id, const TreeRoot& root, bool reads_only, std::size_t cache_bytes)
      : env(environment),
        disk(directory),
        file(std::move(pages)),
        space(space_id),
        read_only(reads_only),
        reader(file.get(), space_id, cache_bytes),
        current(std::make_shared<const TreeRoot>(root)) {}

  [[nodiscard]] std::shared_ptr<const TreeRoot> pin() const {
    const base::Lock lock(root_mutex);
    return current;
  }
  [[nodiscard]] Result<void> build_map();
  [[nodiscard]] Result<TreeRoot> write(const CheckpointRequest& request, CheckpointStats& stats);
  void reclaim();
  void trim(std::uint64_t keep_frames) noexcept;
  void give_frames_back(std::uint64_t keep_frames);

  const sys::Env env;
  sys::Disk& disk;
  const std::unique_ptr<sys::File> file;  // null: nothing was written yet, and this is a reader
  const ObjectId space;
  const bool read_only;
  PageReader reader;

  mutable base::Mutex root_mutex;
  std::shared_ptr<const TreeRoot> current DOLMEN_GUARDED_BY(root_mutex);  // never null

  // Of the one thread that makes checkpoints.
  std::optional<BlockMap> map;
  bool grow_only = false;  // the map is not known: nothing of the former file is ever reused
  bool hold = false;
  std::optional<Written> written;
  std::deque<GivenUp> given_up;  // oldest first
};

Result<void> PageStore::Impl::build_map() {
  DOLMEN_TRY(const std::uint64_t file_bytes, file->size());
  BlockMap built(file_bytes);
  MapBuilder builder(built);
  const Result<void> walked = reader.walk(*pin(), builder);
  if (!walked && walked.error().code() != Errc::corrupt) return walked;
  if (!walked) {
    // Some node is damaged: what lies below it may be repaired yet, and must stay.
    DOLMEN_PROBE("store.free_space_unknown");
    grow_only = true;
    built.mark_everything();
  } else if (hold) {
    given_up.push_back({{}, built.take_free()});
  }
  map = std::move(built);
  return {};
}

void PageStore::Impl::reclaim() {
  if (hold || !map) return;
  bool any = false;
  while (!given_up.empty() && given_up.front().last_user.expired()) {
    for (const BlockRun& run : given_up.front().units) map->release(run);
    given_up.pop_front();
    any = true;
  }
  if (!any) return;
  const std::uint64_t live_frames = pin()->live_blocks / kFrameUnits;
  const std::uint64_t keep = std::max(kKeepFramesMin, live_frames / kKeepShare);
  trim(DOLMEN_BUGGIFY("store.trim_all") ? 0 : keep);
}

// It only gives room back; without memory it stays occupied until the next checkpoint.
void PageStore::Impl::trim(std::uint64_t keep_frames) noexcept {
  try {
    give_frames_back(keep_frames);
  } catch (const std::bad_alloc&) {
    DOLMEN_PROBE("store.trimmed_later");
  }
}

// Both ways only give room back; where the disk refuses, it stays occupied.
void PageStore::Impl::give_frames_back(std::uint64_t keep_frames) {
  constexpr std::uint64_t frame_bytes = kFrameUnits * kUnitBytes;
  std::vector<BlockRun> idle = map->idle_frames();
  const auto count = [](const std::vector<BlockRun>& runs) {
    std::uint64_t frames = 0;
    for (const BlockRun& run : runs) frames += run.count;
    return frames;
  };
  if (count(idle) <= keep_frames) return;
  if (const std::optional<std::uint64_t> file_bytes = map->cut_tail()) {
    (void)file->resize(*file_bytes);
    idle = map->idle_frames();
  }
  std::uint64_t left = count(idle);
  const std::uint64_t start_ns = env.clock->monotonic_ns();
  for (const BlockRun& run : idle) {
    if (left <= keep_frames || env.clock->monotonic_ns() - start_ns > kPunchNsMax) break;
    DOLMEN_PROBE("store.hole_punched");
    (void)file->punch(run.first * frame_bytes, run.count * frame_bytes);
    map->given_back(run);
    left -= run.count;
  }
}

Result<TreeRoot> PageStore::Impl::write(const CheckpointRequest& request, CheckpointStats& stats) {
  reclaim();
  if (!map) DOLMEN_CHECK(build_map());
  const TreeRoot former = *pin();
  DOLMEN_TRY(const std::vector<TreeChange> changes, plan_checkpoint(request, reader, former));
  BlockWriter writer(*file, *map,
                     {.clock = env.clock,
                      .bytes_per_second_max = request.bytes_per_second_max,
                      .cancelled = &request.cancelled,
                      .writes_back = !request.is_durable});
  const auto merge = std::make_unique<CheckpointMerge>(request, changes, space, reader, writer);
  Written done;
  const auto attempt = [&]() -> Result<TreeRoot> {
    DOLMEN_TRY(const TreeRoot root, merge->run(former));
    DOLMEN_CHECK(writer.flush());
    DOLMEN_CHECK(writer.poll());
    if (request.is_durable && writer.fresh_units() > 0 &&
        !DOLMEN_PLANTED("store.skip_pages_sync")) {
      DOLMEN_CHECK(file->sync());
    }
    // The file's own name may be as new as its first tree.
    if (former.empty()) DOLMEN_CHECK(disk.sync_directory());
    done = {root, writer.fresh(), std::move(merge->given_up())};
    return root;
  };
  const auto root = [&]() -> Result<TreeRoot> {
    try {
      return attempt();
    } catch (const std::bad_alloc&) {
      return fail(Errc::out_of_memory, "a checkpoint");
    }
  }();
  if (!root) {
    DOLMEN_PROBE("store.checkpoint_abandoned");
    for (const BlockRun& run : writer.fresh()) map->release(run);
    trim(0);
    return root;
  }
  stats.as_of = request.as_of;
  stats.pages_written = merge->pages_written();
  stats.bytes_written = writer.bytes_written();
  written = std::move(done);
  if (DOLMEN_PLANTED("store.recycle_live_block")) {
    for (const BlockRun& run : written->given_up) {
      (void)file->punch(run.first * kUnitBytes, run.count * kUnitBytes);
    }
  }
  return root;
}

PageStore::PageStore(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
PageStore::~PageStore() = default;

Result<std::unique_ptr<PageStore>> PageStore::open(const sys::Env& env, sys::Disk& disk,
                                                   ObjectId space, const TreeRoot& root,
                                                   bool read_only,
                                                   const PageStoreOptions& options) {
  const auto mode = read_only ? sys::OpenMode::read_only : sys::OpenMode::create_or_open;
  auto file = disk.open(kPagesFile, mode);
  if (!file && !(read_only && root.empty() && file.error().code() == Errc::not_found)) {
    return std::unexpected(file.error());
  }
  auto impl = std::make_unique<Impl>(env, disk, file ? std::move(*file) : nullptr, space, root,
                                     read_only, options.node_cache_bytes);
  return std::unique_ptr<PageStore>(new PageStore(std::move(impl)));
}

Result<std::optional<ObjectInfo>> PageStore::find(const ObjectId& object) {
  const auto root = impl_->pin();
  DOLMEN_TRY(const auto entry, impl_->reader.find(*root, {object, 0}));
  if (!entry) return std::optional<ObjectInfo>{};
  return std::optional(ObjectInfo{object, static_cast<std::uint8_t>(entry->loc.tag())});
}

Result<bool> PageStore::read_page(const PageKey& key, base::MutableBytes out) {
  const auto root = impl_->pin();
  const auto found = impl_->reader.find(*root, key);
  if (!found || !*found) {
    std::ranges::fill(out, std::byte{0});
    if (!found) return std::unexpected(found.error());
    return false;
  }
  DOLMEN_CHECK(impl_->reader.read_as(**found, out));
  return true;
}

Result<void> PageStore::read_pages(const ObjectId& object, std::span<const std::uint32_t> pages,
                                   std::size_t page_bytes, std::size_t stride,
                                   base::MutableBytes out) {
  if (pages.size() == 1) {
    DOLMEN_TRY(const bool is_there, read_page({object, pages[0]}, out.first(page_bytes)));
    (void)is_there;
    return {};
  }
  const auto root = impl_->pin();
  std::vector<std::optional<TreeEntry>> found(pages.size());
  DOLMEN_CHECK(impl_->reader.find_all(*root, object, pages, found));
  return impl_->reader.read_all(found, page_bytes, stride, out);
}

Result<void> PageStore::for_each_object(const std::function<bool(const ObjectInfo&)>& visit) {
  const auto root = impl_->pin();
  ObjectLister lister(visit);
  return impl_->reader.walk(*root, lister);
}

Result<std::uint32_t> PageStore::page_count(const ObjectId& object) {
  const auto root = impl_->pin();
  DOLMEN_TRY(const auto last, impl_->reader.floor(*root, {object, kMaxPages - 1}));
  return last && last->key.object == object ? last->key.page + 1 : 0;
}

Result<std::vector<std::uint32_t>> PageStore::pages_of(const ObjectId& object) {
  const auto root = impl_->pin();
  return impl_->reader.pages_of(*root, object);
}

Result<TreeRoot> PageStore::write_checkpoint(const CheckpointRequest& request,
                                             CheckpointStats& stats) {
  DOLMEN_ASSERT(!impl_->written);
  if (impl_->read_only) return fail(Errc::read_only, "a checkpoint");
  return impl_->write(request, stats);
}

Result<void> PageStore::sync() {
  DOLMEN_ASSERT(!impl_->read_only);
  return impl_->file->sync();
}

void PageStore::publish(const TreeRoot& root) {
  DOLMEN_ASSERT(impl_->written && impl_->written->root == root);
  auto next = std::make_shared<const TreeRoot>(root);
  // Memory first. Also when nothing was given up: an older root's reader holds back what later
  // publishes give up.
  impl_->given_up.push_back({impl_->pin(), {}});
  {
    const base::Lock lock(impl_->root_mutex);
    impl_->current.swap(next);
  }
  if (!impl_->grow_only) impl_->given_up.back().units = std::move(impl_->written->given_up);
  next.reset();
  impl_->written.reset();
}

void PageStore::recycle() { impl_->reclaim(); }

void PageStore::discard() {
  DOLMEN_ASSERT(impl_->written);
  for (const BlockRun& run : impl_->written->fresh) impl_->map->release(run);
  impl_->written.reset();
  impl_->trim(0);
}

void PageStore::hold_reuse(bool hold) {
  impl_->hold = hold;
  impl_->reclaim();
}

Result<void> PageStore::scrub(ScrubReport& report,
                              const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  const auto root = impl_->pin();
  std::uint64_t file_bytes = 0;
  if (impl_->file) {
    DOLMEN_TRY(file_bytes, impl_->file->size());
  }
  return scrub_pages(impl_->reader, *root, file_bytes, report, progress);
}

Result<PageStoreStats> PageStore::stats() {
  const auto root = impl_->pin();
  PageStoreStats stats{.live_bytes = root->live_blocks * kUnitBytes,
                       .object_count = root->object_count};
  if (impl_->file) {
    DOLMEN_TRY(stats.file_bytes_allocated, impl_->file->allocated_bytes());
  }
  return stats;
}

TreeRoot PageStore::root() const { return *impl_->pin(); }

}  // namespace dolmen::store
