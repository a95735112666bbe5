// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include "cli/command_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

class ClusterKeys : public CliTest {
 protected:
  unsigned mode(const std::string& name) {
    struct stat facts{};
    EXPECT_EQ(::stat(path(name).c_str(), &facts), 0) << name;
    return facts.st_mode & 0777u;
  }
};

TEST_F(ClusterKeys, EverySubcommandHasHelpWithAnExampleAndTheJsonOption) {
  for (const std::string command : {"init", "show"}) {
    const Outcome help = dolmen({"cluster", command, "--help"});
    EXPECT_EQ(help.exit, kOk);
    EXPECT_NE(help.out.find("Example:\n  dolmen cluster " + command), std::string::npos)
        << help.out;
    EXPECT_NE(help.out.find("--json"), std::string::npos) << help.out;
    EXPECT_EQ(dolmen({"cluster", command}).exit, kUsage) << "DIR is required";
  }
  EXPECT_EQ(dolmen({"cluster"}).exit, kUsage);
  EXPECT_EQ(dolmen({"cluster", "nonsense"}).exit, kUsage);
}

TEST_F(ClusterKeys, InitMakesThemOnceAndSecretsAreSecret) {
  const Json made =
      dolmen({"cluster", "init", "keys", "--nodes", "2", "--clients", "1", "--json"}).json();
  EXPECT_EQ(made["directory"], "keys");
  EXPECT_EQ(made["owner_key_file"], "keys/owner.key");
  EXPECT_EQ(made["trust_file"], "keys/trust");
  EXPECT_EQ(made["key_files"],
            (std::vector<std::string>{"keys/node-1.key", "keys/node-2.key", "keys/client-1.key"}));
  for (const std::string name : {"owner", "node-1", "node-2", "client-1"}) {
    EXPECT_EQ(mode("keys/" + name + ".key"), 0600u);
  }
  const std::string owner = read_file(path("keys/owner.key"));
  expect_error(dolmen({"cluster", "init", "keys"}), kFailed,
               "'keys' is there already; choose a new directory");
  EXPECT_EQ(read_file(path("keys/owner.key")), owner);
  const Json shown = dolmen({"cluster", "show", "keys", "--json"}).json();
  EXPECT_EQ(shown["cluster"], made["cluster"]);
  EXPECT_EQ(shown["serial"], 1);
  ASSERT_EQ(shown["keys"].size(), 3u);
  EXPECT_EQ(shown["keys"][2]["role"], "client");
  EXPECT_EQ(shown["keys"][0]["name"], "node-1");
  const std::string key = shown["keys"][0]["public_key"];
  EXPECT_NE(read_file(path("keys/node-1.key")).find("\npublic " + key + "\n"), std::string::npos);
  EXPECT_NE(dolmen({"cluster", "show", "keys"}).out.find(key), std::string::npos);
  // Another cluster is another one.
  EXPECT_NE(dolmen({"cluster", "init", "others", "--json"}).json()["cluster"], made["cluster"]);
  expect_error(dolmen({"cluster", "init", "no/keys"}), kFailed, "not_found");
  expect_error(dolmen({"cluster", "init", "more", "--nodes", "10"}), kFailed,
               "keys of 1 to 9 nodes");
  EXPECT_FALSE(fs::exists(path("more")));
}

TEST_F(ClusterKeys, FilesThatAreOpenChangedOrForeignAreSaid) {
  ASSERT_EQ(dolmen({"cluster", "init", "keys"}).exit, kOk);
  ASSERT_EQ(dolmen({"cluster", "init", "others"}).exit, kOk);
  expect_error(dolmen({"cluster", "show", "nothing"}), kFailed, "nothing/owner.key: No such file");
  ASSERT_EQ(::chmod(path("keys/owner.key").c_str(), 0644), 0);
  expect_error(dolmen({"cluster", "show", "keys"}), kFailed,
               "keys/owner.key can be reached by other users; take their rights away");
  ASSERT_EQ(::chmod(path("keys/owner.key").c_str(), 0600), 0);
  const std::string trust = read_file(path("keys/trust"));
  fs::copy_file(path("others/trust"), path("keys/trust"), fs::copy_options::overwrite_existing);
  expect_error(dolmen({"cluster", "show", "keys"}), kFailed,
               "keys/trust: a trust file of another cluster");
  std::string changed = trust;
  changed[changed.find("node 1 trusted")] = 'm';
  std::ofstream(path("keys/trust")) << changed;
  expect_error(dolmen({"cluster", "show", "keys"}), kFailed,
               "keys/trust: a trust file that its cluster's owner did not sign");
  std::ofstream(path("keys/trust")) << trust.substr(0, 40);
  expect_error(dolmen({"cluster", "show", "keys"}), kFailed, "keys/trust: cut short");
  std::ofstream(path("keys/trust")) << trust;
  ASSERT_EQ(dolmen({"cluster", "show", "keys"}).exit, kOk);
  fs::copy_file(path("keys/node-1.key"), path("keys/owner.key"),
                fs::copy_options::overwrite_existing);
  expect_error(dolmen({"cluster", "show", "keys"}), kFailed, "not an owner's key");
}

}  // namespace
