// SPDX-License-Identifier: Apache-2.0
// The kv suite's SQLite peer.
#include "bench/kv.hpp"

#if DOLMEN_BENCH_SQLITE
#include "bench/sqlite.hpp"

namespace dolmen::bench {
namespace {

class SqliteStore {
 public:
  explicit SqliteStore(const std::string& path)
      : folder_(path),
        connection_(folder_.below("records.db")),
        made_(make(connection_)),
        find_(connection_, "SELECT v FROM records WHERE k = ?1"),
        scan_(connection_, "SELECT v FROM records WHERE k >= ?1 ORDER BY k LIMIT ?2"),
        put_(connection_,
             "INSERT INTO records VALUES (?1, ?2) "
             "ON CONFLICT (k) DO UPDATE SET v = excluded.v"),
        begin_(connection_, "BEGIN IMMEDIATE"),
        begin_reading_(connection_, "BEGIN"),
        commit_(connection_, "COMMIT") {}

  std::uint64_t get(const Key& key) {
    find_.bind(1, key.data(), key.size());
    if (!find_.step()) throw Failure("a record is missing");
    const std::uint64_t result = digest(find_.blob(0));
    find_.reset();
    return result;
  }
  template <class Body>
  void read_together(Body&& body) {
    together(begin_reading_, [&] { body([&](const Key& key) { return get(key); }); });
  }
  std::uint64_t scan(const Key& key, std::size_t count) {
    scan_.bind(1, key.data(), key.size());
    scan_.bind(2, static_cast<std::int64_t>(count));
    std::uint64_t sum = 0;
    while (scan_.step()) sum += digest(scan_.blob(0));
    scan_.reset();
    return sum;
  }
  void put(const Key& key, const Value& value) {
    put_.bind(1, key.data(), key.size());
    put_.bind(2, value.data(), value.size());
    put_.step();
    put_.reset();
  }
  template <class Body>
  void put_together(Body&& body) {
    together(begin_, [&] { body([&](const Key& key, const Value& value) { put(key, value); }); });
  }

 private:
  static bool make(const SqliteConnection& connection) {
    connection.run("PRAGMA journal_mode = WAL");
    connection.run("PRAGMA synchronous = OFF");
    connection.run("PRAGMA cache_size = -524288");
    connection.run("CREATE TABLE records (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID");
    return true;
  }
  template <class Body>
  void together(SqliteStatement& begin, Body&& body) {
    begin.step();
    begin.reset();
    body();
    commit_.step();
    commit_.reset();
  }

  Folder folder_;
  SqliteConnection connection_;
  bool made_;
  SqliteStatement find_;
  SqliteStatement scan_;
  SqliteStatement put_;
  SqliteStatement begin_;
  SqliteStatement begin_reading_;
  SqliteStatement commit_;
};

}  // namespace

void add_kv_sqlite(KvWork& work) {
  const std::string told = "WAL, synchronous=OFF, prepared, 512 MiB cache, WITHOUT ROWID";
  if (work.wants_filled()) {
    const auto store = std::make_shared<SqliteStore>(work.folder().below("kv_sqlite"));
    work.fill(*store);
    work.compete_get("sqlite", told, store);
    work.compete_get_in_one_section("sqlite", told, store);
    work.compete_scan100("sqlite", told, store);
    work.compete_put_deferred("sqlite", told, store);
  }
  work.compete_load(
      "sqlite", told,
      [&work] { return std::make_unique<SqliteStore>(work.folder().below("kv_sqlite_load")); },
      [] {});
}

}  // namespace dolmen::bench
#else
namespace dolmen::bench {
void add_kv_sqlite(KvWork& work) { work.report().missing("sqlite", "libsqlite3-dev"); }
}  // namespace dolmen::bench
#endif
