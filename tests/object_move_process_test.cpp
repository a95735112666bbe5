// SPDX-License-Identifier: Apache-2.0
//
// Objects that move back and forth between two spaces while they are called, and while the
// processes of leaders are killed: real links, disks and time.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "tests/cluster_processes.hpp"

namespace dolmen::processes {
namespace {

constexpr std::size_t kObjects = 4;

using CounterBytes = std::vector<std::byte>;
using Arguments = std::span<const std::byte>;

CounterBytes bytes_of_id(const ObjectId& id) {
  base::ByteWriter out;
  out.put_id(id);
  return out.release();
}
ObjectId id_in(base::Bytes bytes) { return base::ByteReader(bytes).get_id(); }

struct Counter {
  std::uint64_t value = 0;
};
CounterBytes bytes_of_number(std::uint64_t value) {
  base::ByteWriter out;
  out.put(value);
  return out.release();
}

SpaceFunctions counter_functions() {
  SpaceFunctions all = functions();
  all["make counter"] = [](Space& space, Arguments) -> Result<CounterBytes> {
    DOLMEN_TRY(const auto counter, space.create<Counter>());
    DOLMEN_CHECK(publish(space, counter.id()));
    return bytes_of_id(counter.id());
  };
  all["count"] = [](Space& space, Arguments id) -> Result<CounterBytes> {
    DOLMEN_TRY(
        const std::uint64_t value,
        space.transact(Object<Counter>(id_in(id)), [](mut<Counter> c) { return ++c->value; }));
    return bytes_of_number(value);
  };
  all["look"] = [](Space& space, Arguments id) -> Result<CounterBytes> {
    DOLMEN_TRY(const std::uint64_t value,
               space.read(Object<Counter>(id_in(id)), [](ref<Counter> c) { return c->value; }));
    return bytes_of_number(value);
  };
  return all;
}

int run_counting_node(const std::string& directory, std::chrono::milliseconds lost_after) {
  NodeRunOptions options;
  options.functions = counter_functions();
  options.lost_after = lost_after;
  return demo::serve(directory, options);
}

/// What one client asked for and was told.
struct Counted {
  std::uint64_t answered = 0;
  std::uint64_t unknown = 0;  ///< of which it was not told what became of them
  std::string failure{};
};

/// Adds to one object until it is told to stop; no answer is ever given twice.
Counted count(const std::string& address, const ObjectId& id, const std::atomic<bool>& stops) {
  Counted counted;
  auto cluster = Cluster::open(address, kPatience);
  if (!cluster) return {.failure = cluster.error().message()};
  std::uint64_t last = 0;
  const CounterBytes arguments = bytes_of_id(id);
  while (!stops) {
    const auto told = cluster->call(id, "count", arguments, std::chrono::seconds(20));
    if (told) {
      ++counted.answered;
      const auto now = base::load<std::uint64_t>(*told);
      if (now <= last) counted.failure = "an increment was executed twice, or lost";
      last = now;
    } else if (told.error().code() == Errc::timed_out ||
               told.error().code() == Errc::connection_lost) {
      ++counted.unknown;
    } else if (told.error().code() != Errc::busy) {
      counted.failure = told.error().message();
    }
    if (!counted.failure.empty()) break;
  }
  return counted;
}

TEST(ObjectMoveProcess, EveryIncrementIsExecutedOnceWhereverTheObjectIs) {
  Nodes nodes({.addresses = loopback(3)});
  Cluster& cluster = nodes.cluster();
  ASSERT_TRUE(cluster.create_directory({.shards = 4}, kPatience));
  const std::map<std::string, std::uint32_t> spaces = [&] {
    std::map<std::string, std::uint32_t> found;
    const ClusterStatus status = cluster.status(kPatience).value();
    for (const auto& group : status.groups) found[group.name] = group.number;
    return found;
  }();
  const std::uint32_t numbers[] = {spaces.at(kSpaces[0]), spaces.at(kSpaces[1])};
  std::vector<ObjectId> ids;
  std::vector<std::uint32_t> used_shards;  // groups of the directory that know one of them
  const auto look_at_shards = [&] {
    used_shards.clear();
    std::uint64_t known = 0;
    const std::vector<DirectoryShard> shards = cluster.directory(kPatience).value();
    for (const DirectoryShard& shard : shards) {
      EXPECT_TRUE(shard.has_answered) << shard.group;
      known += shard.stats.keys;
      if (shard.stats.keys > 0) used_shards.push_back(shard.group);
    }
    return known;
  };
  while (ids.size() < kObjects || used_shards.size() < 2) {
    const auto made = call_space(nodes.client(0), "make counter", {}, kPatience);
    // Nodes hear of the directory in a moment.
    if (made) {
      ids.push_back(id_in(*made));
      EXPECT_EQ(look_at_shards(), ids.size()) << "who is told of it finds it";
    } else {
      ASSERT_EQ(made.error().code(), Errc::unsupported) << made.error().message();
    }
  }
  std::atomic<bool> stops = false;
  std::vector<Counted> counted(ids.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    threads.emplace_back([&, i] { counted[i] = count(nodes.address(), ids[i], stops); });
  }
  const auto leader_of_shard = [&](std::uint32_t group) {
    for (;;) {
      const ClusterStatus status = cluster.status(kPatience).value();
      for (const auto& one : status.groups) {
        if (one.number == group && one.leader != 0) return one.leader;
      }
    }
  };
  // Back and forth, and who leads one of the spaces is killed each time; the last time, who leads a
  // shard of the directory.
  std::uint64_t moves = 0;
  constexpr int kRoundsOfTest = 4;
  for (int round = 0; round < kRoundsOfTest; ++round) {
    const std::uint32_t to = numbers[round % 2 == 0 ? 1 : 0];
    const std::uint32_t victim = round + 1 < kRoundsOfTest
                                     ? nodes.wait_for_leader(static_cast<std::uint32_t>(round % 2))
                                     : leader_of_shard(used_shards.front());
    std::thread mover([&] {
      Cluster own = Cluster::open(nodes.address(), kPatience).value();
      for (const ObjectId& id : ids) {
        const auto moved = own.move(id, to, kPatience);
        EXPECT_TRUE(moved) << moved.error().message();
        moves += moved ? 1 : 0;
      }
    });
    nodes.kill(victim);
    nodes.start(victim);
    mover.join();
    for (const ObjectId& id : ids) {
      for (const IndexReads reads : {IndexReads::linearizable, IndexReads::lease}) {
        EXPECT_EQ(cluster.home(id, kPatience, reads).value(), to);
      }
      // Perhaps where it was, some time.
      const std::uint32_t hint = cluster.home(id, kPatience, IndexReads::hint).value();
      EXPECT_TRUE(hint == numbers[0] || hint == numbers[1]) << hint;
    }
    EXPECT_EQ(look_at_shards(), ids.size());
  }
  stops = true;
  for (std::thread& thread : threads) thread.join();
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(counted[i].failure, "") << nodes.said();
    const auto looked = cluster.call(ids[i], "look", bytes_of_id(ids[i]), kPatience);
    ASSERT_TRUE(looked) << looked.error().message();
    const auto value = base::load<std::uint64_t>(*looked);
    EXPECT_GE(value, counted[i].answered);
    EXPECT_LE(value, counted[i].answered + counted[i].unknown);
    all += counted[i].answered;
  }
  EXPECT_GT(all, 0u);
  EXPECT_EQ(moves, kRoundsOfTest * ids.size());
  std::printf("%lu increments, %lu moves\n", all, moves);
}

}  // namespace
}  // namespace dolmen::processes

int main(int count, char** words) {
  if (count == 4 && std::string(words[1]) == "node") {
    return dolmen::processes::run_counting_node(words[2],
                                                std::chrono::milliseconds(std::atoi(words[3])));
  }
  if (const auto ended = dolmen::processes::run_as_process(count, words)) return *ended;
  testing::InitGoogleTest(&count, words);
  return RUN_ALL_TESTS();
}
