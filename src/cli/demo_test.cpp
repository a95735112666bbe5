// SPDX-License-Identifier: Apache-2.0
//
// `dolmen demo` as a command: its figures have the documented names, it says why it cannot run, and
// it tidies up when it is interrupted. Whether the figures are right: tests/demo_check.py.
#include "cli/command_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

class DemoCommand : public CliTest {
 protected:
  DemoCommand() { fs::create_directory(path("tmp")); }
  /// Its temporary files lie in a directory of their own.
  [[nodiscard]] Outcome demo(const std::string& options) const {
    return shell("TMPDIR=" + quoted(path("tmp")) + "; export TMPDIR; dolmen demo " + options);
  }
  [[nodiscard]] bool tidy() const { return fs::is_empty(path("tmp")); }

  const std::string input_ =
      quoted(std::string(DOLMEN_SOURCE_DIR) + "/tests/data/packages-excerpt.txt");
};

TEST_F(DemoCommand, GivesTheDocumentedFiguresAsJson) {
  const Outcome run = demo("--quick --json --input " + input_);
  ASSERT_EQ(run.exit, kOk) << run.err;
  const Json figures = run.json();
  std::map<std::string, std::set<std::string>> documented;
  for (const auto& row : table_below("## Figures of the demo")) {
    const std::set<std::string> group = words_in(row[0]);
    if (!group.empty()) documented[*group.begin()] = words_in(row[1]);
  }
  std::set<std::string> groups;
  for (const auto& [group, value] : figures.items()) {
    groups.insert(group);
    std::set<std::string> keys;
    keys_of(value, keys);
    EXPECT_EQ(keys, documented[group]) << group;
  }
  EXPECT_EQ(groups.size(), documented.size());
  EXPECT_EQ(figures["input"]["quick"], true);
  for (const Json& check : figures["checks"]) EXPECT_EQ(check["held"], true) << check;
  EXPECT_EQ(figures.dump().find("null"), std::string::npos) << "a figure that is no number";
  EXPECT_TRUE(tidy());
}

TEST_F(DemoCommand, KeepsTheSpaceWhereItIsAskedTo) {
  ASSERT_EQ(demo("--quick --dir kept --input " + input_).exit, kOk);
  EXPECT_EQ(dolmen({"inspect", "kept", "debian", "--limit", "1"}).exit, kOk);
  EXPECT_TRUE(tidy());
  expect_error(demo("--quick --dir kept --input " + input_), kFailed,
               "is not empty; name a directory that does not exist yet");
}

TEST_F(DemoCommand, WhatItCannotRunOnIsAFailureWithTheRemedy) {
  expect_error(demo("--json --input nowhere"), kFailed, "name a file with --input");
  expect_error(demo("--json --input /dev/null"), kFailed, "name a file with --input");
  EXPECT_TRUE(tidy());
  const Outcome no_room = shell("TMPDIR=/nowhere dolmen demo --input " + input_);
  expect_error(no_room, kFailed, "no temporary directory can be made; TMPDIR says where");
}

TEST_F(DemoCommand, InterruptedItTidiesUpAndSaysBySignalNumberThatItWas) {
  for (const int signal : {SIGINT, SIGTERM}) {
    // The pipe can be opened for writing when the demo is about to read its input.
    const Outcome run =
        shell("mkfifo in; TMPDIR=" + quoted(path("tmp")) +
              "; export TMPDIR; \"$D\" demo --json --input in & P=$!; { kill -" +
              std::to_string(signal) + " $P; cat " + input_ + "; } >in; rm in; wait $P");
    expect_error(run, 128 + signal, "interrupted");
    EXPECT_TRUE(tidy());
  }
}

}  // namespace
