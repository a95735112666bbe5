// SPDX-License-Identifier: Apache-2.0
//
// Real kill -9 of a process with many threads: four commit to the same and to different objects,
// durable and deferred, with and without waiting for tickets; a fifth writes checkpoints and looks
// through views. All say what was acknowledged, and where in history each commit lies. After the
// kill: what was acknowledged is there; of the others those are there, whole, that lie before the
// end of the log that was found, and none behind it; each thread's commits are there up to one.
// DOLMEN_SOAK=1 asks for 10,000 cycles.
#include <algorithm>
#include <array>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/space.hpp>
#include <dolmen/vector.hpp>

#include "base/sanitizers.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/linux/killed_child.hpp"

namespace {

namespace fs = std::filesystem;
namespace killed = dolmen::sys::test;
using dolmen::Result;
using dolmen::Space;
using dolmen::Ticket;
using dolmen::View;

constexpr std::uint32_t kWriters = 4;
constexpr int kCyclesOfASpace = 40;

/// One commit. It stands in two objects.
struct Entry {
  std::uint32_t thread;
  bool asked;     ///< its writer asked for durability
  bool has_note;  ///< it made an object, too
  std::uint64_t number;
  friend bool operator==(const Entry&, const Entry&) = default;
};
/// An object of its own.
struct Note {
  std::uint64_t number;
  dolmen::ptr<Note> before;
};
struct Ledger {
  std::uint64_t count;
  dolmen::vector<Entry> entries;
  dolmen::ptr<Note> newest;
};

void append(dolmen::mut<Ledger> ledger, const Entry& entry) {
  ++ledger->count;
  ledger->entries.push_back(entry);
}

dolmen::SpaceOptions options() {
  dolmen::SpaceOptions options;
  options.log_segment_bytes = 256u << 10;  // small, so that checkpoints and recycling happen
  options.log_tail_bytes_max = 256u << 10;
  return options;
}

/// Two ledgers that are always changed together: one pair for all threads, one for each.
struct Pair {
  dolmen::Object<Ledger> left;
  dolmen::Object<Ledger> right;
};
std::string name_of(std::uint32_t owner, bool left) {
  return (owner == kWriters ? "shared" : std::to_string(owner)) + (left ? "/left" : "/right");
}

// --- what the parent hears -----------------------------------------------------------------------

struct Report {
  std::uint32_t thread;
  bool acknowledged;     ///< else it was committed, no more
  std::uint64_t number;  ///< and all of the thread before it
  std::uint64_t index;   ///< in history; 0 if the reporter does not know
};

// --- the child -----------------------------------------------------------------------------------

[[noreturn]] void die(const char* what, const dolmen::Error& error) {
  std::cerr << what << ": " << error.message() << std::endl;
  ::_exit(4);
}
/// The value of `call`, repeated while there is no room: the rare failure that the hooks make.
template <class Call>
auto must(const char* what, Call call) {
  auto result = call();
  while (!result && result.error().code() == dolmen::Errc::no_space) result = call();
  if (!result) die(what, result.error());
  if constexpr (!std::is_void_v<typename decltype(result)::value_type>) return std::move(*result);
}

/// What a durable reader sees is there after every crash, as far as its writer asked for it.
std::optional<Report> newest_asked(const Ledger& ledger) {
  for (std::size_t i = ledger.entries.size(); i-- > 0;) {
    const Entry& entry = ledger.entries[i];
    if (entry.asked) return Report{entry.thread, true, entry.number, 0};
  }
  return std::nullopt;
}

class Writer {
 public:
  Writer(Space& space, std::uint32_t self, const Pair& own, const Pair& shared, std::uint64_t next,
         std::uint64_t seed)
      : space_(space), self_(self), own_(own), shared_(shared), next_(next), random_(seed) {}

  void commit() {
    Entry entry{.thread = self_, .asked = random_.chance(1, 3), .has_note = false, .number = next_};
    Ticket ticket;
    const dolmen::TransactOptions how{
        .durability = entry.asked ? dolmen::Durability::durable : dolmen::Durability::deferred,
        .ticket = &ticket};
    const auto kind = random_.below(8);
    if (kind == 0) return give_up(how, entry);
    entry.has_note = kind == 1;
    must("commit", [&] { return write(kind, how, entry); });
    ++next_;
    killed::report(Report{self_, entry.asked, entry.number, ticket.index});
    last_ = Deferred{ticket, entry.number};
    if (!kept_ || random_.chance(1, 3)) kept_ = last_;
  }
  /// For the last deferred commit, an earlier one, or everything.
  void wait() {
    if (!last_) return;
    const Deferred awaited = random_.chance(1, 2) ? *kept_ : *last_;
    if (random_.chance(1, 4)) {
      must("sync", [&] { return space_.sync(); });
      killed::report(Report{self_, true, last_->number, last_->ticket.index});
    } else {
      must("wait", [&] { return space_.wait(awaited.ticket); });
      killed::report(Report{self_, true, awaited.number, awaited.ticket.index});
    }
  }
  void look() {
    // Reported after the section: only then it is acknowledged.
    const auto seen = must("read", [&] {
      return space_.read(shared_.left, [](dolmen::ref<Ledger> all) { return newest_asked(*all); });
    });
    if (seen) killed::report(*seen);
  }
  [[noreturn]] void run() {
    for (;;) {
      commit();
      if (random_.chance(1, 4)) wait();
      if (random_.chance(1, 8)) look();
    }
  }

 private:
  struct Deferred {
    Ticket ticket;
    std::uint64_t number;
  };

  Result<void> write(std::uint64_t kind, const dolmen::TransactOptions& how, const Entry& entry) {
    if (kind == 1) return write_note(how, entry);
    if (kind == 2) {  // in the other order, the locks taken on the way
      return space_.transact(how, dolmen::any, [&] {
        append(space_.edit(shared_.right), entry);
        append(space_.edit(shared_.left), entry);
      });
    }
    const Pair& pair = kind < 5 ? own_ : shared_;
    return space_.transact(how, pair.left, pair.right,
                           [&](dolmen::mut<Ledger> left, dolmen::mut<Ledger> right) {
                             append(left, entry);
                             append(right, entry);
                           });
  }
  Result<void> write_note(const dolmen::TransactOptions& how, const Entry& entry) {
    return space_.transact(
        how, own_.left, own_.right,
        [&](dolmen::mut<Ledger> left, dolmen::mut<Ledger> right) -> Result<void> {
          append(left, entry);
          DOLMEN_TRY(const auto made, space_.create<Note>({.capacity = 2048}));
          const dolmen::mut<Note> note = space_.edit(made);
          note->number = entry.number;
          note->before = left->newest;
          left->newest = note;
          append(right, entry);
          return {};
        });
  }
  /// Nothing of it may ever be seen: its number is used again.
  void give_up(const dolmen::TransactOptions& how, Entry entry) {
    entry.has_note = true;
    const Pair& pair = random_.chance(1, 2) ? own_ : shared_;
    const auto done =
        space_.transact(how, pair.left, [&](dolmen::mut<Ledger> left) -> Result<void> {
          append(left, entry);
          return dolmen::fail(dolmen::Errc::aborted);
        });
    if (done || done.error().code() != dolmen::Errc::aborted) ::_exit(7);
  }

  Space& space_;
  const std::uint32_t self_;
  const Pair own_;
  const Pair shared_;
  std::uint64_t next_;
  dolmen::base::Random random_;
  std::optional<Deferred> last_;
  std::optional<Deferred> kept_;
};

std::uint64_t newest_of(const Ledger& ledger, std::uint32_t thread) {
  for (std::size_t i = ledger.entries.size(); i-- > 0;) {
    if (ledger.entries[i].thread == thread) return ledger.entries[i].number;
  }
  return 0;
}

/// Commits until it is killed; never returns.
[[noreturn]] void run_child(const std::string& directory, std::uint64_t seed, const char* bug) {
  dolmen::base::Random random(seed);
  const dolmen::sim::SimHooks hooks({.seed = seed, .buggify = random.chance(1, 3), .planted = bug});
  Space space = must("open", [&] { return Space::open(directory, options()); });
  std::array<Pair, kWriters + 1> pairs;
  const auto ledger = [&](const std::string& name) {
    return must("ledger", [&] { return space.find_or_create<Ledger>(name); });
  };
  for (std::uint32_t owner = 0; owner <= kWriters; ++owner) {
    pairs[owner] = {ledger(name_of(owner, true)), ledger(name_of(owner, false))};
  }
  const Pair& shared = pairs[kWriters];
  const View before = must("view", [&] { return space.view(); });
  std::vector<std::thread> threads;
  for (std::uint32_t self = 0; self < kWriters; ++self) {
    const std::uint64_t newest =
        std::max(newest_of(*before[pairs[self].left], self), newest_of(*before[shared.left], self));
    threads.emplace_back([&, self, newest, own_seed = random()] {
      Writer(space, self, pairs[self], shared, newest + 1, own_seed).run();
    });
  }
  // In half of the cycles the space's own thread is alone with the checkpoints.
  const bool checkpoints = random.chance(1, 2);
  for (;;) {
    if (checkpoints) must("checkpoint", [&] { return space.checkpoint(); });
    const View view = must("view", [&] { return space.view(); });
    const auto seen =
        must("look", [&] { return view.read([&] { return newest_asked(*view[shared.left]); }); });
    if (seen) killed::report(*seen);
  }
}

// --- the parent ----------------------------------------------------------------------------------

/// What a directory must hold, and what is wrong with it.
class Oracle {
 public:
  void hear(const std::vector<Report>& reports) {
    made_.clear();
    for (const Report& report : reports) {
      std::uint64_t& newest = acknowledged_[report.thread];
      if (report.acknowledged) newest = std::max(newest, report.number);
      if (report.index != 0) made_.push_back(report);
    }
  }
  /// "" if all is well. Afterwards what was found is what must stay.
  [[nodiscard]] std::string look(const std::string& directory) {
    if (!fs::exists(directory + "/space")) return any_acknowledged() ? "no space" : "";
    auto space = Space::open(directory, options());
    if (!space) return "open: " + space.error().message();
    end_ = space->stats().last_index;
    const auto view = space->view();
    if (!view) return "view: " + view.error().message();
    const auto wrong = view->read([&] { return verify(*view); });
    if (!wrong) return "read: " + wrong.error().message();
    if (!wrong->empty()) return *wrong;
    const auto closed = space->close();
    return closed ? "" : "close: " + closed.error().message();
  }
  /// How many commits of the last cycle are gone.
  [[nodiscard]] std::uint64_t lost() const {
    return static_cast<std::uint64_t>(
        std::ranges::count_if(made_, [&](const Report& made) { return made.index > end_; }));
  }
  [[nodiscard]] std::uint64_t commits() const {
    std::uint64_t all = 0;
    for (const std::uint64_t newest : acknowledged_) all += newest;
    return all;
  }

 private:
  [[nodiscard]] bool any_acknowledged() const { return commits() != 0; }

  [[nodiscard]] std::string verify(const View& view) {
    std::array<std::vector<Entry>, kWriters> of_thread;
    for (std::uint32_t owner = 0; owner <= kWriters; ++owner) {
      const auto left = view.find<Ledger>(name_of(owner, true));
      const auto right = view.find<Ledger>(name_of(owner, false));
      if (!left || !right) return any_acknowledged() ? "no " + name_of(owner, bool(right)) : "";
      const std::string wrong = verify_pair(owner, *view[*left], *view[*right]);
      if (!wrong.empty()) return name_of(owner, true) + ": " + wrong;
      for (const Entry& entry : view[*left]->entries) of_thread[entry.thread].push_back(entry);
    }
    for (std::uint32_t thread = 0; thread < kWriters; ++thread) {
      const std::string wrong = verify_thread(thread, of_thread[thread]);
      if (!wrong.empty()) return "thread " + std::to_string(thread) + ": " + wrong;
    }
    return "";
  }
  static std::string verify_pair(std::uint32_t owner, const Ledger& left, const Ledger& right) {
    const auto count = left.entries.size();
    if (left.count != count || right.count != right.entries.size()) return "the count is wrong";
    if (right.entries.size() != count) return "half a commit, of " + std::to_string(count);
    auto note = left.newest;
    for (std::size_t i = count; i-- > 0;) {
      const Entry& entry = left.entries[i];
      if (!(entry == right.entries[i])) return "half a commit, at " + std::to_string(i);
      if (entry.thread >= kWriters || (owner != kWriters && entry.thread != owner)) {
        return "an entry of thread " + std::to_string(entry.thread);
      }
      if (!entry.has_note) continue;
      if (!note || note->number != entry.number) return "a commit without its object";
      note = note->before;
    }
    return note ? "an object without its commit" : "";
  }
  std::string verify_thread(std::uint32_t thread, std::vector<Entry>& entries) {
    std::ranges::sort(entries, {}, &Entry::number);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].number == i + 1) continue;
      return "there is " + std::to_string(entries[i].number) + " instead of " +
             std::to_string(i + 1);
    }
    const std::uint64_t found = entries.size();
    if (found < acknowledged_[thread]) {
      return "acknowledged was " + std::to_string(acknowledged_[thread]) + ", there is " +
             std::to_string(found);
    }
    for (const Report& made : made_) {
      if (made.thread != thread || (made.number <= found) == (made.index <= end_)) continue;
      return std::to_string(made.number) + " of commit " + std::to_string(made.index) +
             ", there is " + std::to_string(found) + ", and commits up to " + std::to_string(end_);
    }
    acknowledged_[thread] = found;
    return "";
  }

  std::array<std::uint64_t, kWriters> acknowledged_{};
  std::vector<Report> made_;  // in the last cycle
  std::uint64_t end_ = 0;
};

struct Outcome {
  std::string wrong;
  std::uint64_t commits = 0;
  std::uint64_t lost = 0;  // committed, not acknowledged, and gone: the kills hit something
};

Outcome run_cycles(int cycles, std::uint64_t seed, const std::string& bug) {
  dolmen::base::Random random(seed);
  Outcome outcome;
  for (int done = 0; done < cycles;) {
    const killed::KillDirectory home;
    Oracle oracle;
    for (int i = 0; i < kCyclesOfASpace && done < cycles; ++i, ++done) {
      killed::KilledChild<Report> child("Kill9Threads.*",
                                        {{"DOLMEN_KILL9_CHILD", home.path()},
                                         {"DOLMEN_KILL9_SEED", std::to_string(random())},
                                         {"DOLMEN_KILL9_BUG", bug}});
      child.listen(random, random.below(30'000));
      outcome.wrong = child.kill();
      oracle.hear(child.heard());
      if (outcome.wrong.empty()) outcome.wrong = oracle.look(home.path());
      if (!outcome.wrong.empty()) {
        outcome.wrong += " (in cycle " + std::to_string(done) + ")";
        return outcome;
      }
      outcome.lost += oracle.lost();
    }
    outcome.commits += oracle.commits();
    if (cycles > 1000) std::cout << done << " of " << cycles << " kills" << std::endl;
  }
  return outcome;
}

TEST(Kill9Threads, AcknowledgedCommitsAreThereAndTheOthersWholeUpToOneMoment) {
  if (const char* const directory = killed::child_argument("DOLMEN_KILL9_CHILD")) {
    run_child(directory, std::stoull(killed::child_argument("DOLMEN_KILL9_SEED")),
              killed::child_argument("DOLMEN_KILL9_BUG"));
  }
  const std::uint64_t seed = killed::fresh_seed();
  const int cycles = killed::kill_cycles("kill9_threads");
  std::cout << "seed " << seed << "\n";
  const Outcome outcome = run_cycles(cycles, seed, "");
  EXPECT_EQ(outcome.wrong, "");
  std::cout << outcome.commits << " commits over " << cycles << " kills, which lost "
            << outcome.lost << " that nobody had waited for\n";
  EXPECT_GT(outcome.commits, static_cast<std::uint64_t>(cycles));
  // Fewer kills may hit nothing.
  if (!dolmen::base::kSanitized) {
    EXPECT_GT(outcome.lost, 0u);
  }
}

class PlantedBug : public testing::TestWithParam<const char*> {};

TEST_P(PlantedBug, IsSeenByTheOracle) {
  if (!DOLMEN_SIM_HOOKS) GTEST_SKIP() << "this build plants no bugs";
  const std::uint64_t seed = killed::fresh_seed();
  std::cout << "seed " << seed << "\n";
  const Outcome outcome = run_cycles(kCyclesOfASpace, seed, GetParam());
  EXPECT_NE(outcome.wrong, "") << "nothing was noticed in " << outcome.commits << " commits";
  std::cout << outcome.wrong << "\n";
}

INSTANTIATE_TEST_SUITE_P(Kill9Threads, PlantedBug,
                         testing::Values("store.ack_before_sync", "txn.ack_before_sync",
                                         "txn.unlogged_range"),
                         [](const auto& bug) {
                           std::string name = bug.param;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

}  // namespace
