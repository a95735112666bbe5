// SPDX-License-Identifier: Apache-2.0
// The commits suite's SQLite peer.
#include "bench/commits.hpp"

#if DOLMEN_BENCH_SQLITE
#include "bench/sqlite.hpp"

namespace dolmen::bench {
namespace {

class SqliteCommits {
 public:
  SqliteCommits(const std::string& path, const std::string& synchronous, std::uint32_t bulk_blocks)
      : folder_(path), synchronous_(synchronous) {
    const auto connection = connect();
    connection->run("CREATE TABLE records (k INTEGER PRIMARY KEY, v BLOB)");
    connection->run("CREATE TABLE bulk (k INTEGER PRIMARY KEY, v BLOB)");
    connection->run("BEGIN");
    SqliteStatement insert(*connection, "INSERT INTO records VALUES (?1, ?2)");
    for (std::uint32_t record = 0; record < kCommitRecords; ++record) {
      const Value value = value_of(record, 0);
      insert.bind(1, std::int64_t{record});
      insert.bind(2, value.data(), value.size());
      insert.step();
      insert.reset();
    }
    connection->run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " +
                    std::to_string(bulk_blocks) +
                    ") INSERT INTO bulk SELECT i, zeroblob(4000) FROM n");
    connection->run("COMMIT");
    connection->run("PRAGMA wal_checkpoint(TRUNCATE)");
  }

  class Session {
   public:
    explicit Session(SqliteCommits& store)
        : connection_(store.connect()),
          update_(std::make_unique<SqliteStatement>(*connection_,
                                                    "UPDATE records SET v = ?2 WHERE k = ?1")) {}
    void put(std::uint32_t record, const Value& value) {
      update_->bind(1, std::int64_t{record});
      update_->bind(2, value.data(), value.size());
      update_->step();
      update_->reset();
    }

   private:
    std::unique_ptr<SqliteConnection> connection_;
    std::unique_ptr<SqliteStatement> update_;
  };
  [[nodiscard]] Session session() { return Session(*this); }

  template <class Begun>
  void disturb(Begun&& begun) {
    const auto connection = connect();
    connection->run("PRAGMA wal_autocheckpoint = 0");
    connection->run("UPDATE bulk SET v = randomblob(4000)");
    begun();
    connection->run("PRAGMA wal_checkpoint(PASSIVE)");
  }

 private:
  [[nodiscard]] std::unique_ptr<SqliteConnection> connect() const {
    auto connection = std::make_unique<SqliteConnection>(folder_.below("records.db"));
    connection->run("PRAGMA journal_mode = WAL");
    connection->run("PRAGMA synchronous = " + synchronous_);
    return connection;
  }

  Folder folder_;
  std::string synchronous_;
};

}  // namespace

void add_commits_sqlite(CommitsWork& work) {
  if (work.wants_deferred()) {
    work.compete_deferred(
        "sqlite", "WAL, synchronous=OFF, prepared",
        std::make_shared<SqliteCommits>(work.folder().below("commits_sqlite_off"), "OFF", 1),
        20'000);
  }
  if (work.wants_durable()) {
    const std::string told = "WAL, synchronous=FULL, prepared";
    const auto store =
        std::make_shared<SqliteCommits>(work.folder().below("commits_sqlite"), "FULL",
                                        work.wants_disturbed() ? work.bulk_blocks() : 1);
    work.compete_durable("sqlite", told + ", a connection per thread", store);
    if (!work.wants_disturbed()) return;
    work.compete_disturbed(
        "sqlite",
        told + "; while a second connection checkpoints (PASSIVE) " +
            std::to_string(work.bulk_blocks() / 256) + " MiB",
        [store, &work] { return work.timed_disturbed(*store, work.report().quick() ? 20 : 200); });
  }
}

}  // namespace dolmen::bench
#else
namespace dolmen::bench {
void add_commits_sqlite(CommitsWork& work) { work.report().missing("sqlite", "libsqlite3-dev"); }
}  // namespace dolmen::bench
#endif
