// SPDX-License-Identifier: Apache-2.0
//
// Real kill -9 of a process with one thread: a child commits and tells its parent, after each
// acknowledgement, what is durable; the parent kills it at a random moment and looks. What it heard
// of must be there, everything must be whole. DOLMEN_SOAK=1 asks for 10,000 cycles.
#include <filesystem>
#include <iostream>
#include <string>

#include <unistd.h>

#include <gtest/gtest.h>

#include <dolmen/hash_map.hpp>
#include <dolmen/space.hpp>
#include <dolmen/vector.hpp>

#include "sys/linux/killed_child.hpp"

namespace {

namespace fs = std::filesystem;
namespace killed = dolmen::sys::test;

struct Entry {
  std::uint64_t value;
  dolmen::ptr<Entry> next;
};
/// Two of these, always changed together.
struct Ledger {
  std::uint64_t commits;
  dolmen::ptr<Entry> newest;
  dolmen::hash_map<std::uint64_t, std::uint64_t> by_value;
  dolmen::vector<std::uint64_t> all;
};

void append(dolmen::mut<Ledger> ledger, std::uint64_t value) {
  ledger->commits = value;
  const auto entry = dolmen::make<Entry>(ledger, value, nullptr);
  entry->next = ledger->newest;
  ledger->newest = entry;
  ledger->by_value.insert_or_assign(value, value * 3);
  ledger->all.push_back(value);
}

dolmen::SpaceOptions options() {
  dolmen::SpaceOptions options;
  options.log_segment_bytes = 256u << 10;  // small, so that checkpoints and recycling happen
  options.log_tail_bytes_max = 512u << 10;
  return options;
}

/// Commits until it is killed; never returns.
[[noreturn]] void run_child(const std::string& directory) {
  auto space = dolmen::Space::open(directory, options());
  if (!space) {
    std::cerr << space.error().message() << "\n";
    ::_exit(3);
  }
  const auto left = space->find_or_create<Ledger>("left").value();
  const auto right = space->find_or_create<Ledger>("right").value();
  for (;;) {
    std::uint64_t value = 0;
    const auto done =
        space->transact(left, right, [&](dolmen::mut<Ledger> l, dolmen::mut<Ledger> r) {
          value = l->commits + 1;
          append(l, value);
          append(r, value);
        });
    if (!done) {
      std::cerr << done.error().message() << "\n";
      ::_exit(4);
    }
    killed::report(value);
  }
}

void expect_whole(const Ledger& ledger, std::uint64_t commits) {
  ASSERT_EQ(ledger.commits, commits);
  ASSERT_EQ(ledger.all.size(), commits);
  ASSERT_EQ(ledger.by_value.size(), commits);
  std::uint64_t expected = commits;
  for (auto entry = ledger.newest; entry; entry = entry->next) {
    ASSERT_EQ(entry->value, expected);
    const auto found = ledger.by_value.find(expected);
    ASSERT_NE(found, ledger.by_value.end());
    ASSERT_EQ(found->second, expected * 3);
    ASSERT_EQ(ledger.all[expected - 1], expected);
    --expected;
  }
  ASSERT_EQ(expected, 0u);
}

TEST(Kill9, NoAcknowledgedCommitIsLostAndNoneIsHalf) {
  if (const char* child = killed::child_argument("DOLMEN_KILL9_CHILD")) run_child(child);
  const int cycles = killed::kill_cycles("kill9");
  const killed::KillDirectory home;
  const std::string& directory = home.path();
  const std::uint64_t seed = killed::fresh_seed();
  std::cout << "seed " << seed << "\n";
  dolmen::base::Random random(seed);
  std::uint64_t acknowledged = 0;
  for (int cycle = 0; cycle < cycles; ++cycle) {
    killed::KilledChild<std::uint64_t> child("Kill9.*", {{"DOLMEN_KILL9_CHILD", directory}});
    child.listen(random, random.below(30'000));
    const std::string ended = child.kill();
    ASSERT_EQ(ended, "") << "the child ended by itself";
    if (!child.heard().empty()) acknowledged = child.heard().back();
    if (!fs::exists(directory + "/space")) continue;
    auto space = dolmen::Space::open(directory, options());
    ASSERT_TRUE(space) << space.error().message();
    auto view = space->view();
    ASSERT_TRUE(view) << view.error().message();
    const auto left = view->find<Ledger>("left");
    const auto right = view->find<Ledger>("right");
    if (!left || !right) {
      ASSERT_EQ(acknowledged, 0u);
      continue;
    }
    const std::uint64_t found = (*view)[*left]->commits;
    ASSERT_GE(found, acknowledged) << "an acknowledged commit is gone in cycle " << cycle;
    ASSERT_NO_FATAL_FAILURE(expect_whole(*(*view)[*left], found));
    ASSERT_NO_FATAL_FAILURE(expect_whole(*(*view)[*right], found));
    acknowledged = found;
    if (cycles > 100 && cycle % 100 == 99) {
      std::cout << cycle + 1 << " of " << cycles << " kills, " << found << " commits" << std::endl;
    }
  }
  std::cout << acknowledged << " commits over " << cycles << " kills\n";
  EXPECT_GT(acknowledged, static_cast<std::uint64_t>(cycles));
}

}  // namespace
