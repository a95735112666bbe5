// SPDX-License-Identifier: Apache-2.0
//
// The page file's reference model for tests: maps of pages and classes, random changes to them, the
// checkpoint requests these changes make, and a comparison with a PageStore. Tests only.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "store/page_node.hpp"
#include "store/page_store.hpp"

namespace dolmen::store {

class PageModel final : public PageSource {
 public:
  explicit PageModel(std::uint64_t seed) : random_(seed) {}

  // --- changes -----------------------------------------------------------------------------------

  ObjectId create(unsigned capacity_log2) {
    // Some ids are neighbours, as nobody promises that they are spread.
    const bool near = !classes_.empty() && random_.chance(1, 4);
    ObjectId id = near ? some_object() : ObjectId{random_(), random_()};
    do ++id.low;
    while (classes_.contains(id) || used_.contains(id));
    used_.insert(id);
    classes_[id] = static_cast<std::uint8_t>(capacity_log2);
    sized_.insert(id);
    write({id, 0});
    return id;
  }
  void write(const PageKey& key) {
    std::vector<std::byte> bytes(page_bytes(classes_.at(key.object)));
    const std::uint64_t word = random_() | 1;
    for (std::size_t i = 0; i + 8 <= bytes.size(); i += 64) base::store(bytes, i, word + i);
    pages_[key] = std::move(bytes);
    dirty_.push_back(key);
  }
  void clear(const PageKey& key) {
    pages_.erase(key);
    dirty_.push_back(key);
  }
  void erase(ObjectId id) {
    drop_pages(id, 0);
    classes_.erase(id);
    sized_.erase(id);
    erased_.push_back(id);
  }
  void resize(ObjectId id, unsigned capacity_log2) {
    // What a smaller size cut off is zero if the object grows again: it counts as changed.
    const auto cut = pages_.lower_bound({id, pages_of(capacity_log2)});
    for (auto page = cut; page != pages_.upper_bound({id, kMaxPages}); ++page) {
      dirty_.push_back(page->first);
    }
    classes_[id] = static_cast<std::uint8_t>(capacity_log2);
    sized_.insert(id);
    drop_pages(id, pages_of(capacity_log2));
    if (const auto first = pages_.find({id, 0}); first != pages_.end()) {
      first->second.resize(page_bytes(capacity_log2));
    }
  }
  ObjectId some_object() {
    const auto at = classes_.lower_bound({random_(), random_()});
    return at == classes_.end() ? classes_.begin()->first : at->first;
  }
  PageKey some_page() {
    const ObjectId id = some_object();
    const std::uint32_t pages = pages_of(classes_.at(id));
    const std::uint64_t bound = random_.chance(3, 4) ? std::min<std::uint32_t>(pages, 64) : pages;
    return {id, static_cast<std::uint32_t>(random_.below(bound))};
  }
  /// One change of any kind.
  void step() {
    static constexpr unsigned kClasses[] = {9, 9, 10, 11, 12, 13, 16, 20, 30};
    const unsigned capacity = kClasses[random_.below(std::size(kClasses))];
    const std::uint64_t kind = random_.below(100);
    if (classes_.empty() || kind < 30) {
      create(capacity);
    } else if (kind < 42) {
      erase(some_object());
    } else if (kind < 47) {
      resize(some_object(), capacity);
    } else if (kind < 57) {
      clear(some_page());
    } else if (kind < 62) {
      const PageKey from = some_page();
      const std::uint32_t end = pages_of(classes_.at(from.object));
      const std::uint32_t last = std::min(end, from.page + 300);
      for (std::uint32_t page = from.page; page < last; ++page) write({from.object, page});
    } else {
      write(some_page());
    }
  }
  void erase_most() {
    std::vector<ObjectId> all;
    for (const auto& [id, capacity] : classes_) all.push_back(id);
    for (const ObjectId& id : all) {
      if (!random_.chance(1, 50)) erase(id);
    }
  }

  // --- checkpoints -------------------------------------------------------------------------------

  /// What changed since the last accept().
  [[nodiscard]] CheckpointRequest request() {
    CheckpointRequest request;
    request.as_of = ++index_;
    request.source = this;
    for (const ObjectId& id : sized_) request.capacity_log2.emplace_back(id, classes_.at(id));
    request.erased = erased_;
    for (const PageKey& key : dirty_) {
      // Pages of objects that came and went between two checkpoints belong to no request.
      const bool erased = std::ranges::find(erased_, key.object) != erased_.end();
      if (classes_.contains(key.object) || erased) request.pages.push_back(key);
    }
    return request;
  }
  void accept() {
    sized_.clear();
    erased_.clear();
    dirty_.clear();
  }
  Result<void> read_page_as_of(const PageKey& key, Index, base::MutableBytes out) override {
    std::ranges::fill(out, std::byte{0});
    if (const auto page = pages_.find(key); page != pages_.end()) {
      if (page->second.size() != out.size()) return fail(Errc::invalid_argument, "page size");
      std::ranges::copy(page->second, out.begin());
    }
    return {};
  }

  /// Of every second page.
  std::optional<base::Bytes> lend_page(const PageKey& key, Index) override {
    const auto page = pages_.find(key);
    if (page == pages_.end() || key.page % 2 == 1) return std::nullopt;
    return page->second;
  }

  // --- comparison --------------------------------------------------------------------------------

  /// What differs first, or nothing.
  [[nodiscard]] std::string difference(PageStore& store) const {
    std::vector<ObjectId> listed;
    const auto list = [&](const ObjectInfo& info) {
      const auto known = classes_.find(info.object);
      if (known != classes_.end() && known->second == info.capacity_log2) {
        listed.push_back(info.object);
      }
      return true;
    };
    if (const auto walked = store.for_each_object(list); !walked) return walked.error().message();
    if (listed.size() != classes_.size() || store.root().object_count != classes_.size()) {
      return "objects: " + std::to_string(classes_.size()) + " in the model, " +
             std::to_string(listed.size()) + " listed, " +
             std::to_string(store.root().object_count) + " counted";
    }
    std::uint64_t units = 0;
    for (const auto& [id, capacity] : classes_) {
      if (std::string text = object_difference(store, id, capacity, units); !text.empty()) {
        return text;
      }
    }
    return store.root().live_blocks >= units ? "" : "live blocks are counted wrongly";
  }
  [[nodiscard]] const std::map<ObjectId, std::uint8_t>& classes() const { return classes_; }
  [[nodiscard]] const std::map<PageKey, std::vector<std::byte>>& pages() const { return pages_; }
  [[nodiscard]] base::Random& random() { return random_; }

 private:
  void drop_pages(const ObjectId& id, std::uint32_t from) {
    pages_.erase(pages_.lower_bound({id, from}), pages_.upper_bound({id, kMaxPages}));
  }
  [[nodiscard]] std::string object_difference(PageStore& store, const ObjectId& id,
                                              unsigned capacity, std::uint64_t& units) const {
    const auto found = store.find(id);
    if (!found) return found.error().message();
    if (!*found || (*found)->capacity_log2 != capacity) return "find of " + id.to_string();
    const auto end = pages_.upper_bound({id, kMaxPages});
    const auto begin = pages_.lower_bound({id, 0});
    std::uint32_t count = 1;
    if (begin != end) count = std::prev(end)->first.page + 1;
    const auto counted = store.page_count(id);
    if (!counted || *counted != count) return "page count of " + id.to_string();
    std::vector<std::byte> bytes(page_bytes(capacity));
    // Every stored page, and one absent page beside each.
    std::set<std::uint32_t> numbers{0, pages_of(capacity) - 1};
    for (auto page = begin; page != end; ++page) {
      numbers.insert(page->first.page);
      numbers.insert(std::min(page->first.page + 1, pages_of(capacity) - 1));
    }
    const std::vector<std::uint32_t> asked(numbers.begin(), numbers.end());
    const std::size_t stride = bytes.size() + 8;
    std::vector<std::byte> all(asked.size() * stride, std::byte{0xEE});
    const auto together = store.read_pages(id, asked, bytes.size(), stride, all);
    if (!together) return together.error().message();
    const auto stored_pages = store.pages_of(id);
    if (!stored_pages) return stored_pages.error().message();
    std::vector<std::uint32_t> expected_pages{0};
    for (auto page = begin; page != end; ++page) {
      if (page->first.page > 0) expected_pages.push_back(page->first.page);
    }
    if (*stored_pages != expected_pages) return "the pages of " + id.to_string();
    std::size_t place = 0;
    for (const std::uint32_t page : numbers) {
      const PageKey key{id, page};
      const auto read = store.read_page(key, bytes);
      if (!read) return read.error().message();
      const base::Bytes beside = base::Bytes(all).subspan(stride * place++, stride);
      if (!std::ranges::equal(beside.first(bytes.size()), bytes) ||
          beside.back() != std::byte{0xEE}) {
        return "page " + std::to_string(page) + ", read with others";
      }
      const auto known = pages_.find(key);
      const bool stored = known != pages_.end() || page == 0;
      const std::vector<std::byte> zeros(bytes.size());
      const bool same = bytes == (known != pages_.end() ? known->second : zeros);
      if (*read != stored || !same) return "contents of page " + std::to_string(page);
      if (stored) units += bytes.size() / kUnitBytes;
    }
    return {};
  }

  base::Random random_;
  Index index_ = 0;
  std::map<PageKey, std::vector<std::byte>> pages_;
  std::map<ObjectId, std::uint8_t> classes_;
  std::set<ObjectId> used_, sized_;
  std::vector<ObjectId> erased_;
  std::vector<PageKey> dirty_;
};

}  // namespace dolmen::store
