// SPDX-License-Identifier: Apache-2.0
//
// An index in a cluster of processes, hashed or ordered: nodes that lead its shards are killed, and
// all of them are replaced, while clients put, erase and look up. What all saw together is judged.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#ifdef DOLMEN_COMMAND
#include <dolmen/cluster.hpp>
#include <dolmen/ordered_index.hpp>

#include "base/test_budget.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/linux/shared_scratch.hpp"
#include "tests/index_clients.hpp"

namespace {

namespace fs = std::filesystem;
using namespace dolmen::members;
using std::chrono::seconds;

/// `dolmen serve`, once for each node.
class Nodes {
 public:
  /// `memory_max`: bytes that each process may have; 0: as many as there are. `shared`: where they
  /// and their clients meet; empty: nowhere. `lease`: the cluster's.
  explicit Nodes(std::uint32_t count, std::uint64_t memory_max = 0, std::string shared = {},
                 std::chrono::milliseconds lease = {})
      : memory_max_(memory_max), shared_(std::move(shared)) {
    std::string pattern = (fs::temp_directory_path() / "dolmen-index-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    dolmen::make_cluster_keys(keys(), count).value();
    for (std::uint32_t number = 1; number <= count; ++number) addresses_.push_back(at(number));
    for (std::uint32_t number = 1; number <= count; ++number) {
      dolmen::ClusterNode::create(
          {.directory = directory(number),
           .address = at(number),
           .identity_file = keys() + "/node-" + std::to_string(number) + ".key",
           .founders = addresses_,
           .lease = lease})
          .value();
      start(number);
    }
  }
  ~Nodes() {
    while (!pids_.empty()) kill(pids_.begin()->first);
    fs::remove_all(root_);
  }
  Nodes(const Nodes&) = delete;
  Nodes& operator=(const Nodes&) = delete;

  [[nodiscard]] std::string keys() const { return root_ + "/keys"; }
  [[nodiscard]] dolmen::ClusterAddress address() const {
    return {.nodes = addresses_,
            .identity_file = keys() + "/client-1.key",
            .shared_directory = shared_};
  }
  /// The next one: numbers are given one after the other.
  void join(dolmen::Cluster& cluster) {
    const auto number = static_cast<std::uint32_t>(addresses_.size()) + 1;
    const std::string token =
        cluster.make_token(keys() + "/owner.key", std::chrono::hours(1), seconds(60)).value();
    dolmen::ClusterNode::create(
        {.directory = directory(number), .address = at(number), .token = token}, seconds(60))
        .value();
    addresses_.push_back(at(number));
    start(number);
  }
  void start(std::uint32_t number) {
    const std::string where = directory(number);
    const pid_t child = ::fork();
    if (child == 0) {
      const rlimit limit{.rlim_cur = memory_max_, .rlim_max = memory_max_};
      if (memory_max_ != 0 && ::setrlimit(RLIMIT_DATA, &limit) != 0) ::_exit(126);
      if (!shared_.empty()) ::setenv("DOLMEN_SHM", shared_.c_str(), 1);
      ::execl(DOLMEN_COMMAND, DOLMEN_COMMAND, "serve", where.c_str(), "--json", nullptr);
      ::_exit(127);
    }
    if (child < 0) std::abort();  // kill(-1) would be everybody's
    pids_[number] = child;
  }
  /// It does nothing until go_on(), or kill().
  void stop(std::uint32_t number) { ::kill(pids_.at(number), SIGSTOP); }
  void go_on(std::uint32_t number) { ::kill(pids_.at(number), SIGCONT); }
  void kill(std::uint32_t number) {
    const pid_t pid = pids_.at(number);
    pids_.erase(number);
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }

 private:
  [[nodiscard]] std::string directory(std::uint32_t number) const {
    return root_ + "/node-" + std::to_string(number);
  }
  /// An address that no other process is given.
  static std::string at(std::uint32_t number) {
    const auto pid = static_cast<std::uint32_t>(::getpid());
    return "127." + std::to_string(1 + (pid >> 16)) + "." + std::to_string(pid >> 8 & 0xff) + "." +
           std::to_string(pid & 0xff) + ":" + std::to_string(7400 + number);
  }

  const std::uint64_t memory_max_;
  const std::string shared_;
  std::string root_;
  std::vector<std::string> addresses_;
  std::map<std::uint32_t, pid_t> pids_;
};

/// With an index of two shards.
dolmen::Cluster with_index(const Nodes& nodes) {
  auto cluster = dolmen::Cluster::open(nodes.address(), seconds(60)).value();
  const dolmen::IndexShardOptions each{.bucket_bytes = 64u << 10, .record_bytes = 1u << 20};
  cluster.create_index("i", 2, 3, each, seconds(60)).value();
  return cluster;
}

IndexClients::Open open(const Nodes& nodes, const dolmen::IndexOptions& options = {}) {
  return [address = nodes.address(), options] {
    auto cluster = dolmen::Cluster::open(address, seconds(60)).value();
    return cluster.index("i", options, seconds(60)).value();
  };
}

/// Until the status is like that; whoever cannot be asked is asked again.
template <class IsSo>
void wait_until(dolmen::Cluster& cluster, const char* what, const IsSo& is_so) {
  const auto until = std::chrono::steady_clock::now() + seconds(120);
  for (;;) {
    const auto status = cluster.status();
    if (status && is_so(*status)) return;
    ASSERT_LT(std::chrono::steady_clock::now(), until) << what;
  }
}

template <class Clients>
void judge(Clients& clients) {
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  std::printf("%lu answers, %lu read, %lu asked for\n", clients.answered(), clients.one_sided(),
              clients.asked());
}

/// Who leads the group, when somebody does.
void find_leader(dolmen::Cluster& cluster, const std::string& name, std::uint32_t& leader) {
  leader = 0;
  wait_until(cluster, "nobody leads", [&](const auto& status) {
    for (const auto& group : status.groups) {
      if (group.name == name) leader = group.leader;
    }
    return leader != 0;
  });
}

TEST(ClusterIndex, NothingIsLostWhoeverLeadsIsKilled) {
  const auto kills = std::max(2, static_cast<int>(dolmen::base::budget("index_kills")) / 2);
  Nodes nodes(3);
  dolmen::Cluster cluster = with_index(nodes);
  IndexClients clients(open(nodes), 4);
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  for (int kill = 0; kill < kills; ++kill) {
    std::uint32_t leader = 0;
    ASSERT_NO_FATAL_FAILURE(find_leader(cluster, "i/" + std::to_string(kill % 2), leader));
    nodes.kill(leader);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
    nodes.start(leader);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  }
  judge(clients);
  EXPECT_GT(clients.one_sided(), 0u);
}

// Those who read by leases, some of which are in other lives of their leaders by then.
TEST(ClusterIndex, NothingIsLostByLeasesOfTheMap) {
  constexpr std::chrono::milliseconds kLease(60);
  Nodes nodes(3, 0, {}, kLease);
  dolmen::Cluster cluster = with_index(nodes);
  const dolmen::IndexOptions by_lease{.reads = dolmen::IndexReads::lease};
  IndexClients clients(open(nodes, by_lease), 3);
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  nodes.join(cluster);  // it is not told of leases, but by the map
  for (int kill = 0; kill < 2; ++kill) {
    std::uint32_t leader = 0;
    ASSERT_NO_FATAL_FAILURE(find_leader(cluster, "i/" + std::to_string(kill % 2), leader));
    nodes.kill(leader);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
    nodes.start(leader);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  }
  judge(clients);
  auto index = open(nodes, by_lease)();
  const std::string key = "k";
  ASSERT_TRUE(index.put(std::as_bytes(std::span(key)), {}, seconds(60)));
  const auto until = std::chrono::steady_clock::now() + seconds(120);
  while (index.counts().by_lease == 0 || index.counts().in_one_round == 0) {
    ASSERT_LT(std::chrono::steady_clock::now(), until);
    ASSERT_TRUE(index.get(std::as_bytes(std::span(key)), seconds(60)).value());
  }
}

/// A client in a process of its own, which gets until it is killed.
pid_t start_getting(const Nodes& nodes) {
  const IndexClients::Open its = open(nodes);
  const pid_t child = ::fork();
  if (child < 0) std::abort();
  if (child > 0) return child;
  auto index = its();
  for (;;) (void)index.get(dolmen::base::as_bytes("a key"), seconds(60));
}

// Memory of the dead stays readable, and their next lives promise more than it says.
TEST(ClusterIndex, WhatIsLoadedInSharedMemoryIsTheLatestWhoeverIsKilled) {
  const dolmen::sys::test::SharedScratch exchange;
  Nodes nodes(3, 0, exchange.path());
  dolmen::Cluster cluster = with_index(nodes);
  std::array<pid_t, 2> getting{start_getting(nodes), start_getting(nodes)};
  IndexClients clients(open(nodes), 4);
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(200));
  wait_until(cluster, "they do not meet", [](const auto& status) {
    return std::ranges::all_of(status.nodes, [](const auto& one) { return one.link == "shm"; });
  });
  for (int kill = 0; kill < 3; ++kill) {
    std::uint32_t leader = 0;
    ASSERT_NO_FATAL_FAILURE(find_leader(cluster, "i/" + std::to_string(kill % 2), leader));
    nodes.kill(leader);
    if (kill < 2) {
      ::kill(getting[static_cast<std::size_t>(kill)], SIGKILL);
      ::waitpid(getting[static_cast<std::size_t>(kill)], nullptr, 0);
    }
    nodes.start(leader);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(300));
  }
  judge(clients);
  EXPECT_GT(clients.one_sided(), 0u);
}

dolmen::Index::Value text_of(std::string_view text) {
  const dolmen::base::Bytes bytes = dolmen::base::as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

/// A client reads the memory of whoever leads, with his line and that of one other. He is killed,
/// the other one is stopped, and so neither line ever shows that the next life of the first and the
/// third node go on, and change what is there. What the client, who has heard of nothing, gets
/// then.
void get_beside_the_dead(std::string& got) {
  const dolmen::sys::test::SharedScratch exchange;
  Nodes nodes(3, 0, exchange.path());
  auto cluster = dolmen::Cluster::open(nodes.address(), seconds(60)).value();
  cluster.create_index("i", 1, 3, {.bucket_bytes = 4096, .record_bytes = 4096}, seconds(60))
      .value();
  const auto key = dolmen::base::as_bytes("a key");
  dolmen::Index writer = cluster.index("i", {}, seconds(60)).value();
  ASSERT_TRUE(writer.put(key, text_of("old"), seconds(60)));
  wait_until(cluster, "they do not meet", [](const auto& status) {
    return std::ranges::all_of(status.nodes, [](const auto& one) { return one.link == "shm"; });
  });
  std::uint32_t leader = 0;
  ASSERT_NO_FATAL_FAILURE(find_leader(cluster, "i/0", leader));
  const std::uint32_t beside = leader % 3 + 1;
  const std::uint32_t third = beside % 3 + 1;
  nodes.stop(third);  // so that it is not among those whose lines are read
  dolmen::Index reader = cluster.index("i", {}, seconds(60)).value();
  while (reader.counts().one_sided == 0) {
    ASSERT_EQ(reader.get(key, seconds(60)).value(), text_of("old"));
  }
  nodes.stop(beside);
  nodes.kill(leader);
  nodes.go_on(third);
  nodes.start(leader);
  ASSERT_TRUE(writer.put(key, text_of("new"), seconds(60)));
  const auto value = reader.get(key, seconds(60)).value();
  if (value) got.assign(reinterpret_cast<const char*>(value->data()), value->size());
}

TEST(ClusterIndex, ALineOfTheDeadIsNotBelieved) {
  std::string got;
  ASSERT_NO_FATAL_FAILURE(get_beside_the_dead(got));
  EXPECT_EQ(got, "new");
  if (dolmen::base::kSanitized) return;
  // Where the machine is slow they may have met by tcp, and then nothing is to be seen.
  const dolmen::sim::SimHooks hooks(
      {.seed = 1, .buggify = false, .planted = "node.lines_of_the_dead"});
  for (int attempt = 0; attempt < 5 && got != "old"; ++attempt) {
    ASSERT_NO_FATAL_FAILURE(get_beside_the_dead(got));
  }
  EXPECT_EQ(got, "old") << "the planted bug was not seen";
}

// It has been told that it may not meanwhile.
TEST(ClusterIndex, AClientThatIsGivenItsRightLaterNeedsNotBeMadeAnew) {
  Nodes nodes(1);
  auto cluster = dolmen::Cluster::open(nodes.address(), seconds(60)).value();
  cluster.create_index("i", 1, 1, {.bucket_bytes = 4096, .record_bytes = 4096}, seconds(60))
      .value();
  const std::string owner = nodes.keys() + "/owner.key";
  dolmen::ClusterAddress address = nodes.address();
  address.identity_file = nodes.keys() + "/later.key";
  cluster.add_client("later", owner, address.identity_file, {.is_owner = false}, seconds(60))
      .value();
  const auto key = dolmen::base::as_bytes("a key");
  ASSERT_TRUE(cluster.index("i", {}, seconds(60)).value().put(key, text_of("it"), seconds(60)));
  dolmen::Index index =
      dolmen::Cluster::open(address, seconds(60)).value().index("i", {}, seconds(60)).value();
  for (int i = 0; i < 2; ++i) {
    const auto got = index.get(key, seconds(60));
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code(), dolmen::Errc::no_right);
  }
  cluster.grant_client("later", owner, {}, seconds(60)).value();
  while (index.counts().one_sided == 0) {
    const auto got = index.get(key, seconds(60));
    ASSERT_TRUE(got) << got.error().message();
    ASSERT_EQ(*got, text_of("it"));
  }
}

using dolmen::OrderedIndex;
constexpr std::uint64_t kOrderedKeys = 24;
using OrderedClients = IndexClientsOf<OrderedIndex, kOrderedKeys>;

OrderedIndex::Value value_of(std::string_view text) {
  const auto bytes = OrderedIndex::of(text);
  return {bytes.begin(), bytes.end()};
}

std::string name_of(int number) {
  const std::string digits = std::to_string(number);
  return "name " + std::string(6 - digits.size(), '0') + digits;
}

/// All that there is, by pages.
std::vector<OrderedIndex::Entry> all_of(OrderedIndex& index, bool is_backward) {
  std::vector<OrderedIndex::Entry> all;
  OrderedIndex::Value from;
  std::optional<OrderedIndex::Value> to;
  for (;;) {
    OrderedIndex::Range range{.from = from, .is_backward = is_backward};
    if (to) range.to = *to;
    const auto page =
        index.scan(range, 50, OrderedIndex::Moment::each, std::chrono::seconds(60)).value();
    all.insert(all.end(), page.entries.begin(), page.entries.end());
    if (page.is_last) return all;
    if (is_backward) {
      to = all.back().key;
    } else {
      from = all.back().key;
      from.push_back(std::byte{0});
    }
  }
}

// One index whose clients are judged, and one of names, all of which are there at the end.
TEST(ClusterIndex, AnOrderedOneLosesNothingAndIsScannedInOrder) {
  const auto kills = std::max(2, static_cast<int>(dolmen::base::budget("index_kills")) / 2);
  Nodes nodes(3);
  auto cluster = dolmen::Cluster::open(nodes.address(), seconds(60)).value();
  const dolmen::OrderedShardOptions each{.node_bytes = 256u << 10, .record_bytes = 256u << 10};
  const std::vector<OrderedIndex::Value> thirds{{std::byte{kOrderedKeys / 3}},
                                                {std::byte{kOrderedKeys / 3 * 2}}};
  cluster.create_ordered_index("o", thirds, 3, each, seconds(60)).value();
  const int count = 60 * kills;
  const std::vector<OrderedIndex::Value> splits{value_of(name_of(count / 3)),
                                                value_of(name_of(count / 2))};
  cluster.create_ordered_index("names", splits, 3, each, seconds(60)).value();
  cluster.create_ordered_index("names", splits, 3, each, seconds(60)).value();
  EXPECT_EQ(cluster.create_ordered_index("names", thirds, 3, each, seconds(60)).error().code(),
            dolmen::Errc::already_exists);
  EXPECT_EQ(cluster.create_index("names", 3, 3, {}, seconds(60)).error().code(),
            dolmen::Errc::already_exists);
  EXPECT_EQ(cluster.index("names", {}, seconds(60)).error().code(), dolmen::Errc::wrong_type);

  OrderedClients clients(
      [address = nodes.address()] {
        auto its = dolmen::Cluster::open(address, seconds(60)).value();
        return its.ordered_index("o", {}, seconds(60)).value();
      },
      3);
  OrderedIndex names = cluster.ordered_index("names", {}, seconds(60)).value();
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  std::vector<OrderedIndex::Entry> expected;
  for (int i = 0; i < count; ++i) {
    if (i % (count / kills) == count / kills / 2) {  // among the puts
      const int kill = i / (count / kills);
      const std::string group = (kill % 2 == 0 ? "names/" : "o/") + std::to_string(kill % 3);
      std::uint32_t leader = 0;
      ASSERT_NO_FATAL_FAILURE(find_leader(cluster, group, leader));
      nodes.kill(leader);
      ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(30));
      nodes.start(leader);
    }
    // Not in their order; some are longer than a node holds.
    const int number = i * 10'007 % count;
    expected.push_back(
        {value_of(name_of(number)), OrderedIndex::Value(std::size_t(number) * 5 % 400)});
    const auto put = names.put(expected.back().key, expected.back().value, seconds(60));
    ASSERT_TRUE(put) << put.error().message();
  }
  judge(clients);
  std::ranges::sort(expected, {}, &OrderedIndex::Entry::key);
  EXPECT_EQ(all_of(names, false), expected);
  auto backward = all_of(names, true);
  std::ranges::reverse(backward);
  EXPECT_EQ(backward, expected);
  // Whoever comes later has the same splits, of the map.
  OrderedIndex later = cluster.ordered_index("names", {}, seconds(60)).value();
  for (const OrderedIndex::Entry& entry : expected) {
    ASSERT_EQ(later.get(entry.key, seconds(60)).value(), entry.value);
  }
  cluster.create_index("years", 1, 1, {.bucket_bytes = 4096, .record_bytes = 4096}, seconds(60))
      .value();
  EXPECT_EQ(cluster.ordered_index("years", {}, seconds(60)).error().code(),
            dolmen::Errc::wrong_type);
}

// The one that was away asks nodes for the map that were no members when it went.
TEST(ClusterIndex, AClientFollowsAnIndexWhoseNodesAreAllOthersThan) {
  Nodes nodes(3);
  dolmen::Cluster cluster = with_index(nodes);
  for (int more = 0; more < 4; ++more) nodes.join(cluster);
  // Both shards' members, and who else is there.
  dolmen::Index away = cluster.index("i", {}, seconds(60)).value();
  const auto bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };
  const std::string key = "k";
  const std::string value = "v";
  ASSERT_TRUE(away.put(bytes(key), bytes(value), seconds(60)));
  IndexClients clients(open(nodes), 3);
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(30));
  for (const std::uint32_t gone : {1u, 2u, 3u}) {
    cluster.drain(gone, seconds(60)).value();
    ASSERT_NO_FATAL_FAILURE(wait_until(cluster, "not drained", [&](const auto& status) {
      return std::ranges::none_of(status.groups, [&](const auto& group) {
        return std::ranges::count(group.members, gone) != 0 || group.leaving == gone;
      });
    }));
    cluster.remove(gone, nodes.keys() + "/owner.key", seconds(60)).value();
    nodes.kill(gone);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(30));
  }
  judge(clients);
  const auto got = away.get(bytes(key), seconds(60));
  ASSERT_TRUE(got) << got.error().message();
  ASSERT_TRUE(*got);
  EXPECT_TRUE(std::ranges::equal(**got, bytes(value)));
}

// Whoever may make an index must not be able to end the cluster by it, for ever.
TEST(ClusterIndex, ATableWithoutRoomInMemoryEndsNoNode) {
  if (dolmen::base::kSanitized) GTEST_SKIP() << "needs more memory by itself";
  Nodes nodes(3, std::uint64_t{1} << 30);
  dolmen::Cluster cluster = with_index(nodes);
  const dolmen::IndexShardOptions huge{.bucket_bytes = 64u << 10,
                                       .record_bytes = std::uint64_t{1} << 30};
  cluster.create_index("huge", 1, 3, huge, seconds(60)).value();
  IndexClients clients(open(nodes), 2);
  for (const std::uint32_t number : {1u, 2u, 3u}) {
    nodes.kill(number);
    nodes.start(number);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(10));
  }
  // All of them have seen the map with it by now.
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(30));
  judge(clients);
  dolmen::Index index = cluster.index("huge", {}, seconds(60)).value();
  const std::string key = "k";
  EXPECT_FALSE(index.put(std::as_bytes(std::span(key)), {}, std::chrono::milliseconds(100)));
}

}  // namespace
#endif
