// SPDX-License-Identifier: Apache-2.0
//
// Every command with every wrong argument, and on every directory that it cannot use.
#include <map>

#include "cli/command_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

struct Shape {
  std::vector<std::string> words;     ///< what it needs, in order
  std::vector<std::string> required;  ///< their names
  std::vector<std::string> valued;    ///< options that need a value
};

const std::map<std::string, Shape> kShapes{
    {"init", {{"fresh"}, {"DIR"}, {}}},
    {"ls", {{"web"}, {"DIR"}, {"--patience"}}},
    {"tree", {{"web", "thing"}, {"DIR", "OBJECT"}, {"--depth", "--patience"}}},
    {"inspect", {{"web", "thing"}, {"DIR", "OBJECT"}, {"--depth", "--limit", "--patience"}}},
    {"stat", {{"web"}, {"DIR"}, {"--patience"}}},
    {"check", {{"web"}, {"DIR"}, {"--patience"}}},
    {"scrub", {{"web"}, {"DIR"}, {}}},
    {"dump", {{"web", "web.dump"}, {"DIR"}, {"--patience"}}},
    {"load", {{"web.dump", "fresh"}, {"FILE", "DIR"}, {}}},
    {"doctor", {{}, {}, {"--dir"}}},
    {"demo", {{}, {}, {"--dir", "--input"}}},
    {"serve", {{"node1"}, {"DIR"}, {"--lost-after", "--metrics", "--shm"}}},
    {"status", {{"dolmen://127.0.0.1:1?identity=key"}, {"ADDRESS"}, {"--patience"}}},
    {"top", {{"dolmen://127.0.0.1:1?identity=key"}, {"ADDRESS"}, {"--interval", "--patience"}}},
    {"up", {{"fresh"}, {"DIR"}, {"--nodes", "--host", "--port", "--metrics-port", "--lease"}}},
    {"import",
     {{"web", "dolmen://127.0.0.1:1?identity=key", "web"},
      {"DIR", "ADDRESS", "NAME"},
      {"--patience", "--size"}}},
    {"export",
     {{"dolmen://127.0.0.1:1?identity=key", "web", "fresh"},
      {"ADDRESS", "NAME", "DIR"},
      {"--patience"}}},
};

struct Thing {
  std::uint64_t value;
};

class Usage : public CliTest {
 protected:
  Usage() {
    dolmen::Space space = writer("web");
    EXPECT_TRUE(space.create<Thing>("thing"));
    EXPECT_TRUE(space.close());
    fs::create_directory(path("foreign"));
    std::ofstream(path("foreign/notes.txt")) << "text";
    std::ofstream(path("file")) << "text";
  }
};

std::vector<std::string> line(const std::string& command, std::vector<std::string> words,
                              const std::vector<std::string>& more = {}) {
  words.insert(words.begin(), command);
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST_F(Usage, EveryCommandRefusesWhatItDoesNotKnowAndSaysWhereToRead) {
  for (const auto& [command, shape] : kShapes) {
    const std::string remedy = "; see dolmen " + command + " --help\n";
    const auto expect_usage = [&](const std::vector<std::string>& words, const std::string& says) {
      const Outcome run = dolmen(words);
      expect_error(run, kUsage, says);
      EXPECT_TRUE(run.err.ends_with(remedy)) << run.err;
    };
    expect_usage(line(command, shape.words, {"--nonsense"}), "--nonsense");
    expect_usage(line(command, shape.words, {"-x"}), "-x");
    expect_usage(line(command, shape.words, {"surplus"}), "surplus");
    for (std::size_t given = 0; given < shape.required.size(); ++given) {
      const std::vector<std::string> first(
          shape.words.begin(), shape.words.begin() + static_cast<std::ptrdiff_t>(given));
      expect_usage(line(command, first), shape.required[given] + " is required");
    }
    for (const std::string& option : shape.valued) {
      expect_usage(line(command, shape.words, {option}), option);
    }
  }
  // None of them did anything.
  EXPECT_FALSE(fs::exists(path("fresh")));
  EXPECT_FALSE(fs::exists(path("web.dump")));
}

TEST_F(Usage, HelpIsGivenWhateverElseIsMissing) {
  for (const auto& [command, shape] : kShapes) {
    for (const std::string option : {"--help", "-h"}) {
      const Outcome help = dolmen({command, option});
      EXPECT_EQ(help.exit, kOk) << command;
      EXPECT_EQ(help.err, "") << command;
      for (const std::string& name : shape.required) {
        EXPECT_NE(help.out.find(name), std::string::npos) << help.out;
      }
      for (const std::string& name : shape.valued) {
        EXPECT_NE(help.out.find(name), std::string::npos) << help.out;
      }
    }
  }
  const Outcome bench = dolmen({"bench", "--help"});
  EXPECT_EQ(bench.exit, kOk);
  EXPECT_NE(bench.out.find("dolmen bench SUITE"), std::string::npos) << bench.out;
  EXPECT_EQ(bench.err, "");
}

TEST_F(Usage, ADirectoryOfOtherThingsIsNoSpaceAndStaysAsItIs) {
  ASSERT_EQ(dolmen({"dump", "web", "web.dump"}).exit, kOk);
  const std::string none = "'foreign' holds no space; `dolmen init` makes one";
  for (const std::string command : {"ls", "stat", "check", "scrub", "dump"}) {
    expect_error(dolmen({command, "foreign"}), kFailed, none);
  }
  for (const std::string command : {"tree", "inspect"}) {
    expect_error(dolmen({command, "foreign", "thing"}), kFailed, none);
    expect_error(dolmen({command, "file", "thing"}), kFailed, "'file' is a file");
  }
  expect_error(dolmen({"scrub", "dolmen://127.0.0.1:1/web"}), kUsage, "`dolmen export` makes one");
  const std::string used = "'foreign' is not empty; choose a new or an empty directory";
  expect_error(dolmen({"init", "foreign"}), kFailed, used);
  expect_error(dolmen({"load", "web.dump", "foreign"}), kFailed, used);
  expect_error(dolmen({"load", "web.dump", "file"}), kFailed, "'file' is a file");
  expect_error(dolmen({"load", "nothing.dump", "fresh"}), kFailed, "nothing.dump: No such file");
  expect_error(dolmen({"doctor", "--dir", "file"}), kFailed, "'file' is a file");
  EXPECT_EQ(std::distance(fs::directory_iterator(path("foreign")), fs::directory_iterator()), 1);
  EXPECT_FALSE(fs::exists(path("fresh")));
}

TEST_F(Usage, ASpaceOfAClusterThatIsNotThereLeavesNothingBehind) {
  fs::create_directory(path("tmp"));
  ASSERT_EQ(dolmen({"cluster", "init", "keys"}).exit, kOk);
  const auto run = [&](const std::string& words) {
    return shell("TMPDIR=" + quoted(path("tmp")) + " \"$D\" " + words);
  };
  const std::string nobody = "'dolmen://127.0.0.1:1/web?identity=keys/client-1.key'";
  for (const std::string command : {"ls", "stat", "check", "dump"}) {
    const std::string more = command == "dump" ? " web.dump" : "";
    expect_error(run(command + " " + nobody + more + " --patience 0.1"), kFailed, "127.0.0.1:1");
    expect_error(run(command + " dolmen://127.0.0.1:1/web" + more), kFailed, "who asks?");
    EXPECT_TRUE(fs::is_empty(path("tmp")));
  }
  for (const std::string command : {"tree", "inspect"}) {
    expect_error(run(command + " " + nobody + " thing --patience 0.1"), kFailed, "127.0.0.1:1");
    EXPECT_TRUE(fs::is_empty(path("tmp")));
  }
  expect_error(shell("TMPDIR=/nowhere \"$D\" ls " + nobody), kFailed, "TMPDIR says where");
}

TEST_F(Usage, ASpaceThatIsThereIsNotMadeAgainWhoeverHoldsIt) {
  ASSERT_EQ(dolmen({"dump", "web", "web.dump"}).exit, kOk);
  const std::string there = "'web' holds a space already; choose a new or an empty directory";
  expect_error(dolmen({"init", "web"}), kFailed, there);
  expect_error(dolmen({"load", "web.dump", "web"}), kFailed, there);
  dolmen::Space space = writer("web");
  expect_error(dolmen({"init", "web"}), kFailed, there);
  expect_error(dolmen({"load", "web.dump", "web"}), kFailed, there);
  const auto thing = space.find<Thing>("thing").value();
  EXPECT_TRUE(space.transact(thing, [](dolmen::mut<Thing> t) { ++t->value; }));
}

}  // namespace
