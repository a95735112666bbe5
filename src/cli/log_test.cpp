// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include <sys/stat.h>
#include <unistd.h>

#include "cli/command_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

const std::vector<std::string> kGroup{"--members", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", "--key",
                                      "group.key"};

class Log : public CliTest {
 protected:
  static std::vector<std::string> with_group(std::vector<std::string> words) {
    words.insert(words.begin(), "log");
    words.insert(words.end(), kGroup.begin(), kGroup.end());
    return words;
  }
};

TEST_F(Log, EverySubcommandHasHelpWithAnExampleAndTheJsonOption) {
  for (const std::string command :
       {"key", "init", "witness", "status", "show", "add", "remove", "replace"}) {
    const Outcome help = dolmen({"log", command, "--help"});
    EXPECT_EQ(help.exit, kOk);
    EXPECT_NE(help.out.find("Example:\n  dolmen log " + command), std::string::npos) << help.out;
    EXPECT_NE(help.out.find("--json"), std::string::npos) << help.out;
  }
  EXPECT_EQ(dolmen({"log"}).exit, kUsage);
  EXPECT_EQ(dolmen({"log", "nonsense"}).exit, kUsage);
  EXPECT_EQ(dolmen({"log", "status"}).exit, kUsage);
  const std::string nobody = "dolmen://127.0.0.1:1?identity=nothing.key";
  EXPECT_EQ(dolmen({"log", "show", nobody}).exit, kUsage) << "which group?";
  EXPECT_EQ(dolmen({"log", "show", nobody, "web", "--count", "0"}).exit, kUsage);
  expect_error(dolmen({"log", "show", "here", "web"}), kUsage, "like dolmen://");
  expect_error(dolmen({"log", "show", nobody, "web"}), kFailed, "nothing.key");
  EXPECT_EQ(dolmen(with_group({"add", "4"})).exit, kUsage) << "where?";
  EXPECT_EQ(dolmen(with_group({"remove"})).exit, kUsage);
}

TEST_F(Log, AKeyIsMadeOnceAndNobodyElseReadsIt) {
  EXPECT_EQ(dolmen({"log", "key", "group.key", "--json"}).json()["key_file"], "group.key");
  const std::string key = read_file(path("group.key"));
  EXPECT_EQ(key.size(), 65u);
  EXPECT_EQ(key.find_first_not_of("0123456789abcdef"), 64u);
  struct stat facts{};
  ASSERT_EQ(::stat(path("group.key").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777u, 0600u);
  expect_error(dolmen({"log", "key", "group.key"}), kFailed, "already_exists");
  EXPECT_EQ(read_file(path("group.key")), key);
}

TEST_F(Log, AMemberIsMadeOnce) {
  ASSERT_EQ(dolmen({"log", "key", "group.key"}).exit, kOk);
  const Json made = dolmen(with_group({"init", "data1", "--member", "1", "--json"})).json();
  EXPECT_EQ(made["directory"], "data1");
  EXPECT_EQ(made["member"], 1);
  expect_error(dolmen(with_group({"init", "data1", "--member", "1"})), kFailed, "already_exists");
  expect_error(dolmen(with_group({"init", "data4", "--member", "4"})), kFailed, "member: a number");
  expect_error(dolmen({"ls", "data1"}), kFailed, "it holds the journal of a replica");
  expect_error(dolmen({"log", "init", "data2", "--member", "1", "--members", "nowhere", "--key",
                       "group.key"}),
               kFailed, "address: nowhere (like 192.0.2.7:7400)");
  expect_error(dolmen({"log", "init", "data2", "--member", "1", "--members",
                       "127.0.0.1:1,127.0.0.1:1", "--key", "group.key"}),
               kFailed, "member twice: 127.0.0.1:1");
}

TEST_F(Log, AWitnessIsSaidWhenItsDirectoryIsMade) {
  ASSERT_EQ(dolmen({"log", "key", "group.key"}).exit, kOk);
  expect_error(dolmen(with_group({"init", "data3", "--member", "3", "--witness", "4"})), kFailed,
               "witness: a number");
  expect_error(dolmen(with_group({"init", "data3", "--member", "3", "--witness", "1,2,3"})),
               kFailed, "witnesses: each once, and not all members");
  ASSERT_EQ(dolmen(with_group({"init", "data1", "--member", "1", "--witness", "3"})).exit, kOk);
  expect_error(dolmen(with_group({"witness", "data1", "--member", "1"})), kFailed,
               "the group has this member as a server");
  expect_error(dolmen(with_group({"witness", "data2", "--member", "2"})), kFailed, "not_found");
}

TEST_F(Log, AWitnessOfAGroupInMemoryIsInSharedMemoryAlone) {
  ASSERT_EQ(dolmen({"log", "key", "group.key"}).exit, kOk);
  expect_error(dolmen(with_group(
                   {"init", "data3", "--member", "3", "--witness", "3", "--level", "replicated"})),
               kFailed, "in shared memory alone");
  const std::filesystem::path meeting = "/dev/shm/dolmen-log-test-" + std::to_string(::getpid());
  const std::string at = "shm:" + meeting.string();
  const auto in_memory = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "log");
    words.insert(words.end(), {"--members", at + "," + at + "," + at, "--level", "replicated"});
    return words;
  };
  ASSERT_EQ(dolmen(in_memory({"init", "data3", "--member", "3", "--witness", "3"})).exit, kOk);
  expect_error(dolmen(in_memory({"witness", "data3", "--member", "3", "--witness", "1"})), kFailed,
               "the group has this member as a server");
  expect_error(dolmen(in_memory({"witness", "data3", "--member", "3", "--area-bytes", "100"})),
               kFailed, "an area's bytes: 4 KiB to 1 GiB");
  expect_error(dolmen(in_memory({"witness", "data3", "--member", "3", "--groups", "2,2"})), kFailed,
               "none twice");
  expect_error(dolmen(in_memory({"witness", "nothing", "--member", "3"})), kFailed, "not_found");
  std::filesystem::remove_all(meeting);
}

TEST_F(Log, AMemberThatJoinsIsMadeForSeveralGroups) {
  ASSERT_EQ(dolmen({"log", "key", "group.key"}).exit, kOk);
  const Json made = dolmen({"log", "init", "data4", "--member", "4", "--members",
                            "127.0.0.1:1,-,127.0.0.1:3,127.0.0.1:4", "--key", "group.key",
                            "--joins", "--groups", "1,5", "--json"})
                        .json();
  EXPECT_EQ(made["joins"], true);
  EXPECT_EQ(made["groups"], (std::vector<int>{1, 5}));
  expect_error(dolmen({"log", "init", "data1", "--member", "1", "--members", "127.0.0.1:1,-",
                       "--key", "group.key", "--joins"}),
               kFailed, "nobody to join");
  expect_error(dolmen({"log", "init", "data2", "--member", "2", "--members", "127.0.0.1:1,-",
                       "--key", "group.key"}),
               kFailed, "no address in the list");
  expect_error(dolmen(with_group({"init", "data3", "--member", "3", "--groups", "2,2"})), kFailed,
               "none twice");
}

TEST_F(Log, AChangeSaysThatNobodyAnswers) {
  ASSERT_EQ(dolmen({"log", "key", "group.key"}).exit, kOk);
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"add", "4", "127.0.0.1:4"}, {"remove", "2"}, {"replace", "3"}}) {
    expect_error(dolmen(with_group(words)), kFailed, "no member of the group answered");
    std::vector<std::string> one = words;
    one.insert(one.end(), {"--groups", "1", "--patience-s", "0"});
    expect_error(dolmen(with_group(one)), kFailed, "no member of the group answered");
  }
}

TEST_F(Log, AKeyFileThatIsNoneIsSaid) {
  expect_error(dolmen(with_group({"init", "data1", "--member", "1"})), kFailed,
               "key file group.key");
  std::ofstream(path("group.key")) << "0123";
  expect_error(dolmen(with_group({"init", "data1", "--member", "1"})), kFailed,
               "64 hexadecimal digits (dolmen log key makes one)");
}

TEST_F(Log, StatusSaysThatNobodyAnswers) {
  ASSERT_EQ(dolmen({"log", "key", "group.key"}).exit, kOk);
  const Outcome run = dolmen(with_group({"status", "--patience-ms", "100"}));
  EXPECT_EQ(run.exit, kFailed);
  EXPECT_NE(run.err.find("no member answered"), std::string::npos) << run.err;
  EXPECT_NE(run.out.find("127.0.0.1:3"), std::string::npos) << run.out;
}

}  // namespace
