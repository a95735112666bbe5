// SPDX-License-Identifier: Apache-2.0
#include "node/space_merge.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/hooks.hpp"
#include "node/space_disk.hpp"
#include "node/space_image.hpp"

namespace dolmen::node {

namespace {

using What = PageQuestion::What;

std::unexpected<Error> unfit(const char* what) { return fail(Errc::corrupt, what); }

}  // namespace

SpaceMerge::SpaceMerge(const sys::Env& env, sys::Disk& disk, const ImageHead& wanted,
                       const store::CreateOptions& options)
    : env_(env), disk_(disk), staged_(env, disk, wanted, options) {
  std::array<std::byte, 8> random{};
  env_.entropy->fill(random);
  seed_ = base::load<std::uint64_t>(random);
}

SpaceMerge::~SpaceMerge() {
  comparer_.end();
  writer_.end();
}

// --- what is asked -------------------------------------------------------------------------------

std::vector<std::byte> SpaceMerge::ask(const PageQuestion& question) {
  expected_.push_back({.what = question.what, .count = question.pages.size()});
  return encode(question);
}

Result<std::optional<std::vector<std::byte>>> SpaceMerge::question(std::uint64_t /*number*/) {
  DOLMEN_CHECK(advance());
  // The source makes the next list while this one is looked at.
  if (!said_ && !is_list_asked_ && !listed_) {
    is_list_asked_ = true;
    return ask({.what = What::list, .seed = seed_, .list = lists_asked_++});
  }
  if (fetching_ && fetching_->asked < fetching_->missing.size()) {
    PageQuestion next{.what = What::pages};
    std::size_t& asked = fetching_->asked;
    for (; asked < fetching_->missing.size() && next.pages.size() < kAskedPagesMax; ++asked) {
      next.pages.push_back(fetching_->batch.pages[fetching_->missing[asked]].key);
    }
    return ask(next);
  }
  if (!is_whole_ || is_end_asked_) return std::nullopt;
  is_end_asked_ = true;
  return ask({.what = What::end});
}

// --- what comes ----------------------------------------------------------------------------------

Result<bool> SpaceMerge::take(base::Bytes part) {
  if (expected_.empty()) return unfit("a state that was not asked for");
  const Expected expected = expected_.front();
  expected_.pop_front();
  switch (expected.what) {
    case What::list:
      DOLMEN_CHECK(take_list(part));
      break;
    case What::pages:
      DOLMEN_CHECK(take_pages(part, expected.count));
      break;
    case What::end:
      if (!part.empty()) return unfit("a state without an end");
      is_ended_ = true;
      return true;
  }
  DOLMEN_CHECK(advance());
  return true;
}

Result<void> SpaceMerge::take_list(base::Bytes part) {
  auto next = std::make_unique<Merging>();
  DOLMEN_TRY(next->list, decode_page_list(part));
  const PageList& list = next->list;
  DOLMEN_CHECK(staged_.begin(list.head));
  is_list_asked_ = false;
  if (list.is_last) said_ = list.sum;
  next->after = last_;
  if (list.objects.empty() && !list.is_last) return unfit("a list of nothing");
  for (const PageList::Object& object : list.objects) {
    const bool goes_on = object.id == last_;
    if (object.id < last_) return unfit("lists out of order");
    if (goes_on && object.capacity_log2 != last_capacity_log2_) {
      return unfit("lists of an object with two sizes");
    }
    if (!goes_on) last_page_.reset();
    last_ = object.id;
    last_capacity_log2_ = object.capacity_log2;
    if (object.pages.empty()) continue;
    if (last_page_ && object.pages.front().number <= *last_page_) {
      return unfit("lists out of order");
    }
    last_page_ = object.pages.back().number;
  }
  listed_ = std::move(next);
  return {};
}

Result<void> SpaceMerge::take_pages(base::Bytes part, std::size_t count) {
  Merging& merging = *fetching_;
  merging.batch.parts.emplace_back(part.begin(), part.end());
  DOLMEN_TRY(const DecodedImage image, decode_image(merging.batch.parts.back()));
  DOLMEN_CHECK(staged_.begin(image.head));
  std::size_t here = 0;
  for (const ImageObject& object : image.objects) {
    for (const ImageObject::Page& page : object.pages) {
      if (here++ == count) return unfit("more pages than were asked for");
      const std::size_t at = merging.missing[merging.received++];
      PageBatch::Page& its = merging.batch.pages[at];
      if (its.key != store::PageKey{object.id, page.number} ||
          listed_hash(page.bytes, its.key, seed_) != merging.hashes[at]) {
        return unfit("another page than is listed");
      }
      its.bytes = page.bytes;
      ++pages_.received;
    }
  }
  if (here != count) return unfit("fewer pages than were asked for");
  return {};
}

// --- how it goes on ------------------------------------------------------------------------------

Result<void> SpaceMerge::advance() {
  while (true) {
    DOLMEN_TRY(const bool moved, step());
    if (!moved) return {};
  }
}

Result<bool> SpaceMerge::step() {
  if (writer_.is_at_work() && writer_.is_over()) {
    DOLMEN_CHECK(writer_.join());
    if (!std::exchange(writing_, nullptr)->list.is_last) return true;
    const bool is_right = sum_ == *said_ || DOLMEN_PLANTED("space.reuse_unchecked") ||
                          DOLMEN_PLANTED("space.gone_page_kept");
    if (!is_right) {
      DOLMEN_PROBE("space_merge.wrong");
      return unfit("what is received is not what was listed");
    }
    is_whole_ = true;
    return true;
  }
  if (comparer_.is_at_work() && comparer_.is_over()) {
    DOLMEN_CHECK(comparer_.join());
    pages_.kept += comparing_->batch.pages.size() - comparing_->missing.size();
    comparing_->is_compared = true;
    return true;
  }
  if (listed_ && !comparing_) {
    comparing_ = std::move(listed_);
    comparer_.start(env_, "dolmen-compare", "a state that is compared",
                    [this] { return compare(*comparing_); });
    return true;
  }
  if (comparing_ && comparing_->is_compared && !fetching_) {
    fetching_ = std::move(comparing_);
    return true;
  }
  if (fetching_ && fetching_->received == fetching_->missing.size() && !writing_) {
    if (fetching_->list.is_last && DOLMEN_PLANTED("space.done_early")) {
      is_whole_ = true;
      fetching_.reset();
      return true;
    }
    writing_ = std::move(fetching_);
    writer_.start(env_, "dolmen-take", "a state that is received",
                  [this] { return write(*writing_); });
    return true;
  }
  return false;
}

void SpaceMerge::open_old() {
  if (std::exchange(is_old_opened_, true)) return;
  // What it cannot say is asked for.
  auto opened = store::Store::open(env_, std::make_unique<ImageDisk>(disk_),
                                   {.read_only = true, .reserve_segments = 0});
  if (opened) old_ = std::move(*opened);
}

Result<void> SpaceMerge::compare(Merging& merging) {
  open_old();
  if (DOLMEN_PLANTED("space.gone_page_kept")) keep_gone(merging);
  std::size_t room = 0;
  for (const PageList::Object& object : merging.list.objects) {
    room += object.pages.size() * store::page_bytes(object.capacity_log2);
  }
  // What is not written to it costs nothing.
  merging.kept = std::make_unique_for_overwrite<std::byte[]>(old_ ? room : 0);
  base::MutableBytes left(merging.kept.get(), old_ ? room : 0);
  for (const PageList::Object& object : merging.list.objects) {
    const std::size_t page_bytes = store::page_bytes(object.capacity_log2);
    bool has_old = false;
    if (old_) {
      const auto info = old_->find(object.id);
      has_old = info && *info && store::page_bytes((*info)->capacity_log2) == page_bytes;
    }
    for (const PageList::Page& page : object.pages) {
      const store::PageKey key{object.id, page.number};
      merging.batch.pages.push_back({.key = key, .bytes = {}});
      merging.hashes.push_back(page.hash);
      if (has_old) {
        const base::MutableBytes bytes = left.first(page_bytes);
        // One that is damaged is as good as none.
        const bool is_read = old_->read_page(key, bytes).has_value();
        if (is_read &&
            (listed_hash(bytes, key, seed_) == page.hash ||
             DOLMEN_PLANTED("space.page_unchecked") || DOLMEN_PLANTED("space.reuse_unchecked"))) {
          merging.batch.pages.back().bytes = bytes;
          left = left.subspan(page_bytes);
          continue;
        }
        if (!is_read) DOLMEN_PROBE("space_merge.page_damaged");
      }
      merging.missing.push_back(merging.batch.pages.size() - 1);
    }
  }
  return {};
}

Result<void> SpaceMerge::write(Merging& merging) {
  std::size_t at = 0;
  for (const PageList::Object& object : merging.list.objects) {
    if (object.id != merging.after) {
      merging.batch.objects.emplace_back(object.id, object.capacity_log2);
      sum_.add_object(object.id, object.capacity_log2);
    }
    // Of the bytes that go there, wherever they are from.
    for (const PageList::Page& page : object.pages) {
      const PageBatch::Page& its = merging.batch.pages[at++];
      sum_.add_page(page.number, listed_hash(its.bytes, its.key, seed_));
    }
  }
  DOLMEN_CHECK(staged_.write(merging.batch));
  return merging.list.is_last ? staged_.settle() : Result<void>();
}

Result<bool> SpaceMerge::is_done() {
  if (done()) return true;
  if (!is_ended_) return false;
  old_.reset();
  DOLMEN_CHECK(staged_.finish());
  DOLMEN_PROBE("space_merge.done");
  return true;
}

/// A planted bug: objects that are erased by now stay.
void SpaceMerge::keep_gone(Merging& merging) {
  if (!old_) return;
  std::vector<PageList::Object>& objects = merging.list.objects;
  const ObjectId end = merging.list.is_last ? ObjectId{~0ull, ~0ull} : objects.back().id;
  (void)old_->for_each_object([&](const store::ObjectInfo& info) {
    const bool is_here =
        std::ranges::find(objects, info.object, &PageList::Object::id) != objects.end();
    if (is_here || info.object <= merging.after || info.object > end) return true;
    PageList::Object gone{.id = info.object, .capacity_log2 = info.capacity_log2};
    std::vector<std::byte> bytes(store::page_bytes(info.capacity_log2));
    const auto pages = pages_of(*old_, info, {});
    for (const std::uint32_t number : pages ? *pages : std::vector<std::uint32_t>()) {
      const store::PageKey key{info.object, number};
      if (!old_->read_page(key, bytes)) continue;
      gone.pages.push_back({.number = number, .hash = listed_hash(bytes, key, seed_)});
    }
    objects.insert(std::ranges::upper_bound(objects, gone.id, {}, &PageList::Object::id), gone);
    return true;
  });
}

}  // namespace dolmen::node
