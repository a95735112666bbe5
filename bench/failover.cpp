// SPDX-License-Identifier: Apache-2.0
// The failover suite: three processes keep a log, the one that leads is killed or stopped, and the
// clock runs from the signal until a command is acknowledged by the next leader, which gives itself
// one as soon as it leads. Its times are distributions: a row per percentile, from every
// repetition.
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench/fabric.hpp"
#include "bench/machine.hpp"
#include "bench/memory_member.hpp"
#include "bench/suites.hpp"

namespace dolmen::bench {
namespace {

struct Way {
  std::string name;
  bool is_shm = false;
  bool is_durable = false;
  bool polls = false;  ///< those that follow
  int signal = SIGKILL;
  std::string told;
};

std::vector<Way> all_ways() {
  const std::string shm =
      "three members in memory alone over shared memory; those that follow poll, each pinned to a "
      "core of its own, or to one that they yield to each other; ";
  const std::string tcp =
      "three members with journals over tcp, default settings, nothing is pinned or polls; ";
  return {
      {"shm_polling", true, false, true, SIGKILL, shm + "the leader is killed (SIGKILL)"},
      {"shm_polling_silence", true, false, true, SIGSTOP,
       shm + "the leader is stopped (SIGSTOP), which only its silence tells"},
      {"tcp_default", false, true, false, SIGKILL, tcp + "the leader is killed (SIGKILL)"},
      {"tcp_default_silence", false, true, false, SIGSTOP,
       tcp + "the leader is stopped (SIGSTOP), which only its silence tells"},
  };
}

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

/// What a member tells; in memory that the suite's process has mapped as well.
struct alignas(64) Told {
  std::uint64_t leads_epoch = 0;  ///< it has had a command acknowledged in it; 0: it does not lead
  std::uint64_t acknowledged_ns = 0;
  std::uint64_t is_whole = 0;  ///< of who leads: all three vote and have everything
};
struct Board {
  std::array<Told, kGroupMembers + 1> members{};
};

std::atomic_ref<std::uint64_t> word(std::uint64_t& at) { return std::atomic_ref(at); }

class MappedBoard {
 public:
  explicit MappedBoard(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) throw Failure("cannot make " + path);
    void* memory = MAP_FAILED;
    if (::ftruncate(fd, sizeof(Board)) == 0) {
      memory = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    ::close(fd);
    if (memory == MAP_FAILED) throw Failure("cannot map " + path);
    board_ = static_cast<Board*>(memory);
  }
  ~MappedBoard() { ::munmap(board_, sizeof(Board)); }
  MappedBoard(const MappedBoard&) = delete;
  MappedBoard& operator=(const MappedBoard&) = delete;
  Told& operator[](std::uint32_t member) const noexcept { return board_->members[member]; }

 private:
  Board* board_ = nullptr;
};

class Trio {
 public:
  Trio(const Folder& folder, Way way) : folder_(folder), way_(std::move(way)) {
    if (!way_.is_shm) plan_.ports = free_ports(kGroupMembers);
    if (way_.is_shm) plan_.shared_directory = shared_.path() + "/group";
    for (std::uint32_t number = 1; number <= kGroupMembers; ++number) start(number);
  }
  ~Trio() {
    for (std::uint32_t number = 1; number <= kGroupMembers; ++number) {
      if (servers_[number]) servers_[number]->signal(SIGCONT);
    }
  }
  Trio(const Trio&) = delete;
  Trio& operator=(const Trio&) = delete;

  /// Milliseconds.
  double fail_over() {
    const std::uint32_t leader =
        wait_for([](Told& told) { return word(told.is_whole).load() != 0; }, 0);
    ended_.clear();
    // At no special point of anybody's timers.
    std::this_thread::sleep_for(std::chrono::microseconds(20'000 + 1'000 * (rounds_++ * 7 % 13)));
    const std::uint64_t epoch = word(board_[leader].leads_epoch).load();
    const std::uint64_t begin = now_ns();
    servers_[leader]->signal(way_.signal);
    const std::uint32_t next =
        wait_for([epoch](Told& told) { return word(told.leads_epoch).load() > epoch; }, leader);
    const std::uint64_t end = word(board_[next].acknowledged_ns).load();
    if (way_.signal == SIGSTOP) {
      servers_[leader]->signal(SIGCONT);
      // Or it would be taken for the leader of the next round.
      (void)wait_for([this, leader](Told&) { return word(board_[leader].leads_epoch).load() == 0; },
                     0);
    } else {
      servers_[leader]->wait_for_end();
      ended_.push_back(std::move(*servers_[leader]));
      start(leader);
    }
    return static_cast<double>(end - begin) / 1e6;
  }

 private:
  void start(std::uint32_t number) {
    board_[number] = {};
    MemberPlan plan = plan_;
    plan.number = number;
    plan.life = way_.is_durable ? 1 : ++lives_[number];
    if (way_.is_durable) plan.journal = folder_.below(way_.name + std::to_string(number));
    std::vector<std::string> words{"failover-member", shared_.path() + "/board",
                                   way_.polls ? "polls" : "waits"};
    for (const std::string& one : plan.words()) words.push_back(one);
    servers_[number].emplace(
        Server::part(words, folder_.below(way_.name + std::to_string(number) + ".log")));
  }
  template <class Is>
  std::uint32_t wait_for(const Is& is, std::uint32_t but) {
    const std::uint64_t until = now_ns() + 30'000'000'000;
    while (now_ns() < until) {
      for (std::uint32_t number = 1; number <= kGroupMembers; ++number) {
        if (number != but && is(board_[number])) return number;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    throw Failure("the group stands still");
  }

  const Folder& folder_;
  const Way way_;
  SharedFolder shared_;
  MappedBoard board_{shared_.path() + "/board"};
  MemberPlan plan_;
  std::array<std::uint32_t, kGroupMembers + 1> lives_{};
  std::array<std::optional<Server>, kGroupMembers + 1> servers_;
  /// Reaped later: the last thread of a process is still at work in the kernel when its end is
  /// told, and who reaps at once spins until it is through, on a busy machine for seconds.
  std::vector<Server> ended_;
  unsigned rounds_ = 0;
};

/// Where a member that polls runs: with cores for all, each on its own. Else those that follow
/// share one, and the leader is somewhere else: to end a process takes a core for milliseconds, and
/// those who are to go on need theirs meanwhile.
int core_of(std::uint32_t number, bool leads) {
  const std::vector<int> cores = allowed_cores();
  if (cores.size() >= kGroupMembers) return cores[number % cores.size()];
  return leads ? cores.back() : cores.front();
}

/// A member that leads gives itself a command, and says when it was acknowledged.
[[noreturn]] void serve(const MemberPlan& plan, const std::string& board_path, bool polls) {
  const MappedBoard board(board_path);
  Told& told = board[plan.number];
  MemoryMember member(plan);
  const std::array<std::byte, 64> command{};
  std::uint64_t asked_epoch = 0;
  std::optional<Pinned> pinned;
  bool is_pinned_as_leader = false;
  if (polls) pinned.emplace(core_of(plan.number, false));
  for (std::uint64_t turns = 0;; ++turns) {
    const bool was_busy = member.turn();
    const bool leads = member.leads();
    const bool is_done = word(told.leads_epoch).load(std::memory_order_relaxed) != 0;
    if (polls && is_pinned_as_leader != (leads && is_done)) {
      is_pinned_as_leader = leads && is_done;
      pinned.reset();
      pinned.emplace(core_of(plan.number, is_pinned_as_leader));
    }
    if (leads) {
      // The status is large: looked at when something may have changed.
      if (was_busy || turns % 1024 == 0) {
        const replication::MemberStatus status = member.status();
        if (asked_epoch != status.epoch) {
          asked_epoch = status.epoch;
          member.submit(command, [&told, epoch = status.epoch](const auto& outcome) {
            if (outcome.status != replication::ReplyStatus::done) return;
            word(told.acknowledged_ns).store(now_ns());
            word(told.leads_epoch).store(epoch);
          });
          continue;
        }
        const bool is_whole = status.configuration.learners.empty() &&
                              status.followers.size() == kGroupMembers &&
                              std::ranges::all_of(status.followers, [&](const auto& follower) {
                                return follower.matched == status.end.index;
                              });
        word(told.is_whole)
            .store(is_whole && word(told.leads_epoch).load() == status.epoch ? 1 : 0);
      }
    } else if (word(told.leads_epoch).load(std::memory_order_relaxed) != 0) {
      word(told.is_whole).store(0);
      word(told.leads_epoch).store(0);
    }
    // Who leads sleeps: with a core less than members somebody has to.
    if (was_busy) continue;
    if (leads || !polls) {
      member.wait();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace

void failover_suite(Report& report) {
  const Folder folder(report.options().directory + "/failover");
  for (const Way& way : all_ways()) {
    const std::string p50 = way.name;
    if (!report.wants({p50, p50 + "_p90", p50 + "_max"})) continue;
    const int repetitions = report.quick() ? 3 : way.signal == SIGKILL ? 100 : 20;
    report.attempt("dolmen", [&] {
      Trio trio(folder, way);
      std::vector<double> times;
      for (int i = 0; i < repetitions; ++i) {
        report.progress(way.name + ": " + std::to_string(i) + " of " + std::to_string(repetitions));
        times.push_back(trio.fail_over());
      }
      const std::string mode =
          std::to_string(repetitions) + " times; " + report.scheduling() + way.told;
      std::ranges::sort(times);
      std::string distribution = way.name + ", ms:";
      for (const int percent : {0, 10, 25, 50, 75, 90, 99, 100}) {
        distribution += " p" + std::to_string(percent) + " " +
                        std::to_string(percentile_of(times, percent)).substr(0, 6);
      }
      report.note(distribution);
      report.add(p50, "dolmen", mode, "ms", {percentile_of(times, 50)});
      report.add(p50 + "_p90", "dolmen", mode, "ms", {percentile_of(times, 90)});
      report.add(p50 + "_max", "dolmen", mode, "ms", {times.back()});
    });
  }
}

void failover_child(std::span<const std::string> arguments) {
  die_with_parent();
  if (arguments.size() < 3) throw Failure("wrong arguments");
  const MemberPlan plan = MemberPlan::of_words({arguments.begin() + 3, arguments.end()});
  const bool polls = arguments[2] == "polls";
  serve(plan, arguments[1], polls);
}

}  // namespace dolmen::bench
