// SPDX-License-Identifier: Apache-2.0
//
// dolmen object, beside a cluster that runs. Objects themselves are moved by
// tests/object_move_process_test.cpp, which has functions that count.
#include "cli/metrics_test_tools.hpp"
#include "cli/up_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

class ObjectCommand : public UpCluster {};

struct Published {
  std::uint64_t value = 0;
};

const std::string kNobody = "0123456789abcdef0123456789abcdef";

TEST_F(ObjectCommand, SaysWhatIsNotThereAndDrainsWhatIsEmpty) {
  std::vector<std::string> words = up("cluster");
  words.insert(words.end(), {"--metrics-port", std::to_string(kMetricsPort)});
  begin(words);
  ASSERT_TRUE(until([&] { return fs::exists(path("cluster/keys/client-1.key")); }));
  ASSERT_TRUE(has_groups(1)) << read_file(path("up.err"));
  const auto object = [&](const std::string& what, std::vector<std::string> words) {
    words.insert(words.begin(), {"object", what, address()});
    return dolmen(words);
  };
  expect_error(object("where", {kNobody}), kFailed, "`dolmen directory create`");
  expect_error(object("where", {"xyz"}), kUsage, "xyz: no object's id");
  expect_error(object("move", {"xyz", "north"}), kUsage, "xyz: no object's id");
  expect_error(object("drain", {"north"}), kFailed, "a space called north");
  for (const std::string space : {"north", "south"}) {
    EXPECT_EQ(dolmen({"space", "create", address(), space}).exit, kOk);
  }
  ASSERT_TRUE(has_groups(3));
  expect_error(object("move", {kNobody}), kUsage, "to which space?; see dolmen object move --help");
  expect_error(object("move", {kNobody, "west"}), kFailed, "a space called west");
  expect_error(object("move", {kNobody, "north"}), kFailed, "the cluster has no directory");
  EXPECT_EQ(object("drain", {"north"}).out, "no object is in north any more\n");
  // What was not drained takes objects as before; what was drained to its end never will.
  EXPECT_EQ(object("drain", {"3", "--undo", "--json"}).json(),
            (Json{{"space", "south"}, {"group", 3}, {"drained", false}}));
  expect_error(object("drain", {"north", "--undo"}), kFailed, "its drain was finished");
  // From a shell alone: an object that is found, and moved.
  {
    dolmen::Space things = writer("things");
    const auto thing = things.create<Published>("thing").value();
    ASSERT_TRUE(things.transact(thing, [](dolmen::mut<Published> t) { t->value = 4711; }));
    ASSERT_TRUE(things.close());
  }
  ASSERT_EQ(dolmen({"import", "things", address(), "web"}).exit, kOk);
  expect_error(object("publish", {"web", "thing"}), kFailed, "`dolmen directory create`");
  expect_error(dolmen({"directory", "ls", address()}), kFailed, "`dolmen directory create`");
  expect_error(dolmen({"directory", "create", address(), "--shards", "6"}), kUsage,
               "'6' is no power of two");
  const Outcome made = dolmen({"directory", "create", address(), "--shards", "2"});
  EXPECT_EQ(made.out, "the cluster has a directory, in 2 groups\n") << made.err;
  expect_error(dolmen({"directory", "create", address(), "--shards", "4"}), kFailed,
               "already_exists");
  const Json again = without_commit(dolmen({"directory", "create", address(), "--json"}).json(), 1);
  EXPECT_EQ(again, (Json{{"shards", 2}, {"size", 3}}));
  const auto objects_of_directory = [&] {
    const Json rows = dolmen({"directory", "ls", address(), "--json"}).json();
    EXPECT_EQ(rows.size(), 2u);
    std::uint64_t objects = 0;
    for (std::size_t shard = 0; shard < rows.size(); ++shard) {
      EXPECT_EQ(rows[shard]["shard"], shard);
      EXPECT_GT(rows[shard]["group"], 0);
      EXPECT_GT(rows[shard]["bytes_used"], 0);
      EXPECT_EQ(rows[shard]["bytes"], 16 << 20);
      objects += rows[shard]["objects"].get<std::uint64_t>();
    }
    return objects;
  };
  EXPECT_EQ(objects_of_directory(), 0u);
  EXPECT_NE(dolmen({"status", address()}).out.find("directory"), std::string::npos);
  EXPECT_TRUE(until([&] {
    const std::string text = figures_at(host(), kMetricsPort + 1);
    return sum_of(text, "dolmen_replicas", "kind", "directory") == 2;
  }));
  // A node hears of the directory with its next map.
  Outcome published;
  ASSERT_TRUE(until([&] {
    published = object("publish", {"web", "thing"});
    return published.exit == kOk;
  })) << published.err;
  const std::string id = published.out.substr(0, 32);
  EXPECT_EQ(without_commit(object("publish", {"web", id, "--json"}).json())["object"], id);
  EXPECT_EQ(objects_of_directory(), 1u);
  const Outcome listed = dolmen({"directory", "ls", address()});
  EXPECT_EQ(listed.out.find("SHARD"), 0u) << listed.out;
  EXPECT_NE(listed.out.find("16.0 MiB"), std::string::npos) << listed.out;
  EXPECT_EQ(object("where", {id}).out.find("web (group "), 0u);
  EXPECT_EQ(object("move", {id, "south"}).out.find("it lives in south"), 0u);
  EXPECT_EQ(object("where", {id, "--json"}).json()["space"], "south");
  // Its name stayed behind, which is no damage.
  std::string web = address();
  web.insert(web.find('?'), "/web");
  EXPECT_NE(dolmen({"ls", web}).out.find("(in another space)"), std::string::npos);
  EXPECT_EQ(dolmen({"ls", web, "--json"}).json()[0]["elsewhere"], true);
  expect_error(dolmen({"inspect", web, "thing"}), kFailed, "dolmen object where");
  expect_error(dolmen({"tree", web, "thing"}), kFailed, "dolmen object where");
  const Outcome dumped = dolmen({"dump", web, path("web.dump"), "--json"});
  ASSERT_EQ(dumped.exit, kOk) << dumped.err;
  EXPECT_EQ(dumped.json()["names_elsewhere"], 1);
  EXPECT_EQ(dolmen({"load", path("web.dump"), path("copy")}).exit, kOk);
  expect_error(object("publish", {"web", "other"}), kFailed, "an object of that name or id");
  expect_error(object("publish", {"web", kNobody}), kFailed, "not_found");
  expect_error(object("publish", {"west", "thing"}), kFailed, "a space called west");
  EXPECT_EQ(terminate(), kOk) << read_file(path("up.err"));
}

TEST_F(ObjectCommand, ObjectCommandsHaveHelpAndRefuseWhatTheyDoNotKnow) {
  ASSERT_EQ(dolmen({"cluster", "init", "keys"}).exit, kOk);
  const std::string nobody = "dolmen://127.0.0.1:1?identity=" + path("keys/client-1.key");
  for (const std::string what : {"where", "publish", "move", "drain"}) {
    const Outcome help = dolmen({"object", what, "--help"});
    EXPECT_EQ(help.exit, kOk);
    EXPECT_NE(help.out.find("Example:\n  dolmen object " + what), std::string::npos) << help.out;
    EXPECT_NE(help.out.find("--json"), std::string::npos) << help.out;
    EXPECT_EQ(dolmen({"object", what}).exit, kUsage) << "ADDRESS is required";
    std::vector<std::string> words{"object", what, nobody, what == "drain" ? "north" : kNobody};
    if (what == "move" || what == "publish") words.emplace_back("south");
    words.insert(words.end(), {"--patience", "0.1"});
    expect_error(dolmen(words), kFailed, "no node of the cluster answered at 127.0.0.1:1");
  }
  EXPECT_EQ(dolmen({"object"}).exit, kUsage);
  EXPECT_EQ(dolmen({"directory"}).exit, kUsage);
  EXPECT_NE(
      dolmen({"directory", "create", "--help"}).out.find("dolmen directory create 'dolmen://"),
      std::string::npos);
  EXPECT_EQ(dolmen({"directory", "create", nobody, "--shards", "0"}).exit, kUsage);
  EXPECT_EQ(dolmen({"directory", "create", nobody, "--shards", "257"}).exit, kUsage);
  for (const std::string what : {"create", "ls"}) {
    expect_error(dolmen({"directory", what, nobody, "--patience", "0.1"}), kFailed,
                 "no node of the cluster answered at 127.0.0.1:1");
  }
  expect_error(dolmen({"object", "where", nobody, kNobody, "--reads", "old"}), kUsage,
               "'old' is none of hint, lease, linearizable; see dolmen object where --help");
  expect_error(dolmen({"object", "where", nobody, kNobody, "--reads", "hint", "--patience", "0.1"}),
               kFailed, "no node of the cluster answered at 127.0.0.1:1");
  EXPECT_EQ(dolmen({"object", "move", nobody, kNobody, "south", "--cancel"}).exit, kUsage);
}

}  // namespace
