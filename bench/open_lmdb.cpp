// SPDX-License-Identifier: Apache-2.0
// The open suite's LMDB peer.
#include "base/random.hpp"
#include "bench/harness.hpp"
#include "bench/machine.hpp"
#include "bench/open_peers.hpp"

#if DOLMEN_BENCH_LMDB
#include <filesystem>

#include "bench/lmdb.hpp"

namespace dolmen::bench {
namespace {

std::uint64_t map_bytes(std::uint64_t records) { return records * 4096 + (64u << 20); }

void put(const LmdbEnvironment& environment, MDB_txn* transaction, std::uint64_t record,
         std::uint64_t version) {
  // Big-endian, so that records lie in their order and pages fill up.
  const std::uint64_t key = __builtin_bswap64(record);
  const OpenValue value = open_value(record, version);
  environment.put(transaction, lmdb_bytes(&key, sizeof(key)),
                  lmdb_bytes(value.data(), value.size()));
}

}  // namespace

void build_lmdb(const std::string& path, std::uint64_t records) {
  std::filesystem::create_directories(path);
  LmdbEnvironment environment(path, MDB_NOSYNC, map_bytes(records));
  for (std::uint64_t begin = 0; begin < records; begin += 10'000) {
    environment.write([&](MDB_txn* transaction) {
      for (std::uint64_t i = begin; i < std::min<std::uint64_t>(begin + 10'000, records); ++i) {
        put(environment, transaction, i, 0);
      }
    });
  }
  lmdb_check(mdb_env_sync(environment.get(), 1), "mdb_env_sync");
}

void touch_lmdb(const std::string& path, std::uint64_t records) {
  LmdbEnvironment environment(path, 0, map_bytes(records));
  base::Random random(11);
  for (int i = 0; i < 10; ++i) {
    environment.write([&](MDB_txn* transaction) {
      for (int n = 0; n < 64; ++n) put(environment, transaction, random.below(records), 1);
    });
  }
  die();
}

OpenOutcome open_and_read_lmdb(const std::string& path, std::uint64_t record,
                               std::uint64_t records) {
  const std::uint64_t key = __builtin_bswap64(record);
  OpenOutcome outcome;
  const double begin = seconds_now();
  LmdbEnvironment environment(path, 0, map_bytes(records));
  OpenValue value;
  environment.read([&](MDB_txn* transaction) {
    std::memcpy(value.data(), environment.get(transaction, lmdb_bytes(&key, sizeof(key))).mv_data,
                value.size());
  });
  outcome.ms = (seconds_now() - begin) * 1e3;
  if (!is_value_of(value.data(), record)) throw Failure("the value read is not the one written");
  return outcome;
}

}  // namespace dolmen::bench
#else
namespace dolmen::bench {
void build_lmdb(const std::string&, std::uint64_t) { throw Failure("built without LMDB"); }
void touch_lmdb(const std::string&, std::uint64_t) { throw Failure("built without LMDB"); }
OpenOutcome open_and_read_lmdb(const std::string&, std::uint64_t, std::uint64_t) {
  throw Failure("built without LMDB");
}
}  // namespace dolmen::bench
#endif
