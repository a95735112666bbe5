// SPDX-License-Identifier: Apache-2.0
#include "node/page_list.hpp"

#include <array>
#include <cstddef>

#include <dolmen/assert.hpp>

#include "base/commit_record.hpp"

namespace dolmen::node {

namespace {

constexpr std::uint16_t kListVersion = 1;
constexpr std::uint16_t kQuestionKind = 8;
constexpr std::uint16_t kListKind = 9;
constexpr std::uint32_t kLastList = 1;
constexpr std::size_t kListHeadBytes = 32;
constexpr std::size_t kListedObjectBytes = 24;
constexpr std::size_t kListedPageBytes = 20;

std::unexpected<Error> no_question() { return fail(Errc::corrupt, "a question about pages"); }
std::unexpected<Error> no_list() { return fail(Errc::corrupt, "a list of pages"); }

/// How many pages an object of this class has; 0: there is no such class.
std::uint32_t class_pages(std::uint32_t capacity_log2) noexcept {
  if (capacity_log2 < base::kMinCapacityLog2 || capacity_log2 > base::kMaxCapacityLog2) return 0;
  return (std::uint32_t{1} << capacity_log2) / store::page_bytes(capacity_log2);
}

void put_checksum(base::ByteWriter& out, const base::Checksum128& hash) {
  out.put(hash.low);
  out.put(hash.high);
}

base::Checksum128 get_checksum(base::ByteReader& in) noexcept {
  const auto low = in.get<std::uint64_t>();
  return {.low = low, .high = in.get<std::uint64_t>()};
}

}  // namespace

// --- questions -----------------------------------------------------------------------------------

std::vector<std::byte> encode(const PageQuestion& question) {
  base::ByteWriter out;
  out.put(kListVersion);
  out.put(kQuestionKind);
  out.put(static_cast<std::uint16_t>(question.what));
  out.put(static_cast<std::uint16_t>(question.pages.size()));
  if (question.what == PageQuestion::What::list) {
    out.put(question.seed);
    out.put(question.list);
  }
  for (const store::PageKey& key : question.pages) {
    out.put_id(key.object);
    out.put(key.page);
  }
  return out.release();
}

Result<PageQuestion> decode_page_question(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto version = in.get<std::uint16_t>();
  const auto kind = in.get<std::uint16_t>();
  const auto what = in.get<std::uint16_t>();
  const auto count = in.get<std::uint16_t>();
  if (in.failed() || version != kListVersion || kind != kQuestionKind || what < 1 || what > 3) {
    return no_question();
  }
  PageQuestion question{.what = static_cast<PageQuestion::What>(what)};
  const bool has_pages = question.what == PageQuestion::What::pages;
  if (has_pages != (count != 0) || count > kAskedPagesMax) return no_question();
  if (question.what == PageQuestion::What::list) {
    question.seed = in.get<std::uint64_t>();
    question.list = in.get<std::uint64_t>();
  }
  for (std::uint16_t i = 0; i < count && !in.failed(); ++i) {
    store::PageKey key{.object = in.get_id()};
    key.page = in.get<std::uint32_t>();
    if (!question.pages.empty() && key <= question.pages.back()) in.fail();
    question.pages.push_back(key);
  }
  if (!in.finished()) return no_question();
  return question;
}

// --- lists ---------------------------------------------------------------------------------------

base::Checksum128 listed_hash(base::Bytes page, const store::PageKey& key,
                              std::uint64_t seed) noexcept {
  seed = base::mix_seed(base::mix_seed(seed, key.object.high), key.object.low);
  return base::checksum128(page, base::mix_seed(seed, key.page));
}

void ListSum::add(std::uint64_t a, std::uint64_t b, std::uint64_t c) noexcept {
  const std::array<std::uint64_t, 5> all{hash.low, hash.high, a, b, c};
  std::array<std::byte, sizeof all> bytes{};
  for (std::size_t i = 0; i < all.size(); ++i) base::store(bytes, 8 * i, all.at(i));
  hash = base::checksum128(bytes, kListKind);
}

void ListSum::add_object(const ObjectId& id, std::uint8_t capacity_log2) noexcept {
  ++objects;
  add(id.high, id.low, (std::uint64_t{1} << 32) + capacity_log2);
}

void ListSum::add_page(std::uint32_t number, const base::Checksum128& page) noexcept {
  ++pages;
  add(page.low, page.high, number);
}

std::size_t list_bytes(std::size_t objects, std::size_t pages) noexcept {
  return kListHeadBytes + objects * kListedObjectBytes + pages * kListedPageBytes;
}

std::vector<std::byte> encode(const PageList& list) {
  base::ByteWriter out;
  out.put(kListVersion);
  out.put(kListKind);
  out.put(list.is_last ? kLastList : 0);
  out.put_id(list.head.space);
  out.put(list.head.last_index);
  DOLMEN_ASSERT_CMP(out.size(), ==, kListHeadBytes);
  if (list.is_last) {
    out.put(list.sum.objects);
    out.put(list.sum.pages);
    put_checksum(out, list.sum.hash);
  }
  for (const PageList::Object& object : list.objects) {
    out.put_id(object.id);
    out.put(static_cast<std::uint32_t>(object.capacity_log2));
    out.put(static_cast<std::uint32_t>(object.pages.size()));
    for (const PageList::Page& page : object.pages) {
      out.put(page.number);
      put_checksum(out, page.hash);
    }
  }
  return out.release();
}

Result<PageList> decode_page_list(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto version = in.get<std::uint16_t>();
  const auto kind = in.get<std::uint16_t>();
  const auto flags = in.get<std::uint32_t>();
  if (in.failed() || version != kListVersion || kind != kListKind || flags > kLastList)
    return no_list();
  PageList list{.head = {.space = in.get_id()}, .is_last = flags == kLastList};
  list.head.last_index = in.get<std::uint64_t>();
  if (list.is_last) {
    list.sum.objects = in.get<std::uint64_t>();
    list.sum.pages = in.get<std::uint64_t>();
    list.sum.hash = get_checksum(in);
  }
  if (in.failed() || list.head.space.is_null()) return no_list();
  std::size_t left = kListedPagesMax;
  while (!in.failed() && in.remaining() > 0) {
    PageList::Object object{.id = in.get_id()};
    const auto capacity_log2 = in.get<std::uint32_t>();
    const auto count = in.get<std::uint32_t>();
    const std::uint32_t limit = class_pages(capacity_log2);
    const bool ascends = list.objects.empty() || list.objects.back().id < object.id;
    if (in.failed() || object.id.is_null() || !ascends || count > limit || count > left ||
        count > in.remaining() / kListedPageBytes) {
      return no_list();
    }
    if (limit == 0) return no_list();
    left -= count;
    object.capacity_log2 = static_cast<std::uint8_t>(capacity_log2);
    object.pages.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      PageList::Page page{.number = in.get<std::uint32_t>()};
      page.hash = get_checksum(in);
      const bool follows = object.pages.empty() || object.pages.back().number < page.number;
      if (!follows || page.number >= limit) in.fail();
      object.pages.push_back(page);
    }
    list.objects.push_back(std::move(object));
  }
  if (in.failed()) return no_list();
  return list;
}

}  // namespace dolmen::node
