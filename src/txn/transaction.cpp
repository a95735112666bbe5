// SPDX-License-Identifier: Apache-2.0
#include "txn/transaction.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "txn/line_difference.hpp"

namespace dolmen::txn {

void UndoPool::add_chunk() { chunks_.push_back(std::make_unique<UndoLine[]>(kLinesPerChunk)); }

void UndoPool::next_chunk() {
  const std::size_t wanted = next_ == nullptr ? 0 : chunk_ + 1;
  if (wanted == chunks_.size()) add_chunk();
  use_chunk(wanted);
}

void UndoPool::trim() {
  if (chunks_.size() > kChunksKept) chunks_.resize(kChunksKept);
  reset();
}

HomeObject::~HomeObject() {
  if (pages != &single) FreePageMetas{}(pages);
}

/// Zeros from the system, which become memory where somebody touches a page: an object of 1 GiB has
/// 8 MiB of them.
PageMetas make_page_metas(std::uint32_t count) {
  return PageMetas(static_cast<PageMeta*>(std::calloc(count, sizeof(PageMeta))));
}
void FreePageMetas::operator()(PageMeta* pages) const noexcept { std::free(pages); }

void Transaction::reset() noexcept {
  index.store(0, std::memory_order_relaxed);
  open.clear();
  stripes.clear();
  created.clear();
  erased.clear();
  resized.reset();
  cells.clear();
  pages.clear();
  types.clear();
  failure.reset();
  wanted.clear();
  record.clear();
  lines_.reset();
}

void Transaction::guard(sys::Memory& memory) { guard_ = std::make_unique<StoreGuard>(memory); }

void Transaction::close_pages() {
  guard_->close();
  guard_.reset();
}

bool Transaction::log(HomeObject& object, const void* address, std::size_t bytes) {
  if (bytes == 0) return true;
  const auto offset =
      static_cast<std::size_t>(static_cast<const std::byte*>(address) - object.base);
  const std::size_t capacity = std::size_t{1} << object.capacity_log2();
  if (bytes > capacity || offset > capacity - bytes) [[unlikely]] {
    // Sizes that are stored in an object are only as good as its bytes.
    if (!failure) failure = Error(Errc::corrupt, "a range beyond its object", offset);
    return false;
  }
  const std::size_t end = offset + bytes;
  const auto first_page = static_cast<std::uint32_t>(offset / store::kPageBytes);
  const auto last_page = static_cast<std::uint32_t>((end - 1) / store::kPageBytes);
  if (guard_ != nullptr) [[unlikely]]
    return log_guarded(object, offset, bytes);
  for (std::uint32_t number = first_page; number <= last_page; ++number) {
    const std::size_t page_begin = std::size_t{number} * store::kPageBytes;
    const std::size_t from = std::max(offset, page_begin) - page_begin;
    const std::size_t to = std::min<std::size_t>(end - page_begin, store::kPageBytes);
    if (!log_page(object, number, static_cast<std::uint32_t>(from / kLineBytes),
                  static_cast<std::uint32_t>((to - 1) / kLineBytes))) {
      return false;
    }
  }
  return true;
}

Error Transaction::refusal() {
  if (failure && failure->code() == Errc::corrupt) return *failure;
  if (guarded() && failure && failure->code() == Errc::limit) return *failure;
  const Error error(Errc::too_large, "transaction");
  if (!failure) failure = error;
  return error;
}

bool Transaction::log_page(HomeObject& object, std::uint32_t number, std::uint32_t first_line,
                           std::uint32_t last_line) {
  PageMeta& meta = object.page(number);
  const std::uint64_t upto =
      last_line == 63 ? ~std::uint64_t{0} : (std::uint64_t{1} << (last_line + 1)) - 1;
  std::uint64_t missing = upto & ~((std::uint64_t{1} << first_line) - 1) & ~meta.logged;
  if (missing == 0) return true;
  const std::size_t lines = last_line - first_line + 1;  // at most: counting bits is a call here
  if (!object.fresh && lines_.bytes() + lines * sizeof(UndoLine) > bytes_max) return false;
  try {
    if (meta.logged == 0) make_room_for_one(pages);
    if (!object.fresh) lines_.make_room(lines);
  } catch (const std::bad_alloc&) {
    // What was to be changed is not, whatever the body makes of the exception.
    if (!failure) failure = Error(Errc::out_of_memory, "undo");
    throw;
  }
  if (meta.logged == 0) pages.push_back(TouchedPage{&object, number});
  meta.logged |= missing;
  if (object.fresh) return true;  // its pre-image is all zeros, and nobody else can see it
  const std::byte* page = object.page_address(number);
  UndoLine* head = meta.undo.load(std::memory_order_relaxed);
  for (; missing != 0; missing &= missing - 1) {
    UndoLine* line = lines_.take();
    line->line = static_cast<std::uint32_t>(std::countr_zero(missing));
    std::memcpy(line->bytes, page + std::size_t{line->line} * kLineBytes, kLineBytes);
    line->next.store(head, std::memory_order_relaxed);
    head = line;
  }
  // Published before any store to the lines that it covers (invariant 1 of HomeObject).
  meta.undo.store(head, std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return true;
}

bool Transaction::open_page(HomeObject& object, std::uint32_t number) {
  if (guard_->is_open(object, number)) return true;
  const auto last_line = static_cast<std::uint32_t>(object.page_bytes() / kLineBytes - 1);
  if (!log_page(object, number, 0, last_line)) return false;
  const auto opened = guard_->open(object, number);
  if (!opened && !failure) failure = opened.error();
  return opened.has_value();
}

bool Transaction::log_guarded(HomeObject& object, std::size_t offset, std::size_t bytes) {
  for (const std::size_t end = offset + bytes; offset < end;) {
    const auto number = static_cast<std::uint32_t>(offset / store::kPageBytes);
    const std::size_t begin = offset % store::kPageBytes;
    const std::size_t part = std::min<std::size_t>(store::kPageBytes - begin, end - offset);
    if (!open_page(object, number)) return false;
    const std::byte* const stray = guard_->announce(object, number, begin, begin + part);
    if (stray != nullptr && !failure) failure = detail::stray_store(stray);
    offset += part;
  }
  return true;
}

std::optional<Error> Transaction::find_stray_store() const {
  const std::byte* const stray = guard_->find_stray();
  if (stray == nullptr) return std::nullopt;
  return detail::stray_store(stray);
}

bool Transaction::take_stray_store(HomeObject& object, const void* address) {
  if (!failure) failure = detail::stray_store(address);
  const auto offset =
      static_cast<std::size_t>(static_cast<const std::byte*>(address) - object.base);
  return open_page(object, static_cast<std::uint32_t>(offset / store::kPageBytes));
}

/// A large transaction's pre-images and pages have left the cache by now, and each leads to the
/// next: page, line of its undo list, image of that line. Fetched so far ahead, they are there.
void Transaction::prefetch(std::size_t page) const noexcept {
  constexpr std::size_t kMetaAhead = 6;
  constexpr std::size_t kLinesAhead = 3;
  if (page + kMetaAhead < pages.size()) {
    const TouchedPage& later = pages[page + kMetaAhead];
    __builtin_prefetch(&later.object->page(later.page));
  }
  if (page + kLinesAhead >= pages.size()) return;
  const TouchedPage& next = pages[page + kLinesAhead];
  const PageMeta& meta = next.object->page(next.page);
  if (const UndoLine* line = meta.undo.load(std::memory_order_relaxed)) {
    __builtin_prefetch(line);
    __builtin_prefetch(line->bytes + kLineBytes / 2);
  }
  const std::byte* const image = next.object->page_address(next.page);
  for (std::uint64_t rest = meta.logged, lines = 4; rest != 0 && lines != 0; rest &= rest - 1) {
    __builtin_prefetch(image + static_cast<std::size_t>(std::countr_zero(rest)) * kLineBytes);
    --lines;
  }
}

bool Transaction::encode_changes() {
  // Objects in id order, pages ascending: what the log says depends on nothing but the changes.
  const auto before = [](const TouchedPage& a, const TouchedPage& b) {
    return a.object == b.object ? a.page < b.page : a.object->id() < b.object->id();
  };
  if (!std::is_sorted(pages.begin(), pages.end(), before)) {
    std::sort(pages.begin(), pages.end(), before);
  }
  section_ = nullptr;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    prefetch(i);
    const TouchedPage& touched = pages[i];
    if (touched.object->erased.load(std::memory_order_relaxed) != 0) continue;
    if (resized && touched.object == resized->new_image) {
      // Replay lays this over the old pages, so zeros count too.
      record.write(touched.object->id());
      record.run(
          touched.page * store::kPageBytes,
          base::Bytes(touched.object->page_address(touched.page), touched.object->page_bytes()));
    } else {
      encode_page(*touched.object, touched.page);
    }
    if (bytes() > bytes_max) return false;
  }
  return true;
}

namespace {

/// Turns changed 8-byte words into runs; a gap of one equal word is cheaper kept than a new run
/// header.
class RunBuilder {
 public:
  RunBuilder(base::CommitRecordWriter& record, const HomeObject& object, std::uint32_t number,
             const HomeObject*& section)
      : record_(record),
        object_(object),
        section_(section),
        page_(object.page_address(number)),
        page_offset_(std::size_t{number} * store::kPageBytes) {}
  ~RunBuilder() { flush(); }
  RunBuilder(const RunBuilder&) = delete;
  RunBuilder& operator=(const RunBuilder&) = delete;

  /// Bit i of `words`: the line's i-th word has changed.
  void changed(std::size_t line, unsigned words) {
    for (std::size_t at = line * kLineBytes; words != 0;) {
      const auto gap = static_cast<unsigned>(std::countr_zero(words));
      const auto count = static_cast<unsigned>(std::countr_one(words >> gap));
      at += gap * sizeof(std::uint64_t);
      if (end_ == 0 || at > end_ + sizeof(std::uint64_t)) {
        flush();
        begin_ = at;
      }
      at += count * sizeof(std::uint64_t);
      end_ = at;
      words >>= gap + count;
    }
  }

 private:
  void flush() {
    if (end_ == 0) return;
    if (section_ != &object_) record_.write(object_.id());
    section_ = &object_;
    record_.run(static_cast<std::uint32_t>(page_offset_ + begin_),
                base::Bytes(page_ + begin_, end_ - begin_));
    end_ = 0;
  }

  base::CommitRecordWriter& record_;
  const HomeObject& object_;
  const HomeObject*& section_;  // whose write section is open in the record
  const std::byte* page_;
  std::size_t page_offset_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

constexpr std::byte kZeroLine[kLineBytes] = {};

}  // namespace

void Transaction::encode_page(HomeObject& object, std::uint32_t number) {
  const PageMeta& meta = object.page(number);
  std::array<const UndoLine*, kLinesPerPage> by_line;  // set for each line of meta.logged
  for (const UndoLine* line = meta.undo.load(std::memory_order_relaxed); line != nullptr;
       line = line->next.load(std::memory_order_relaxed)) {
    by_line[line->line] = line;
  }
  const std::byte* page = object.page_address(number);
  RunBuilder runs(record, object, number, section_);
  for (std::uint64_t rest = meta.logged; rest != 0; rest &= rest - 1) {
    const auto line = static_cast<std::size_t>(std::countr_zero(rest));
    if (DOLMEN_PLANTED("txn.unlogged_range") && line % 7 == 3 && !object.fresh) continue;
    // What a fresh object held before is zeros.
    const std::byte* before = object.fresh ? kZeroLine : by_line[line]->bytes;
    runs.changed(line, changed_words(before, page + line * kLineBytes));
  }
}

void Transaction::undo() {
  for (const TouchedPage& touched : pages) {
    // One that could not be opened was not changed either, and is closed to us, too.
    if (guard_ != nullptr && !guard_->is_open(*touched.object, touched.page)) continue;
    PageMeta& meta = touched.object->page(touched.page);
    std::byte* page = touched.object->page_address(touched.page);
    if (touched.object->fresh) {
      for (std::uint64_t rest = meta.logged; rest != 0; rest &= rest - 1) {
        std::memset(page + static_cast<std::size_t>(std::countr_zero(rest)) * kLineBytes, 0,
                    kLineBytes);
      }
    }
    for (const UndoLine* line = meta.undo.load(std::memory_order_relaxed); line != nullptr;
         line = line->next.load(std::memory_order_relaxed)) {
      std::memcpy(page + std::size_t{line->line} * kLineBytes, line->bytes, kLineBytes);
    }
  }
}

}  // namespace dolmen::txn
