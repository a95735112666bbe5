// SPDX-License-Identifier: Apache-2.0
// The log suite's cases in memory alone: entries of 64 bytes that count when two of three processes
// have them, with nothing on a disk.
#include <array>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "bench/fabric.hpp"
#include "bench/log.hpp"
#include "bench/log_follower.hpp"
#include "bench/memory_member.hpp"
#include "bench/servers.hpp"

namespace dolmen::bench {
namespace {

// So that the first one leads, also on a machine that does much else.
constexpr std::uint64_t kLeaderSilenceNs = 100'000'000;
constexpr std::uint64_t kFollowerSilenceNs = 2'000'000'000;

// Followers that share a core with others need some time for the next one.
constexpr std::size_t kLaneBytes = std::size_t{4} << 20;

enum class Over : std::uint8_t { shm, tcp };

/// The follower that no majority needs gets its entries so much later, where it has no core.
constexpr std::uint64_t kSpareNs = 1'000'000;
bool has_spare(Over over) { return over == Over::tcp && allowed_cores().size() < kGroupMembers; }

/// The group for one measurement: this process leads, on a core of its own.
class MemoryGroup {
 public:
  MemoryGroup(const LogWork& work, const FabricStage& stage, Over over) {
    MemberPlan plan;
    if (over == Over::shm) plan.shared_directory = folder_.path();
    if (over == Over::tcp) plan.ports = free_ports(kGroupMembers);
    for (std::uint32_t number = 2; number <= kGroupMembers; ++number) {
      plan.number = number;
      // One polling follower is enough, and on two cores more would take turns.
      plan.spin_ns =
          over == Over::tcp && number == 2 && !stage.shares_core() ? ~std::uint64_t{0} : 0;
      plan.replica.silence_ns = kFollowerSilenceNs;
      std::vector<std::string> words{"log-memory", std::to_string(stage.other_core())};
      for (const std::string& word : plan.words()) words.push_back(word);
      const std::string output = work.folder().path() + "/memory" + std::to_string(number);
      followers_.push_back(Server::part(words, output));
    }
    plan.number = 1;
    plan.replica.lane_bytes = kLaneBytes;
    plan.spin_ns = ~std::uint64_t{0};
    plan.replica.silence_ns = kLeaderSilenceNs;
    // Three processes on fewer cores: the third would take the second's.
    if (has_spare(over)) plan.replica.spare_ns = kSpareNs;
    member_.emplace(plan);
    const auto until = std::chrono::steady_clock::now() + kStartPatience;
    while (!is_settled()) {
      if (std::chrono::steady_clock::now() > until) throw Failure("nobody leads");
      if (!member_->turn()) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    // Lanes are given away, and whoever is to poll does so.
    const auto warm = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
    while (std::chrono::steady_clock::now() < warm) one();
  }

  /// Until its entry is told to be at two of three.
  void one() {
    bool is_told = false;
    submit([&] { is_told = true; });
    while (!is_told) member_->turn();
  }
  /// So many at once.
  void batch(std::size_t count) {
    std::size_t told = 0;
    for (std::size_t i = 0; i < count; ++i) submit([&] { ++told; });
    while (told < count) member_->turn();
  }

 private:
  bool is_settled() {
    if (!member_->leads()) return false;
    const replication::MemberStatus status = member_->status();
    std::size_t there = 0;
    for (const auto& follower : status.followers) there += follower.matched == status.end.index;
    return there == kGroupMembers;
  }
  template <class Told>
  void submit(Told told) {
    member_->submit(entry_, [told](const replication::Executor::Outcome& outcome) {
      if (outcome.status != replication::ReplyStatus::done) {
        throw Failure("an entry was not taken: " +
                      std::to_string(static_cast<int>(outcome.status)));
      }
      told();
    });
  }

  SharedFolder folder_;
  std::array<std::byte, kLogEntryBytes> entry_{};
  std::vector<Server> followers_;
  std::optional<MemoryMember> member_;
};

/// Median and 99th percentile of single operations, clock included.
template <class Operation>
Values times_of(std::size_t count, double units, const Operation& operation) {
  std::vector<double> times(count);
  for (double& time : times) {
    const double begin = seconds_now();
    operation();
    time = (seconds_now() - begin) * units;
  }
  return {median_of(times), percentile_of(times, 99)};
}

Contestant exchange(const LogWork& work, const FabricStage& stage, const std::string& system,
                    const std::string& told, FabricWork what, std::size_t count, double units,
                    std::unique_ptr<Exchange> (*make)(const FabricStage&, FabricWork)) {
  return {system,
          work.report().scaled(std::to_string(count) + " of them") + work.report().scheduling() +
              stage.told() + told,
          [&stage, what, count, units, make] {
            const Pinned pinned(stage.own_core());
            const std::unique_ptr<Exchange> exchange = make(stage, what);
            exchange->repeat(count / 10 + 1);
            return times_of(count, units, [&] { exchange->repeat(1); });
          }};
}

Contestant dolmen(const LogWork& work, const FabricStage& stage, Over over, const std::string& told,
                  std::size_t count, double units) {
  return {
      "dolmen",
      work.report().scaled(std::to_string(count) + " entries") + work.report().scheduling() + told,
      [&work, &stage, over, count, units] {
        const Pinned pinned(stage.own_core());
        MemoryGroup group(work, stage, over);
        return times_of(count, units, [&] { group.one(); });
      }};
}

/// This process and two that answer; it waits for one of them.
class TwoSided final : public BatchedLog {
 public:
  explicit TwoSided(const LogWork& work)
      : BatchedLog(Frames::checked),
        followers_(work.folder(), "two_sided_memory", 2, Frames::checked, 0) {}

 private:
  void round(const std::vector<LogFrame>& frames) override {
    followers_.send(frames.data(), frames.size());
    followers_.wait_for(1, frames.back().sequence);
  }
  Followers followers_;
};

Contestant waiting_log(const LogWork& work, const std::string& system, const std::string& told,
                       std::size_t count, std::shared_ptr<LogSystem> log) {
  return {
      system,
      work.report().scaled(std::to_string(count) + " entries") + work.report().scheduling() + told,
      [count, log = std::move(log)]() -> Values {
        const std::vector<double> times = log->times_us(count);
        if (times.empty()) throw Failure("it was told of no entry");
        return {median_of(times), percentile_of(times, 99)};
      }};
}

}  // namespace

void memory_cases(LogWork& work) {
  Report& report = work.report();
  const FabricStage stage(work.folder().path());
  const bool quick = report.quick();
  const std::string group =
      "three members in memory alone; one client, in the leader's process, whose core is its own; ";
  if (report.wants({"replicated_shm", "replicated_shm_p99"})) {
    const std::size_t count = quick ? 200 : 100'000;
    report.race(
        {{"replicated_shm", "ns"}, {"replicated_shm_p99", "ns"}},
        {dolmen(work, stage, Over::shm,
                group + "shared memory; followers sleep on another core; the clock is in it", count,
                1e9),
         exchange(work, stage, "bare_write",
                  "64 bytes stored into memory that the other has mapped, then a full fence; the "
                  "clock is in it",
                  FabricWork::write64, count, 1e9, bare_over_shm)});
  }
  if (report.wants({"replicated_tcp", "replicated_tcp_p99"})) {
    const std::size_t count = quick ? 50 : 10'000;
    std::vector<Contestant> all{
        dolmen(work, stage, Over::tcp,
               group + "tcp (encrypted); the leader polls, and one follower on another core" +
                   (has_spare(Over::tcp) ? "; the other gets its entries 1 ms later (spare)" : ""),
               count, 1e6),
        exchange(work, stage, "bare_rtt",
                 "tcp over loopback, TCP_NODELAY, sockets that do not block, not encrypted",
                 FabricWork::rtt64, count, 1e6, bare_over_tcp)};
    report.attempt("two_sided", [&] {
      all.push_back(waiting_log(
          work, "two_sided",
          "two processes that check each entry and answer, waiting for one; blocking sockets, not "
          "encrypted; no election",
          count, std::make_shared<TwoSided>(work)));
    });
    report.attempt("redis_wait", [&] {
      auto redis = start_redis_in_memory(work);
      if (!redis) return;
      all.push_back(waiting_log(
          work, "redis_wait",
          "a master and two replicas, nothing on disk; one client outside: SET and WAIT 1 in one "
          "write",
          count, std::move(redis)));
    });
    report.race({{"replicated_tcp", "us"}, {"replicated_tcp_p99", "us"}}, std::move(all));
  }
  if (report.wants({"batched_shm"})) {
    const double seconds = quick ? 0.1 : 1.0;
    constexpr std::size_t kBatch = 1000;
    report.race(
        "batched_shm", "1/s",
        {{"dolmen",
          report.scaled("0.1 s") + report.scheduling() + group +
              "shared memory; batches "
              "of 1000 entries; followers sleep on another core when there is nothing to do",
          [&work, &stage, seconds]() -> Values {
            const Pinned pinned(stage.own_core());
            MemoryGroup memory(work, stage, Over::shm);
            // Lanes and heaps as large as they become: pages are met once.
            const double warm = seconds_now();
            while (seconds_now() - warm < seconds) memory.batch(kBatch);
            std::size_t told = 0;
            const double begin = seconds_now();
            while (seconds_now() - begin < seconds) {
              memory.batch(kBatch);
              told += kBatch;
            }
            return {static_cast<double>(told) / (seconds_now() - begin)};
          }}});
  }
}

void memory_log_child(const std::vector<std::string>& arguments) {
  const Pinned pinned(std::stoi(arguments.at(0)));
  MemberPlan plan = MemberPlan::of_words({arguments.begin() + 1, arguments.end()});
  plan.replica.lane_bytes = kLaneBytes;
  MemoryMember member(plan);
  for (;;) {
    if (!member.turn()) member.wait();
  }
}

}  // namespace dolmen::bench
