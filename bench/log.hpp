// SPDX-License-Identifier: Apache-2.0
//
// The log suite's work: entries of 64 bytes into a log that three processes keep. A system is a
// LogSystem; one client waits for each entry before it sends the next, 64 clients do so at once.
//
// Thread contract: one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness.hpp"
#include "bench/machine.hpp"

namespace dolmen::bench {

inline constexpr std::size_t kLogEntryBytes = 64;
inline constexpr std::size_t kLogClients = 64;

/// Throws Failure from every call.
class LogSystem {
 public:
  virtual ~LogSystem() = default;
  /// µs from sending to being told, per entry, of one client.
  [[nodiscard]] virtual std::vector<double> times_us(std::size_t entries) = 0;
  /// Entries that kLogClients clients were told of, per second of about so many.
  [[nodiscard]] virtual double rate(double seconds) = 0;
};

class LogWork {
 public:
  LogWork(Report& report, const Folder& folder) : report_(&report), folder_(&folder) {}

  [[nodiscard]] Report& report() const noexcept { return *report_; }
  [[nodiscard]] const Folder& folder() const noexcept { return *folder_; }
  [[nodiscard]] bool wants_one() const {
    return report_->wants({"durable_tcp_1c", "durable_tcp_1c_p99"});
  }
  [[nodiscard]] bool wants_many() const { return report_->wants({"durable_tcp_64c"}); }

  void compete_one(const std::string& system, const std::string& told,
                   std::shared_ptr<LogSystem> log);
  void compete_many(const std::string& system, const std::string& told,
                    std::shared_ptr<LogSystem> log);
  void compete(const std::string& system, const std::string& told,
               const std::shared_ptr<LogSystem>& log) {
    compete_one(system, told, log);
    compete_many(system, told, log);
  }
  void race();

 private:
  Report* report_;
  const Folder* folder_;
  std::vector<Contestant> one_;
  std::vector<Contestant> many_;
};

/// Each starts its system, waits until it is ready, and adds it to the cases; or says why it
/// cannot.
void add_log_floors(LogWork& work);
void add_log_dolmen(LogWork& work);
void add_log_two_sided(LogWork& work);
void add_log_libraft(LogWork& work);
void add_log_etcd(LogWork& work);
void add_log_redis(LogWork& work);
/// Three members that keep a space: an entry is a transaction in it.
[[nodiscard]] std::shared_ptr<LogSystem> start_replicated_space(const LogWork& work);
/// … of which the clients read: with queries, or with transactions that change nothing.
[[nodiscard]] std::shared_ptr<LogSystem> start_replicated_readers(const LogWork& work,
                                                                  bool with_queries);
/// Null, and said so: etcd is not installed. With `reads` its clients get what they had put.
[[nodiscard]] std::shared_ptr<LogSystem> start_etcd(const LogWork& work, bool reads = false);
/// Nothing on disk. Null, and said so: Redis is not installed.
[[nodiscard]] std::shared_ptr<LogSystem> start_redis_in_memory(const LogWork& work);
/// The cases in memory alone: a race each.
void memory_cases(LogWork& work);

/// `bench --child log-dolmen …`: one of its followers.
void dolmen_log_child(const std::vector<std::string>& arguments);
/// `bench --child log-memory …`: a follower of a memory-only group.
void memory_log_child(const std::vector<std::string>& arguments);
/// `bench --child log-libraft …`: one of its three processes.
void libraft_child(const std::vector<std::string>& arguments);

}  // namespace dolmen::bench
