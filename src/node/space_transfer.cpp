// SPDX-License-Identifier: Apache-2.0
#include "node/space_transfer.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/copy.hpp"
#include "base/hooks.hpp"
#include "node/space_disk.hpp"
#include "node/space_image.hpp"

namespace dolmen::node {

namespace {

/// Parts that are ready before they are asked for, and that are kept for who asks again.
constexpr std::uint64_t kAheadMax = 4;
constexpr std::size_t kKeptMax = 64;
/// Pages that are read together: what stays in the first cache.
constexpr std::size_t kAtOnce = 8;
/// Of parts that one checkpoint of a space that is received writes, while as much comes in: what is
/// still in a cache when it is written.
constexpr std::size_t kBatchBytes = 8u << 20;

}  // namespace

SpaceSource::SpaceSource(const sys::Env& env, sys::Disk& disk, const ImageHead& head,
                         std::size_t part_bytes, const store::PageKey& from)
    : env_(env), disk_(disk), wanted_(head), part_bytes_(part_bytes), from_(from) {
  auto thread = env_.process->start_thread("dolmen-send", [this] { run(); });
  if (thread) thread_ = std::move(*thread);
}

SpaceSource::~SpaceSource() {
  {
    const base::Lock lock(mutex_);
    ends_ = true;
  }
  more_.notify_all();
  thread_.reset();
}

Result<std::unique_ptr<store::Store>> SpaceSource::open_reader() const {
  return store::Store::open(env_, std::make_unique<ImageDisk>(disk_),
                            {.read_only = true, .reserve_segments = 0});
}

Result<void> SpaceSource::open() {
  DOLMEN_TRY(reader_, open_reader());
  as_of_ = reader_->last_index();
  if (reader_->stats().space_id != wanted_.space || as_of_ < wanted_.last_index) {
    return fail(Errc::not_found, "a state of a replicated space", as_of_);
  }
  DOLMEN_CHECK(reader_->for_each_object([&](const store::ObjectInfo& info) {
    if (info.object >= from_.object) objects_.push_back(info);
    return true;
  }));
  changed_ = reader_->recovered_dirty_pages();
  std::ranges::sort(changed_);
  return {};
}

Result<std::vector<std::byte>> SpaceSource::read() {
  if (!reader_) DOLMEN_CHECK(open());
  if (is_begun_ && object_ == objects_.size()) return std::vector<std::byte>{};
  is_begun_ = true;
  if (DOLMEN_PLANTED("space.source_moves")) {
    DOLMEN_TRY(reader_, open_reader());
  }
  ImageWriter out({.space = wanted_.space, .last_index = as_of_},
                  part_bytes_ + 2 * store::kPageBytes);
  while (object_ < objects_.size() && out.size() < part_bytes_) DOLMEN_CHECK(read_object(out));
  return out.finish();
}

Result<void> SpaceSource::look_into_object() {
  const store::ObjectInfo& info = objects_[object_];
  DOLMEN_TRY(pages_, pages_of(*reader_, info, changed_));
  if (info.object == from_.object) {
    std::erase_if(pages_, [&](std::uint32_t page) { return page < from_.page; });
  }
  page_ = 0;
  is_inside_ = true;
  return {};
}

Result<void> SpaceSource::read_object(ImageWriter& out) {
  const store::ObjectInfo& info = objects_[object_];
  if (!is_inside_) DOLMEN_CHECK(look_into_object());
  const std::size_t page_bytes = store::page_bytes(info.capacity_log2);
  out.begin(info.object, info.capacity_log2);
  const std::size_t each = ImageWriter::stride(page_bytes);
  while (page_ < pages_.size() && out.size() < part_bytes_) {
    const std::size_t fit = (part_bytes_ - out.size() + each - 1) / each;
    const auto numbers =
        std::span(pages_).subspan(page_, std::min({fit, kAtOnce, pages_.size() - page_}));
    const base::MutableBytes room = out.pages(numbers, page_bytes);
    DOLMEN_CHECK(reader_->read_pages(info.object, numbers, page_bytes, each, room));
    out.drop_zeros();
    page_ += numbers.size();
  }
  if (page_ < pages_.size()) return {};
  is_inside_ = false;
  ++object_;
  return {};
}

void SpaceSource::produce() {
  auto made = [&]() -> Result<std::shared_ptr<const Bytes>> {
    try {
      DOLMEN_TRY(Bytes bytes, read());
      return std::make_shared<const Bytes>(std::move(bytes));
    } catch (const std::bad_alloc&) {
      return fail(Errc::out_of_memory, "a part of a state");
    }
  }();
  const base::Lock lock(mutex_);
  if (!made) {
    failure_ = made.error();
  } else if ((*made)->empty()) {
    is_complete_ = true;
  } else {
    parts_.push_back(std::move(*made));
    if (parts_.size() <= kKeptMax) return;
    parts_.pop_front();
    ++first_;
  }
}

void SpaceSource::run() {
  while (true) {
    bool is_asked = false;
    {
      const base::Lock lock(mutex_);
      // It reads ahead for who asks for all of it.
      const auto is_due = [&]() DOLMEN_REQUIRES(mutex_) {
        if (failure_) return false;
        return asked_ > 0 && !is_complete_ && first_ + parts_.size() < asked_ + kAheadMax;
      };
      while (!ends_ && (failure_ || questions_.empty()) && !is_due()) more_.wait(mutex_);
      if (ends_) return;
      is_asked = !questions_.empty();
    }
    if (is_asked) {
      answer_next();
    } else {
      produce();
    }
  }
}

Result<std::optional<std::vector<std::byte>>> SpaceSource::part(std::uint64_t number) {
  return answer(number, {});
}

Result<std::shared_ptr<const std::vector<std::byte>>> SpaceSource::share_part(
    std::uint64_t number) {
  while (true) {
    {
      const base::Lock lock(mutex_);
      if (failure_) return std::unexpected(*failure_);
      const std::uint64_t end = first_ + parts_.size();
      if (number < first_ || number > end + kKeptMax) {
        return fail(Errc::not_found, "a part of a state", number);
      }
      asked_ = std::max(asked_, number + 1);
      if (number < end) return parts_[number - first_];
      if (is_complete_) return std::make_shared<const Bytes>();
    }
    if (thread_) {
      more_.notify_all();
      return nullptr;
    }
    produce();
  }
}

// --- where it goes -------------------------------------------------------------------------------

void Worker::start(const sys::Env& env, const char* name, const char* what,
                   std::function<Result<void>()> body) {
  DOLMEN_ASSERT(!is_at_work_);
  is_at_work_ = true;
  is_over_.store(false, std::memory_order_relaxed);
  const auto run = [this, what, body = std::move(body)] {
    try {
      result_ = body();
    } catch (const std::bad_alloc&) {
      result_ = fail(Errc::out_of_memory, what);
    }
    is_over_.store(true, std::memory_order_release);
  };
  auto thread = env.process->start_thread(name, run);
  if (thread) {
    thread_ = std::move(*thread);
  } else {
    run();
  }
}

Result<void> Worker::join() {
  thread_.reset();
  is_at_work_ = false;
  return result_;
}

Result<void> PageBatch::read_page_as_of(const store::PageKey& key, store::Index,
                                        base::MutableBytes out) {
  const auto page = lend_page(key, 0);
  // Of another object than the list said, under its name.
  if (page && page->size() != out.size()) return fail(Errc::corrupt, "a page of another size");
  std::ranges::fill(out, std::byte{0});
  if (page) base::copy_bytes(*page, out);
  return {};
}

std::optional<base::Bytes> PageBatch::lend_page(const store::PageKey& key, store::Index) {
  if (next_ >= pages.size() || pages[next_].key != key) {
    const auto found = std::ranges::lower_bound(pages, key, {}, &Page::key);
    if (found == pages.end() || found->key != key) return std::nullopt;
    next_ = static_cast<std::size_t>(found - pages.begin());
  }
  return pages[next_++].bytes;
}

StagedSpace::StagedSpace(const sys::Env& env, sys::Disk& disk, const ImageHead& wanted,
                         const store::CreateOptions& options)
    : env_(env), disk_(disk), wanted_(wanted), options_(options) {}

StagedSpace::~StagedSpace() {
  store_.reset();
  (void)remove_staged(disk_);  // else the next opening does
}

Result<void> StagedSpace::begin(const ImageHead& head) {
  if (store_) {
    if (head.space == head_.space && head.last_index == head_.last_index) return {};
    return fail(Errc::corrupt, "a state of two moments");
  }
  if (head.space != wanted_.space || head.last_index < wanted_.last_index) {
    return fail(Errc::corrupt, "a state of another space, or of before");
  }
  store::CreateOptions options = options_;
  options.space = head.space;
  options.base_index = head.last_index;
  options.unfinished = true;
  DOLMEN_TRY(store_, store::Store::create(env_, std::make_unique<StagedDisk>(disk_), options));
  head_ = head;
  return {};
}

Result<void> StagedSpace::write(PageBatch& batch) {
  store::CheckpointRequest request;
  request.as_of = head_.last_index;
  request.source = &batch;
  request.is_durable = false;
  request.capacity_log2 = std::move(batch.objects);
  request.pages.reserve(batch.pages.size());
  for (const PageBatch::Page& page : batch.pages) request.pages.push_back(page.key);
  if (request.pages.empty() && request.capacity_log2.empty()) return {};
  DOLMEN_CHECK(store_->checkpoint(request));
  return {};
}

Result<void> StagedSpace::settle() { return store_->settle(); }

Result<void> StagedSpace::finish() {
  DOLMEN_CHECK(store_->finish());
  DOLMEN_CHECK(store_->close());
  store_.reset();
  DOLMEN_PROBE("space_image.staged");
  done_ = head_;
  return {};
}

SpaceSink::SpaceSink(const sys::Env& env, sys::Disk& disk, const ImageHead& wanted,
                     const store::CreateOptions& options, bool is_copy)
    : env_(env),
      is_copy_(is_copy),
      staged_(env, disk, wanted, options),
      filling_(std::make_unique<PageBatch>()) {}

SpaceSink::~SpaceSink() { worker_.end(); }

// Of an object that is arriving the page with the header comes last, and pages of zeros are not
// sent. So it is one if its first page that is here is another one, or none is.
bool SpaceSink::takes(const ImageObject& object, bool goes_on) {
  if (!is_copy_) {
    if (!goes_on) filling_->objects.emplace_back(object.id, object.capacity_log2);
    return true;
  }
  if (!goes_on) has_header_.reset();
  if (!has_header_ && !object.pages.empty()) {
    has_header_ = object.pages.front().number == 0;
    if (*has_header_) filling_->objects.emplace_back(object.id, object.capacity_log2);
  }
  return has_header_.value_or(false);
}

/// Its bytes are in the batch that is being filled.
Result<void> SpaceSink::add(const DecodedImage& image) {
  for (const ImageObject& object : image.objects) {
    const bool goes_on = last_ && last_->object == object.id;
    if (goes_on && object.capacity_log2 != last_capacity_log2_) {
      return fail(Errc::corrupt, "a state whose object has two sizes");
    }
    if (last_ && object.id < last_->object) return fail(Errc::corrupt, "a state out of order");
    const bool is_taken = takes(object, goes_on);
    for (const ImageObject::Page& page : object.pages) {
      if (!is_taken) break;
      const store::PageKey key{object.id, page.number};
      if (!filling_->pages.empty() && key <= filling_->pages.back().key) {
        return fail(Errc::corrupt, "a state out of order");
      }
      filling_->pages.push_back({.key = key, .bytes = page.bytes});
      ++received_;
    }
    last_ = {object.id, 0};
    last_capacity_log2_ = object.capacity_log2;
  }
  return {};
}

void SpaceSink::start_writing(bool is_last) {
  writing_ = std::exchange(filling_, std::make_unique<PageBatch>());
  is_settled_ = is_last;
  worker_.start(env_, "dolmen-take", "a state that is received", [this, is_last]() -> Result<void> {
    DOLMEN_CHECK(staged_.write(*writing_));
    return is_last ? staged_.settle() : Result<void>();
  });
}

Result<void> SpaceSink::join() {
  const auto written = worker_.join();
  for (auto& part : writing_->parts) spare_.push_back(std::move(part));
  writing_.reset();
  return written;
}

Result<bool> SpaceSink::take(base::Bytes part) {
  std::vector<std::byte> copy(part.begin(), part.end());
  return take_over(copy);
}

Result<bool> SpaceSink::take_over(std::vector<std::byte>& part) {
  if (writing_ && worker_.is_over()) DOLMEN_CHECK(join());
  if (writing_ && filling_->bytes >= kBatchBytes) return false;
  if (part.empty()) {
    if (!staged_.is_begun()) return fail(Errc::corrupt, "a state without a beginning");
    is_ended_ = true;
    return true;
  }
  filling_->bytes += part.size();
  filling_->parts.push_back(std::exchange(part, {}));
  if (!spare_.empty()) {
    part = std::move(spare_.back());
    spare_.pop_back();
  }
  DOLMEN_TRY(const DecodedImage image, decode_image(filling_->parts.back()));
  DOLMEN_CHECK(staged_.begin(image.head));
  DOLMEN_CHECK(add(image));
  if (!writing_ && filling_->bytes >= kBatchBytes) start_writing(false);
  return true;
}

Result<bool> SpaceSink::is_done() {
  if (done()) return true;
  if (!is_ended_) return false;
  if (writing_ && !worker_.is_over()) return false;
  if (writing_) DOLMEN_CHECK(join());
  if (!is_settled_ && !DOLMEN_PLANTED("space.done_early")) {
    start_writing(true);
    if (!worker_.is_over()) return false;
    DOLMEN_CHECK(join());
  }
  DOLMEN_CHECK(staged_.finish());
  return true;
}

Result<void> remove_staged(sys::Disk& disk) {
  DOLMEN_TRY(const auto names, disk.list());
  bool any = false;
  for (const std::string& name : names) {
    if (!name.starts_with(kStagedPrefix)) continue;
    DOLMEN_CHECK(disk.remove(name));
    any = true;
  }
  return any ? disk.sync_directory() : Result<void>();
}

}  // namespace dolmen::node
