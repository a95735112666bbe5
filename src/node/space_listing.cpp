// SPDX-License-Identifier: Apache-2.0
//
// What a source tells who has an older image: lists of its pages, in order, and those pages that
// are asked for.
#include <algorithm>
#include <exception>
#include <utility>

#include "base/hooks.hpp"
#include "node/space_image.hpp"
#include "node/space_transfer.hpp"

namespace dolmen::node {

namespace {

/// That wait; and that can be had again.
constexpr std::size_t kQuestionsMax = 64;
constexpr std::size_t kAnswersMax = 64;
/// However short parts are to be, a list gets on.
constexpr std::size_t kShortestList = 1024;

}  // namespace

Result<std::optional<std::vector<std::byte>>> SpaceSource::answer(
    std::uint64_t number, std::span<const std::byte> question) {
  DOLMEN_TRY(const Shared shared, share(number, question));
  return shared ? std::optional(*shared) : std::nullopt;
}

Result<std::shared_ptr<const std::vector<std::byte>>> SpaceSource::share(
    std::uint64_t number, std::span<const std::byte> question) {
  return question.empty() ? share_part(number) : share_answer(number, question);
}

Result<std::shared_ptr<const std::vector<std::byte>>> SpaceSource::share_answer(
    std::uint64_t number, base::Bytes question) {
  while (true) {
    {
      const base::Lock lock(mutex_);
      if (failure_) return std::unexpected(*failure_);
      const auto found = answers_.find(number);
      if (found != answers_.end()) return found->second;
      if (!answers_.empty() && number + kAnswersMax < answers_.rbegin()->first) {
        return fail(Errc::not_found, "a part of a state", number);
      }
      // Who asks for more asks again.
      if (questions_.size() < kQuestionsMax) {
        questions_.try_emplace(number, question.begin(), question.end());
      }
    }
    if (thread_) {
      more_.notify_all();
      return nullptr;
    }
    answer_next();
  }
}

/// That of the lowest number: whoever waits for it waits for nothing else.
void SpaceSource::answer_next() {
  std::uint64_t number = 0;
  Bytes question;
  {
    const base::Lock lock(mutex_);
    number = questions_.begin()->first;
    question = questions_.begin()->second;
  }
  auto made = [&]() -> Result<std::shared_ptr<const Bytes>> {
    try {
      DOLMEN_TRY(Bytes bytes, answer_to(question));
      return std::make_shared<const Bytes>(std::move(bytes));
    } catch (const std::bad_alloc&) {
      return fail(Errc::out_of_memory, "a part of a state");
    }
  }();
  const base::Lock lock(mutex_);
  // Not before it is answered: else it would be put there again meanwhile.
  questions_.erase(number);
  if (!made) {
    failure_ = made.error();
    return;
  }
  answers_.insert_or_assign(number, std::move(*made));
  if (answers_.size() > kAnswersMax) answers_.erase(answers_.begin());
}

Result<std::vector<std::byte>> SpaceSource::answer_to(base::Bytes bytes) {
  DOLMEN_TRY(const PageQuestion question, decode_page_question(bytes));
  if (!reader_) DOLMEN_CHECK(open());
  switch (question.what) {
    case PageQuestion::What::list:
      return list(question);
    case PageQuestion::What::pages:
      return pages(question);
    case PageQuestion::What::end:
      break;
  }
  return Bytes{};
}

Result<std::vector<std::byte>> SpaceSource::list(const PageQuestion& question) {
  // Late, of one that was made; or of who did not get the one before.
  if (question.list != lists_) return fail(Errc::not_found, "a list of pages", question.list);
  PageList out{.head = {.space = wanted_.space, .last_index = as_of_}};
  std::size_t pages = 0;
  const std::size_t bytes_max = std::max(part_bytes_, kShortestList);
  while (object_ < objects_.size() && pages < kListedPagesMax &&
         list_bytes(out.objects.size(), pages) < bytes_max) {
    DOLMEN_CHECK(list_object(out, pages, question.seed));
  }
  ++lists_;
  out.is_last = object_ == objects_.size();
  if (out.is_last) out.sum = sum_;
  return encode(out);
}

Result<void> SpaceSource::list_object(PageList& out, std::size_t& pages, std::uint64_t seed) {
  const store::ObjectInfo& info = objects_[object_];
  const std::size_t bytes_max = std::max(part_bytes_, kShortestList);
  if (!is_inside_) {
    DOLMEN_CHECK(look_into_object());
    sum_.add_object(info.object, info.capacity_log2);
  }
  PageList::Object& object = out.objects.emplace_back(
      PageList::Object{.id = info.object, .capacity_log2 = info.capacity_log2});
  Bytes room(store::page_bytes(info.capacity_log2));
  for (; page_ < pages_.size() && pages < kListedPagesMax &&
         list_bytes(out.objects.size(), pages) < bytes_max;
       ++page_) {
    const store::PageKey key{info.object, pages_[page_]};
    DOLMEN_CHECK(reader_->read_page(key, room));
    if (is_zero(room)) continue;
    const base::Checksum128 hash = listed_hash(room, key, seed);
    object.pages.push_back({.number = key.page, .hash = hash});
    sum_.add_page(key.page, hash);
    ++pages;
  }
  if (page_ < pages_.size()) return {};
  is_inside_ = false;
  ++object_;
  return {};
}

Result<std::vector<std::byte>> SpaceSource::pages(const PageQuestion& question) {
  ImageWriter out({.space = wanted_.space, .last_index = as_of_});
  const store::ObjectInfo* info = nullptr;
  for (const store::PageKey& key : question.pages) {
    if (info == nullptr || info->object != key.object) {
      const auto found =
          std::ranges::lower_bound(objects_, key.object, {}, &store::ObjectInfo::object);
      if (found == objects_.end() || found->object != key.object) {
        return fail(Errc::corrupt, "a question about pages");
      }
      info = &*found;
      out.begin(info->object, info->capacity_log2);
    }
    const std::size_t page_bytes = store::page_bytes(info->capacity_log2);
    if (key.page >= (1u << info->capacity_log2) / page_bytes) {
      return fail(Errc::corrupt, "a question about pages");
    }
    DOLMEN_CHECK(reader_->read_page(key, out.page(key.page, page_bytes)));
  }
  return out.finish();
}

}  // namespace dolmen::node
