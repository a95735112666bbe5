// SPDX-License-Identifier: Apache-2.0
#include "txn/object_map.hpp"

#include <utility>

#include <dolmen/assert.hpp>

namespace dolmen::txn {

namespace {

std::size_t hash_of(const ObjectId& id) noexcept {
  std::uint64_t h = id.high ^ (id.low * 0x9E3779B97F4A7C15ull);
  h ^= h >> 32;
  return static_cast<std::size_t>(h);
}

}  // namespace

HomeObject* ObjectMap::tombstone() noexcept {
  return reinterpret_cast<HomeObject*>(std::uintptr_t{1});
}

ObjectMap::~ObjectMap() {
  for (HomeObject* object : table_) {
    if (object != nullptr && object != tombstone()) object->~HomeObject();
  }
}

HomeObject* ObjectMap::find(const ObjectId& id) const {
  const base::SharedLock guard(mutex_);
  if (table_.empty()) return nullptr;
  const std::size_t mask = table_.size() - 1;
  for (std::size_t at = hash_of(id) & mask; table_[at] != nullptr; at = (at + 1) & mask) {
    if (table_[at] != tombstone() && table_[at]->id() == id) return table_[at];
  }
  return nullptr;
}

HomeObject* ObjectMap::make(std::byte* base) {
  const base::Lock guard(mutex_);
  if (free_.empty()) {
    free_.reserve((slabs_.size() + 1) * kSlabObjects);  // destroy() needs no memory
    slabs_.push_back(std::make_unique<Cell[]>(kSlabObjects));
    for (std::size_t i = kSlabObjects; i-- > 0;) free_.push_back(&slabs_.back()[i]);
  }
  auto* object = ::new (free_.back()) HomeObject(base);
  free_.pop_back();
  return object;
}

void ObjectMap::make_room() {
  const base::Lock guard(mutex_);
  if ((used_ + 1) * 4 > table_.size() * 3) grow();
}

void ObjectMap::link(HomeObject& object) {
  const base::Lock guard(mutex_);
  if ((used_ + 1) * 4 > table_.size() * 3) grow();
  place(&object);
  ++size_;
}

void ObjectMap::place(HomeObject* object) {
  const std::size_t mask = table_.size() - 1;
  std::size_t at = hash_of(object->id()) & mask;
  while (table_[at] != nullptr && table_[at] != tombstone()) at = (at + 1) & mask;
  if (table_[at] == nullptr) ++used_;
  table_[at] = object;
}

void ObjectMap::unlink(HomeObject& object) {
  const base::Lock guard(mutex_);
  const std::size_t mask = table_.size() - 1;
  std::size_t at = hash_of(object.id()) & mask;
  while (table_[at] != &object) {
    DOLMEN_ASSERT(table_[at] != nullptr);
    at = (at + 1) & mask;
  }
  table_[at] = tombstone();
  --size_;
}

void ObjectMap::destroy(HomeObject& object) {
  const base::Lock guard(mutex_);
  object.~HomeObject();
  free_.push_back(reinterpret_cast<Cell*>(&object));
}

void ObjectMap::grow() {
  std::vector<HomeObject*> old(
      std::max<std::size_t>(64, size_ * 2 + 2 > table_.size() ? table_.size() * 2 : table_.size()));
  old.swap(table_);
  used_ = 0;
  for (HomeObject* object : old) {
    if (object != nullptr && object != tombstone()) place(object);
  }
}

std::vector<HomeObject*> ObjectMap::take_all() noexcept {
  const base::Lock guard(mutex_);
  used_ = 0;
  size_ = 0;
  std::erase_if(table_, [](const HomeObject* o) { return o == nullptr || o == tombstone(); });
  return std::exchange(table_, {});
}

std::size_t ObjectMap::size() const {
  const base::SharedLock guard(mutex_);
  return size_;
}

}  // namespace dolmen::txn
