// SPDX-License-Identifier: Apache-2.0
// The index suite: keys and values that three processes keep, read and written from outside.
#include "bench/index.hpp"

#include <functional>

#include "bench/fabric.hpp"
#include "bench/log.hpp"
#include "bench/servers.hpp"
#include "bench/suites.hpp"

namespace dolmen::bench {
namespace {

constexpr std::size_t kPutClients = kLogClients;
constexpr std::size_t kMixedClients = 50;

class IndexRaces {
 public:
  explicit IndexRaces(Report& report, const Folder& folder)
      : report_(report), work_(report, folder), stage_(folder.path()) {}

  void gets(const std::string& name, IndexGroupKind kind) {
    if (!report_.wants({name, name + "_p99"})) return;
    const std::size_t count = report_.quick() ? 200 : 20'000;
    std::vector<Contestant> all;
    const auto add = [&](const std::string& system, const std::string& told,
                         const std::shared_ptr<IndexSystem>& index) {
      all.push_back({system, report_.scaled("200 gets") + report_.scheduling() + told,
                     [count, index]() -> Values {
                       const RealTime real_time;
                       const std::vector<double> times = index->times_of_reads(count);
                       return {median_of(times) * 1e6, percentile_of(times, 99) * 1e6};
                     }});
    };
    const bool is_shared = kind == IndexGroupKind::shared_memory;
    report_.attempt("dolmen", [&] {
      add("dolmen",
          std::string("three members in memory alone, one client, linearizable; ") +
              (is_shared ? "the leader's memory is read by loads" : "tcp (encrypted)"),
          start_index(work_.folder(), kind));
    });
    // The level is another one, and so is what it rests on: clocks.
    report_.attempt("dolmen_lease", [&] {
      add("dolmen_lease", "the same, by the leader's lease of 60 ms: its memory alone is read",
          start_index(work_.folder(), kind, {.has_lease = true}));
    });
    if (!is_shared) {
      report_.attempt("dolmen_polling", [&] {
        add("dolmen_polling",
            "as dolmen_lease; the client and whoever leads look for what comes "
            "themselves, as bare_rtt does, for 0.1 ms",
            start_index(work_.folder(), kind, {.has_lease = true, .is_polling = true}));
      });
      report_.attempt("dolmen_polling_clear", [&] {
        add("dolmen_polling_clear",
            "as dolmen_polling, through a fabric that is declared trusted: not encrypted, as "
            "bare_rtt and the peers are not",
            start_index(work_.folder(), kind,
                        {.has_lease = true, .is_polling = true, .is_clear = true}));
      });
    }
    all.push_back({"bare_rtt",
                   report_.scaled("200 of them") + stage_.told() +
                       (is_shared ? "64 bytes there and back in shared memory"
                                  : "64 bytes over loopback, not encrypted, polling"),
                   [this, count, is_shared]() -> Values {
                     const Pinned pinned(stage_.own_core());
                     const auto exchange =
                         (is_shared ? bare_over_shm : bare_over_tcp)(stage_, FabricWork::rtt64);
                     exchange->repeat(count / 10 + 1);
                     std::vector<double> times(count);
                     for (double& time : times) {
                       const double begin = seconds_now();
                       exchange->repeat(1);
                       time = (seconds_now() - begin) * 1e6;
                     }
                     return {median_of(times), percentile_of(times, 99)};
                   }});
    peers([&](const std::string& system, const std::shared_ptr<IndexSystem>& index) {
      add(system, "one process in memory alone, a client over loopback, not encrypted", index);
    });
    report_.race({{name, "us"}, {name + "_p99", "us"}}, std::move(all));
  }

  void scans() {
    if (!report_.wants({"scan100", "scan100_p99"})) return;
    const std::size_t count = report_.quick() ? 100 : 5'000;
    std::vector<Contestant> all;
    const auto add = [&](const std::string& system, const std::string& told,
                         const std::shared_ptr<ReadSystem>& index) {
      all.push_back({system, report_.scaled("100 scans") + report_.scheduling() + told,
                     [count, index]() -> Values {
                       const RealTime real_time;
                       const std::vector<double> times = index->times_of_reads(count);
                       return {median_of(times) * 1e6, percentile_of(times, 99) * 1e6};
                     }});
    };
    const std::string told = "three members in memory alone, one client; each entry linearizable; ";
    report_.attempt("dolmen", [&] {
      add("dolmen", told + "the leader's memory is read by loads",
          start_ordered(work_.folder(), IndexGroupKind::shared_memory));
    });
    report_.attempt("dolmen_tcp", [&] {
      add("dolmen_tcp", told + "tcp (encrypted)",
          start_ordered(work_.folder(), IndexGroupKind::tcp_memory));
    });
    report_.attempt("redis", [&] {
      const std::string program = find_program("redis-server");
      if (program.empty()) return report_.not_installed("redis", "redis-server");
      add("redis",
          "one process in memory alone, a client over loopback, not encrypted; ZRANGEBYLEX of a "
          "sorted set whose members are key and value",
          start_ordered_redis(work_.folder(), program));
    });
    report_.race({{"scan100", "us"}, {"scan100_p99", "us"}}, std::move(all));
  }

  void puts_in_memory() {
    if (!report_.wants({"put_replicated"})) return;
    std::vector<Contestant> all;
    const IndexMix mix{.clients = kPutClients};
    in_memory(all, "64 clients", mix);
    redis_wait(all, mix);
    report_.race("put_replicated", "1/s", std::move(all));
  }

  void puts_on_disk() {
    if (!report_.wants({"put_durable"})) return;
    std::vector<Contestant> all;
    report_.attempt("dolmen", [&] {
      both(all, "dolmen", "three members with journals over tcp (encrypted); 64 clients",
           {.clients = kPutClients}, start_index(work_.folder(), IndexGroupKind::tcp_durable));
    });
    report_.attempt("etcd", [&] {
      auto etcd = start_etcd(work_);
      if (!etcd) return;
      const double seconds = length();
      all.push_back({"etcd",
                     report_.scaled("0.1 s") + report_.scheduling() +
                         "three members, defaults; 64 connections: POST /v3/kv/put (JSON)",
                     [seconds, etcd = std::move(etcd)]() -> Values {
                       const RealTime real_time;
                       return {etcd->rate(seconds)};
                     }});
    });
    report_.race("put_durable", "1/s", std::move(all));
  }

  void mixed(const std::string& name, std::size_t batch) {
    if (!report_.wants({name})) return;
    std::vector<Contestant> all;
    const IndexMix mix{.clients = kMixedClients, .batch = batch, .gets_of_100 = 95};
    in_memory(all, "95 % gets, linearizable; 50 clients", mix);
    redis_wait(all, mix);
    peers([&](const std::string& system, const std::shared_ptr<IndexSystem>& index) {
      rate(all, system,
           "95 % gets; one process in memory alone; 50 connections of one thread, not encrypted",
           mix, index);
    });
    report_.race(name, "1/s", std::move(all));
  }

 private:
  [[nodiscard]] double length() const { return report_.quick() ? 0.1 : 1.0; }

  void rate(std::vector<Contestant>& all, const std::string& system, const std::string& told,
            const IndexMix& mix, const std::shared_ptr<IndexSystem>& index) {
    const std::string batches = mix.batch == 1 ? "" : std::to_string(mix.batch) + " at once; ";
    const double seconds = length();
    all.push_back({system, report_.scaled("0.1 s") + report_.scheduling() + batches + told,
                   [seconds, mix, index]() -> Values {
                     const RealTime real_time;
                     return {index->rate(mix, seconds)};
                   }});
  }

  /// As one thread of a program asks for many, as the peers' clients do, and as threads do.
  void both(std::vector<Contestant>& all, const std::string& system, const std::string& told,
            IndexMix mix, const std::shared_ptr<IndexSystem>& index) {
    rate(all, system, told + " of one thread", mix, index);
    mix.is_threads = true;
    rate(all, system + "_threads", told + ", each a thread", mix, index);
  }

  /// As programs of one machine find its members, and as those of other machines would.
  void in_memory(std::vector<Contestant>& all, const std::string& told, const IndexMix& mix) {
    report_.attempt("dolmen", [&] {
      both(all, "dolmen", "three members in memory alone, over shared memory; " + told, mix,
           start_index(work_.folder(), IndexGroupKind::shared_memory));
    });
    report_.attempt("dolmen_tcp", [&] {
      both(all, "dolmen_tcp", "three members in memory alone over tcp (encrypted); " + told, mix,
           start_index(work_.folder(), IndexGroupKind::tcp_memory));
    });
    report_.attempt("dolmen_tcp_clear", [&] {
      rate(all, "dolmen_tcp_clear",
           "as dolmen_tcp, through a fabric that is declared trusted: not encrypted, as the peers "
           "are not; " +
               told + " of one thread",
           mix, start_index(work_.folder(), IndexGroupKind::tcp_memory, {.is_clear = true}));
    });
  }

  void redis_wait(std::vector<Contestant>& all, const IndexMix& mix) {
    report_.attempt("redis_wait", [&] {
      const std::string program = find_program("redis-server");
      if (program.empty()) return report_.not_installed("redis_wait", "redis-server");
      rate(all, "redis_wait",
           "a master and two replicas in memory alone; a connection per client of one thread, not "
           "encrypted; gets at the master, puts and WAIT 1 in one write",
           mix, start_index_redis(work_.folder(), program, true));
    });
  }

  /// Those that answer from one process.
  void peers(
      const std::function<void(const std::string&, const std::shared_ptr<IndexSystem>&)>& take) {
    report_.attempt("redis", [&] {
      const std::string program = find_program("redis-server");
      if (program.empty()) return report_.not_installed("redis", "redis-server");
      take("redis", start_index_redis(work_.folder(), program, false));
    });
    report_.attempt("memcached", [&] {
      const std::string program = find_program("memcached");
      if (program.empty()) return report_.not_installed("memcached", "memcached");
      take("memcached", start_index_memcached(work_.folder(), program));
    });
  }

  Report& report_;
  LogWork work_;
  FabricStage stage_;
};

}  // namespace

void index_suite(Report& report) {
  // Each race in a folder of its own: its members' directories are new ones.
  const auto race = [&](const std::string& name, const std::function<void(IndexRaces&)>& run) {
    const Folder folder(report.options().directory + "/index_" + name);
    IndexRaces races(report, folder);
    run(races);
  };
  race("get_shm", [](IndexRaces& races) { races.gets("get_shm", IndexGroupKind::shared_memory); });
  race("get_tcp", [](IndexRaces& races) { races.gets("get_tcp", IndexGroupKind::tcp_memory); });
  race("scan100", [](IndexRaces& races) { races.scans(); });
  race("put_replicated", [](IndexRaces& races) { races.puts_in_memory(); });
  race("put_durable", [](IndexRaces& races) { races.puts_on_disk(); });
  race("mixed", [](IndexRaces& races) { races.mixed("mixed_50c", 1); });
  race("pipelined", [](IndexRaces& races) { races.mixed("mixed_50c_pipelined", kIndexBatch); });
}

}  // namespace dolmen::bench
