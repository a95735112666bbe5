// SPDX-License-Identifier: Apache-2.0
#include "sim/crash_campaign.hpp"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "base/checksum.hpp"
#include "sim/crash_walk.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"

namespace dolmen::sim {

namespace {

/// What a disk recovers to: a function of its contents alone, so equal disks are asked once.
struct Recovered {
  std::optional<std::string> text;  ///< none: there is no space to open
  std::string error;                ///< why not
};

class Campaign {
 public:
  Campaign(const CampaignOptions& options, sys::Memory& memory)
      : options_(options),
        memory_(memory),
        swarm_(options.seed, memory),
        hooks_(SimHookOptions{
            .seed = options.seed, .buggify = options.buggify, .planted = options.planted}),
        disk_(options.seed) {
    if (options.hub) swarm_.change_hubs();
  }

  CampaignReport run() {
    disk_.record();
    live();
    note_trace(disk_);
    if (!stopped()) {
      const CrashCounts counts =
          for_each_crash_state(disk_.history(),
                               CrashOptions{.random_subsets = options_.random_subsets,
                                            .units_max = options_.units_max,
                                            .seed = options_.seed},
                               [&](const CrashState& state) { return visit(state); });
      report_.sync_windows = counts.windows;
      report_.sampled_out = counts.sampled_out;
    }
    if (!stopped()) flip_bits();
    report_.planted_reached = hooks_.planted_reached();
    report_.buggify_sites = hooks_.buggify_sites();
    report_.probes = hooks_.probes();
    return std::move(report_);
  }

 private:
  void violation(const std::string& what) {
    report_.violations.push_back("seed " + std::to_string(options_.seed) + ": " + what);
  }
  [[nodiscard]] bool stopped() const {
    return options_.stop_at_first && !report_.violations.empty();
  }
  void note_trace(const SimDisk& disk) {
    report_.trace_hash = base::mix_seed(report_.trace_hash, disk.trace_hash());
  }

  // --- living ----------------------------------------------------------------------------------

  void live() {
    for (std::size_t i = 0; i < swarm_.lives.size() && !stopped(); ++i) {
      const SimEnv world(base::mix_seed(options_.seed, i), memory_);
      // A store past logging would be a bug of the library: the guard turns it into a refusal.
      auto space = open_on(world, disk_, swarm_, i == 0, false, swarm_.guard_stores);
      if (!space) return violation("opening: " + space.error().message());
      if (i == 0) created_at_ = disk_.op_count();
      std::optional<Model> model = i == 0 ? Model() : find_state(*space);
      if (!model) return;
      const bool last = i + 1 == swarm_.lives.size();
      lives_.push_back(run_life(*space, disk_, memory_, swarm_, std::move(*model),
                                {.seed = base::mix_seed(options_.seed, 100 + i),
                                 .steps = options_.steps,
                                 .stamps = 24,
                                 .trouble = swarm_.lives[i]}));
      Life& life = lives_.back();
      for (const std::string& text : life.violations) violation(text);
      report_.commits += life.commits();
      ++report_.troubles[swarm_.lives[i]];
      ++report_.lives;
      const bool may_fail = swarm_.lives[i] != Trouble::none;
      const auto closed = space->close();
      if (!closed && !may_fail) violation("close: " + closed.error().message());
      if (closed) life.acknowledged.emplace_back(disk_.op_count(), life.commits());
      if (last && closed) closed_model_ = disk_.model();
    }
  }

  /// After a life ended the next one finds a state that the former could leave.
  std::optional<Model> find_state(Space& space) {
    const auto text = render_space(space);
    if (!text) {
      violation("reading after a life ended: " + text.error().message());
      return std::nullopt;
    }
    const Life& life = lives_.back();
    const auto [fewest, most] = life.bounds(disk_.op_count());
    for (std::size_t k = most + 1; k-- > fewest;) {
      if (life.texts[k] == *text) return life.states[k];
    }
    violation("after a life ended another state is there");
    return std::nullopt;
  }

  // --- crashing --------------------------------------------------------------------------------

  bool visit(const CrashState& state) {
    const std::size_t first = std::min(options_.from_life, lives_.size() - 1);
    if (first > 0 && state.op < lives_[first].opened_at) return true;
    ++report_.states;
    const std::unique_ptr<SimDisk> disk = state.disk();
    const std::uint64_t contents = disk->model().contents_hash();
    auto known = recovered_.find(contents);
    if (known == recovered_.end()) {
      if (report_.disks == options_.disks_max) return false;
      known = recovered_.emplace(contents, recover_fully(*disk, state)).first;
    }
    if (stopped()) return false;
    const Recovered& found = known->second;
    const std::string where = state.to_string();
    if (state.op < created_at_) {
      // Before the space was created durably there may be nothing to open, and nothing in it.
      if (found.text && !found.text->empty()) violation(where + ": something in a new space");
    } else if (!found.text) {
      violation(where + ": " + found.error);
    } else {
      const Life& life = life_at(state.op);
      const auto [fewest, most] = life.bounds(state.op);
      if (!matches(life, fewest, most, *found.text)) {
        const auto any = std::find(life.texts.begin(), life.texts.end(), *found.text);
        violation(where + ": recovered " +
                  (any == life.texts.end() ? std::string("a state that no commit made")
                                           : "commit " + std::to_string(any - life.texts.begin())) +
                  ", allowed are " + std::to_string(fewest) + " to " + std::to_string(most));
      }
    }
    return !stopped();
  }

  [[nodiscard]] const Life& life_at(std::uint64_t op) const {
    std::size_t i = lives_.size() - 1;
    while (i > 0 && op < lives_[i].opened_at) --i;
    return lives_[i];
  }
  static bool matches(const Life& life, std::size_t fewest, std::size_t most,
                      const std::string& text) {
    const auto begin = life.texts.begin() + static_cast<std::ptrdiff_t>(fewest);
    const auto end = life.texts.begin() + static_cast<std::ptrdiff_t>(most) + 1;
    return std::find(begin, end, text) != end;
  }

  /// Opens and reads once; the program is killed afterwards, or closes.
  enum class End : std::uint8_t { killed, closed };
  Recovered recover(SimDisk& disk, bool create, End end) {
    const SimEnv world(options_.seed + 7, memory_);
    Recovered result;
    auto space = open_on(world, disk, swarm_, create);
    if (!space) {
      result.error = "opening: " + space.error().message();
    } else if (auto text = render_space(*space); !text) {
      result.error = "reading: " + text.error().message();
    } else {
      result.text = std::move(*text);
    }
    if (end == End::killed) disk.power_off();
    if (end == End::closed && space) {
      if (const auto closed = space->close(); !closed) {
        result.error = "closing: " + closed.error().message();
        result.text.reset();
      }
    }
    space = fail(Errc::closed);
    disk.power_off_at(~std::uint64_t{0});
    return result;
  }

  /// A disk that was not seen before: recovered twice, and every now and then in every way.
  Recovered recover_fully(SimDisk& disk, const CrashState& state) {
    const std::string where = state.to_string();
    const bool create = state.op < created_at_;
    const std::uint64_t number = ++report_.disks;
    const bool crash_again =
        options_.recovery_crashes_every != 0 && number % options_.recovery_crashes_every == 0;
    if (crash_again) disk.record();
    Recovered first = recover(disk, create, End::killed);
    if (first.text) {
      const Recovered second = recover(disk, create, End::closed);
      if (!second.text) violation(where + ", recovered again: " + second.error);
      if (second.text && *second.text != *first.text) {
        violation(where + ": a second recovery differs");
      }
      if (crash_again) crash_in_recovery(disk, create, where, *first.text);
      const Model* const model = model_of(state.op, *first.text);
      if (model != nullptr && options_.unsound_every != 0 && number % options_.unsound_every == 0) {
        check_soundness(disk, where, *model, *first.text, number);
      }
      if (model != nullptr && options_.continue_every != 0 &&
          number % options_.continue_every == 0) {
        live_on(disk, where, *model);
      }
    }
    note_trace(disk);
    return first;
  }

  [[nodiscard]] const Model* model_of(std::uint64_t op, const std::string& text) const {
    const Life& life = life_at(op);
    const auto found = std::find(life.texts.rbegin(), life.texts.rend(), text);
    if (found == life.texts.rend()) return nullptr;
    return &life.states[static_cast<std::size_t>(life.texts.rend() - found) - 1];
  }

  /// Images, heaps, pointers and every byte; then the same once a checkpoint was made of it.
  void check_soundness(SimDisk& disk, const std::string& where, const Model& model,
                       const std::string& text, std::uint64_t number) {
    const bool checkpoint = number % (2 * options_.unsound_every) == 0;
    for (int round = 0; round < (checkpoint ? 2 : 1); ++round) {
      const SimEnv world(options_.seed + 9, memory_);
      auto space = open_on(world, disk, swarm_, false);
      if (!space) return violation(where + ", to be checked: " + space.error().message());
      const auto images = render_images(*space);
      if (!images) return violation(where + ": reading images: " + images.error().message());
      if (*images != text) return violation(where + ": images differ from the view");
      if (const std::string what = unsound(*space, model); !what.empty()) {
        return violation(where + (round == 0 ? ": " : ", checkpointed: ") + what);
      }
      if (!checkpoint || round == 1) continue;
      const auto done = space->checkpoint();
      if (!done && done.error().code() != Errc::no_space) {
        return violation(where + ": checkpoint: " + done.error().message());
      }
    }
  }

  /// The program lives on and crashes again: what it commits then must survive as well, and
  /// nothing of the time before may come back.
  void live_on(SimDisk& disk, const std::string& where, const Model& model) {
    // Two programs that commit once and are killed: a log segment that the first one gives up, with
    // what a crash left in it, is then the next to be used.
    Model left = model;
    for (std::uint64_t i = 0; i < 2; ++i) {
      const SimEnv world(base::mix_seed(options_.seed, 10 + i), memory_);
      auto space = open_on(world, disk, swarm_, false);
      if (!space) return violation(where + ", living on: " + space.error().message());
      const Life brief = run_life(
          *space, disk, memory_, swarm_, left,
          {.seed = base::mix_seed(options_.seed, 500 + report_.disks), .steps = 0, .stamps = 1});
      for (const std::string& text : brief.violations) violation(where + ", living on: " + text);
      left = brief.states.back();
      disk.power_off();
      space = fail(Errc::closed);
      disk.power_off_at(~std::uint64_t{0});
    }
    disk.record();
    Life life;
    {
      const SimEnv world(options_.seed + 11, memory_);
      auto space = open_on(world, disk, swarm_, false);
      if (!space) return violation(where + ", living on: " + space.error().message());
      life = run_life(*space, disk, memory_, swarm_, left,
                      {.seed = base::mix_seed(options_.seed, 1000 + report_.disks),
                       .steps = 2,
                       .stamps = 12,
                       .uneven = true});
      for (const std::string& text : life.violations) violation(where + ", living on: " + text);
    }
    const DiskHistory changes = disk.history();
    (void)for_each_crash_state(
        changes,
        CrashOptions{
            .prefixes = false, .lost_sectors = false, .random_subsets = 2, .seed = options_.seed},
        [&](const CrashState& inner) {
          ++report_.later_states;
          const std::string place = where + ", living on, " + inner.to_string();
          const std::unique_ptr<SimDisk> crashed = inner.disk();
          const Recovered found = recover(*crashed, false, End::closed);
          if (!found.text) violation(place + ": " + found.error);
          const auto [fewest, most] = life.bounds(inner.op);
          if (found.text && !matches(life, fewest, most, *found.text)) {
            violation(place + ": differs from what was there and committed since");
          }
          return !stopped();
        });
  }

  /// Every boundary of the two recoveries just made, and a few subsets, must give the same state.
  void crash_in_recovery(const SimDisk& disk, bool create, const std::string& where,
                         const std::string& expected) {
    const DiskHistory changes = disk.history();
    (void)for_each_crash_state(
        changes, CrashOptions{.random_subsets = 4, .units_max = 4, .seed = options_.seed},
        [&](const CrashState& inner) {
          ++report_.recovery_states;
          const std::string place = where + ", then in recovery " + inner.to_string();
          const std::unique_ptr<SimDisk> crashed = inner.disk();
          const Recovered found = recover(*crashed, create, End::closed);
          if (!found.text && !create) violation(place + ": " + found.error);
          if (found.text && *found.text != expected) {
            violation(place + ": differs from the first recovery");
          }
          return !stopped();
        });
  }

  // --- damaging --------------------------------------------------------------------------------

  /// Everything in a closed space is known to be durable: a flipped bit never shortens history.
  void flip_bits() {
    if (!closed_model_) return;
    base::Random random(base::mix_seed(options_.seed, 23));
    const std::string& expected = lives_.back().texts.back();
    std::vector<std::pair<std::string, std::uint64_t>> files;
    for (const auto& [name, inode] : closed_model_->names()) {
      if (closed_model_->size(inode) > 0) files.emplace_back(name, closed_model_->size(inode));
    }
    for (unsigned i = 0; i < options_.flips && !stopped(); ++i) {
      ++report_.flips;
      SimDisk disk(*closed_model_, i);
      const auto& [name, bytes] = files[random.below(files.size())];
      // Half of the flips at the beginning, where the used part of most files is.
      const std::uint64_t at =
          random.below(random.chance(1, 2) ? bytes : std::min<std::uint64_t>(bytes, 8192));
      const auto bit = static_cast<unsigned>(random.below(8));
      disk.flip_bit(name, at, bit);
      const Recovered found = recover(disk, false, End::killed);
      if (found.text && *found.text != expected) {
        violation("bit " + std::to_string(bit) + " of byte " + std::to_string(at) + " of " + name +
                  " flipped: another state is read");
      }
      note_trace(disk);
    }
  }

  const CampaignOptions& options_;
  sys::Memory& memory_;
  Swarm swarm_;
  SimHooks hooks_;
  SimDisk disk_;
  std::uint64_t created_at_ = 0;
  std::vector<Life> lives_;
  std::optional<DiskModel> closed_model_;  ///< the disk after the last life was closed
  std::unordered_map<std::uint64_t, Recovered> recovered_;  ///< by contents; never iterated
  CampaignReport report_;
};

}  // namespace

CampaignReport run_campaign(const CampaignOptions& options, sys::Memory& memory) {
  return Campaign(options, memory).run();
}

}  // namespace dolmen::sim
