// SPDX-License-Identifier: Apache-2.0
//
// The command as a whole: usage, exit codes, output, JSON, doctor. docs/cli.md is the promise; its
// tables are read here.
#include <algorithm>

#include <dolmen/hash_map.hpp>
#include <dolmen/string.hpp>

#include "cli/command_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

struct Web;
struct Page {
  std::uint64_t rank;
  dolmen::ptr<Page> next;
  dolmen::ptr<Web> web;
};
struct Web {
  dolmen::hash_map<dolmen::string, dolmen::ptr<Page>> pages;
};

const std::vector<std::string> kCommands{
    "init",   "top",    "ls",   "tree",   "inspect", "stat",  "check",   "scrub",    "dump",
    "export", "import", "load", "doctor", "demo",    "log",   "cluster", "node",     "serve",
    "status", "space",  "up",   "run",    "client",  "index", "object",  "directory"};

class Cli : public CliTest {
 protected:
  /// "web" references "page", which references "web" again and an object that is gone.
  void make_web(const std::string& name) {
    dolmen::Space space = writer(name);
    const auto web = space.create<Web>("web", {.capacity = 1u << 20}).value();
    const auto page = space.create<Page>("page", {.capacity = 16384}).value();
    const auto gone = space.create<Page>({.capacity = 4096}).value();
    web_ = web.id().to_string();
    space
        .transact(web, page, gone,
                  [](dolmen::mut<Web> w, dolmen::mut<Page> p, dolmen::mut<Page> g) {
                    p->rank = 7;
                    p->next = g;
                    p->web = w;
                    w->pages.insert_or_assign("self", p);
                  })
        .value();
    ASSERT_TRUE(space.erase(gone));
    ASSERT_TRUE(space.close());
  }
  std::string web_;  // its id
};

TEST_F(Cli, EveryCommandHasHelpWithAnExampleAndTheJsonOption) {
  for (const std::string& command : kCommands) {
    // See log_test, cluster_test, node_test.
    if (command == "log" || command == "cluster" || command == "node" || command == "space" ||
        command == "run" || command == "client" || command == "index" || command == "object" ||
        command == "directory") {
      continue;
    }
    const Outcome help = dolmen({command, "--help"});
    EXPECT_EQ(help.exit, kOk) << command;
    EXPECT_NE(help.out.find("Usage: dolmen " + command), std::string::npos) << help.out;
    EXPECT_NE(help.out.find("Example:\n  dolmen " + command), std::string::npos) << help.out;
    EXPECT_NE(help.out.find("--json"), std::string::npos) << help.out;
    EXPECT_EQ(help.err, "");
  }
}

TEST_F(Cli, HelpAndDocumentationListTheSameCommands) {
  std::set<std::string> documented;
  for (const auto& row : table_below("# The dolmen command")) documented.merge(words_in(row[0]));
  std::set<std::string> expected(kCommands.begin(), kCommands.end());
  expected.insert("bench");
  EXPECT_EQ(documented, expected);
  const Outcome help = dolmen({"--help"});
  EXPECT_EQ(help.exit, kOk);
  for (const std::string& command : expected) {
    EXPECT_NE(help.out.find("\n  " + command + " "), std::string::npos) << command;
  }
  EXPECT_EQ(dolmen({"--version"}).out, "dolmen " DOLMEN_VERSION "\n");
}

TEST_F(Cli, WrongUsageIsExitCode2AndSaysWhereToRead) {
  make_web("web.dolmen");
  expect_error(dolmen({}), kUsage, "see dolmen --help");
  expect_error(dolmen({"nonsense"}), kUsage, "there is no command 'nonsense'; see dolmen --help");
  expect_error(dolmen({"--nonsense"}), kUsage, "see dolmen --help");
  expect_error(dolmen({"ls"}), kUsage, "DIR is required; see dolmen ls --help");
  expect_error(dolmen({"ls", "web.dolmen", "surplus"}), kUsage, "see dolmen ls --help");
  expect_error(dolmen({"ls", "web.dolmen", "--nonsense"}), kUsage, "see dolmen ls --help");
  expect_error(dolmen({"tree", "web.dolmen"}), kUsage, "OBJECT is required");
  expect_error(dolmen({"tree", "web.dolmen", "web", "--depth", "-1"}), kUsage, "--depth");
  expect_error(dolmen({"inspect", "web.dolmen", "web", "--depth", "0"}), kUsage, "--depth");
  expect_error(dolmen({"inspect", "web.dolmen", "web", "--limit", "many"}), kUsage, "--limit");
  expect_error(dolmen({"load", "web.dump"}), kUsage, "DIR is required");
  expect_error(dolmen({"dump", "web.dolmen", "--json"}), kUsage, "--json needs FILE");
}

TEST_F(Cli, WhatIsNoSpaceIsSaidToBeNoneWithTheRemedy) {
  fs::create_directory(path("empty"));
  std::ofstream(path("file")) << "text";
  for (const std::string command : {"ls", "stat", "check", "scrub", "dump"}) {
    expect_error(dolmen({command, "nowhere"}), kFailed,
                 "there is no directory 'nowhere'; `dolmen init` makes a space");
    expect_error(dolmen({command, "empty"}), kFailed,
                 "'empty' holds no space; `dolmen init` makes one");
    expect_error(dolmen({command, "file"}), kFailed, "'file' is a file; a space is a directory");
  }
  for (const std::string command : {"tree", "inspect"}) {
    expect_error(dolmen({command, "nowhere", "web"}), kFailed, "there is no directory 'nowhere'");
    expect_error(dolmen({command, "empty", "web"}), kFailed, "'empty' holds no space");
  }
  EXPECT_TRUE(fs::is_empty(path("empty"))) << "looking makes nothing";
}

TEST_F(Cli, InitMakesAnEmptySpaceAndOverwritesNothing) {
  const Outcome made = dolmen({"init", "web.dolmen"});
  EXPECT_EQ(made.exit, kOk) << made.err;
  EXPECT_NE(made.out.find("in web.dolmen"), std::string::npos) << made.out;
  EXPECT_EQ(dolmen({"stat", "web.dolmen", "--json"}).json()["names"], 0);
  expect_error(dolmen({"init", "web.dolmen"}), kFailed, "'web.dolmen' holds a space already");
  fs::create_directory(path("used"));
  std::ofstream(path("used/file")) << "text";
  expect_error(dolmen({"init", "used"}), kFailed, "'used' is not empty");
  expect_error(dolmen({"init", "no/such"}), kFailed, "the directory above it does not exist");
  std::ofstream(path("file")) << "text";
  expect_error(dolmen({"init", "file"}), kFailed, "'file' is a file");
}

TEST_F(Cli, AnUnknownObjectIsSaidToBeUnknownWithWhereToLook) {
  make_web("web.dolmen");
  for (const std::string command : {"tree", "inspect"}) {
    expect_error(dolmen({command, "web.dolmen", "nothing"}), kFailed,
                 "object 'nothing'; `dolmen ls web.dolmen --all` lists them");
    expect_error(dolmen({command, "web.dolmen", std::string(32, '0')}), kFailed, "not_found");
  }
  expect_error(dolmen({"inspect", "web.dolmen", web_ + ":999999999"}), kFailed, "out_of_bounds");
}

TEST_F(Cli, ReadingCommandsWorkWhileAProgramHoldsTheSpaceAndSeeItsCommits) {
  make_web("web.dolmen");
  dolmen::Space space = writer("web.dolmen");
  const auto page = space.find<Page>("page").value();
  space.transact(page, [](dolmen::mut<Page> p) { p->rank = 4711; }).value();
  for (const std::string command : {"ls", "stat", "check", "scrub"}) {
    const Outcome run = dolmen({command, "web.dolmen"});
    EXPECT_EQ(run.exit, command == "check" ? kDamaged : kOk) << command << run.err;
  }
  EXPECT_EQ(dolmen({"tree", "web.dolmen", "page"}).exit, kOk);
  EXPECT_EQ(dolmen({"inspect", "web.dolmen", "page", "--json"}).json()["value"]["rank"], 4711);
  EXPECT_EQ(dolmen({"dump", "web.dolmen", "web.dump"}).exit, kOk);
  // And the program goes on.
  EXPECT_TRUE(space.transact(page, [](dolmen::mut<Page> p) { ++p->rank; }));
}

TEST_F(Cli, OutputThatCannotBeWrittenIsAFailure) {
  make_web("web.dolmen");
  for (const std::string command :
       {"ls web.dolmen", "ls web.dolmen --json", "stat web.dolmen", "inspect web.dolmen web",
        "tree web.dolmen web", "scrub web.dolmen", "doctor", "dump web.dolmen"}) {
    const Outcome full = shell("dolmen " + command + " >/dev/full");
    EXPECT_EQ(full.exit, kFailed) << command;
    EXPECT_NE(full.err.find("No space left on device"), std::string::npos) << full.err;
    const Outcome closed = shell("dolmen " + command + " >&-");
    EXPECT_EQ(closed.exit, kFailed) << command;
    EXPECT_NE(closed.err.find("Bad file descriptor"), std::string::npos) << closed.err;
  }
  // What it should have written went into no file of the space.
  EXPECT_EQ(dolmen({"scrub", "web.dolmen"}).exit, kOk);
  expect_error(dolmen({"scrub", "dolmen://127.0.0.1:1/web?identity=me"}), kUsage,
               "makes one); see dolmen scrub --help");
}

TEST_F(Cli, AReaderThatGoesAwayEndsTheCommand) {
  make_web("web.dolmen");
  // More than a pipe holds.
  {
    dolmen::Space space = writer("web.dolmen");
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(space.create<Page>(
          "another page with a very long name, so that a pipe holds few of them " +
              std::to_string(i),
          {.capacity = 512}));
    }
  }
  const Outcome run = shell("{ dolmen ls web.dolmen; echo $? >code; } | head -1");
  EXPECT_EQ(run.out.find('\n'), run.out.size() - 1);
  EXPECT_EQ(read_file(path("code")), std::to_string(128 + SIGPIPE) + "\n");
}

TEST_F(Cli, JsonHasTheDocumentedFields) {
  make_web("web.dolmen");
  make_web("damaged.dolmen");
  std::ofstream(path("damaged.dolmen/space"), std::ios::in | std::ios::binary).seekp(100) << "x";
  const Json page =
      dolmen({"inspect", "web.dolmen", "web", "--json"}).json()["value"]["pages"]["self"];
  const std::string place = page["object"].get<std::string>() + ":" + page["offset"].dump();
  const std::vector<std::pair<std::string, std::vector<std::vector<std::string>>>> runs{
      {"init", {{"init", "made.dolmen"}}},
      {"ls", {{"ls", "web.dolmen"}, {"ls", "web.dolmen", "--all"}}},
      {"tree", {{"tree", "web.dolmen", "web"}, {"tree", "web.dolmen", "web", "--depth", "0"}}},
      {"inspect", {{"inspect", "web.dolmen", "web"}, {"inspect", "web.dolmen", place}}},
      {"stat", {{"stat", "web.dolmen"}}},
      {"check", {{"check", "web.dolmen"}}},
      {"scrub", {{"scrub", "damaged.dolmen"}}},
      {"dump", {{"dump", "web.dolmen", "web.dump"}}},
      {"load", {{"load", "web.dump", "copy.dolmen"}}},
      {"doctor", {{"doctor"}}},
  };
  std::map<std::string, std::set<std::string>> documented;
  for (const auto& row : table_below("## JSON")) {
    const auto command = words_in(row[0]);
    if (command.size() == 1) documented[*command.begin()] = words_in(row[1]);
  }
  EXPECT_EQ(documented.size(), runs.size());
  for (const auto& [command, lines] : runs) {
    std::set<std::string> keys;
    for (std::vector<std::string> words : lines) {
      words.push_back("--json");
      keys_of(dolmen(words).json(), keys);
    }
    EXPECT_EQ(keys, documented[command]) << command;
  }
}

TEST_F(Cli, DoctorSaysWhatTheMachineOffersAndOneLineToImproveIt) {
  const Json report = dolmen({"doctor", "--json"}).json();
  EXPECT_EQ(report["directory"], ".");
  std::set<std::string> facts;
  for (const Json& fact : report["facts"]) {
    facts.insert(fact["what"]);
    EXPECT_NE(fact["value"], "");
    EXPECT_EQ(fact["remedy"] == "", fact["good"].get<bool>()) << fact;
    EXPECT_EQ(std::string(fact["remedy"]).find('\n'), std::string::npos);
  }
  EXPECT_EQ(facts, (std::set<std::string>{"page faults", "kernel", "huge pages", "vm.max_map_count",
                                          "address space", "arena", "file system", "fdatasync",
                                          "free space", "build"}));
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), fs::directory_iterator()), 2)
      << "nothing is left behind but this test's own output";
  expect_error(dolmen({"doctor", "--dir", "nowhere"}), kFailed, "there is no directory 'nowhere'");
}

TEST_F(Cli, DoctorWarnsOfAFileSystemInMemory) {
  std::error_code none;
  if (!fs::is_directory("/dev/shm", none)) GTEST_SKIP() << "no /dev/shm here";
  const std::string mounts = read_file("/proc/mounts");
  if (mounts.find(" /dev/shm tmpfs") == std::string::npos) GTEST_SKIP() << "/dev/shm is no tmpfs";
  const Json report = dolmen({"doctor", "--dir", "/dev/shm", "--json"}).json();
  const auto& facts = report["facts"];
  const auto found =
      std::ranges::find_if(facts, [](const Json& f) { return f["what"] == "file system"; });
  ASSERT_NE(found, facts.end());
  EXPECT_EQ((*found)["value"], "tmpfs");
  EXPECT_EQ((*found)["good"], false);
  EXPECT_NE(std::string((*found)["remedy"]).find("lost when the machine stops"), std::string::npos);
}

}  // namespace
