// SPDX-License-Identifier: Apache-2.0
//
// Objects of two spaces, found by their ids in a cluster of three nodes, over real links and disks.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <stdlib.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <dolmen/cluster.hpp>

#include "base/bytes.hpp"

namespace {

namespace fs = std::filesystem;
using dolmen::ObjectId;
using dolmen::Result;
using std::chrono::seconds;

using Bytes = std::vector<std::byte>;
using Arguments = std::span<const std::byte>;

struct Thing {
  std::uint64_t uses = 0;
};

std::string text_in(Arguments arguments) {
  return {reinterpret_cast<const char*>(arguments.data()), arguments.size()};
}
Arguments bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

Bytes bytes_of(const ObjectId& id) {
  dolmen::base::ByteWriter out;
  out.put_id(id);
  return out.release();
}
ObjectId id_in(Arguments bytes) { return dolmen::base::ByteReader(bytes).get_id(); }

dolmen::SpaceFunctions functions() {
  dolmen::SpaceFunctions all;
  all["make"] = [](dolmen::Space& space, Arguments name) -> Result<Bytes> {
    DOLMEN_TRY(const auto thing, space.find_or_create<Thing>(text_in(name)));
    DOLMEN_CHECK(publish(space, thing.id()));
    return bytes_of(thing.id());
  };
  all["use"] = [](dolmen::Space& space, Arguments name) -> Result<Bytes> {
    DOLMEN_TRY(const auto thing, space.find<Thing>(text_in(name)));
    DOLMEN_TRY(const std::uint64_t uses,
               space.transact(thing, [](dolmen::mut<Thing> t) { return ++t->uses; }));
    return Bytes(uses);
  };
  all["drop"] = [](dolmen::Space& space, Arguments id) -> Result<Bytes> {
    DOLMEN_CHECK(space.erase(id_in(id)));
    return Bytes{};
  };
  return all;
}

/// Three nodes in this process, each on a thread of its own.
class ThreeNodes {
 public:
  ThreeNodes() {
    std::string pattern = (fs::temp_directory_path() / "dolmen-home-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    dolmen::make_cluster_keys(root_ + "/keys", 3).value();
    for (std::uint32_t number = 1; number <= 3; ++number) addresses_.push_back(at(number));
    for (std::uint32_t number = 1; number <= 3; ++number) {
      const std::string directory = root_ + "/node-" + std::to_string(number);
      dolmen::ClusterNode::create(
          {.directory = directory,
           .address = at(number),
           .identity_file = root_ + "/keys/node-" + std::to_string(number) + ".key",
           .founders = addresses_})
          .value();
      nodes_.push_back(std::make_unique<dolmen::ClusterNode>(
          dolmen::ClusterNode::start(directory, {.functions = functions()}).value()));
      threads_.emplace_back([node = nodes_.back().get()] { EXPECT_TRUE(node->run()); });
    }
  }
  ~ThreeNodes() {
    for (std::uint32_t number = 1; number <= 3; ++number) end(number);
    fs::remove_all(root_);
  }
  /// For ever.
  void end(std::uint32_t number) {
    auto& node = nodes_.at(number - 1);
    if (node == nullptr) return;
    node->stop();
    threads_.at(number - 1).join();
    node.reset();
  }
  ThreeNodes(const ThreeNodes&) = delete;
  ThreeNodes& operator=(const ThreeNodes&) = delete;
  [[nodiscard]] dolmen::Cluster open() const {
    return dolmen::Cluster::open(
               dolmen::ClusterAddress{.nodes = addresses_,
                                      .identity_file = root_ + "/keys/client-1.key"},
               seconds(60))
        .value();
  }

 private:
  /// An address that no other process is given.
  static std::string at(std::uint32_t number) {
    const auto pid = static_cast<std::uint32_t>(::getpid());
    return "127." + std::to_string(1 + (pid >> 16)) + "." + std::to_string(pid >> 8 & 0xff) + "." +
           std::to_string(pid & 0xff) + ":" + std::to_string(7400 + number);
  }

  std::string root_;
  std::vector<std::string> addresses_;
  std::vector<std::unique_ptr<dolmen::ClusterNode>> nodes_;
  std::vector<std::thread> threads_;
};

constexpr seconds kPatience{120};

/// The id of a thing that is made. Nodes hear of the directory in a moment; until then there is
/// none for them, and nothing is made.
ObjectId make(dolmen::Cluster& cluster, const char* space, std::string_view name) {
  auto client = cluster.client(space, kPatience).value();
  const auto end = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    const auto made = call_space(client, "make", bytes_of(name), kPatience);
    if (made) return id_in(*made);
    EXPECT_EQ(made.error().code(), dolmen::Errc::unsupported) << made.error().message();
    if (std::chrono::steady_clock::now() > end) return ObjectId{};
  }
}

/// Of the group of that name; 0: there is none.
std::uint64_t figure_in(const std::string& text, const std::string& family,
                        const std::string& group) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const bool is_it =
        line.starts_with(family + "{") && line.find("name=\"" + group + "\"") != std::string::npos;
    if (is_it) return std::stoull(line.substr(line.rfind(' ') + 1));
  }
  return 0;
}

TEST(ClusterHome, AnObjectIsFoundAndCalledByItsId) {
  const ThreeNodes nodes;
  dolmen::Cluster cluster = nodes.open();
  const std::uint32_t north = cluster.create_space("north", 3, kPatience).value();
  const std::uint32_t south = cluster.create_space("south", 3, kPatience).value();
  EXPECT_EQ(cluster.home({1, 1}, kPatience).error().code(), dolmen::Errc::unsupported);
  EXPECT_EQ(cluster.directory(kPatience).error().code(), dolmen::Errc::unsupported);
  EXPECT_EQ(cluster.create_directory({.shards = 3}, kPatience).error().code(),
            dolmen::Errc::invalid_argument);
  ASSERT_TRUE(cluster.create_directory({.shards = 2}, kPatience));
  ASSERT_TRUE(cluster.create_directory({.shards = 2}, kPatience)) << "again";
  ASSERT_TRUE(cluster.create_directory({}, kPatience)) << "of as many as there are";
  EXPECT_EQ(cluster.create_directory({.shards = 4}, kPatience).error().code(),
            dolmen::Errc::already_exists);
  // Another client, which looks as soon as it is told of the object.
  dolmen::Cluster other = nodes.open();
  for (const auto& [space, number] : {std::pair("north", north), {"south", south}}) {
    for (const char* const name : {"a", "b", "c"}) {
      const ObjectId id = make(cluster, space, name);
      const auto home = other.home(id, kPatience);
      ASSERT_TRUE(home) << home.error().message();
      EXPECT_EQ(*home, number);
      for (std::size_t uses = 1; uses <= 2; ++uses) {
        const auto used = other.call(id, "use", bytes_of(name), kPatience);
        ASSERT_TRUE(used) << used.error().message();
        EXPECT_EQ(used->size(), uses);
      }
    }
  }
  const ObjectId gone = make(cluster, "north", "gone");
  ASSERT_TRUE(cluster.call(gone, "drop", bytes_of(gone), kPatience));
  EXPECT_EQ(cluster.call(gone, "use", bytes_of("gone"), kPatience).error().code(),
            dolmen::Errc::not_found);
  EXPECT_EQ(cluster.home({1, 1}, kPatience).error().code(), dolmen::Errc::not_found);
  const auto status = cluster.status(kPatience).value();
  std::size_t directories = 0;
  for (const auto& group : status.groups) directories += group.kind == "directory" ? 1 : 0;
  EXPECT_EQ(directories, 2u);
  // Exact, once it has heard what went.
  std::uint64_t objects = 0;
  const auto end = std::chrono::steady_clock::now() + kPatience;
  do {
    const auto shards = cluster.directory(kPatience).value();
    ASSERT_EQ(shards.size(), 2u);
    objects = 0;
    for (const dolmen::DirectoryShard& shard : shards) {
      ASSERT_TRUE(shard.has_answered);
      EXPECT_EQ(shard.stats.group, shard.group);
      EXPECT_EQ(shard.stats.table_bytes, std::uint64_t{16} << 20);
      objects += shard.stats.keys;
    }
  } while (objects != 6 && std::chrono::steady_clock::now() < end);
  EXPECT_EQ(objects, 6u);
}

// Of changes of the cluster, calls of objects, and puts, each also by another client with that key.
TEST(ClusterHome, WhatBecameOfChangesAndCallsIsAsked) {
  using dolmen::CallFate;
  using dolmen::Errc;
  const ThreeNodes nodes;
  dolmen::Cluster cluster = nodes.open();
  dolmen::Cluster other = nodes.open();
  const auto expect_done = [&](const auto& doer) {
    EXPECT_GT(doer.last_commit().index, 0u);
    EXPECT_EQ(doer.last_commit().level, dolmen::ReplicatedLevel::durable);
    const auto asked = other.outcome(doer.last_call(), kPatience).value();
    EXPECT_EQ(asked.fate, CallFate::committed);
    EXPECT_FALSE(asked.error);
    EXPECT_GE(asked.commit.index, doer.last_commit().index);
    return asked.result;
  };
  EXPECT_EQ(cluster.outcome(cluster.last_call()).value().fate, CallFate::aborted) << "none yet";
  const std::uint32_t north = cluster.create_space("north", 3, kPatience).value();
  EXPECT_EQ(cluster.last_call().group, 1u);
  EXPECT_TRUE(expect_done(cluster).empty());
  EXPECT_FALSE(cluster.drain(17, kPatience));
  const auto refused = other.outcome(cluster.last_call(), kPatience).value();
  EXPECT_EQ(refused.fate, CallFate::committed);
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->code(), Errc::invalid_argument);

  ASSERT_TRUE(cluster.create_directory({}, kPatience));
  const ObjectId thing = make(cluster, "north", "thing");
  const Bytes used = cluster.call(thing, "use", bytes_of("thing"), kPatience).value();
  EXPECT_EQ(cluster.last_call().group, north);
  EXPECT_EQ(expect_done(cluster), used);
  EXPECT_EQ(cluster.call(thing, "use", bytes_of("nothing"), kPatience).error().code(),
            Errc::not_found);
  const auto failed = cluster.outcome(cluster.last_call(), kPatience).value();
  EXPECT_EQ(failed.fate, CallFate::committed);
  ASSERT_TRUE(failed.error);
  EXPECT_EQ(failed.error->code(), Errc::not_found);
  ASSERT_TRUE(cluster.call(thing, "drop", bytes_of(thing), kPatience));
  EXPECT_FALSE(cluster.call(thing, "use", bytes_of("thing"), kPatience));
  EXPECT_EQ(cluster.outcome(cluster.last_call(), kPatience).value().fate, CallFate::aborted)
      << "the space said that it has no such object";

  ASSERT_TRUE(cluster.create_index("people", 2, 3,
                                   {.bucket_bytes = 1 << 20, .record_bytes = 1 << 20}, kPatience));
  dolmen::Index index = cluster.index("people", {}, kPatience).value();
  ASSERT_TRUE(index.put(bytes_of("ada"), bytes_of("1815"), kPatience));
  EXPECT_TRUE(expect_done(index).empty());
  EXPECT_EQ(index.outcome(index.last_call(), kPatience).value().fate, CallFate::committed);
  bool is_told = false;
  ASSERT_TRUE(index.begin_put(
      bytes_of("grace"), bytes_of("1906"),
      [&](const Result<bool>& put) {
        is_told = put.has_value();
        EXPECT_TRUE(expect_done(index).empty());
      },
      kPatience));
  while (index.under_way() > 0) ASSERT_TRUE(index.go_on(kPatience));
  EXPECT_TRUE(is_told);
  const dolmen::IndexStats stats = index.stats(kPatience).value();
  EXPECT_EQ(stats.keys(), 2u);
  ASSERT_EQ(stats.shards.size(), 2u);
  for (const dolmen::IndexShardStats& shard : stats.shards) {
    EXPECT_EQ(shard.table_bytes, std::uint64_t{1} << 20);
    EXPECT_EQ(shard.record_bytes, std::uint64_t{1} << 20);
  }
  // All three members of both shards say the same, a moment later.
  const auto end = std::chrono::steady_clock::now() + kPatience;
  std::uint64_t keys = 0;
  do {
    keys = 0;
    const auto told = cluster.metrics(kPatience).value();
    for (const auto& node : told.nodes) {
      for (const char* const shard : {"people/0", "people/1"}) {
        keys += figure_in(node.text, "dolmen_index_keys", shard);
        EXPECT_EQ(figure_in(node.text, "dolmen_index_table_bytes", shard) % (1 << 20), 0u);
      }
    }
  } while (keys != 6 && std::chrono::steady_clock::now() < end);
  EXPECT_EQ(keys, 6u);
  EXPECT_EQ(index.outcome({.group = 1, .session = 9, .sequence = 1}).error().code(),
            Errc::invalid_argument);
  auto client = other.client("north", kPatience).value();
  const dolmen::CallId next = client.next_call(kPatience).value();
  EXPECT_EQ(space_outcome(client, next, kPatience).value().fate, CallFate::aborted);
  const auto late = call_space(client, "use", bytes_of("thing"), kPatience);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), Errc::aborted);
}

// Who leads the directory ends: from the next one on it is read in that one's memory.
TEST(ClusterHome, HomesAreReadInTheLeadersMemoryWhoeverThatIs) {
  ThreeNodes nodes;
  dolmen::Cluster cluster = nodes.open();
  const std::uint32_t north = cluster.create_space("north", 3, kPatience).value();
  ASSERT_TRUE(cluster.create_directory({.shards = 1}, kPatience));
  const ObjectId first = make(cluster, "north", "first");
  dolmen::Cluster other = nodes.open();
  const auto patiently = [&](const auto& is_so) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!is_so() && std::chrono::steady_clock::now() < end) continue;
    return is_so();
  };
  const auto is_read_from_afar = [&](dolmen::IndexReads reads, auto count) {
    const std::uint64_t before = other.home_counts().*count;
    return patiently([&] {
      const auto home = other.home(first, kPatience, reads);
      EXPECT_TRUE(home) << home.error().message();
      EXPECT_EQ(home.value_or(0), north);
      return other.home_counts().*count > before;
    });
  };
  using dolmen::IndexCounts;
  using dolmen::IndexReads;
  EXPECT_TRUE(is_read_from_afar(IndexReads::linearizable, &IndexCounts::one_sided));
  EXPECT_TRUE(is_read_from_afar(IndexReads::hint, &IndexCounts::one_sided));
  // Nodes lend no leases: the lines say it.
  EXPECT_TRUE(is_read_from_afar(IndexReads::lease, &IndexCounts::one_sided));
  // That there is none is seen there as well.
  EXPECT_TRUE(patiently([&] {
    const IndexCounts before = other.home_counts();
    EXPECT_EQ(other.home({1, 1}, kPatience).error().code(), dolmen::Errc::not_found);
    return other.home_counts().one_sided > before.one_sided;
  }));
  std::uint32_t leader = 0;
  ASSERT_TRUE(patiently([&] {
    const auto status = cluster.status(kPatience);
    if (!status) return false;
    for (const auto& group : status->groups) {
      if (group.kind == "directory") leader = group.leader;
    }
    return leader != 0;
  }));
  nodes.end(leader);
  // What is made while the others agree is found by who knew only the one that is gone.
  const ObjectId second = make(cluster, "north", "second");
  const auto home = other.home(second, kPatience);
  ASSERT_TRUE(home) << home.error().message();
  EXPECT_EQ(*home, north);
  EXPECT_TRUE(is_read_from_afar(IndexReads::linearizable, &IndexCounts::one_sided));
  const auto used = other.call(second, "use", bytes_of("second"), kPatience);
  ASSERT_TRUE(used) << used.error().message();
  EXPECT_EQ(used->size(), 1u);
}

}  // namespace
