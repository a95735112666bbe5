// SPDX-License-Identifier: Apache-2.0
//
// SQLite as the suites use it: a connection and prepared statements. Include it only where
// DOLMEN_BENCH_SQLITE is 1.
//
// Thread contract: a connection belongs to one thread.
#pragma once

#include <cstdint>
#include <string>

#include <sqlite3.h>

#include "bench/harness.hpp"

namespace dolmen::bench {

class SqliteConnection {
 public:
  explicit SqliteConnection(const std::string& file) {
    if (sqlite3_open(file.c_str(), &connection_) != SQLITE_OK)
      throw Failure("sqlite3_open: " + file);
    sqlite3_busy_timeout(connection_, 60'000);
  }
  ~SqliteConnection() { sqlite3_close_v2(connection_); }
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  [[nodiscard]] sqlite3* get() const noexcept { return connection_; }
  void run(const std::string& sql) const {
    if (sqlite3_exec(connection_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
      throw Failure(sql + ": " + sqlite3_errmsg(connection_));
    }
  }

 private:
  sqlite3* connection_ = nullptr;
};

class SqliteStatement {
 public:
  SqliteStatement(const SqliteConnection& connection, const std::string& sql)
      : connection_(connection.get()) {
    if (sqlite3_prepare_v3(connection_, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement_,
                           nullptr) != SQLITE_OK) {
      throw Failure(sql + ": " + sqlite3_errmsg(connection_));
    }
  }
  ~SqliteStatement() { sqlite3_finalize(statement_); }
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

  /// The bytes must live until reset().
  void bind(int position, const void* data, std::size_t bytes) {
    sqlite3_bind_blob(statement_, position, data, static_cast<int>(bytes), nullptr);
  }
  void bind(int position, std::int64_t number) { sqlite3_bind_int64(statement_, position, number); }
  /// True while there is a row.
  bool step() {
    const int result = sqlite3_step(statement_);
    if (result != SQLITE_ROW && result != SQLITE_DONE) {
      const std::string why = sqlite3_errmsg(connection_);
      sqlite3_reset(statement_);
      throw Failure("sqlite3_step: " + why);
    }
    return result == SQLITE_ROW;
  }
  [[nodiscard]] const void* blob(int column) { return sqlite3_column_blob(statement_, column); }
  void reset() { sqlite3_reset(statement_); }

 private:
  sqlite3* connection_;
  sqlite3_stmt* statement_ = nullptr;
};

}  // namespace dolmen::bench
