// SPDX-License-Identifier: Apache-2.0
#include "bench/footprint_peers.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <unordered_map>

#include "bench/harness.hpp"

#if DOLMEN_BENCH_LMDB
#include "bench/lmdb.hpp"
#endif

namespace dolmen::bench {

void load_records_std(std::size_t count) {
  struct Hash {
    std::size_t operator()(const Key& key) const noexcept {
      std::uint64_t word = 0;
      std::memcpy(&word, key.data(), sizeof(word));
      return static_cast<std::size_t>(word);
    }
  };
  const std::vector<std::uint32_t> order = shuffled_records(count, 1);
  const MemoryGrowth growth;
  std::unordered_map<Key, Value, Hash> map;
  for (const std::uint32_t record : order) {
    map.insert_or_assign(key_of(record), value_of(record, 0));
  }
  keep(map.size());
  std::printf("%f\n", growth.bytes());
}

void write_ids(const std::string& file, const std::vector<ObjectId>& ids) {
  std::ofstream out(file);
  for (const ObjectId& id : ids) out << id.to_string() << '\n';
}

std::vector<ObjectId> read_ids(const std::string& file, std::size_t count) {
  std::vector<ObjectId> ids;
  ids.reserve(count);
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const auto id = ObjectId::parse(line);
    if (!id) throw Failure("a bad line in " + file);
    ids.push_back(*id);
  }
  if (ids.size() != count) throw Failure("too few objects in " + file);
  return ids;
}

#if DOLMEN_BENCH_LMDB
void load_records_lmdb(const std::string& path, std::size_t count) {
  std::filesystem::create_directories(path);
  const std::vector<std::uint32_t> order = shuffled_records(count, 1);
  const MemoryGrowth growth;
  LmdbEnvironment environment(path, MDB_NOSYNC, count * 1024 + (64u << 20));
  for (std::size_t begin = 0; begin < count; begin += 1000) {
    environment.write([&](MDB_txn* transaction) {
      for (std::size_t i = begin; i < std::min<std::size_t>(begin + 1000, count); ++i) {
        const Key key = key_of(order[i]);
        const Value value = value_of(order[i], 0);
        environment.put(transaction, lmdb_bytes(key.data(), key.size()),
                        lmdb_bytes(value.data(), value.size()));
      }
    });
  }
  lmdb_check(mdb_env_sync(environment.get(), 1), "mdb_env_sync");
  std::printf("%f %f\n", growth.bytes(), static_cast<double>(disk_bytes(path)));
}

void read_records_lmdb(const std::string& path, std::size_t count) {
  const MemoryGrowth growth;
  LmdbEnvironment environment(path, 0, count * 1024 + (64u << 20));
  std::uint64_t sum = 0;
  environment.read([&](MDB_txn* transaction) {
    for (std::size_t i = 0; i < count; ++i) {
      const Key key = key_of(i);
      sum += digest(environment.get(transaction, lmdb_bytes(key.data(), key.size())).mv_data);
    }
  });
  keep(sum);
  std::printf("%f\n", growth.bytes());
}
#else
void load_records_lmdb(const std::string&, std::size_t) { throw Failure("built without LMDB"); }
void read_records_lmdb(const std::string&, std::size_t) { throw Failure("built without LMDB"); }
#endif

}  // namespace dolmen::bench
