// SPDX-License-Identifier: Apache-2.0
#include "store/durable_store.hpp"

#include <algorithm>
#include <utility>

#include "base/hooks.hpp"

namespace dolmen::store {

namespace {
std::uint32_t page_limit(unsigned capacity_log2) noexcept {
  return capacity_log2 <= 12 ? 1 : 1u << (capacity_log2 - 12);
}
}  // namespace

DurableStore::DurableStore(std::unique_ptr<sys::Disk> disk, std::unique_ptr<sys::FileLock> lock,
                           Recovered recovered, const OpenOptions& options)
    : disk_(std::move(disk)),
      lock_(std::move(lock)),
      opened_root_(recovered.choice.root),
      recovered_end_(recovered.scan.end),
      unproven_(recovered.scan.unproven),
      read_only_(options.read_only),
      pinned_bytes_max_(options.pinned_bytes_max),
      choice_(std::move(recovered.choice)),
      tail_(std::move(recovered.tail)),
      has_tail_(tail_ != nullptr),
      checkpoint_index_(opened_root_.checkpoint_index),
      recovered_tail_bytes_(recovered.scan.tail_bytes) {}

Result<std::unique_ptr<Store>> DurableStore::open(const sys::Env& env,
                                                  std::unique_ptr<sys::Disk> disk,
                                                  std::unique_ptr<sys::FileLock> lock,
                                                  const OpenOptions& options,
                                                  std::string_view root_file) {
  DOLMEN_TRY(Recovered recovered, options.read_only
                                      ? recover_beside_writer(*disk, env.memory, options.contents)
                                      : recover(*disk, env.memory, root_file, options.contents));
  if (options.tail) {
    for (const auto& [index, record] : recovered.records) DOLMEN_CHECK(options.tail(index, record));
  }
  std::unique_ptr<DurableStore> store(
      new DurableStore(std::move(disk), std::move(lock), std::move(recovered), options));
  DOLMEN_CHECK(store->start(env, options, root_file));
  return store;
}

Result<void> DurableStore::start(const sys::Env& env, const OpenOptions& options,
                                 std::string_view root_file) {
  DOLMEN_TRY(pages_,
             PageStore::open(env, *disk_, opened_root_.space, opened_root_.tree, read_only_));
  DOLMEN_CHECK(collect_forgotten_pages());
  if (read_only_) return {};
  DOLMEN_TRY(auto file, disk_->open(root_file, sys::OpenMode::read_write));
  keeper_ = std::make_unique<RootKeeper>(std::move(file), std::move(choice_));
  keeper_->drop_segments_above(recovered_end_);
  const std::size_t keep_max =
      opened_root_.tail_bytes_max / opened_root_.segment_bytes + options.reserve_segments + 1;
  pool_ = std::make_unique<SegmentPool>(*disk_, opened_root_.segment_bytes, keep_max);
  DOLMEN_CHECK(pool_->adopt(opened_root_, [this] { return keeper_->settle(); }));
  log_ = std::make_unique<Log>(opened_root_, *keeper_, *pool_, *disk_, recovered_end_,
                               LogOptions{.reserve_segments = options.reserve_segments});
  DOLMEN_CHECK(log_->rewrite_unproven(unproven_));
  hold_blocks_for_readers();
  // What a process left that did not close; nothing depends on whether it can be removed now.
  (void)disk_->remove(kScratchFile);
  return {};
}

Result<void> DurableStore::collect_forgotten_pages() {
  const auto tail = this->tail();
  if (!tail) return {};
  for (const TailIndex::Object& object : tail->objects()) {
    // Recreated under its id, or cut shorter and perhaps grown again: rare enough to write all
    // pages.
    const bool cut = !object.fresh && object.resized;
    if (object.erased || object.born || !(object.fresh || cut)) continue;
    DOLMEN_PROBE("store.forgotten_pages");
    DOLMEN_TRY(const std::uint32_t count, pages_->page_count(object.id));
    const std::uint32_t limit = page_limit(object.capacity_log2);
    for (std::uint32_t page = 0; page < std::min(count, limit); ++page) {
      forgotten_pages_.push_back({.object = object.id, .page = page});
    }
  }
  return {};
}

// --- the log -----------------------------------------------------------------------------------

Result<Index> DurableStore::append(base::Bytes payload, Reserve reserve,
                                   void (*on_index)(void*, Index), void* argument) {
  if (read_only_) return fail(Errc::read_only, "append");
  if (closed_.load(std::memory_order_relaxed)) return fail(Errc::closed, "append");
  return log_->append(payload, reserve, on_index, argument);
}

void DurableStore::with_append_lock(void (*body)(void*, Index), void* argument) {
  if (read_only_) return body(argument, recovered_end_);
  log_->with_append_lock(body, argument);
}

Result<void> DurableStore::wait_durable(Index index) {
  if (read_only_) return {};
  return log_->wait_durable(index);
}

Result<void> DurableStore::prepare_segments() {
  if (read_only_) return fail(Errc::read_only, "prepare_segments");
  if (closed_) return fail(Errc::closed, "prepare_segments");
  return log_->prepare_segments();
}

Index DurableStore::last_index() const noexcept {
  return read_only_ ? recovered_end_ : log_->last_index();
}

Index DurableStore::durable_index() const noexcept {
  return read_only_ ? recovered_end_ : log_->durable_index();
}

const std::atomic<bool>& DurableStore::failed_flag() const noexcept {
  static constinit const std::atomic<bool> never{false};
  return read_only_ ? never : log_->failed_flag();
}

// --- reading -----------------------------------------------------------------------------------

std::shared_ptr<const TailIndex> DurableStore::tail() {
  if (!has_tail_.load(std::memory_order_acquire)) return nullptr;
  const base::Lock lock(state_mutex_);
  return tail_;
}

Result<std::optional<ObjectInfo>> DurableStore::find(const ObjectId& object) {
  if (const auto tail = this->tail()) {
    if (const TailIndex::Object* found = tail->find(object)) {
      if (found->erased) return std::nullopt;
      if (found->capacity_log2 != 0) {
        return ObjectInfo{.object = object, .capacity_log2 = found->capacity_log2};
      }
    }
  }
  auto found = pages_->find(object);
  if (!found) return std::unexpected(explain_to_reader(found.error()));
  return found;
}

Result<void> DurableStore::read_page(const PageKey& key, base::MutableBytes out) {
  return read_pages(key.object, std::span(&key.page, 1), out.size(), out.size(), out);
}

Result<void> DurableStore::read_pages(const ObjectId& object, std::span<const std::uint32_t> pages,
                                      std::size_t page_bytes, std::size_t stride,
                                      base::MutableBytes out) {
  for (;;) {
    const auto tail = this->tail();
    auto read = read_pages_with(tail.get(), object, pages, page_bytes, stride, out);
    if (!read) return std::unexpected(explain_to_reader(read.error()));
    // A checkpoint was published meanwhile: its page may already hold what the tail was laid over.
    if (tail == nullptr || this->tail() == tail) return {};
    DOLMEN_PROBE("store.read_beside_publish");
  }
}

Result<void> DurableStore::read_pages_with(const TailIndex* tail, const ObjectId& object,
                                           std::span<const std::uint32_t> pages,
                                           std::size_t page_bytes, std::size_t stride,
                                           base::MutableBytes out) {
  const TailIndex::Object* const changed = tail == nullptr ? nullptr : tail->find(object);
  const auto place = [&](std::size_t i) { return out.subspan(i * stride, page_bytes); };
  if (changed == nullptr || !changed->fresh) {
    DOLMEN_CHECK(pages_->read_pages(object, pages, page_bytes, stride, out));
  } else {
    for (std::size_t i = 0; i < pages.size(); ++i) std::ranges::fill(place(i), std::byte{0});
  }
  if (changed == nullptr) return {};
  for (std::size_t i = 0; i < pages.size(); ++i) tail->apply(*changed, pages[i], place(i));
  return {};
}

Error DurableStore::explain_to_reader(const Error& error) {
  if (!read_only_ || error.code() != Errc::corrupt) return error;
  auto file = disk_->open(kRootFile, sys::OpenMode::read_only);
  if (!file) return error;
  const auto now = RootKeeper::read(**file);
  if (!now || now->root.tree == opened_root_.tree) return error;
  return Error(Errc::closed, "the writer reused what this reader was reading; open it again");
}

Result<void> DurableStore::for_each_object(const std::function<bool(const ObjectInfo&)>& visit) {
  std::vector<TailIndex::Object> changed;
  if (const auto tail = this->tail()) changed = tail->objects();
  std::ranges::sort(changed, {}, &TailIndex::Object::id);
  auto next = changed.begin();
  bool going = true;
  // Objects that only the tail knows, up to `limit`.
  const auto visit_born = [&](const ObjectId* limit) {
    for (; going && next != changed.end() && (limit == nullptr || next->id < *limit); ++next) {
      if (next->erased || next->capacity_log2 == 0) continue;
      going = visit({.object = next->id, .capacity_log2 = next->capacity_log2});
    }
  };
  auto visited = pages_->for_each_object([&](const ObjectInfo& info) {
    visit_born(&info.object);
    if (!going) return false;
    if (next == changed.end() || next->id != info.object) return going = visit(info);
    const TailIndex::Object& object = *next++;
    if (object.erased) return true;
    const bool sized = object.capacity_log2 != 0;
    going = visit({.object = info.object,
                   .capacity_log2 = sized ? object.capacity_log2 : info.capacity_log2});
    return going;
  });
  if (!visited) return std::unexpected(explain_to_reader(visited.error()));
  visit_born(nullptr);
  return {};
}

Result<std::uint32_t> DurableStore::page_count(const ObjectId& object) {
  const auto tail = this->tail();
  const TailIndex::Object* const changed = tail ? tail->find(object) : nullptr;
  if (changed != nullptr && changed->fresh) return changed->page_limit;
  DOLMEN_TRY(std::uint32_t count, pages_->page_count(object));
  if (changed == nullptr) return count;
  count = std::max(count, changed->page_limit);
  if (changed->capacity_log2 == 0) return count;
  return std::min(count, page_limit(changed->capacity_log2));
}

Result<std::vector<std::uint32_t>> DurableStore::checkpointed_pages(const ObjectId& object) {
  return pages_->pages_of(object);
}

std::vector<PageKey> DurableStore::recovered_dirty_pages() {
  std::vector<PageKey> pages = forgotten_pages_;
  if (const auto tail = this->tail()) {
    const std::vector<PageKey> changed = tail->changed_pages();
    pages.insert(pages.end(), changed.begin(), changed.end());
  }
  return pages;
}

std::vector<ObjectInfo> DurableStore::recovered_created() {
  std::vector<ObjectInfo> created;
  const auto tail = this->tail();
  if (!tail) return created;
  for (const TailIndex::Object& object : tail->objects()) {
    if (object.erased || object.capacity_log2 == 0) continue;
    created.push_back({.object = object.id, .capacity_log2 = object.capacity_log2});
  }
  return created;
}

std::vector<ObjectId> DurableStore::recovered_erased() {
  std::vector<ObjectId> erased;
  const auto tail = this->tail();
  if (!tail) return erased;
  for (const TailIndex::Object& object : tail->objects()) {
    if (object.erased && !object.born) erased.push_back(object.id);
  }
  return erased;
}

}  // namespace dolmen::store
