// SPDX-License-Identifier: Apache-2.0
#include "replication/journal.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <ranges>
#include <string>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::replication {

namespace {

/// The objects of a journal: who is there, then two for each replica, by its number.
constexpr std::uint64_t kObjects = 0x6A6F75726E616C00;
constexpr ObjectId kCatalog{kObjects, 1};
ObjectId replica_object(std::uint64_t slot) { return {kObjects, 2 * slot + 2}; }
ObjectId snapshot_object(std::uint64_t slot) { return {kObjects, 2 * slot + 3}; }

constexpr std::size_t kLengthBytes = 8;
constexpr unsigned kClassMin = 9;
constexpr unsigned kClassMax = 30;

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a replica's journal"); }

/// The objects that a checkpoint writes: their bytes, with the length in front.
class Objects final : public store::PageSource {
 public:
  [[nodiscard]] Result<void> add(const ObjectId& object, std::vector<std::byte> bytes) {
    if (bytes.size() > (std::size_t{1} << kClassMax) - kLengthBytes) {
      return fail(Errc::too_large, "entries that a journal keeps", bytes.size());
    }
    objects_[object] = std::move(bytes);
    return {};
  }
  Result<void> read_page_as_of(const store::PageKey& key, store::Index /*as_of*/,
                               base::MutableBytes out) override {
    const std::vector<std::byte>& bytes = objects_.at(key.object);
    std::ranges::fill(out, std::byte{0});
    const std::uint64_t length = bytes.size();
    std::size_t at = std::size_t{key.page} * store::kPageBytes;
    base::MutableBytes rest = out;
    if (at == 0) {
      base::store(out, 0, length);
      rest = out.subspan(kLengthBytes);
    } else {
      at -= kLengthBytes;
    }
    const std::size_t count = std::min(rest.size(), bytes.size() - std::min(at, bytes.size()));
    if (count > 0) std::memcpy(rest.data(), bytes.data() + at, count);
    return {};
  }
  [[nodiscard]] const std::map<ObjectId, std::vector<std::byte>>& all() const { return objects_; }

 private:
  std::map<ObjectId, std::vector<std::byte>> objects_;
};

std::uint8_t class_of(std::size_t bytes) {
  return static_cast<std::uint8_t>(std::max<unsigned>(
      kClassMin, static_cast<unsigned>(std::bit_width(bytes + kLengthBytes - 1))));
}

/// What `body` gives; without memory for it an error.
template <class Body>
auto unless_out_of_memory(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(Errc::out_of_memory, "a replica's journal");
  }
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::open(const sys::Env& env, std::unique_ptr<sys::Disk> disk,
                                               const JournalOptions& options) {
  return unless_out_of_memory([&] { return read(env, std::move(disk), options); });
}

Result<std::unique_ptr<Journal>> Journal::read(const sys::Env& env, std::unique_ptr<sys::Disk> disk,
                                               const JournalOptions& options) {
  std::vector<Batch> tail;
  const store::OpenOptions open_options{
      .read_only = options.read_only,
      .contents = store::Contents::journal,
      .tail = [&](store::Index, base::Bytes record) -> Result<void> {
        DOLMEN_TRY(Batch batch, decode_batch(record));
        tail.push_back(std::move(batch));
        return {};
      }};
  DOLMEN_TRY(const std::vector<std::string> names, disk->list());
  const bool is_new =
      std::ranges::none_of(names, [](const std::string& name) { return name == "space"; });
  const bool creates = is_new && !options.read_only;
  auto store = creates ? store::Store::create(env, std::move(disk),
                                              {.contents = store::Contents::journal,
                                               .segment_bytes = options.segment_bytes,
                                               .tail_bytes_max = options.tail_bytes_max},
                                              open_options)
                       : store::Store::open(env, std::move(disk), open_options);
  if (!store) return std::unexpected(store.error());
  std::unique_ptr<Journal> journal(new Journal(std::move(*store)));
  DOLMEN_CHECK(journal->recover(tail));
  return journal;
}

Result<void> Journal::recover(const std::vector<Batch>& tail) {
  DOLMEN_CHECK(read_checkpoint());
  for (const Batch& batch : tail) {
    if (batch.is_removed) {
      if (recovered_.erase(batch.group) == 0) return damaged();
      continue;
    }
    if (batch.self != log::ReplicaId{}) {
      const Hosted hosted{.self = batch.self, .first = batch.first};
      if (!recovered_.emplace(batch.group, hosted).second) return damaged();
      continue;
    }
    const auto found = recovered_.find(batch.group);
    if (found == recovered_.end()) return damaged();
    for (const log::Record& record : batch.records) {
      DOLMEN_CHECK(apply(found->second.state, record));
    }
  }
  for (const auto& [group, hosted] : recovered_) groups_.insert(group);
  return {};
}

Result<void> Journal::read_checkpoint() {
  DOLMEN_CHECK(store_->for_each_object([&](const store::ObjectInfo& info) {
    classes_[info.object] = info.capacity_log2;
    return true;
  }));
  if (classes_.empty()) return {};
  DOLMEN_TRY(const std::vector<std::byte> bytes, read_object(kCatalog));
  DOLMEN_TRY(const std::vector<GroupId> groups, decode_catalog(bytes));
  for (std::uint32_t slot = 0; slot < groups.size(); ++slot) {
    if (groups[slot].is_null()) continue;
    log::SnapshotPtr snapshot;
    if (classes_.contains(snapshot_object(slot))) {
      DOLMEN_TRY(std::vector<std::byte> kept, read_object(snapshot_object(slot)));
      DOLMEN_TRY(snapshot, log::Snapshot::decode(std::move(kept)));
    }
    DOLMEN_TRY(const std::vector<std::byte> rest, read_object(replica_object(slot)));
    Slot known{.number = slot, .snapshot_end = snapshot ? snapshot->last().index : 0};
    DOLMEN_TRY(Hosted hosted, decode_hosted(rest, std::move(snapshot)));
    known.self = hosted.self;
    if (!slots_.emplace(groups[slot], known).second) return damaged();
    recovered_.emplace(groups[slot], std::move(hosted));
  }
  return {};
}

Result<std::vector<std::byte>> Journal::read_object(const ObjectId& object) {
  const auto found = classes_.find(object);
  if (found == classes_.end()) return damaged();
  const std::size_t page_bytes = store::page_bytes(found->second);
  const std::uint64_t capacity = std::uint64_t{1} << found->second;
  std::vector<std::byte> page(page_bytes);
  DOLMEN_CHECK(store_->read_page({object, 0}, page));
  const auto length = base::load<std::uint64_t>(page);
  if (length > capacity - kLengthBytes) return damaged();
  std::vector<std::byte> bytes;
  bytes.reserve(length);
  bytes.assign(page.begin() + kLengthBytes, page.end());
  bytes.resize(std::min<std::size_t>(length, bytes.size()));
  for (std::uint32_t number = 1; bytes.size() < length; ++number) {
    DOLMEN_CHECK(store_->read_page({object, number}, page));
    const std::size_t count = std::min<std::size_t>(page.size(), length - bytes.size());
    bytes.insert(bytes.end(), page.begin(), page.begin() + static_cast<std::ptrdiff_t>(count));
  }
  return bytes;
}

Result<void> Journal::add(const GroupId& group, log::ReplicaId self,
                          const log::Configuration& first) {
  DOLMEN_ASSERT(!group.is_null() && self != log::ReplicaId{});
  if (groups_.contains(group)) return fail(Errc::already_exists, "a replica of the group");
  // What is appended is known from then on, also if its sync fails or memory is short.
  const auto known = unless_out_of_memory(
      [&]() -> Result<std::set<GroupId>::iterator> { return groups_.insert(group).first; });
  if (!known) return std::unexpected(known.error());
  const auto appended =
      unless_out_of_memory([&] { return append_bytes(encode_new_replica(group, self, first)); });
  if (!appended) {
    groups_.erase(*known);
    return appended;
  }
  DOLMEN_CHECK(sync());
  return unless_out_of_memory([&]() -> Result<void> {
    recovered_.emplace(group, Hosted{.self = self, .first = first});
    return {};
  });
}

Result<void> Journal::remove(const GroupId& group) {
  DOLMEN_ASSERT(groups_.contains(group));
  DOLMEN_CHECK(unless_out_of_memory([&] { return append_bytes(encode_removed_replica(group)); }));
  groups_.erase(group);
  recovered_.erase(group);
  return sync();
}

Result<void> Journal::append(const GroupId& group, const std::vector<log::Record>& records) {
  DOLMEN_ASSERT(groups_.contains(group));
  if (records.empty()) return {};
  return unless_out_of_memory([&] { return append_bytes(encode_records(group, records)); });
}

Result<void> Journal::append_bytes(const std::vector<std::byte>& batch) {
  DOLMEN_CHECK(store_->append(batch));
  return {};
}

Result<void> Journal::sync() {
  if (DOLMEN_PLANTED("journal.no_sync")) return {};
  return store_->wait_durable(store_->last_index());
}

Journal::Checkpoint Journal::start_checkpoint(std::map<GroupId, Hosted> replicas) const {
  DOLMEN_ASSERT(std::ranges::equal(replicas | std::views::keys, groups_));
  return {store_->last_index(), std::move(replicas)};
}

Result<void> Journal::write_checkpoint(const Checkpoint& checkpoint) {
  return unless_out_of_memory([&] { return write(checkpoint); });
}

Result<void> Journal::write(const Checkpoint& checkpoint) {
  DOLMEN_PROBE("journal.checkpoint");
  Objects objects;
  store::CheckpointRequest request;
  std::map<ObjectId, std::uint8_t> classes = classes_;
  std::map<GroupId, Slot> slots;
  std::set<std::uint32_t>
      taken;  // also what is erased now: not in one checkpoint with what follows
  for (const auto& [group, slot] : slots_) {
    taken.insert(slot.number);
    const auto kept = checkpoint.replicas.find(group);
    if (kept != checkpoint.replicas.end() && kept->second.self == slot.self) {
      slots.emplace(group, slot);
      continue;
    }
    for (const ObjectId& object : {replica_object(slot.number), snapshot_object(slot.number)}) {
      if (classes.erase(object) > 0) request.erased.push_back(object);
    }
  }
  for (const auto& [group, hosted] : checkpoint.replicas) {
    std::uint32_t next = 0;
    while (taken.contains(next)) ++next;
    const auto [place, is_new] =
        slots.try_emplace(group, Slot{.number = next, .self = hosted.self});
    Slot& slot = place->second;
    if (is_new) taken.insert(next);
    const log::SnapshotPtr& snapshot = hosted.state.snapshot;
    if (snapshot && snapshot->last().index != slot.snapshot_end) {
      slot.snapshot_end = snapshot->last().index;
      const base::Bytes bytes = snapshot->bytes();
      DOLMEN_CHECK(objects.add(snapshot_object(slot.number), {bytes.begin(), bytes.end()}));
    }
    DOLMEN_CHECK(objects.add(replica_object(slot.number), encode_hosted(hosted)));
  }
  std::vector<GroupId> groups;
  for (const auto& [group, slot] : slots) {
    if (groups.size() <= slot.number) groups.resize(slot.number + std::size_t{1});
    groups[slot.number] = group;
  }
  DOLMEN_CHECK(objects.add(kCatalog, encode_catalog(groups)));

  request.as_of = checkpoint.as_of;
  request.source = &objects;
  for (const auto& [object, bytes] : objects.all()) {
    const std::uint8_t object_class = class_of(bytes.size());
    if (const auto old = classes.find(object);
        old == classes.end() || old->second != object_class) {
      request.capacity_log2.emplace_back(object, object_class);
      classes[object] = object_class;
    }
    const std::size_t pages = (bytes.size() + kLengthBytes - 1) / store::kPageBytes + 1;
    for (std::uint32_t page = 0; page < pages; ++page) request.pages.push_back({object, page});
  }
  DOLMEN_CHECK(store_->checkpoint(request));
  slots_ = std::move(slots);
  classes_ = std::move(classes);
  return {};
}

}  // namespace dolmen::replication
