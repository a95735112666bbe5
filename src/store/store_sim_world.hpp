// SPDX-License-Identifier: Apache-2.0
//
// A store on a simulated disk together with a model of what it must hold: every transaction's
// effect, byte by byte, and when it was appended and acknowledged. Crash tests make any moment of
// the disk's history again and ask whether what is recovered is a prefix of the log that holds all
// acknowledgements. Tests only.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "store/store.hpp"
#include "store/store_test_world.hpp"
#include "sys/borrowed_disk.hpp"

namespace dolmen::store {

/// What a space holds at one index, byte by byte.
struct SpaceImage {
  struct Object {
    std::uint8_t capacity_log2 = 0;
    std::vector<std::byte> bytes;
    friend bool operator==(const Object&, const Object&) = default;
  };
  std::map<ObjectId, Object> objects;

  void apply(base::Bytes payload) {
    base::CommitRecordReader reader(payload);
    base::CommitSection section;
    base::CommitRun run;
    while (reader.next_section(section)) {
      Object& object = objects[section.object];
      const std::size_t size = std::size_t{1} << section.capacity_log2;
      if (section.kind == base::ChangeKind::erase) objects.erase(section.object);
      if (section.kind == base::ChangeKind::create) object.bytes.assign(size, std::byte{0});
      if (section.kind == base::ChangeKind::resize) object.bytes.resize(size);
      if (section.kind == base::ChangeKind::create || section.kind == base::ChangeKind::resize) {
        object.capacity_log2 = static_cast<std::uint8_t>(section.capacity_log2);
      }
      while (reader.next_run(run)) std::ranges::copy(run.bytes, object.bytes.begin() + run.offset);
    }
    EXPECT_FALSE(reader.failed());
  }
};

/// What the next checkpoint has to write.
struct DirtySet {
  std::set<PageKey> pages;
  std::map<ObjectId, std::uint8_t> sized;
  std::set<ObjectId> erased;

  void add(base::Bytes payload, const SpaceImage& after) {
    base::CommitRecordReader reader(payload);
    base::CommitSection section;
    base::CommitRun run;
    while (reader.next_section(section)) {
      const ObjectId& id = section.object;
      if (section.kind == base::ChangeKind::erase) {
        std::erase_if(pages, [&](const PageKey& key) { return key.object == id; });
        sized.erase(id);
        erased.insert(id);
      } else if (section.kind != base::ChangeKind::write) {
        sized[id] = static_cast<std::uint8_t>(section.capacity_log2);
        const auto limit = section.capacity_log2 <= 12 ? 1u : 1u << (section.capacity_log2 - 12);
        std::erase_if(pages, [&](const PageKey& k) { return k.object == id && k.page >= limit; });
      }
      while (reader.next_run(run)) {
        for (std::size_t at = run.offset; at < run.offset + run.bytes.size(); ++at) {
          pages.insert({id, static_cast<std::uint32_t>(at / kPageBytes)});
        }
      }
    }
    std::erase_if(erased, [&](const ObjectId& id) { return after.objects.contains(id); });
  }
  /// What the recovered log tail of a store that was just opened leaves to it.
  static DirtySet recovered_by(Store& store) {
    DirtySet dirty;
    for (const PageKey& key : store.recovered_dirty_pages()) dirty.pages.insert(key);
    for (const ObjectInfo& info : store.recovered_created()) {
      dirty.sized[info.object] = info.capacity_log2;
    }
    for (const ObjectId& id : store.recovered_erased()) dirty.erased.insert(id);
    return dirty;
  }
  [[nodiscard]] CheckpointRequest request(Index as_of, PageSource& source) const {
    CheckpointRequest request;
    request.as_of = as_of;
    request.source = &source;
    request.pages.assign(pages.begin(), pages.end());
    request.capacity_log2.assign(sized.begin(), sized.end());
    request.erased.assign(erased.begin(), erased.end());
    return request;
  }
};

/// Every index's image, as a store's PageSource.
class SpaceModel final : public PageSource {
 public:
  SpaceModel() { images_[0] = {}; }
  void commit(Index index, base::Bytes payload) {
    SpaceImage next = images_.rbegin()->second;
    next.apply(payload);
    images_[index] = std::move(next);
  }
  [[nodiscard]] bool ends_transaction(Index index) const { return images_.contains(index); }
  [[nodiscard]] const SpaceImage& at(Index index) const {
    return std::prev(images_.upper_bound(index))->second;
  }
  /// Forgets transactions that a crash took.
  void cut(Index end) { images_.erase(images_.upper_bound(end), images_.end()); }
  Result<void> read_page_as_of(const PageKey& key, Index as_of, base::MutableBytes out) override {
    const auto& object = at(as_of).objects.at(key.object);
    const std::size_t from = std::size_t{key.page} * kPageBytes;
    std::ranges::fill(out, std::byte{0});
    if (from < object.bytes.size()) {
      std::copy_n(object.bytes.begin() + static_cast<std::ptrdiff_t>(from),
                  std::min(out.size(), object.bytes.size() - from), out.begin());
    }
    return {};
  }

 private:
  std::map<Index, SpaceImage> images_;
};

/// Compares everything that a store says with an image; true if equal.
inline bool holds(Store& store, const SpaceImage& image) {
  std::map<ObjectId, std::uint8_t> listed;
  ObjectId last;
  const auto visited = store.for_each_object([&](const ObjectInfo& info) {
    EXPECT_LT(last, info.object) << "objects come in id order";
    last = info.object;
    listed[info.object] = info.capacity_log2;
    return true;
  });
  if (!visited) {
    ADD_FAILURE() << visited.error().message();
    return false;
  }
  std::map<ObjectId, std::uint8_t> expected;
  for (const auto& [id, object] : image.objects) expected[id] = object.capacity_log2;
  if (listed != expected) return false;
  for (const auto& [id, object] : image.objects) {
    const auto found = store.find(id);
    if (!found || !*found || (*found)->capacity_log2 != object.capacity_log2) return false;
    const auto count = store.page_count(id);
    if (!count) return false;
    std::vector<std::byte> page(page_bytes(object.capacity_log2));
    const auto pages = static_cast<std::uint32_t>(object.bytes.size() / page.size());
    for (std::uint32_t number = 0; number < pages; ++number) {
      if (!store.read_page({id, number}, page)) return false;
      const auto from = object.bytes.begin() + static_cast<std::ptrdiff_t>(number * page.size());
      if (!std::equal(page.begin(), page.end(), from)) return false;
      const bool zero = std::ranges::all_of(page, [](std::byte b) { return b == std::byte{0}; });
      if (!zero && number >= *count) return false;
    }
  }
  return true;
}

/// A program that uses one store on one simulated disk, and remembers what it was promised.
class StoreDriver {
 public:
  static constexpr CreateOptions kSmall{.segment_bytes = 8u << 10, .tail_bytes_max = 32u << 10};

  explicit StoreDriver(std::uint64_t seed = 1, OpenOptions options = {.reserve_segments = 0})
      : env_(seed, *sys::linux_env().memory), disk_(seed), options_(options) {
    disk_.record();
  }

  [[nodiscard]] Store& store() { return *store_; }
  [[nodiscard]] sim::SimDisk& disk() { return disk_; }
  [[nodiscard]] const sys::Env& env() { return env_.env(); }
  [[nodiscard]] SpaceModel& model() { return model_; }

  void create(const CreateOptions& create_options = kSmall) {
    auto made =
        Store::create(env(), std::make_unique<sys::BorrowedDisk>(disk_), create_options, options_);
    ASSERT_TRUE(made) << made.error().message();
    store_ = std::move(*made);
    created_at_ = disk_.op_count();
  }
  Result<std::unique_ptr<Store>> open_on(sim::SimDisk& disk, bool read_only = false) {
    OpenOptions options = options_;
    options.read_only = read_only;
    return Store::open(env(), std::make_unique<sys::BorrowedDisk>(disk), options);
  }
  /// The process dies and starts again; the machine goes on.
  void restart() {
    store_.reset();
    auto opened = open_on(disk_);
    ASSERT_TRUE(opened) << opened.error().message();
    store_ = std::move(*opened);
    adopt_recovered();
  }
  Index append(const Change& change) {
    appended_.emplace_back(disk_.op_count(), 0);  // writing may begin before append() returns
    const auto index = store_->append(change);
    EXPECT_TRUE(index) << index.error().message();
    if (!index) return 0;
    appended_.back().second = *index;
    model_.commit(*index, change);
    dirty_.add(change, model_.at(*index));
    return *index;
  }
  Index commit(const Change& change) {
    const Index index = append(change);
    wait(index);
    return index;
  }
  void wait(Index index) {
    const auto durable = store_->wait_durable(index);
    EXPECT_TRUE(durable) << durable.error().message();
    if (durable) acknowledged_.emplace_back(disk_.op_count(), index);
  }
  [[nodiscard]] CheckpointRequest checkpoint_request(Index as_of) {
    return dirty_.request(as_of, model_);
  }
  Result<CheckpointStats> try_checkpoint() {
    auto stats = store_->checkpoint(checkpoint_request(store_->last_index()));
    if (stats) {
      dirty_ = {};
      acknowledged_.emplace_back(disk_.op_count(), stats->as_of);
    }
    return stats;
  }
  void checkpoint() {
    const auto stats = try_checkpoint();
    ASSERT_TRUE(stats) << stats.error().message();
  }
  void close() {
    const auto closed = store_->close();
    EXPECT_TRUE(closed) << closed.error().message();
  }

  [[nodiscard]] std::uint64_t created_at() const noexcept { return created_at_; }
  /// Highest index that was acknowledged, or may be on the disk, after this many operations.
  [[nodiscard]] Index acknowledged_by(std::uint64_t op) const { return last_by(acknowledged_, op); }
  [[nodiscard]] Index appended_by(std::uint64_t op) const { return last_by(appended_, op); }

 private:
  using Moments = std::vector<std::pair<std::uint64_t, Index>>;
  static Index last_by(const Moments& moments, std::uint64_t op) {
    Index last = 0;
    for (const auto& [at, index] : moments) {
      if (at <= op) last = std::max(last, index);
    }
    return last;
  }
  void adopt_recovered() {
    model_.cut(store_->last_index());
    std::erase_if(appended_, [&](const auto& m) { return m.second > store_->last_index(); });
    dirty_ = DirtySet::recovered_by(*store_);
  }

  sim::SimEnv env_;
  sim::SimDisk disk_;
  OpenOptions options_;
  std::unique_ptr<Store> store_;
  SpaceModel model_;
  DirtySet dirty_;
  Moments appended_;
  Moments acknowledged_;
  std::uint64_t created_at_ = 0;
};

}  // namespace dolmen::store
