// SPDX-License-Identifier: Apache-2.0
//
// The commits suite's work: a commit overwrites the 100-byte value of one of 4,096 records. A
// system is a class whose session() gives what one thread needs to commit, with put(record, value);
// durable systems whose disk is disturbed by their own housekeeping also have disturb(begun), which
// does a large piece of it and calls begun() where commits should be measured until it returns.
//
// Thread contract: a Session belongs to the thread that asked for it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bench/harness.hpp"
#include "bench/machine.hpp"
#include "bench/records.hpp"

namespace dolmen::bench {

inline constexpr std::uint32_t kCommitRecords = 4096;
inline constexpr std::uint32_t kCommitThreads = 16;
/// What disturb() rewrites: so many blocks of 4,000 or 4,096 bytes.
inline constexpr std::uint32_t kBulkBlocks = 32'768;

/// Median and 99th percentile of commit times, µs.
struct CommitTimes {
  double median = 0;
  double p99 = 0;
};

class CommitsWork {
 public:
  CommitsWork(Report& report, const Folder& folder) : report_(&report), folder_(&folder) {}

  [[nodiscard]] Report& report() const noexcept { return *report_; }
  [[nodiscard]] const Folder& folder() const noexcept { return *folder_; }
  [[nodiscard]] std::uint32_t bulk_blocks() const noexcept {
    return report_->quick() ? kBulkBlocks / 16 : kBulkBlocks;
  }
  [[nodiscard]] bool wants_deferred() const { return report_->wants({"small_deferred"}); }
  [[nodiscard]] bool wants_durable() const {
    return report_->wants({"durable_1t", "durable_1t_p99", "durable_16t"}) || wants_disturbed();
  }
  [[nodiscard]] bool wants_disturbed() const {
    return report_->wants({"durable_during_checkpoint", "durable_during_checkpoint_p99",
                           "durable_during_checkpoint_ratio",
                           "durable_during_checkpoint_p99_ratio"});
  }

  template <class Store>
  void compete_deferred(const std::string& system, const std::string& told,
                        std::shared_ptr<Store> store, std::size_t commits) {
    if (report_->quick()) commits = commits / 20 + 1;
    deferred_.push_back({system, mode(report_->pinning(), told), [=, this]() -> Values {
                           const Pinned pinned;
                           auto session = store->session();
                           const Plan plan = planned(commits);
                           return {ns_each(commits, [&] {
                             for (std::size_t i = 0; i < commits; ++i) {
                               session.put(plan.records[i], plan.values[i]);
                             }
                           })};
                         }});
  }

  template <class Store>
  void compete_durable(const std::string& system, const std::string& told,
                       std::shared_ptr<Store> store) {
    const std::size_t commits = report_->quick() ? 50 : 500;
    single_.push_back({system, mode(report_->pinning(), told), [=, this]() -> Values {
                         const Pinned pinned;
                         const CommitTimes times = timed(*store, commits);
                         return {times.median, times.p99};
                       }});
    many_.push_back({system, mode("16 threads, not pinned; ", told), [=, this]() -> Values {
                       return {rate_of_many(*store, report_->quick() ? 0.1 : 1.0)};
                     }});
  }

  /// `measure` gives the times of commits while the system's housekeeping runs.
  void compete_disturbed(const std::string& system, const std::string& told,
                         std::function<CommitTimes()> measure) {
    disturbed_.push_back({system, mode(report_->pinning(), told), [measure]() -> Values {
                            const CommitTimes times = measure();
                            return {times.median, times.p99};
                          }});
  }

  void race();

  /// Times of `commits` commits by this thread.
  template <class Store>
  [[nodiscard]] CommitTimes timed(Store& store, std::size_t commits) {
    auto session = store.session();
    const Plan plan = planned(commits);
    std::vector<double> times;
    for (std::size_t i = 0; i < commits; ++i) times.push_back(timed_put(session, plan, i));
    return {median_of(times), percentile_of(times, 99)};
  }

  /// Times of commits by this thread while another one is inside store.disturb(); as many
  /// disturbances as it takes to see `commits` of them.
  template <class Store>
  [[nodiscard]] CommitTimes timed_disturbed(Store& store, std::size_t commits) {
    auto session = store.session();
    const Plan plan = planned(1024);
    std::vector<double> times;
    for (int disturbance = 0; times.size() < commits && disturbance < 20; ++disturbance) {
      std::atomic<bool> begun{false};
      std::atomic<bool> over{false};
      std::string failure;
      std::thread other([&] {
        try {
          store.disturb([&] { begun = true; });
        } catch (const Failure& caught) {
          failure = caught.what();
        }
        over = true;
        begun = true;
      });
      while (!begun) std::this_thread::sleep_for(std::chrono::microseconds(100));
      {
        const Pinned pinned;
        while (!over) {
          times.push_back(timed_put(session, plan, times.size()));
        }
      }
      other.join();
      if (!failure.empty()) throw Failure(failure);
    }
    if (times.size() < 20) throw Failure("its checkpoints are over before a commit is");
    return {median_of(times), percentile_of(times, 99)};
  }

 private:
  struct Step {
    std::uint32_t record;
    Value value;
  };
  struct Plan {
    std::vector<std::uint32_t> records;
    std::vector<Value> values;
    /// The plan over and over, each time with other values: a store may skip what changes nothing.
    [[nodiscard]] Step step(std::uint64_t i) const {
      Step step{records[i % records.size()], values[i % values.size()]};
      const std::uint64_t time = i / records.size();
      std::memcpy(step.value.data() + 40, &time, sizeof(time));
      return step;
    }
  };

  [[nodiscard]] Plan planned(std::size_t commits);
  [[nodiscard]] std::string mode(const std::string& pinning, const std::string& told) const {
    return report_->scaled("few commits") + pinning + told;
  }

  template <class Session>
  static double timed_put(Session& session, const Plan& plan, std::size_t i) {
    const Step step = plan.step(i);
    const double begin = seconds_now();
    session.put(step.record, step.value);
    return (seconds_now() - begin) * 1e6;
  }

  template <class Store>
  double rate_of_many(Store& store, double seconds) {
    std::atomic<bool> go{false};
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> commits{0};
    std::atomic<std::uint32_t> ready{0};
    std::atomic<bool> failed{false};
    std::vector<std::thread> threads;
    for (std::uint32_t thread = 0; thread < kCommitThreads; ++thread) {
      threads.emplace_back([&, plan = planned(1024)] {
        try {
          auto session = store.session();
          ++ready;
          go.wait(false);
          std::uint64_t mine = 0;
          for (; !stop.load(std::memory_order_relaxed); ++mine) {
            const Step step = plan.step(mine);
            session.put(step.record, step.value);
          }
          commits += mine;
        } catch (const Failure& failure) {
          report_->note(failure.what());
          failed = true;
          ++ready;
        }
      });
    }
    while (ready < kCommitThreads) std::this_thread::yield();
    const double begin = seconds_now();
    go = true;
    go.notify_all();
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    stop = true;
    for (std::thread& thread : threads) thread.join();
    if (failed) throw Failure("a thread could not commit");
    return static_cast<double>(commits) / (seconds_now() - begin);
  }

  Report* report_;
  const Folder* folder_;
  std::uint64_t version_ = 0;
  std::vector<Contestant> deferred_;
  std::vector<Contestant> single_;
  std::vector<Contestant> many_;
  std::vector<Contestant> disturbed_;
};

/// Each adds its system to the cases that it knows, or says why it cannot.
void add_commits_dolmen(CommitsWork& work);
void add_commits_lmdb(CommitsWork& work);
void add_commits_sqlite(CommitsWork& work);
void add_commits_pmdk(CommitsWork& work);
void add_commits_floor(CommitsWork& work);

}  // namespace dolmen::bench
