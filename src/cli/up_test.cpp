// SPDX-License-Identifier: Apache-2.0
//
// dolmen up and run, and what is said to a cluster that runs.
#include <chrono>
#include <csignal>
#include <cstring>
#include <ctime>

#include <arpa/inet.h>
#include <sys/socket.h>

#include "cli/command_test_tools.hpp"
#include "cli/metrics_test_tools.hpp"
#include "cli/up_test_tools.hpp"
#include "security/token.hpp"
#include "sys/linux/linux.hpp"

namespace {

using namespace dolmen::cli::test;

class UpTest : public UpCluster {
 protected:
  /// Of a cluster of three nodes and two groups.
  void look_at_figures() const;
  /// … of which one is the space web, that nobody uses: it is filled, and looked at.
  void look_into_space_and_logs();
};

void UpTest::look_at_figures() const {
  // Every node gives what the documentation says, and together they did what was asked for.
  double calls = 0;
  double leads = 0;
  for (int node = 1; node <= 3; ++node) {
    const std::string text = figures_at(host(), kMetricsPort + node);
    expect_as_documented(text);
    EXPECT_EQ(sum_of(text, "dolmen_node_info", "node", std::to_string(node)), 1);
    EXPECT_EQ(sum_of(text, "dolmen_replicas", "kind", "space"), 1);
    EXPECT_GT(sum_of(text, "dolmen_journal_sync_seconds_count", "", ""), 0);
    EXPECT_GT(sum_of(text, "dolmen_memory_resident_bytes", "", ""), 1e6);
    EXPECT_GT(sum_of(text, "dolmen_disk_used_bytes", "what", "journal"), 1e6);
    EXPECT_GT(sum_of(text, "dolmen_messages_received_total", "peer", node == 1 ? "2" : "1"), 0);
    EXPECT_GT(sum_of(text, "dolmen_entries_decided_total", "group", "1"), 0);
    const double its = sum_of(text, "dolmen_calls_total", "outcome", "done");
    EXPECT_EQ(sum_of(text, "dolmen_call_seconds_count", "", ""), its);
    calls += its;
    leads += sum_of(text, "dolmen_group_leads", "", "");
  }
  EXPECT_GE(calls, 2) << "a session, and a space was made";
  EXPECT_EQ(leads, 2);
  EXPECT_TRUE(
      answer_at(host(), kMetricsPort + 1, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));

  const Json told = dolmen({"top", address(), "--json", "--interval", "0.1"}).json();
  std::set<std::string> fields;
  keys_of(told, fields);
  std::set<std::string> documented;
  for (const auto& row : table_below("## Figures of a cluster")) {
    if (row.size() > 1) documented.merge(words_in(row[1]));
  }
  for (const char* const of_status : {"status", "silent"}) documented.erase(of_status);
  // There are no followers that lack anything where nobody leads; here somebody does.
  EXPECT_EQ(fields, documented);
  ASSERT_EQ(told["nodes"].size(), 3u);
  int led = 0;
  for (const Json& node : told["nodes"]) {
    EXPECT_TRUE(node["reached"]);
    EXPECT_EQ(node["state"], "active");
    EXPECT_GE(node["calls_per_s"], 0.0);
    EXPECT_GT(node["sent_bytes_per_s"], 0.0) << "they say that they live";
    led += node["leads"].get<int>();
  }
  EXPECT_EQ(led, 2);
  ASSERT_EQ(told["groups"].size(), 2u);
  for (const Json& group : told["groups"]) {
    EXPECT_NE(group["leader"], 0);
    EXPECT_GT(group["stable_index"], 0.0);
    EXPECT_EQ(group["lag"].size(), 2u);
  }
  EXPECT_EQ(told["groups"][1]["name"], "web");
  const Outcome table = dolmen({"top", address(), "--once", "--interval", "0.05"});
  EXPECT_EQ(table.exit, kOk) << table.err;
  EXPECT_NE(table.out.find("ENTRIES/S"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("web\n"), std::string::npos) << table.out;
  EXPECT_EQ(table.out.find('\x1b'), std::string::npos) << "no terminal";
}

struct LookedAt {
  std::uint64_t value;
};

void UpTest::look_into_space_and_logs() {
  const auto space_at = [&](const std::string& name) {
    return "dolmen://" + at(1) + "," + at(2) + "/" + name +
           "?identity=" + path("cluster/keys/client-1.key");
  };
  fs::create_directory(path("tmp"));
  const auto look = [&](const std::vector<std::string>& words, const std::string& behind = "") {
    std::string line = "TMPDIR=" + word_of(path("tmp")) + " \"$D\"";
    for (const std::string& word : words) line += " " + word_of(word);
    const Outcome run = shell(line + behind);
    EXPECT_TRUE(fs::is_empty(path("tmp"))) << "the copy was removed";
    return run;
  };
  {
    dolmen::Space space = writer("things");
    const auto thing = space.create<LookedAt>("thing");
    ASSERT_TRUE(thing);
    ASSERT_TRUE(space.transact(*thing, [](dolmen::mut<LookedAt> t) { t->value = 4711; }));
    ASSERT_TRUE(space.close());
  }
  EXPECT_EQ(look({"ls", space_at("web"), "--json"}).json(), Json::array());
  EXPECT_EQ(look({"ls", space_at("web")}).out.find("OBJECT"), 0u);
  expect_error(look({"stat", space_at("web")}), kFailed, "anything in that space yet");
  ASSERT_EQ(dolmen({"import", "things", address(), "web"}).exit, kOk);
  const Json listed = look({"ls", space_at("web"), "--json"}).json();
  EXPECT_EQ(listed, dolmen({"ls", "things", "--json"}).json());
  const std::string web = space_at("web");
  EXPECT_EQ(look({"tree", web, "thing"}).out, dolmen({"tree", "things", "thing"}).out);
  const Outcome inspected = look({"inspect", web, "thing"});
  EXPECT_EQ(inspected.out, dolmen({"inspect", "things", "thing"}).out);
  EXPECT_NE(inspected.out.find("4711"), std::string::npos) << inspected.out << inspected.err;
  EXPECT_EQ(look({"check", web}).out, dolmen({"check", "things"}).out);
  EXPECT_EQ(look({"stat", web, "--json"}).json()["space"],
            dolmen({"stat", "things", "--json"}).json()["space"]);
  EXPECT_EQ(look({"dump", web, "web.dump"}).exit, kOk);
  EXPECT_TRUE(fs::exists(path("web.dump")));
  // Also after errors, and where who reads it goes away.
  expect_error(look({"inspect", web, "nothing"}), kFailed, "object 'nothing'");
  EXPECT_EQ(look({"dump", web}, " | true").exit, kOk);
  expect_error(look({"ls", address()}), kFailed, "which space? (the cluster keeps web;");
  expect_error(look({"ls", space_at("other")}), kFailed,
               "a space called other; the cluster keeps web");
  expect_error(look({"ls", space_at("no/such?space")}), kFailed, "no/such?space");

  // The logs.
  const auto log = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"log", "show", address()});
    return dolmen(words);
  };
  const auto kinds_in = [](const Json& told, const std::string& kind) {
    return std::count_if(told["entries"].begin(), told["entries"].end(),
                         [&](const Json& entry) { return entry["kind"] == kind; });
  };
  const Json whole = log({"web", "--from", "1", "--count", "1000", "--json"}).json();
  std::set<std::string> fields;
  keys_of(whole, fields);
  EXPECT_EQ(fields, (std::set<std::string>{"group", "member", "first_index", "last_index",
                                           "stable_index", "entries", "index", "epoch", "kind",
                                           "decided", "bytes", "what"}));
  EXPECT_EQ(whole["group"], 2);
  ASSERT_EQ(whole["first_index"], 1);
  ASSERT_EQ(whole["entries"].size(), whole["last_index"].get<std::size_t>());
  EXPECT_EQ(whole["entries"][0]["kind"], "opening");
  EXPECT_GE(kinds_in(whole, "session"), 1) << "of the import";
  EXPECT_GE(kinds_in(whole, "command"), 3) << "its begin, part and end";
  const std::string id = dolmen({"stat", "things", "--json"}).json()["space"];
  EXPECT_NE(whole.dump().find("the first of space " + id), std::string::npos) << whole;
  for (int node = 1; node <= 3; ++node) {
    const std::string number = std::to_string(node);
    const Json at_it =
        log({"2", "--from", "1", "--count", "4", "--member", number, "--json"}).json();
    EXPECT_EQ(at_it["member"], node);
    ASSERT_EQ(at_it["entries"].size(), 4u);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(at_it["entries"][i]["epoch"], whole["entries"][i]["epoch"]);
      EXPECT_EQ(at_it["entries"][i]["bytes"], whole["entries"][i]["bytes"]);
    }
  }
  for (const std::string& import :
       std::vector<std::string>{"import begins: of space " + id, "import: up to", "import ends"}) {
    EXPECT_NE(whole.dump().find(import), std::string::npos) << import << "\n" << whole;
  }
  const Json root = log({"1", "--count", "1000", "--json"}).json();
  EXPECT_NE(root.dump().find("create group"), std::string::npos) << root;
  const Outcome table = log({"web", "--count", "2"});
  EXPECT_EQ(std::count(table.out.begin(), table.out.end(), '\n'), 4) << table.out << table.err;
  EXPECT_NE(table.out.find("1 record"), std::string::npos) << table.out;
  expect_error(log({"nothing"}), kFailed, "a group of this name or number: nothing");
  expect_error(log({"web", "--member", "9"}), kFailed, "a member of that number");
}

/// A program that listens where a node would.
class Listener {
 public:
  Listener(const std::string& host, int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(static_cast<std::uint16_t>(port));
    EXPECT_EQ(::inet_pton(AF_INET, host.c_str(), &where.sin_addr), 1);
    sockaddr bytes{};
    static_assert(sizeof bytes == sizeof where);
    std::memcpy(&bytes, &where, sizeof bytes);
    EXPECT_EQ(::bind(socket_, &bytes, sizeof bytes), 0) << std::strerror(errno);
    EXPECT_EQ(::listen(socket_, 8), 0);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener() { ::close(socket_); }

 private:
  int socket_;
};

TEST_F(UpTest, AClusterIsLookedAtChangedStoppedAndGoesOn) {
  // Before anything else: another program has one of the ports.
  {
    const Listener other(host(), kPort + 2);
    const Outcome run = dolmen(up("cluster"));
    EXPECT_EQ(run.exit, kFailed) << run.err;
    EXPECT_NE(run.err.find(at(2)), std::string::npos) << run.err;
    EXPECT_NE(run.err.find("already_exists"), std::string::npos) << run.err;
    EXPECT_EQ(node_processes(), 0u);
  }
  // What that made is good for the next one.
  std::vector<std::string> words = up("cluster");
  for (const std::string& word :
       {std::string("--metrics-port"), std::to_string(kMetricsPort), std::string("--json")}) {
    words.push_back(word);
  }
  begin(words);
  ASSERT_TRUE(has_groups(1)) << read_file(path("up.err"));
  const std::string told = Json::parse(read_file(path("up.out")))["address"];
  EXPECT_TRUE(told.starts_with(address() + "&shm=")) << told;
  EXPECT_EQ(node_processes(), 3u);

  EXPECT_EQ(without_commit(dolmen({"space", "create", address(), "web", "--json"}).json(), 1),
            (Json{{"group", 2}, {"name", "web"}}));
  EXPECT_EQ(dolmen({"space", "create", address(), "web"}).out, "space web is group 2\n");
  expect_error(dolmen({"space", "create", address(), "two words"}), kFailed,
               "two words: a space's name has 1 to 63 characters");
  expect_error(dolmen({"space", "create", address(), ""}), kFailed, "a space without a name");
  expect_error(dolmen({"space", "create", address(), "wide", "--size", "10"}), kUsage,
               "no number from 1 to 9");
  expect_error(
      dolmen({"serve", "cluster/node-1"}), kFailed,
      "cluster/node-1: this node runs already: pid " + std::to_string(node_process(1).front()));
  const std::vector<int> upper = processes(words);
  ASSERT_EQ(upper.size(), 1u);
  const std::string held =
      "held: `dolmen up` runs there already (process " + std::to_string(upper.front()) + ")\n";
  expect_error(dolmen(up("cluster")), kFailed, held);
  expect_error(dolmen({"run", "--dir", "cluster", "--", "true"}), kFailed, held);
  ASSERT_TRUE(has_groups(2));

  const Json whole = status();
  std::set<std::string> fields;
  keys_of(whole, fields);
  std::set<std::string> documented;
  for (const auto& row : table_below("## Status of a cluster")) documented.merge(words_in(row[1]));
  EXPECT_EQ(fields, documented);
  ASSERT_EQ(whole["nodes"].size(), 3u);
  for (int number = 1; number <= 3; ++number) {
    const Json& node = whole["nodes"][static_cast<std::size_t>(number - 1)];
    EXPECT_EQ(node, (Json{{"node", number},
                          {"name", "node-" + std::to_string(number)},
                          {"address", at(number)},
                          {"state", "active"},
                          {"seats", 2},
                          {"link", "tcp"}}));
  }
  EXPECT_EQ(whole["groups"][0]["kind"], "root");
  EXPECT_EQ(whole["groups"][1]["kind"], "space");
  EXPECT_EQ(whole["groups"][1]["name"], "web");
  EXPECT_EQ(whole["groups"][1]["members"], (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(whole["groups"][1]["size"], 3);
  const Outcome shown = dolmen({"status", address()});
  EXPECT_TRUE(shown.out.starts_with("cluster " + whole["cluster"].get<std::string>() + ", map "))
      << shown.out;
  EXPECT_NE(shown.out.find("1,2,3"), std::string::npos) << shown.out;
  EXPECT_NE(shown.out.find(at(3)), std::string::npos) << shown.out;

  look_at_figures();

  look_into_space_and_logs();

  // There is no fourth node to which a third could give its seats.
  expect_error(dolmen({"node", "remove", address(), "3"}), kFailed, "drain it first\n");
  EXPECT_EQ(without_commit(dolmen({"node", "drain", address(), "3", "--json"}).json(), 1),
            (Json{{"node", 3}}));
  const auto is_third = [&](const char* state) { return status()["nodes"][2]["state"] == state; };
  EXPECT_TRUE(until([&] { return is_third("draining"); })) << "whoever answers hears of it";
  EXPECT_EQ(status()["nodes"][2]["seats"], 2);
  EXPECT_EQ(dolmen({"node", "undrain", address(), "3"}).out, "node 3 may have seats again\n");
  EXPECT_TRUE(until([&] { return is_third("active"); }));
  for (const std::string change : {"drain", "undrain", "remove"}) {
    expect_error(dolmen({"node", change, address(), "9"}), kFailed, "there is no such node");
  }
  ASSERT_EQ(dolmen({"cluster", "init", "other"}).exit, kOk);
  expect_error(dolmen({"status", "dolmen://" + at(1) + "?identity=other/client-1.key"}), kFailed,
               "not_authentic");
  expect_error(dolmen({"status", "dolmen://" + at(1) + "?identity=cluster/keys/owner.key"}),
               kFailed, "an owner's key, with which nobody connects");
  expect_error(dolmen({"node", "token", address(), "--owner", "other/owner.key"}), kFailed,
               "the owner of another cluster");

  // Of three nodes two stand still: what is known is shown in time, and nothing can be changed.
  signal(1, SIGSTOP);
  signal(2, SIGSTOP);
  auto asked = Clock::now();
  const Outcome alone = dolmen({"status", address(), "--json", "--patience", "2"});
  EXPECT_LT(seconds_since(asked), 3.0);
  ASSERT_EQ(alone.exit, kOk) << alone.err;
  EXPECT_EQ(alone.json()["groups"].size(), 2u);
  asked = Clock::now();
  expect_error(dolmen({"space", "create", address(), "more", "--patience", "1"}), kFailed,
               "timed_out");
  EXPECT_LT(seconds_since(asked), 2.5);
  signal(1, SIGCONT);
  signal(2, SIGCONT);
  ASSERT_TRUE(has_groups(2));

  // Who has a token joins, once.
  const std::string token = dolmen({"node", "token", address(), "--json"}).json()["token"];
  const auto join = [&](const std::string& directory, const std::string& with) {
    return dolmen({"node", "init", directory, "--listen", host() + ":7499", "--join", with});
  };
  const Outcome joined = join("fourth", token);
  EXPECT_EQ(joined.exit, kOk) << joined.err;
  EXPECT_TRUE(read_file(path("fourth/node")).starts_with("dolmen-node 1\nnumber 4\n"));
  EXPECT_TRUE(until([&] { return status()["nodes"].size() == 4; }));
  expect_error(join("fourth", token), kFailed, "a node's already");
  expect_error(join("thief", token), kFailed, "the token was used");
  std::string mistyped = token;
  mistyped.back() = mistyped.back() == '0' ? '1' : '0';
  expect_error(join("fifth", mistyped), kFailed, "was all of it copied?");
  const std::string brief =
      dolmen({"node", "token", address(), "--minutes", "0.05", "--json"}).json()["token"];
  ASSERT_TRUE(until([&] {
    const Json now = status();
    return now["clients"].size() == 3 && now["clients"].back()["expires_s"] <= std::time(nullptr);
  }));
  expect_error(join("fifth", brief), kFailed, "the token has expired");
  EXPECT_FALSE(fs::exists(path("fifth"))) << "nothing was made";
  // One for these addresses that another cluster's owner made: the nodes do not know it.
  dolmen::security::JoinToken foreign = dolmen::security::JoinToken::parse(token).value();
  foreign.cluster.bytes[0] ^= std::byte{1};
  expect_error(join("fifth", foreign.text()), kFailed, "not_authentic");
  foreign = dolmen::security::JoinToken::parse(token).value();
  foreign.secret = {};
  expect_error(join("fifth", foreign.text()), kFailed, "not_authentic");

  // A client of its own, until it is revoked; it cannot pass for a node.
  const auto add_web = [&] {
    return without_commit(dolmen({"client", "add", address(), "web", "web.key", "--json"}).json(),
                          1);
  };
  const Json web = add_web();
  const std::string as_web = web["address"];
  EXPECT_EQ(dolmen({"status", as_web, "--json"}).json()["cluster"], whole["cluster"]);
  expect_error(dolmen({"client", "add", address(), "web", "web2.key"}), kFailed,
               "the name is taken");
  expect_error(dolmen({"client", "add", address(), "other", "web.key"}), kFailed, "web.key");
  const std::string first = read_file(path("web.key"));
  EXPECT_EQ(add_web(), web) << "whoever does not know what became of it asks again";
  const auto own = [](const std::string& file) {
    return file.substr(0, file.find("dolmen trust"));
  };
  EXPECT_EQ(own(read_file(path("web.key"))), own(first)) << "with the same key";
  expect_error(dolmen({"node", "init", "false", "--listen", at(1), "--identity", "web.key",
                       "--founders", at(1) + "," + at(2) + "," + at(3)}),
               kFailed, "not the key of this founder's number");
  // What it may do is the owner's word: look how the cluster is, and nothing else.
  EXPECT_EQ(
      without_commit(
          dolmen({"client", "rights", address(), "web", "none", "--groups", "0", "--json"}).json(),
          1),
      (Json{{"client", "web"}, {"rights", "none"}, {"groups_max", 0}}));
  ASSERT_TRUE(until([&] { return status()["clients"][1]["rights"] == "none"; })) << status();
  ASSERT_TRUE(until([&] {
    return dolmen({"log", "show", as_web, "web"}).err.find("no_right") != std::string::npos;
  }));
  expect_error(dolmen({"space", "create", as_web, "its"}), kFailed, "no_right");
  EXPECT_EQ(dolmen({"status", as_web}).exit, kOk);
  EXPECT_EQ(dolmen({"top", as_web, "--json", "--interval", "0.1"}).exit, kOk);
  EXPECT_EQ(dolmen({"client", "rights", address(), "web", "owner", "--groups", "0"}).exit, kOk);
  expect_error(dolmen({"client", "rights", address(), "web", "all"}), kUsage, "all");
  expect_error(dolmen({"client", "rights", address(), "nobody", "none"}), kFailed,
               "a client called nobody");
  expect_error(dolmen({"space", "create", as_web, "its"}), kFailed, "as many groups as it may");
  EXPECT_EQ(dolmen({"log", "show", as_web, "web"}).exit, kOk);

  // Whom the owner let in nobody else shuts out.
  expect_error(dolmen({"client", "revoke", address(), "web", "--owner", "web.key"}), kFailed,
               "not an owner's key");
  expect_error(dolmen({"node", "remove", address(), "1", "--owner", "web.key"}), kFailed,
               "not an owner's key");
  expect_error(dolmen({"node", "remove", address(), "1"}), kFailed, "busy");
  EXPECT_EQ(dolmen({"client", "revoke", address(), "web"}).out, "client web was revoked\n");
  ASSERT_TRUE(until([&] {
    const Outcome refused = dolmen({"status", as_web, "--patience", "1"});
    return refused.exit == kFailed && refused.err.find("not_authentic") != std::string::npos;
  }));
  expect_error(dolmen({"client", "revoke", address(), "web"}), kFailed, "a client called web");

  EXPECT_EQ(terminate(), kOk) << read_file(path("up.err"));
  EXPECT_EQ(node_processes(), 0u);
  expect_error(dolmen({"status", address(), "--patience", "0.2"}), kFailed, "timed_out");
  expect_error(dolmen({"top", address(), "--patience", "0.2"}), kFailed, "timed_out");
  {
    const Listener other(host(), kMetricsPort);
    expect_error(dolmen({"serve", "cluster/node-1", "--metrics",
                         host() + ":" + std::to_string(kMetricsPort)}),
                 kFailed, "already_exists");
  }
  expect_error(dolmen({"serve", "cluster/node-1", "--metrics", "here"}), kFailed,
               "invalid_argument");

  // The same command goes on with what is there, and no other one.
  std::vector<std::string> other = up("cluster");
  other[3] = "2";
  expect_error(dolmen(other), kFailed,
               "a cluster of 3 nodes is there, which goes on with -n 3 --host " + host() +
                   " --port " + std::to_string(kPort));
  begin(up("cluster"));
  ASSERT_TRUE(has_groups(2));
  EXPECT_EQ(status()["cluster"], whole["cluster"]);
  EXPECT_NE(read_file(path("up.out")).find("dolmen status '" + address() + "&shm="),
            std::string::npos);
  // One node that dies is started again, and the others go on meanwhile.
  const std::vector<int> former = node_process(3);
  signal(3, SIGKILL);
  EXPECT_TRUE(until([&] {
    const auto now = node_process(3);
    return now.size() == 1 && now != former;
  }));
  EXPECT_NE(read_file(path("up.err")).find("dolmen: node 3 ended with signal 9, and is started"),
            std::string::npos)
      << read_file(path("up.err"));
  ASSERT_TRUE(has_groups(2));
  EXPECT_EQ(terminate(), kOk);
  EXPECT_EQ(node_processes(), 0u);
  const std::string said = read_file(path("up.out"));
  EXPECT_EQ(said.find('{'), std::string::npos) << said;
}

TEST_F(UpTest, NamesOfHostsAreLookedUp) {
  std::vector<std::string> words = up("cluster");
  words[3] = "1";
  words[5] = "localhost";
  // Of an address that is not this test's alone.
  const int port = 10'000 + ::getpid() % 20'000;
  words[7] = std::to_string(port);
  words.emplace_back("--no-shm");
  begin(words);
  const std::string identity = "?identity=" + path("cluster/keys/client-1.key");
  const auto asked = [&](const std::string& nodes) {
    return dolmen({"status", "dolmen://" + nodes + identity, "--json", "--patience", "5"});
  };
  const std::string named = "localhost:" + std::to_string(port + 1);
  ASSERT_TRUE(until([&] { return asked(named).exit == kOk; })) << read_file(path("up.err"));
  EXPECT_EQ(read_file(path("cluster/node-1/node")).find("localhost"), std::string::npos);
  EXPECT_EQ(asked("two..dots:1," + named).exit, kOk);
  const auto begun = Clock::now();
  expect_error(asked("two..dots:1"), kFailed, "not_found: a host called two..dots");
  EXPECT_LT(seconds_since(begun), 4.0) << "nobody was waited for";
  EXPECT_EQ(terminate(), kOk) << read_file(path("up.err"));
  expect_error(dolmen({"up", "other", "--host", "two..dots"}), kFailed, "a host called two..dots");
}

// Whoever says something else is told so, node or client.
TEST_F(UpTest, AFabricThatIsTrustedIsSaidOnceAndKept) {
  std::vector<std::string> words = up("cluster");
  words[3] = "1";
  words.insert(words.end(), {"--no-shm", "--trusted-fabric", "--json"});
  begin(words);
  const std::string at_it = "dolmen://" + at(1) + "?identity=" + path("cluster/keys/client-1.key");
  const auto asked = [&](const std::string& address) {
    return dolmen({"status", address, "--json", "--patience", "2"});
  };
  ASSERT_TRUE(until([&] { return asked(at_it + "&fabric=trusted").exit == kOk; }))
      << read_file(path("up.err"));
  EXPECT_EQ(asked(at_it + "&fabric=trusted").json()["nodes"][0]["link"], "clear");
  EXPECT_EQ(Json::parse(read_file(path("up.out")))["address"], at_it + "&fabric=trusted");
  const auto begun = Clock::now();
  expect_error(asked(at_it), kFailed, "fabric between them is trusted, and the other does not");
  EXPECT_LT(seconds_since(begun), 20.0);
  EXPECT_EQ(terminate(), kOk);
  EXPECT_NE(read_file(path("cluster/node-1/node")).find("\nfabric trusted\n"), std::string::npos);
  // The directory says it, whatever the command does.
  words.erase(std::ranges::find(words, "--trusted-fabric"));
  expect_error(dolmen(words), kFailed, "made for a fabric that is trusted");
  EXPECT_EQ(node_processes(), 0u);
  // And the other way round.
  std::vector<std::string> open = up("open");
  open[3] = "1";
  open.emplace_back("--no-shm");
  const Outcome made = dolmen({"run", "-n", "1", "--dir", "open", "--host", host(), "--port",
                               std::to_string(kPort), "--", "true"});
  ASSERT_EQ(made.exit, kOk) << made.err;
  open.emplace_back("--trusted-fabric");
  expect_error(dolmen(open), kFailed, "made for a fabric that is not trusted");
}

TEST_F(UpTest, LeasesOfItsNodesMayBeSaidByTheEnvironment) {
  const auto run = [&](const std::string& lease) {
    return shell("cd " + word_of(root_) + " && DOLMEN_LEASE=" + lease + " " +
                 word_of(DOLMEN_COMMAND) + " run -n 1 --dir cluster --host " + host() + " --port " +
                 std::to_string(kPort) + " -- true");
  };
  EXPECT_EQ(run("60").exit, kOk);
  EXPECT_NE(read_file(path("cluster/node-1/node")).find("\nlease 60\n"), std::string::npos);
  expect_error(run("61"), kFailed, "made with another lease");
  EXPECT_EQ(run("soon").exit, kUsage);
}

TEST_F(UpTest, AProgramIsRunOnceForEachNode) {
  const auto run = [&](const std::string& count, const std::string& line) {
    return dolmen({"run", "-n", count, "--dir", "cluster", "--host", host(), "--port",
                   std::to_string(kPort), "--", "sh", "-c", line});
  };
  const Outcome all = run("2", "echo $DOLMEN_RANK/$DOLMEN_RANKS $DOLMEN_NODE $DOLMEN_CLUSTER");
  EXPECT_EQ(all.exit, kOk) << all.err;
  const std::string where =
      " dolmen://" + at(1) + "," + at(2) + "?identity=" + path("cluster/keys/client-1.key") + "\n";
  const std::string first = "0/2 " + path("cluster/node-1") + where;
  const std::string second = "1/2 " + path("cluster/node-2") + where;
  EXPECT_TRUE(all.out == first + second || all.out == second + first) << all.out;

  const auto begin = Clock::now();
  const Outcome failing = run("2", "test $DOLMEN_RANK = 1 && exit 7; exec sleep 4711");
  EXPECT_EQ(failing.exit, 7);
  EXPECT_EQ(failing.err, "dolmen: process 2 ended with exit code 7\n");
  EXPECT_LT(seconds_since(begin), 10.0) << "the other one was ended";
  EXPECT_TRUE(processes({"sleep", "4711"}).empty());

  EXPECT_EQ(dolmen({"run", "--dir", "cluster"}).exit, kUsage) << "which program?";
  EXPECT_EQ(dolmen({"run", "--", "true"}).exit, kUsage) << "which directory?";
  EXPECT_EQ(dolmen({"run", "-n", "0", "--dir", "cluster", "--", "true"}).exit, kUsage);
  EXPECT_EQ(dolmen({"up", "cluster", "-n", "10"}).exit, kUsage);
  EXPECT_EQ(dolmen({"up", "cluster", "--port", "80"}).exit, kUsage);
  for (const std::string metrics : {"21598", "21600", "21602"}) {
    expect_error(dolmen({"up", "new", "--port", "21600", "--metrics-port", metrics}), kUsage,
                 "nodes listen at the 3 ports behind 21600, and figures need others");
  }
  EXPECT_FALSE(fs::exists(path("new")));
  std::ofstream(path("file")) << "text";
  expect_error(dolmen({"up", "file"}), kFailed, "file");
  expect_error(dolmen({"up", "cluster", "--host", "no host"}), kFailed, "none of them blank");
}

}  // namespace
