// SPDX-License-Identifier: Apache-2.0
#include "node/object_image.hpp"

#include <algorithm>
#include <cstring>

#include <dolmen/assert.hpp>

#include "base/commit_record.hpp"
#include "object/fot.hpp"
#include "object/object_header.hpp"
#include "object/type_table.hpp"
#include "txn/types.hpp"

namespace dolmen::node {

namespace {

/// Up to here zeros are written; beyond it the system takes the pages back.
constexpr std::uint64_t kClearBytesMax = 64u << 10;

Result<void> verify_root(const object::HeapReader& heap, const object::ObjectHeader& header) {
  if (header.root_offset == 0) return {};
  const auto root = heap.at(header.root_offset);
  if (!root || root->offset != header.root_offset || root->type_tag != header.root_type) {
    return fail(Errc::corrupt, "root", header.root_offset);
  }
  if ((header.flags & object::kTypeDescription) == 0) return {};
  // The length and the bytes that txn/types.hpp describes.
  std::uint32_t length = 0;
  if (root->type_tag != txn::kTypeBytesTag || root->bytes < sizeof length) {
    return fail(Errc::corrupt, "description of a type", root->offset);
  }
  std::memcpy(&length, heap.base() + root->offset, sizeof length);
  if (length > root->bytes - sizeof length) {
    return fail(Errc::corrupt, "description of a type", root->offset);
  }
  DOLMEN_CHECK(
      object::decode_types(base::Bytes(heap.base() + root->offset + sizeof length, length)));
  return {};
}

}  // namespace

ObjectImage::~ObjectImage() {
  if (base_ != nullptr) memory_.release(base_, base::kMaxObjectBytes);
}

Result<void> ObjectImage::begin(const store::ObjectInfo& object) {
  if (base_ == nullptr) {
    DOLMEN_TRY(std::byte* const base, memory_.reserve(base::kMaxObjectBytes, sys::kPageBytes));
    base_ = base;
    DOLMEN_CHECK(memory_.activate(base_, base::kMaxObjectBytes));
  }
  clear();
  object_ = object;
  page_bytes_ = store::page_bytes(object.capacity_log2);
  return {};
}

void ObjectImage::clear() {
  const std::uint64_t capacity =
      object_.capacity_log2 == 0 ? 0 : std::uint64_t{1} << object_.capacity_log2;
  if (capacity > kClearBytesMax) {
    // Also pages that verify() only looked at: they cost page tables.
    memory_.discard(base_, capacity);
  } else {
    std::memset(base_, 0, capacity);
  }
  pages_.clear();
}

void ObjectImage::add_page(std::uint32_t number, base::Bytes contents) {
  DOLMEN_ASSERT(pages_.empty() || pages_.back() < number);
  const std::uint64_t offset = std::uint64_t{number} * page_bytes_;
  DOLMEN_ASSERT_CMP(offset + page_bytes_, <=, std::uint64_t{1} << object_.capacity_log2);
  DOLMEN_ASSERT_CMP(contents.size(), ==, page_bytes_);
  std::memcpy(base_ + offset, contents.data(), contents.size());
  pages_.push_back(number);
}

base::Bytes ObjectImage::page(std::uint32_t number, std::uint32_t count) const noexcept {
  return {base_ + std::uint64_t{number} * page_bytes_, std::size_t{count} * page_bytes_};
}

Result<void> ObjectImage::verify() const {
  const object::HeapReader heap(base_, object_.capacity_log2);
  DOLMEN_CHECK(object::check_header(
      base::Bytes(base_, std::min<std::size_t>(heap.capacity(), sys::kPageBytes)), object_.object,
      object_.capacity_log2));
  DOLMEN_CHECK(heap.verify());
  DOLMEN_CHECK(object::fot_verify(heap));
  return verify_root(heap, object::load_header(base_));
}

}  // namespace dolmen::node
