// SPDX-License-Identifier: Apache-2.0
//
// LMDB as the suites use it: one environment in a folder, its unnamed database. Include it only
// where DOLMEN_BENCH_LMDB is 1.
//
// Thread contract: as LMDB says: one write transaction at a time, LMDB serialises them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <lmdb.h>

#include "bench/harness.hpp"

namespace dolmen::bench {

inline void lmdb_check(int result, const char* doing) {
  if (result != MDB_SUCCESS) throw Failure(std::string(doing) + ": " + mdb_strerror(result));
}

inline MDB_val lmdb_bytes(const void* data, std::size_t bytes) {
  return {bytes, const_cast<void*>(data)};
}

class LmdbEnvironment {
 public:
  /// `path` is an existing folder.
  LmdbEnvironment(const std::string& path, unsigned flags, std::uint64_t map_bytes) {
    lmdb_check(mdb_env_create(&environment_), "mdb_env_create");
    lmdb_check(mdb_env_set_mapsize(environment_, map_bytes), "mdb_env_set_mapsize");
    lmdb_check(mdb_env_open(environment_, path.c_str(), flags, 0600), "mdb_env_open");
    MDB_txn* transaction = nullptr;
    const unsigned read_only = flags & MDB_RDONLY;
    lmdb_check(mdb_txn_begin(environment_, nullptr, read_only, &transaction), "mdb_txn_begin");
    lmdb_check(mdb_dbi_open(transaction, nullptr, 0, &database_), "mdb_dbi_open");
    lmdb_check(mdb_txn_commit(transaction), "mdb_txn_commit");
  }
  ~LmdbEnvironment() {
    if (reader_ != nullptr) mdb_txn_abort(reader_);
    mdb_env_close(environment_);
  }
  LmdbEnvironment(const LmdbEnvironment&) = delete;
  LmdbEnvironment& operator=(const LmdbEnvironment&) = delete;

  [[nodiscard]] MDB_env* get() const noexcept { return environment_; }
  [[nodiscard]] MDB_dbi database() const noexcept { return database_; }

  /// A read transaction around `body(transaction)`; renewed, not made anew: LMDB's cheapest way.
  template <class Body>
  decltype(auto) read(Body&& body) {
    if (reader_ == nullptr) {
      lmdb_check(mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &reader_), "mdb_txn_begin");
    } else {
      lmdb_check(mdb_txn_renew(reader_), "mdb_txn_renew");
    }
    struct Reset {
      MDB_txn* transaction;
      ~Reset() { mdb_txn_reset(transaction); }
    } reset{reader_};
    return body(reader_);
  }
  /// A write transaction around `body(transaction)`.
  template <class Body>
  void write(Body&& body) {
    MDB_txn* transaction = nullptr;
    lmdb_check(mdb_txn_begin(environment_, nullptr, 0, &transaction), "mdb_txn_begin");
    body(transaction);
    lmdb_check(mdb_txn_commit(transaction), "mdb_txn_commit");
  }
  void put(MDB_txn* transaction, MDB_val key, MDB_val value) const {
    lmdb_check(mdb_put(transaction, database_, &key, &value, 0), "mdb_put");
  }
  [[nodiscard]] MDB_val get(MDB_txn* transaction, MDB_val key) const {
    MDB_val value{};
    lmdb_check(mdb_get(transaction, database_, &key, &value), "mdb_get");
    return value;
  }

 private:
  MDB_env* environment_ = nullptr;
  MDB_dbi database_ = 0;
  MDB_txn* reader_ = nullptr;
};

}  // namespace dolmen::bench
