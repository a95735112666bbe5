// SPDX-License-Identifier: Apache-2.0
#include "sim/crash_campaign.hpp"

#include <algorithm>
#include <optional>

#include "node/open_space.hpp"
#include "sim/crash_walk.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/borrowed_disk.hpp"

namespace dolmen::sim {

namespace {

SpaceOptions space_options() {
  SpaceOptions options;
  options.background = false;
  options.log_segment_bytes = 64u << 10;
  options.log_tail_bytes_max = 128u << 10;
  return options;
}

Result<Space> open_on(const SimEnv& world, SimDisk& disk, sys::Memory& memory,
                      bool guard_stores = false) {
  SpaceOptions options = space_options();
  options.guard_stores = guard_stores;
  for (int attempt = 0;; ++attempt) {
    auto space = node::open_space(world.env(), std::make_unique<sys::BorrowedDisk>(disk), options,
                                  memory.best_driver());
    // A disturbed world refuses to prepare a segment now and then; as a user would, try again.
    if (space || space.error().code() != Errc::no_space || attempt == 10) return space;
  }
}

class Campaign {
 public:
  Campaign(const CampaignOptions& options, sys::Memory& memory)
      : options_(options),
        memory_(memory),
        hooks_(SimHookOptions{
            .seed = options.workload.seed, .buggify = options.buggify, .planted = options.planted}),
        disk_(options.workload.seed) {}

  CampaignReport run() {
    disk_.record();
    {
      const SimEnv world(options_.workload.seed, memory_);
      // A store past logging would be a bug of the library: the guard turns it into a refusal.
      auto space = open_on(world, disk_, memory_, true);
      if (!space) {
        violation("creating the space: " + space.error().message());
        return finish();
      }
      created_at_ = disk_.op_count();
      history_ = run_workload(*space, options_.workload, [this] { return disk_.op_count(); });
      for (const std::string& text : history_.violations) violation(text);
      if (const auto closed = space->close(); !closed) {
        violation("close: " + closed.error().message());
      }
      history_.acknowledged.emplace_back(disk_.op_count(), history_.states.size() - 1);
    }
    report_.commits = history_.states.size() - 1;
    report_.trace_hash = disk_.trace_hash();
    if (options_.stop_at_first && !report_.violations.empty()) return finish();
    const DiskHistory changes = disk_.history();
    const CrashCounts counts =
        for_each_crash_state(changes,
                             CrashOptions{.random_subsets = options_.random_subsets,
                                          .units_max = options_.units_max,
                                          .seed = options_.workload.seed},
                             [&](const CrashState& state) { return visit(state); });
    report_.sync_windows = counts.windows;
    return finish();
  }

 private:
  CampaignReport finish() {
    report_.planted_reached = hooks_.planted_reached();
    return std::move(report_);
  }

  void violation(const std::string& what) {
    report_.violations.push_back("seed " + std::to_string(options_.workload.seed) + ": " + what);
  }

  bool visit(const CrashState& state) {
    ++report_.states;
    const auto before = report_.violations.size();
    check(state);
    if (options_.stop_at_first && report_.violations.size() > before) return false;
    return report_.states + report_.recovery_states < options_.states_max;
  }

  /// What recovery of this disk reads like; nothing if it reported a violation.
  std::optional<std::string> recover(SimDisk& disk, std::uint64_t op, const std::string& where) {
    const SimEnv world(options_.workload.seed + 7, memory_);
    auto space = open_on(world, disk, memory_);
    if (!space) {
      // Before the space was created durably there may be nothing to open.
      if (op < created_at_) return std::nullopt;
      violation(where + ": open: " + space.error().message());
      return std::nullopt;
    }
    auto text = render_space(*space);
    if (!text) {
      violation(where + ": read: " + text.error().message());
      return std::nullopt;
    }
    return std::move(*text);
  }

  void check(const CrashState& state) {
    const std::string where = state.to_string();
    const std::unique_ptr<SimDisk> disk = state.disk();
    const bool crash_again = options_.recovery_crashes_every != 0 &&
                             report_.states % options_.recovery_crashes_every == 0;
    if (crash_again) disk->record();
    const auto first = recover(*disk, state.op, where);
    if (!first) return;
    const auto [fewest, most] = history_.bounds(state.op);
    const auto begin = history_.states.begin() + static_cast<std::ptrdiff_t>(fewest);
    const auto end = history_.states.begin() +
                     static_cast<std::ptrdiff_t>(std::min(most + 1, history_.states.size()));
    if (std::find(begin, end, *first) == end) {
      const auto found = std::find(history_.states.begin(), history_.states.end(), *first);
      violation(where + ": recovered " +
                (found == history_.states.end()
                     ? std::string("a state that no commit made")
                     : "commit " + std::to_string(found - history_.states.begin())) +
                ", allowed are " + std::to_string(fewest) + " to " + std::to_string(most));
      return;
    }
    const auto second = recover(*disk, state.op, where + ", recovered again");
    if (second && *second != *first) violation(where + ": a second recovery differs");
    if (crash_again) crash_in_recovery(*disk, state.op, where, *first);
    if (options_.continue_every != 0 && report_.states % options_.continue_every == 0) {
      continue_after(*disk, where, *first);
    }
  }

  /// The space goes on after recovery: what it commits then must survive the next crash as well,
  /// and nothing of the time before may come back.
  void continue_after(SimDisk& disk, const std::string& where, const std::string& recovered) {
    constexpr std::uint64_t kCommits = 4;
    disk.record();
    std::vector<std::pair<std::uint64_t, std::uint64_t>> acknowledged;
    {
      const SimEnv world(options_.workload.seed + 11, memory_);
      auto space = open_on(world, disk, memory_);
      if (!space) return violation(where + ", going on: open: " + space.error().message());
      const auto counter = space->find_or_create<Small>("smallz", {.capacity = 512});
      if (!counter && counter.error().code() == Errc::no_space) return;  // a disturbed world
      if (!counter) return violation(where + ", going on: " + counter.error().message());
      for (std::uint64_t i = 1; i <= kCommits; ++i) {
        const auto done = space->transact(*counter, [&](mut<Small> c) { c->value = i; });
        if (done) acknowledged.emplace_back(disk.op_count(), i);
      }
    }
    const DiskHistory changes = disk.history();
    (void)for_each_crash_state(
        changes,
        CrashOptions{.prefixes = false,
                     .lost_sectors = false,
                     .random_subsets = 2,
                     .seed = options_.workload.seed},
        [&](const CrashState& inner) {
          ++report_.recovery_states;
          const std::string place = where + ", going on, " + inner.to_string();
          std::uint64_t fewest = 0;
          for (const auto& [op, i] : acknowledged) {
            if (op <= inner.op) fewest = i;
          }
          const std::unique_ptr<SimDisk> crashed = inner.disk();
          const auto text = recover(*crashed, ~std::uint64_t{0}, place);
          if (text) {
            bool allowed = fewest == 0 && *text == recovered;
            for (std::uint64_t i = fewest; i <= kCommits; ++i) {
              allowed |= *text == recovered + "small smallz v" + std::to_string(i) + "\n";
            }
            if (!allowed) violation(place + ": differs from what was there and committed since");
          }
          return report_.violations.empty() || !options_.stop_at_first;
        });
  }

  /// Every boundary of the two recoveries just made, and a few subsets, must give the same state.
  void crash_in_recovery(const SimDisk& disk, std::uint64_t op, const std::string& where,
                         const std::string& expected) {
    const DiskHistory changes = disk.history();
    (void)for_each_crash_state(
        changes, CrashOptions{.random_subsets = 4, .units_max = 4, .seed = options_.workload.seed},
        [&](const CrashState& inner) {
          ++report_.recovery_states;
          const std::string place = where + ", then in recovery " + inner.to_string();
          const std::unique_ptr<SimDisk> crashed = inner.disk();
          const auto text = recover(*crashed, op, place);
          if (text && *text != expected) violation(place + ": differs from the first recovery");
          return report_.violations.empty() || !options_.stop_at_first;
        });
  }

  const CampaignOptions& options_;
  sys::Memory& memory_;
  SimHooks hooks_;
  SimDisk disk_;
  std::uint64_t created_at_ = 0;
  WorkloadHistory history_;
  CampaignReport report_;
};

}  // namespace

CampaignReport run_campaign(const CampaignOptions& options, sys::Memory& memory) {
  return Campaign(options, memory).run();
}

}  // namespace dolmen::sim
