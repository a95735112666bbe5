// SPDX-License-Identifier: Apache-2.0
//
// dolmen object, beside a cluster that runs. Objects themselves are moved by
// tests/object_move_process_test.cpp: what `dolmen up` runs publishes none.
#include "cli/up_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

class ObjectCommand : public UpCluster {};

const std::string kNobody = "0123456789abcdef0123456789abcdef";

TEST_F(ObjectCommand, SaysWhatIsNotThereAndDrainsWhatIsEmpty) {
  begin(up("cluster"));
  ASSERT_TRUE(until([&] { return fs::exists(path("cluster/keys/client-1.key")); }));
  ASSERT_TRUE(has_groups(1)) << read_file(path("up.err"));
  const auto object = [&](const std::string& what, std::vector<std::string> words) {
    words.insert(words.begin(), {"object", what, address()});
    return dolmen(words);
  };
  expect_error(object("where", {kNobody}), kFailed, "the cluster has no directory");
  expect_error(object("where", {"me"}), kFailed, "no object's id");
  expect_error(object("drain", {"north"}), kFailed, "a space called north");
  for (const std::string space : {"north", "south"}) {
    EXPECT_EQ(dolmen({"space", "create", address(), space}).exit, kOk);
  }
  ASSERT_TRUE(has_groups(3));
  expect_error(object("move", {kNobody}), kFailed, "to which space?");
  expect_error(object("move", {kNobody, "west"}), kFailed, "a space called west");
  expect_error(object("move", {kNobody, "north"}), kFailed, "the cluster has no directory");
  EXPECT_EQ(object("drain", {"north"}).out, "no object is in north any more\n");
  EXPECT_EQ(object("drain", {"2", "--undo", "--json"}).json(),
            (Json{{"space", "north"}, {"group", 2}, {"drained", false}}));
  EXPECT_EQ(terminate(), kOk) << read_file(path("up.err"));
}

TEST_F(ObjectCommand, ObjectCommandsHaveHelpAndRefuseWhatTheyDoNotKnow) {
  ASSERT_EQ(dolmen({"cluster", "init", "keys"}).exit, kOk);
  const std::string nobody = "dolmen://127.0.0.1:1?identity=" + path("keys/client-1.key");
  for (const std::string what : {"where", "move", "drain"}) {
    const Outcome help = dolmen({"object", what, "--help"});
    EXPECT_EQ(help.exit, kOk);
    EXPECT_NE(help.out.find("Example:\n  dolmen object " + what), std::string::npos) << help.out;
    EXPECT_NE(help.out.find("--json"), std::string::npos) << help.out;
    EXPECT_EQ(dolmen({"object", what}).exit, kUsage) << "ADDRESS is required";
    std::vector<std::string> words{"object", what, nobody, what == "drain" ? "north" : kNobody};
    if (what == "move") words.emplace_back("south");
    words.insert(words.end(), {"--patience", "0.1"});
    expect_error(dolmen(words), kFailed, "no node of the cluster answered at 127.0.0.1:1");
  }
  EXPECT_EQ(dolmen({"object"}).exit, kUsage);
  EXPECT_EQ(dolmen({"object", "where", nobody, kNobody, "--reads", "old"}).exit, kUsage);
  expect_error(dolmen({"object", "where", nobody, kNobody, "--reads", "hint", "--patience", "0.1"}),
               kFailed, "no node of the cluster answered at 127.0.0.1:1");
  EXPECT_EQ(dolmen({"object", "move", nobody, kNobody, "south", "--cancel"}).exit, kUsage);
}

}  // namespace
