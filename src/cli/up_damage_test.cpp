// SPDX-License-Identifier: Apache-2.0
//
// dolmen up where a node was removed, or is damaged.
#include <csignal>
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "cli/command_test_tools.hpp"
#include "cli/up_test_tools.hpp"
#include "security/token.hpp"
#include "sys/linux/linux.hpp"

namespace {

using namespace dolmen::cli::test;

class UpDamageTest : public UpCluster {};

struct Kept {
  std::int64_t value = 0;
};

TEST_F(UpDamageTest, ANodeThatWasRemovedStaysAwayAndOneThatCannotRunIsGivenUp) {
  std::vector<std::string> words = up("cluster");
  words.emplace_back("--json");
  begin(words);
  ASSERT_TRUE(until([&] { return fs::exists(path("cluster/keys/client-1.key")); }));
  ASSERT_TRUE(has_groups(1)) << read_file(path("up.err"));
  const std::string shared = [&] {
    const std::string at_it = Json::parse(read_file(path("up.out")))["address"];
    return at_it.substr(at_it.find("&shm=") + 5);
  }();
  // A fourth node, which gets the seats of the one that is removed.
  const std::string token = dolmen({"node", "token", address(), "--json"}).json()["token"];
  const auto join = [&](const std::string& with) {
    return dolmen({"node", "init", "fourth", "--listen", host() + ":7499", "--join", with});
  };
  // One that is refused stands in no other one's way.
  dolmen::security::JoinToken foreign = dolmen::security::JoinToken::parse(token).value();
  foreign.identity.number += 7;
  expect_error(join(foreign.text()), kFailed, "not_authentic");
  expect_error(dolmen({"serve", "fourth"}), kFailed, "it has not joined yet: make it once more");
  const Outcome joined = join(token);
  ASSERT_EQ(joined.exit, kOk) << joined.err;
  EXPECT_NE(read_file(path("fourth/node")).find("number 4\n"), std::string::npos);
  EXPECT_NE(read_file(path("fourth/node")).find("name node-4\n"), std::string::npos);
  dolmen::sys::Children fourth;
  ASSERT_TRUE(fourth.start(DOLMEN_COMMAND, {"serve", path("fourth"), "--quiet"}, {}));
  ASSERT_EQ(dolmen({"node", "drain", address(), "1"}).exit, kOk);
  ASSERT_TRUE(until([&] { return status()["nodes"][0]["seats"] == 0; }, 60)) << status();
  ASSERT_TRUE(until([&] { return dolmen({"node", "remove", address(), "1"}).exit == kOk; }));
  EXPECT_TRUE(until([&] {
    return read_file(path("up.err")).find("node 1 was removed from the cluster, and is not") !=
           std::string::npos;
  })) << read_file(path("up.err"));
  EXPECT_TRUE(node_process(1).empty());
  EXPECT_EQ(node_process(2).size(), 1u);
  // Killed, it leaves something in memory, which the next one does not take for its own.
  const std::vector<int> upper = processes(up("cluster"));
  ASSERT_EQ(upper.size(), 1u);
  ASSERT_EQ(::kill(upper.front(), SIGKILL), 0);
  EXPECT_EQ(end(), -SIGKILL);
  ASSERT_TRUE(until([&] { return node_processes() == 0; }));
  ASSERT_TRUE(fs::exists(shared)) << shared;
  std::ofstream(shared + "/left") << "over";
  // Without node 1; and node 2 cannot run, whose journal somebody has taken away.
  fs::rename(path("cluster/node-2/journal"), path("journal"));
  std::ofstream(path("cluster/node-2/journal")) << "text";
  begin(words);
  ASSERT_TRUE(until([&] {
    return read_file(path("up.err")).find("node 2 ended with exit code 1, 3 times in a row") !=
           std::string::npos;
  })) << read_file(path("up.err"));
  EXPECT_FALSE(fs::exists(shared + "/left"));
  EXPECT_EQ(node_process(3).size(), 1u) << "the others go on";
  EXPECT_TRUE(node_process(1).empty());
  const std::string now = Json::parse(read_file(path("up.out")))["address"];
  EXPECT_EQ(now.find(at(1)), std::string::npos) << now;
  EXPECT_EQ(terminate(), kOk);
  EXPECT_EQ(Json::parse(read_file(path("up.out")))["address"], now) << "one document, to the end";
  EXPECT_FALSE(fs::exists(shared));
  fourth.terminate();
  while (fourth.running() > 0) ASSERT_TRUE(fourth.wait());
}

TEST_F(UpDamageTest, OneWhoseFileIsDamagedStaysAwayAndTheOthersRun) {
  begin(up("cluster"));
  ASSERT_TRUE(until([&] { return fs::exists(path("cluster/keys/client-1.key")); }));
  ASSERT_TRUE(has_groups(1)) << read_file(path("up.err"));
  ASSERT_EQ(dolmen({"space", "create", address(), "web"}).exit, kOk);
  ASSERT_TRUE(has_groups(2));
  EXPECT_EQ(terminate(), kOk);
  const std::string file = path("cluster/node-1/node");
  const std::string good = read_file(file);
  const auto write = [&](const std::string& text) { std::ofstream(file) << text; };
  std::string other_founder = good;
  const std::string second = "founder " + at(2);
  other_founder.replace(other_founder.find(second), second.size(), "founder " + host() + ":9999");
  const std::vector<std::pair<std::string, std::string>> damages{
      {good.substr(0, good.size() / 2), "corrupt: " + file},
      {std::string(good.size(), '\0'), "corrupt: " + file},
      {other_founder, "cluster/node-1: a node's already, of another cluster"}};
  for (const auto& [text, why] : damages) {
    write(text);
    begin(up("cluster"));
    const auto said = [&] { return read_file(path("up.err")); };
    ASSERT_TRUE(until([&] { return dolmen({"status", address()}).exit == kOk; })) << said();
    EXPECT_TRUE(said().starts_with("dolmen: node 1 cannot run: ")) << said();
    EXPECT_NE(said().find(why), std::string::npos) << said();
    EXPECT_NE(said().find("let another node join (`dolmen node token`"), std::string::npos);
    EXPECT_TRUE(node_process(1).empty());
    EXPECT_EQ(node_process(2).size(), 1u);
    EXPECT_EQ(node_process(3).size(), 1u);
    EXPECT_EQ(read_file(path("up.out")).find(at(1)), std::string::npos);
    EXPECT_EQ(terminate(), kOk);
    expect_error(dolmen({"run", "-n", "3", "--dir", "cluster", "--host", host(), "--port",
                         std::to_string(kPort), "--", "true"}),
                 why.starts_with("corrupt") ? kDamaged : kFailed, why);
  }
  write(good);
  // One that is gone is not founded anew: it would have forgotten what it promised.
  for (const bool is_empty : {false, true}) {
    fs::rename(path("cluster/node-1"), path("aside"));
    if (is_empty) fs::create_directory(path("cluster/node-1"));
    begin(up("cluster"));
    ASSERT_TRUE(until([&] { return dolmen({"status", address()}).exit == kOk; }));
    EXPECT_NE(read_file(path("up.err")).find("cluster/node-1: gone, or not mounted"),
              std::string::npos);
    EXPECT_EQ(terminate(), kOk);
    EXPECT_EQ(fs::exists(path("cluster/node-1")), is_empty);
    if (is_empty) {
      EXPECT_TRUE(fs::remove(path("cluster/node-1"))) << "nothing was made there";
    }
    fs::rename(path("aside"), path("cluster/node-1"));
  }
  begin(up("cluster"));
  ASSERT_TRUE(has_groups(2)) << read_file(path("up.err"));
  EXPECT_EQ(terminate(), kOk);
}

TEST_F(UpDamageTest, DamageOfANodeIsSaidWithItsDirectoryAndTheRemedy) {
  {
    dolmen::Space space = writer("things");
    ASSERT_TRUE(space.create<Kept>("thing"));
    ASSERT_TRUE(space.close());
  }
  begin(up("cluster"));
  ASSERT_TRUE(until([&] { return fs::exists(path("cluster/keys/client-1.key")); }));
  ASSERT_TRUE(has_groups(1)) << read_file(path("up.err"));
  ASSERT_EQ(dolmen({"import", "things", address(), "web"}).exit, kOk);
  ASSERT_TRUE(has_groups(2));
  EXPECT_EQ(terminate(), kOk);
  const auto expect_said = [&](const std::string& directory) {
    const Outcome run = shell("timeout 60 \"$D\" serve cluster/node-1");
    expect_error(run, kDamaged, "corrupt: cluster/node-1/" + directory + ": ");
    EXPECT_NE(run.err.find("With a majority of the others running, let another node join"),
              std::string::npos)
        << run.err;
    EXPECT_EQ(run.err.find("scrub"), std::string::npos) << run.err;
  };
  for (const std::string directory : {"journal", "group-2"}) {
    // An image that is none any more is fetched from the others.
    if (directory == "journal") {
      const std::string roots = path("cluster/node-1/journal/space");
      const std::string good = read_file(roots);
      ASSERT_FALSE(good.empty());
      std::ofstream(roots) << std::string(good.size(), 'x');
      expect_said(directory);
      std::ofstream(roots) << good;
    }
    // As if somebody had taken it away.
    fs::rename(path("cluster/node-1/" + directory + "/log"), path("log"));
    fs::create_directory(path("cluster/node-1/" + directory + "/log"));
    expect_said(directory);
    fs::remove_all(path("cluster/node-1/" + directory + "/log"));
    fs::rename(path("log"), path("cluster/node-1/" + directory + "/log"));
  }
}

}  // namespace
