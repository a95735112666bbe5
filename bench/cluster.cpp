// SPDX-License-Identifier: Apache-2.0
// The cluster suite: what it costs to keep a space on three members instead of one.
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dolmen/hash_map.hpp>
#include <dolmen/space.hpp>

#include "bench/index.hpp"
#include "bench/log.hpp"
#include "bench/suites.hpp"

namespace dolmen::bench {
namespace {

struct Cell {
  std::array<std::uint64_t, kLogEntryBytes / 8> words{};
};
struct Table {
  hash_map<std::uint64_t, Cell> cells;
};

/// The same transaction in a space of one process, whose threads are the clients.
class OneSpace final : public LogSystem {
 public:
  explicit OneSpace(const std::string& directory)
      : space_(Space::open(directory).value()), table_(space_.create<Table>("table").value()) {}

  std::vector<double> times_us(std::size_t entries) override {
    std::vector<double> times;
    for (std::size_t i = 0; i < entries; ++i) {
      const auto start = std::chrono::steady_clock::now();
      put(0);
      times.push_back(
          std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
              .count());
    }
    return times;
  }
  double rate(double seconds) override {
    const auto start = std::chrono::steady_clock::now();
    const auto end = start + std::chrono::duration<double>(seconds);
    std::atomic<std::size_t> told{0};
    {
      std::vector<std::jthread> clients;
      for (std::size_t client = 0; client < kLogClients; ++client) {
        clients.emplace_back([&, client] {
          while (std::chrono::steady_clock::now() < end) {
            put(client);
            ++told;
          }
        });
      }
    }
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    return static_cast<double>(told) / taken.count();
  }

 private:
  void put(std::size_t client) {
    Cell cell;
    cell.words[0] = ++count_;
    const auto done = space_.transact(
        table_, [&](mut<Table> table) { table->cells.insert_or_assign(client, cell); });
    if (!done) throw Failure("a transaction: " + done.error().message());
  }

  Space space_;
  Object<Table> table_;
  std::atomic<std::uint64_t> count_{0};
};

/// What it costs, or brings, that the same members keep four groups instead of one.
void groups_case(Report& report, const Folder& folder) {
  if (!report.wants({"groups_4_over_1"})) return;
  const double seconds = report.quick() ? 0.1 : 1.0;
  const IndexMix mix{.clients = kLogClients};
  std::vector<Contestant> all;
  for (const auto& [system, shards] : {std::pair("dolmen", 4), std::pair("dolmen_one", 1)}) {
    report.attempt(system, [&] {
      const std::shared_ptr<IndexSystem> index = start_index(
          folder, IndexGroupKind::tcp_durable, {.shards = static_cast<std::size_t>(shards)});
      all.push_back({system,
                     report.scaled("0.1 s") + report.scheduling() +
                         "puts into an index; its shards are " + std::to_string(shards) +
                         " groups of three members with journals over tcp (encrypted); 64 clients "
                         "of one thread",
                     [seconds, mix, index]() -> Values {
                       const RealTime real_time;
                       return {index->rate(mix, seconds)};
                     }});
    });
  }
  report.race("groups_4_over_1", "1/s", std::move(all));
}

/// A race of one client's times, and one of many clients' rates.
class LogRaces {
 public:
  explicit LogRaces(Report& report) : report_(report) {}

  void add(const std::string& system, const std::string& told,
           const std::shared_ptr<LogSystem>& log) {
    const std::size_t entries = report_.quick() ? 50 : 500;
    const double seconds = report_.quick() ? 0.1 : 1.0;
    one_.push_back({system, report_.scaled("50 transactions") + report_.scheduling() + told,
                    [entries, log]() -> Values {
                      const RealTime real_time;
                      return {median_of(log->times_us(entries))};
                    }});
    many_.push_back(
        {system, report_.scaled("0.1 s") + report_.scheduling() + told, [seconds, log]() -> Values {
           const RealTime real_time;
           return {log->rate(seconds)};
         }});
  }
  void run(const std::string& name) {
    report_.race(name + "_1c", "us", std::move(one_));
    report_.race(name, "1/s", std::move(many_));
  }

 private:
  Report& report_;
  std::vector<Contestant> one_;
  std::vector<Contestant> many_;
};

/// What it costs that three members keep a space instead of one.
void replicas_case(Report& report, const Folder& folder, const LogWork& work) {
  if (!report.wants({"replicas_3_over_1", "replicas_3_over_1_1c"})) return;
  LogRaces races(report);
  report.attempt("dolmen", [&] {
    races.add(
        "dolmen",
        "a space on three members over tcp (encrypted); clients in the leader's process, each "
        "transaction on the disks of two",
        start_replicated_space(work));
  });
  report.attempt("dolmen_one", [&] {
    races.add("dolmen_one",
              "a space of one process, a thread per client, each transaction on its disk",
              std::make_shared<OneSpace>(folder.path() + "/one"));
  });
  report.attempt("etcd", [&] {
    if (auto etcd = start_etcd(work)) {
      races.add(
          "etcd",
          "three members, defaults; POST /v3/kv/put (JSON), a key and a connection per client",
          etcd);
    }
  });
  races.run("replicas_3_over_1");
}

void reads_case(Report& report, const LogWork& work) {
  if (!report.wants({"reads_3", "reads_3_1c"})) return;
  LogRaces races(report);
  report.attempt("dolmen", [&] {
    races.add("dolmen",
              "linearizable queries of a space on three members over tcp (encrypted), by asking a "
              "majority who leads; clients in the leader's process",
              start_replicated_readers(work, true));
  });
  report.attempt("dolmen_commands", [&] {
    races.add("dolmen_commands", "the same function as a command of the log, on the disks of two",
              start_replicated_readers(work, false));
  });
  report.attempt("etcd", [&] {
    if (auto etcd = start_etcd(work, true)) {
      races.add("etcd",
                "three members, defaults; POST /v3/kv/range (JSON), linearizable, a key and a "
                "connection per client",
                etcd);
    }
  });
  races.run("reads_3");
}

}  // namespace

void cluster_suite(Report& report) {
  const Folder folder(report.options().directory + "/cluster");
  const LogWork work(report, folder);
  replicas_case(report, folder, work);
  reads_case(report, work);
  groups_case(report, folder);
  recover_case(report, folder);
}

}  // namespace dolmen::bench
