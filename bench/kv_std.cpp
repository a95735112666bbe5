// SPDX-License-Identifier: Apache-2.0
// The kv suite's standard containers: what a program without a store would use, with and without a
// lock.
#include <map>
#include <mutex>
#include <unordered_map>

#include "bench/kv.hpp"

namespace dolmen::bench {
namespace {

struct KeyHash {
  std::size_t operator()(const Key& key) const noexcept {
    const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(key);
    return static_cast<std::size_t>(words[0] ^ words[1] * 0x9E3779B97F4A7C15ull);
  }
};

struct NoLock {
  void lock() {}
  void unlock() {}
};

/// A map behind a lock; the lock is an argument of each call, so that one filled map serves both
/// modes.
template <class Map>
class StdStore {
 public:
  template <class Lock>
  std::uint64_t get(Lock& lock, const Key& key) {
    const std::lock_guard held(lock);
    return find(key);
  }
  template <class Lock>
  std::uint64_t scan(Lock& lock, const Key& key, std::size_t count) {
    const std::lock_guard held(lock);
    std::uint64_t sum = 0;
    auto it = map_.lower_bound(key);
    for (std::size_t i = 0; i < count; ++i, ++it) sum += digest(it->second.data());
    return sum;
  }
  template <class Lock>
  void put(Lock& lock, const Key& key, const Value& value) {
    const std::lock_guard held(lock);
    map_.insert_or_assign(key, value);
  }
  [[nodiscard]] std::uint64_t find(const Key& key) const {
    return digest(map_.find(key)->second.data());
  }

 private:
  Map map_;
};

template <class Map, class Lock>
class LockedStore {
 public:
  explicit LockedStore(std::shared_ptr<StdStore<Map>> store = std::make_shared<StdStore<Map>>())
      : store_(std::move(store)) {}
  std::uint64_t get(const Key& key) { return store_->get(lock_, key); }
  std::uint64_t scan(const Key& key, std::size_t count) { return store_->scan(lock_, key, count); }
  void put(const Key& key, const Value& value) { store_->put(lock_, key, value); }
  template <class Body>
  void read_together(Body&& body) {
    const std::lock_guard held(lock_);
    body([&](const Key& key) { return store_->find(key); });
  }
  template <class Body>
  void put_together(Body&& body) {
    const std::lock_guard held(lock_);
    NoLock none;
    body([&](const Key& key, const Value& value) { store_->put(none, key, value); });
  }

 private:
  std::shared_ptr<StdStore<Map>> store_;
  Lock lock_;
};

template <class Map, class Lock>
void add_locked(KvWork& work, const std::string& system, const std::string& told,
                std::shared_ptr<StdStore<Map>> filled) {
  if (work.wants_filled()) {
    const auto store = std::make_shared<LockedStore<Map, Lock>>(std::move(filled));
    work.compete_get(system, told, store);
    work.compete_get_in_one_section(system, told, store);
    if constexpr (requires(Map& m, Key k) { m.lower_bound(k); }) {
      work.compete_scan100(system, told, store);
    }
    work.compete_put_deferred(system, told, store);
  }
  work.compete_load(system, told, [] { return std::make_unique<LockedStore<Map, Lock>>(); }, [] {});
}

template <class Map>
void add_map(KvWork& work, const std::string& system) {
  const auto filled = std::make_shared<StdStore<Map>>();
  if (work.wants_filled()) {
    LockedStore<Map, NoLock> store(filled);
    work.fill(store);
  }
  add_locked<Map, std::mutex>(work, system, "with mutex; in memory only", filled);
  add_locked<Map, NoLock>(work, system, "without mutex; in memory only", filled);
}

}  // namespace

void add_kv_std(KvWork& work) {
  add_map<std::unordered_map<Key, Value, KeyHash>>(work, "std_unordered_map");
  add_map<std::map<Key, Value>>(work, "std_map");
}

}  // namespace dolmen::bench
