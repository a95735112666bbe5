// SPDX-License-Identifier: Apache-2.0
//
// id → running image, by open addressing over pointers: about 12 bytes per object, since a space
// may hold millions of small ones. Images come from slabs and keep their address.
//
// Threads: find() from any thread, under the map's own shared lock; insert() and erase() from one
// at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <dolmen/id.hpp>

#include "base/mutex.hpp"
#include "txn/home_object.hpp"

namespace dolmen::txn {

class ObjectMap {
 public:
  ObjectMap() = default;
  ~ObjectMap();
  ObjectMap(const ObjectMap&) = delete;
  ObjectMap& operator=(const ObjectMap&) = delete;

  [[nodiscard]] HomeObject* find(const ObjectId& id) const;
  /// Makes an image that nobody finds yet.
  [[nodiscard]] HomeObject* make(std::byte* base);
  /// The next link() needs no memory.
  void make_room();
  /// Requires: the image's mapping has its id, which is not in the map.
  void link(HomeObject& object);
  /// Takes the image out, so that nobody finds it any more. Requires: its mapping's id is still
  /// set.
  void unlink(HomeObject& object);
  /// Destroys an unlinked image. Requires: nobody holds a pointer to it.
  void destroy(HomeObject& object);
  /// Takes all images out.
  [[nodiscard]] std::vector<HomeObject*> take_all() noexcept;
  [[nodiscard]] std::size_t size() const;
  template <class Visit>
  void for_each(Visit visit) const {
    const base::SharedLock guard(mutex_);
    for (HomeObject* object : table_) {
      if (object != nullptr && object != tombstone()) visit(*object);
    }
  }

 private:
  static constexpr std::size_t kSlabObjects = 256;
  struct alignas(HomeObject) Cell {
    std::byte bytes[sizeof(HomeObject)];
  };
  static HomeObject* tombstone() noexcept;
  void place(HomeObject* object) DOLMEN_REQUIRES(mutex_);
  void grow() DOLMEN_REQUIRES(mutex_);

  mutable base::SharedMutex mutex_;
  std::vector<HomeObject*> table_ DOLMEN_GUARDED_BY(mutex_);
  std::size_t used_ DOLMEN_GUARDED_BY(mutex_) =
      0;  ///< cells that are not null, tombstones included
  std::size_t size_ DOLMEN_GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<Cell[]>> slabs_ DOLMEN_GUARDED_BY(mutex_);
  std::vector<Cell*> free_ DOLMEN_GUARDED_BY(mutex_);
};

}  // namespace dolmen::txn
