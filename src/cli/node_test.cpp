// SPDX-License-Identifier: Apache-2.0
//
// dolmen node, serve, status and space without a cluster; with one: up_test.cpp.
#include <array>
#include <csignal>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "cli/command_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

class NodeCommand : public CliTest {
 protected:
  NodeCommand() { EXPECT_EQ(dolmen({"cluster", "init", "keys", "--nodes", "1"}).exit, kOk); }

  static std::vector<std::string> init(const std::string& listen,
                                       const std::vector<std::string>& more) {
    std::vector<std::string> words{"node", "init",       "node1",          "--listen",
                                   listen, "--identity", "keys/node-1.key"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  void expect_refused(const std::vector<std::string>& words, const std::string& says,
                      int exit = kFailed) {
    expect_error(dolmen(words), exit, says);
    EXPECT_FALSE(fs::exists(path("node1"))) << "nothing was made";
  }

  const std::string at_ = "127.0.0.1:7401";
};

TEST_F(NodeCommand, EverySubcommandHasHelpWithAnExampleAndTheJsonOption) {
  const std::vector<std::vector<std::string>> commands{
      {"node", "init"},    {"node", "drain"},   {"node", "undrain"},  {"node", "remove"},
      {"node", "token"},   {"client", "add"},   {"client", "revoke"}, {"client", "rights"},
      {"space", "create"}, {"space", "give-up"}};
  for (std::vector<std::string> words : commands) {
    EXPECT_EQ(dolmen(words).exit, kUsage) << "more is required";
    words.emplace_back("--help");
    const Outcome help = dolmen(words);
    EXPECT_EQ(help.exit, kOk);
    EXPECT_EQ(help.out.find(" dolmen://127"), std::string::npos) << "a shell takes ? for itself";
    EXPECT_NE(help.out.find("Example:\n  dolmen " + words[0] + " " + words[1]), std::string::npos)
        << help.out;
    EXPECT_NE(help.out.find("--json"), std::string::npos) << help.out;
  }
  for (const std::string group :
       {"node", "space", "client", "index", "object", "directory", "log", "cluster"}) {
    const Outcome help = dolmen({group, "--help"});
    EXPECT_NE(help.out.find("Example:\n  dolmen " + group + " "), std::string::npos) << help.out;
    EXPECT_EQ(dolmen({group}).exit, kUsage);
    EXPECT_EQ(dolmen({group, "nonsense"}).exit, kUsage);
  }
  EXPECT_EQ(dolmen({"node", "drain", "dolmen://127.0.0.1:1?identity=keys/client-1.key"}).exit,
            kUsage)
      << "which?";
  EXPECT_EQ(dolmen({"node", "drain", "dolmen://127.0.0.1:1?identity=keys/client-1.key", "-1"}).exit,
            kUsage);
  for (const std::string patience : {"-1", "soon", "1e300", "nan", "-nan", ""}) {
    EXPECT_EQ(dolmen({"status", "dolmen://127.0.0.1:1?identity=keys/client-1.key", "--patience",
                      patience})
                  .exit,
              kUsage);
  }
}

TEST_F(NodeCommand, WhatCannotBeANodeIsRefusedBeforeAnythingIsMade) {
  for (const auto& both_or_none : {std::vector<std::string>{},
                                   std::vector<std::string>{"--founders", at_, "--join", "word"}}) {
    expect_error(dolmen(init(at_, both_or_none)), kUsage, "see dolmen node init --help");
    EXPECT_FALSE(fs::exists(path("node1")));
  }
  std::string ten;
  for (int port = 7401; port <= 7410; ++port) {
    ten += (ten.empty() ? "127.0.0.1:" : ",127.0.0.1:") + std::to_string(port);
  }
  expect_refused(init(at_, {"--founders", ten}), "founders: 9 at most");
  expect_refused(init(at_, {"--founders", at_ + "," + at_}), "founders: one twice");
  expect_refused(init(at_, {"--founders", "127.0.0.1:1,127.0.0.1:2"}),
                 "own address is not among the founders");
  for (const std::string wrong :
       {"nowhere", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", "127.0.0.1:99999"}) {
    expect_refused(init(wrong, {"--founders", wrong}), "like 192.0.2.7:7400", kUsage);
    expect_refused(init(at_, {"--founders", at_ + "," + wrong}), "like 192.0.2.7:7400", kUsage);
  }
  for (const std::string wrong : {"127.0.0.1 :7401", "127.0.0.1\n:7401"}) {
    expect_refused(init(wrong, {"--founders", wrong}), "none of them blank");
  }
  expect_refused(init(at_, {"--join", "127.0.0.1:7401"}), "the token is none");
  expect_refused(init(at_, {"--join", "dolmen-join-1-00"}), "version_unsupported");
  for (const std::string& wrong : {std::string("two words"), std::string(64, 'n')}) {
    expect_refused(init(at_, {"--founders", at_, "--name", wrong}), "a node's name");
  }
  fs::copy_file(path("keys/node-1.key"), path("key\nnumber 7"));
  const std::vector<std::string> with_key{"node", "init",       "node1", "--listen",
                                          at_,    "--founders", at_,     "--identity"};
  const auto keyed = [&](const std::string& key) {
    std::vector<std::string> words = with_key;
    words.push_back(key);
    return words;
  };
  expect_refused(keyed("key\nnumber 7"), "invalid_argument");
  expect_refused(keyed(""), "which key file?");
  expect_refused(keyed("nothing"), path("nothing"));
  std::ofstream(path("short")) << "0123";
  expect_refused(keyed("short"), "invalid_argument");
  EXPECT_EQ(dolmen(keyed("keys/node-1.key")).exit, kOk) << "what was left out is right";
}

TEST_F(NodeCommand, ADirectoryIsMadeOnceAndLeavesOthersAlone) {
  const Json made = dolmen(init(at_, {"--founders", at_, "--json"})).json();
  EXPECT_EQ(made, (Json{{"directory", "node1"}, {"address", at_}}));
  const std::string file = read_file(path("node1/node"));
  EXPECT_TRUE(file.starts_with("dolmen-node 1\nnumber 1\nlife ")) << file;
  EXPECT_NE(file.find("\naddress 127.0.0.1:7401\nkey " + path("keys/node-1.key") + "\njournal "),
            std::string::npos)
      << file;
  EXPECT_TRUE(file.ends_with("\nfounder 127.0.0.1:7401\n")) << file;
  expect_error(dolmen(init(at_, {"--founders", at_})), kFailed,
               "node1: a node's already (dolmen serve runs it)");
  EXPECT_EQ(read_file(path("node1/node")), file);
  expect_error(dolmen({"ls", "node1"}), kFailed, "holds no space");
  fs::create_directory(path("foreign"));
  std::ofstream(path("foreign/notes.txt")) << "text";
  std::vector<std::string> words = init(at_, {"--founders", at_});
  words[2] = "foreign";
  expect_error(dolmen(words), kFailed, "files that are no node's; choose an empty one");
  EXPECT_EQ(std::distance(fs::directory_iterator(path("foreign")), fs::directory_iterator()), 1);
  const Outcome text = dolmen({"node", "init", "node2", "--listen", at_, "--identity",
                               "keys/node-1.key", "--founders", at_, "--name", "north"});
  EXPECT_EQ(text.out, "made a node in node2; `dolmen serve node2` runs it\n");
  EXPECT_NE(read_file(path("node2/node")).find("\nname north\n"), std::string::npos);
}

TEST_F(NodeCommand, ServeSaysWhatIsWrongWithTheDirectory) {
  expect_error(dolmen({"serve", "nothing"}), kFailed,
               "nothing: no node's directory (dolmen node init makes it)");
  fs::create_directory(path("empty"));
  expect_error(dolmen({"serve", "empty"}), kFailed, "no node's directory");
  ASSERT_EQ(dolmen(init(at_, {"--founders", at_})).exit, kOk);
  const std::string file = read_file(path("node1/node"));
  std::ofstream(path("node1/node")) << file << "more\n";
  expect_error(dolmen({"serve", "node1"}), kDamaged, "node1/node");
  std::string later = file;
  later.replace(0, 13, "dolmen-node 2");
  std::ofstream(path("node1/node")) << later;
  expect_error(dolmen({"serve", "node1"}), kFailed, "version_unsupported");
  std::ofstream(path("node1/node")) << file;
  // A journal that is gone is no empty one: what was acknowledged would be gone with it.
  const std::string lost = "node1/journal: not the journal that this node wrote";
  fs::rename(path("node1/journal"), path("aside"));
  expect_error(dolmen({"serve", "node1"}), kDamaged, lost);
  EXPECT_FALSE(fs::exists(path("node1/journal")));
  fs::create_directory(path("node1/journal"));
  expect_error(dolmen({"serve", "node1"}), kDamaged, lost);
  EXPECT_TRUE(fs::is_empty(path("node1/journal")));
  std::vector<std::string> other = init(at_, {"--founders", at_});
  std::ranges::replace(other, "node1", "node2");
  ASSERT_EQ(dolmen(other).exit, kOk);
  fs::remove(path("node1/journal"));
  fs::rename(path("node2/journal"), path("node1/journal"));
  expect_error(dolmen({"serve", "node1"}), kDamaged, lost);
  fs::remove_all(path("node1/journal"));
  fs::rename(path("aside"), path("node1/journal"));
  fs::remove(path("keys/node-1.key"));
  expect_error(dolmen({"serve", "node1"}), kFailed, path("keys/node-1.key"));
}

TEST_F(NodeCommand, ServeTellsTheServiceManagerWhenItListens) {
  const std::string host = "127." + std::to_string(1 + (::getpid() >> 16 & 0x7f)) + "." +
                           std::to_string(::getpid() >> 8 & 0xff) + "." +
                           std::to_string(::getpid() & 0xff) + ":7401";
  ASSERT_EQ(dolmen(init(host, {"--founders", host})).exit, kOk);
  // A manager, as systemd is for a unit of Type=notify.
  const int manager = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ::sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path("notify").copy(address.sun_path, sizeof address.sun_path - 1);
  const void* const any = &address;
  ASSERT_EQ(::bind(manager, static_cast<const ::sockaddr*>(any), sizeof address), 0);
  const ::timeval patience{.tv_sec = 60, .tv_usec = 0};
  ASSERT_EQ(::setsockopt(manager, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
  Outcome served;
  std::thread unit([&] {
    served = shell("NOTIFY_SOCKET=" + quoted(path("notify")) +
                   " \"$D\" serve node1 & echo $! >pid; wait $!");
  });
  std::array<char, 64> text{};
  const ::ssize_t count = ::recv(manager, text.data(), text.size(), 0);
  EXPECT_EQ(std::string(text.data(), count < 0 ? 0 : static_cast<std::size_t>(count)), "READY=1");
  // It listens by now: who is not let in is told so, and not that nobody is there.
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ::sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(7401);
  EXPECT_EQ(::inet_pton(AF_INET, host.substr(0, host.find(':')).c_str(), &where.sin_addr), 1);
  const void* const node = &where;
  EXPECT_EQ(::connect(client, static_cast<const ::sockaddr*>(node), sizeof where), 0);
  ::close(client);
  const std::string pid = read_file(path("pid"));
  if (!pid.empty()) ::kill(std::stoi(pid), SIGTERM);
  unit.join();
  ::close(manager);
  EXPECT_EQ(served.exit, kOk) << served.err;
  EXPECT_EQ(served.out, "node 1 serves at " + host + "\n");
}

TEST_F(NodeCommand, AnAddressThatIsNoneOrWhereNobodyIsIsSaid) {
  const std::vector<std::vector<std::string>> commands{
      {"status"}, {"node", "drain"}, {"node", "undrain"}, {"node", "remove"}, {"space", "create"}};
  const std::string nobody = "dolmen://127.0.0.1:1,127.0.0.1:2?identity=keys/client-1.key";
  for (const std::vector<std::string>& command : commands) {
    const auto at = [&](const std::string& address) {
      std::vector<std::string> words = command;
      words.push_back(address);
      if (command[0] != "status") words.emplace_back(command[0] == "space" ? "web" : "1");
      words.insert(words.end(), {"--patience", "0.2"});
      return words;
    };
    expect_error(dolmen(at("127.0.0.1:1")), kUsage, "like dolmen://192.0.2.7:7400?identity=");
    expect_error(dolmen(at(nobody)), kFailed,
                 "no node of the cluster answered at 127.0.0.1:1, 127.0.0.1:2");
  }
  for (const std::string wrong :
       {"dolmen://", "dolmen://?identity=keys/client-1.key", "dolmen://127.0.0.1:1?key=key",
        "dolmen://127.0.0.1:1?identity=keys/client-1.key&more=1", "http://127.0.0.1:1"}) {
    expect_error(dolmen({"status", wrong}), kUsage, "like dolmen://192.0.2.7:7400?identity=");
  }
  expect_error(dolmen({"status", "dolmen://127.0.0.1?identity=keys/client-1.key"}), kUsage,
               "like 192.0.2.7:7400");
  expect_error(dolmen({"status", "dolmen://127.0.0.1:1?identity=nothing"}), kFailed, "nothing");
  expect_error(shell("unset DOLMEN_IDENTITY; dolmen status dolmen://127.0.0.1:1"), kFailed,
               "who asks? (…?identity=FILE behind the address, or the variable DOLMEN_IDENTITY)");
  expect_error(
      shell("DOLMEN_IDENTITY=keys/client-1.key dolmen status --patience 0.1 dolmen://127.0.0.1:1/"),
      kFailed, "timed_out");
}

}  // namespace
