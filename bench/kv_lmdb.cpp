// SPDX-License-Identifier: Apache-2.0
// The kv suite's LMDB peer.
#include "bench/kv.hpp"

#if DOLMEN_BENCH_LMDB
#include "bench/lmdb.hpp"

namespace dolmen::bench {
namespace {

class LmdbStore {
 public:
  LmdbStore(const std::string& path, std::uint64_t data_bytes)
      : folder_(path),
        environment_(folder_.path(), MDB_NOSYNC | MDB_WRITEMAP, data_bytes * 8 + (64u << 20)) {}
  ~LmdbStore() {
    if (cursor_ != nullptr) mdb_cursor_close(cursor_);
  }
  LmdbStore(const LmdbStore&) = delete;
  LmdbStore& operator=(const LmdbStore&) = delete;

  std::uint64_t get(const Key& key) {
    return environment_.read([&](MDB_txn* transaction) { return find(transaction, key); });
  }
  template <class Body>
  void read_together(Body&& body) {
    environment_.read([&](MDB_txn* transaction) {
      body([&](const Key& key) { return find(transaction, key); });
    });
  }
  std::uint64_t scan(const Key& key, std::size_t count) {
    return environment_.read([&](MDB_txn* transaction) {
      if (cursor_ == nullptr) {
        lmdb_check(mdb_cursor_open(transaction, environment_.database(), &cursor_), "cursor");
      } else {
        lmdb_check(mdb_cursor_renew(transaction, cursor_), "cursor");
      }
      MDB_val at = lmdb_bytes(key.data(), key.size());
      MDB_val value{};
      std::uint64_t sum = 0;
      MDB_cursor_op step = MDB_SET_RANGE;
      for (std::size_t i = 0; i < count; ++i, step = MDB_NEXT) {
        lmdb_check(mdb_cursor_get(cursor_, &at, &value, step), "mdb_cursor_get");
        sum += digest(value.mv_data);
      }
      return sum;
    });
  }
  void put(const Key& key, const Value& value) {
    put_together([&](auto&& add) { add(key, value); });
  }
  template <class Body>
  void put_together(Body&& body) {
    environment_.write([&](MDB_txn* transaction) {
      body([&](const Key& key, const Value& value) {
        environment_.put(transaction, lmdb_bytes(key.data(), key.size()),
                         lmdb_bytes(value.data(), value.size()));
      });
    });
  }

 private:
  std::uint64_t find(MDB_txn* transaction, const Key& key) const {
    return digest(environment_.get(transaction, lmdb_bytes(key.data(), key.size())).mv_data);
  }

  Folder folder_;
  LmdbEnvironment environment_;
  MDB_cursor* cursor_ = nullptr;
};

}  // namespace

void add_kv_lmdb(KvWork& work) {
  const std::string told = "NOSYNC, WRITEMAP";
  if (work.wants_filled()) {
    const auto store =
        std::make_shared<LmdbStore>(work.folder().below("kv_lmdb"), work.data_bytes());
    work.fill(*store);
    work.compete_get("lmdb", told + "; renewed read transaction", store);
    work.compete_get_in_one_section("lmdb", told, store);
    work.compete_scan100("lmdb", told + "; renewed cursor", store);
    work.compete_put_deferred("lmdb", told, store);
  }
  work.compete_load(
      "lmdb", told,
      [&work] {
        return std::make_unique<LmdbStore>(work.folder().below("kv_lmdb_load"), work.data_bytes());
      },
      [] {});
}

}  // namespace dolmen::bench
#else
namespace dolmen::bench {
void add_kv_lmdb(KvWork& work) { work.report().missing("lmdb", "liblmdb-dev"); }
}  // namespace dolmen::bench
#endif
