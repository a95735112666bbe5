// SPDX-License-Identifier: Apache-2.0
//
// dolmen import and export, with a cluster of one node that runs in this process and has functions.
#include <optional>
#include <thread>

#include <dolmen/cluster.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "cli/command_test_tools.hpp"
#include "node/space_import.hpp"
#include "node/space_transfer.hpp"
#include "sys/linux/linux.hpp"

namespace {

using namespace dolmen::cli::test;
using Bytes = std::vector<std::byte>;

struct Shelf {
  std::uint64_t count = 0;
  dolmen::vector<std::uint64_t> numbers;
  dolmen::ptr<Shelf> next;
};

dolmen::Result<Bytes> count(dolmen::Space& space, std::span<const std::byte>) {
  DOLMEN_TRY(const auto shelf, space.find<Shelf>("shelf"));
  DOLMEN_TRY(const std::uint64_t now, space.transact(shelf, [](dolmen::mut<Shelf> s) {
    s->numbers.push_back(s->count);
    return ++s->count;
  }));
  return Bytes(now);
}

class MoveTest : public CliTest {
 protected:
  /// As UpCluster's, which is of other processes.
  static std::string host() {
    const auto pid = static_cast<std::uint32_t>(::getpid());
    return "127." + std::to_string(1 + (pid >> 16)) + "." + std::to_string(pid >> 8 & 0xff) + "." +
           std::to_string(pid & 0xff);
  }
  void start() {
    const std::string where = host() + ":7399";
    if (!fs::exists(path("node"))) {
      ASSERT_TRUE(::dolmen::make_cluster_keys(path("keys"), 1));
      ASSERT_TRUE(::dolmen::ClusterNode::create({.directory = path("node"),
                                                 .address = where,
                                                 .identity_file = path("keys/node-1.key"),
                                                 .founders = {where}}));
    }
    address_ = "dolmen://" + where + "?identity=" + path("keys/client-1.key");
    ::dolmen::NodeRunOptions options;
    options.functions["count"] = count;
    auto started = ::dolmen::ClusterNode::start(path("node"), options);
    ASSERT_TRUE(started) << started.error().message();
    node_.emplace(std::move(*started));
    thread_ = std::thread([this] { EXPECT_TRUE(node_->run()); });
  }
  void stop() {
    if (!node_) return;
    node_->stop();
    thread_.join();
    node_.reset();
  }
  ~MoveTest() override { stop(); }

  /// More than what one part takes, and a pointer into another object.
  void make_space(const std::string& name) const {
    auto space = writer(name);
    const auto shelf = space.find_or_create<Shelf>("shelf").value();
    const auto other = space.find_or_create<Shelf>("other shelf").value();
    ASSERT_TRUE(space.transact(shelf, [](dolmen::mut<Shelf> s) {
      for (std::uint64_t i = 1; i <= 300'000; ++i) s->numbers.push_back(i * 0x9E3779B97F4A7C15);
    }));
    ASSERT_TRUE(space.transact(shelf, other,
                               [](dolmen::mut<Shelf> s, dolmen::mut<Shelf> o) { s->next = o; }));
    ASSERT_TRUE(space.close());
  }
  /// What a dump holds behind its head, which says of which commit it is.
  std::string dumped(const std::string& name) const {
    EXPECT_EQ(dolmen({"dump", name, name + ".dump"}).exit, kOk);
    const std::string all = read_file(path(name + ".dump"));
    constexpr std::size_t kHead = 64;
    EXPECT_GT(all.size(), kHead);
    return all.size() > kHead ? all.substr(kHead) : "";
  }
  [[nodiscard]] ::dolmen::Result<std::size_t> call_count(const std::string& name) const {
    DOLMEN_TRY(auto cluster, ::dolmen::Cluster::open(address_));
    DOLMEN_TRY(auto client, cluster.client(name));
    DOLMEN_TRY(const Bytes told, ::dolmen::call_space(client, "count"));
    return told.size();
  }

  std::string address_;
  std::optional<::dolmen::ClusterNode> node_;
  std::thread thread_;
};

/// The first part of it, as an import does it that is cut short then.
::dolmen::Result<void> import_half(const std::string& address, const std::string& directory,
                                   const std::string& name) {
  namespace node = ::dolmen::node;
  const ::dolmen::sys::Env& env = ::dolmen::sys::linux_env();
  DOLMEN_TRY(auto cluster, ::dolmen::Cluster::open(address));
  DOLMEN_CHECK(cluster.create_space(name));
  DOLMEN_TRY(auto client, cluster.client(name));
  node::ImportState at;
  {
    DOLMEN_TRY(auto space, ::dolmen::Space::open(directory, {.read_only = true}));
    at.source = {.space = space.stats().space_id, .last_index = space.stats().last_index};
  }
  DOLMEN_CHECK(
      ::dolmen::call_space(client, node::kImportFunction, encode(node::ImportCall{.at = at})));
  DOLMEN_TRY(const auto disk,
             ::dolmen::sys::open_directory(directory, ::dolmen::sys::DirectoryMode::open_existing));
  node::SpaceSource source(
      env, *disk, {.space = at.source.space, .last_index = at.source.last_index}, 1u << 18);
  std::optional<Bytes> part;
  while (!part) {
    DOLMEN_TRY(part, source.part(0));
    if (!part) env.clock->sleep_ns(1'000'000);
  }
  const auto sent = ::dolmen::call_space(
      client, node::kImportFunction,
      encode(node::ImportCall{.step = node::ImportStep::part, .at = at, .pages = *part}));
  return sent ? ::dolmen::Result<void>() : std::unexpected(sent.error());
}

// Whose directory is gone, or has changed since: the name is free for another one.
TEST_F(MoveTest, HalfAnImportIsGivenUp) {
  make_space("web");
  start();
  const auto half = import_half(address_, path("web"), "web");
  ASSERT_TRUE(half) << half.error().message();
  EXPECT_EQ(call_count("web").error().code(), ::dolmen::Errc::unfinished);
  expect_error(dolmen({"space", "give-up", address_, "nobody"}), kFailed, "a group called nobody");
  EXPECT_EQ(without_commit(dolmen({"space", "give-up", address_, "web", "--json"}).json(), 1),
            (Json{{"name", "web"}}));
  const Outcome root = dolmen({"log", "show", address_, "1", "--count", "1000"});
  EXPECT_NE(root.out.find("release name"), std::string::npos) << root.out << root.err;
  const Outcome half_log = dolmen({"log", "show", address_, "2", "--count", "1000"});
  EXPECT_NE(half_log.out.find("import given up, all is erased"), std::string::npos)
      << half_log.out << half_log.err;
  {
    auto space = writer("web");
    const auto shelf = space.find<Shelf>("shelf").value();
    ASSERT_TRUE(space.transact(shelf, [](dolmen::mut<Shelf> s) { s->count = 41; }));
    ASSERT_TRUE(space.close());
  }
  const Outcome again = dolmen({"import", "web", address_, "web"});
  ASSERT_EQ(again.exit, kOk) << again.err;
  ASSERT_TRUE(call_count("web"));
  expect_error(dolmen({"space", "give-up", address_, "web"}), kFailed, "not half an import");
  // What was given up is nobody's, also for whoever starts again.
  stop();
  start();
  EXPECT_TRUE(call_count("web"));
}

TEST_F(MoveTest, ASpaceIsImportedChangedAndExported) {
  make_space("web");
  start();
  const auto half = import_half(address_, path("web"), "web");
  ASSERT_TRUE(half) << half.error().message();
  EXPECT_EQ(call_count("web").error().code(), ::dolmen::Errc::unfinished);
  expect_error(dolmen({"export", address_, "web", "early"}), kFailed, "`dolmen import` of it");
  // Whoever serves has ended and begun again meanwhile.
  stop();
  expect_error(dolmen({"import", "web", address_, "web", "--patience", "0.3"}), kFailed,
               "timed_out");
  start();
  {
    const auto held = writer("web");
    expect_error(dolmen({"import", "web", address_, "web"}), kFailed, "end the program");
  }
  ASSERT_EQ(dolmen({"init", "empty"}).exit, kOk);
  expect_error(dolmen({"import", "empty", address_, "web"}), kFailed, "choose another name");
  expect_error(dolmen({"import", "nowhere", address_, "nowhere"}), kFailed, "no directory");

  const Outcome moved = dolmen({"import", "web", address_, "web", "--json"});
  ASSERT_EQ(moved.exit, kOk) << moved.err;
  const Json told = without_commit(moved.json(), 2);
  EXPECT_EQ(told["resumed"], true);
  EXPECT_EQ(told["group"], 2);
  const Json facts = dolmen({"stat", "web", "--json"}).json();
  EXPECT_EQ(told["space"], facts["space"]);
  EXPECT_EQ(told["objects"], facts["objects"]);
  EXPECT_EQ(told["from_commit"], facts["last_index"]);
  expect_error(dolmen({"import", "web", address_, "web"}), kFailed, "choose another name");

  const Outcome out = dolmen({"export", address_, "web", "copy", "--json"});
  ASSERT_EQ(out.exit, kOk) << out.err;
  EXPECT_EQ(out.json()["objects"], facts["objects"]);
  EXPECT_EQ(dumped("copy"), dumped("web"));
  EXPECT_EQ(dolmen({"check", "copy"}).exit, kOk);
  expect_error(dolmen({"export", address_, "web", "copy"}), kFailed, "holds a space already");
  expect_error(dolmen({"export", address_, "nothing", "other"}), kFailed, "not_found");

  // What is called afterwards is in the next copy, and in a space that is made of that.
  EXPECT_EQ(call_count("web").value(), 1u);
  EXPECT_EQ(call_count("web").value(), 2u);
  ASSERT_EQ(dolmen({"export", address_, "web", "later"}).exit, kOk);
  EXPECT_NE(dumped("later"), dumped("web"));
  {
    auto space = writer("later");
    const auto shelf = space.find<Shelf>("shelf").value();
    EXPECT_EQ(space.read(shelf, [](dolmen::ref<Shelf> s) { return s->count; }).value(), 2u);
    EXPECT_TRUE(space.close());
  }
  const Outcome again = dolmen({"import", "later", address_, "second", "--json"});
  ASSERT_EQ(again.exit, kOk) << again.err;
  EXPECT_EQ(again.json()["resumed"], false);
  EXPECT_LT(told["bytes"], again.json()["bytes"]) << "what was there already was not sent again";
  EXPECT_EQ(call_count("second").value(), 3u);
  EXPECT_EQ(call_count("web").value(), 3u) << "each goes its own way";
}

TEST_F(MoveTest, WhatAnExportLeftIsTidiedUpByTheNext) {
  ASSERT_EQ(dolmen({"init", "empty"}).exit, kOk);
  start();
  ASSERT_EQ(dolmen({"space", "create", address_, "nothing"}).exit, kOk);
  expect_error(dolmen({"export", address_, "nothing", "copy"}), kFailed, "not_found");
  ASSERT_EQ(dolmen({"import", "empty", address_, "web"}).exit, kOk);
  fs::create_directories(path("copy"));
  std::ofstream(path("copy/new.pages")) << "half of it";
  std::ofstream(path("copy/new.space")) << "no root";
  ASSERT_EQ(dolmen({"export", address_, "web", "copy"}).exit, kOk);
  EXPECT_FALSE(fs::exists(path("copy/new.pages")));
  EXPECT_EQ(dumped("copy"), dumped("empty"));
  fs::create_directories(path("full"));
  std::ofstream(path("full/letter")) << "not to be lost";
  expect_error(dolmen({"export", address_, "web", "full"}), kFailed, "is not empty");
  EXPECT_TRUE(fs::exists(path("full/letter")));
}

}  // namespace
