// SPDX-License-Identifier: Apache-2.0
//
// dump and load as a user meets them: files, pipes, kills, progress. What is in the stream and in
// the loaded space is tested beside the code.
#include <chrono>

#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "cli/command_test_tools.hpp"

namespace {

using namespace dolmen::cli::test;

struct Page {
  std::uint64_t rank;
  dolmen::string title;
  dolmen::vector<std::uint64_t> numbers;
};

class Dump : public CliTest {
 protected:
  void SetUp() override {
    dolmen::Space space = writer("web.dolmen");
    for (int i = 0; i < 5; ++i) {
      const auto page = space.create<Page>("page " + std::to_string(i)).value();
      space
          .transact(page,
                    [&](dolmen::mut<Page> p) {
                      p->rank = static_cast<std::uint64_t>(i);
                      p->title = "title " + std::to_string(i);
                      for (std::uint64_t k = 1; k <= 40'000; ++k) p->numbers.push_back(k);
                    })
          .value();
    }
  }
  [[nodiscard]] Json names(const std::string& directory) const {
    return dolmen({"ls", directory, "--json"}).json();
  }
};

TEST_F(Dump, GoesThroughAFileAndAPipeAndComesOutTheSame) {
  const Outcome dumped = dolmen({"dump", "web.dolmen", "web.dump"});
  EXPECT_EQ(dumped.exit, kOk) << dumped.err;
  EXPECT_TRUE(dumped.out.starts_with("dumped ")) << dumped.out;
  EXPECT_EQ(dolmen({"load", "web.dump", "copy"}).exit, kOk);
  const Outcome piped = shell("dolmen dump web.dolmen | dolmen load - through-a-pipe");
  EXPECT_EQ(piped.exit, kOk) << piped.err;
  EXPECT_EQ(names("copy"), names("web.dolmen"));
  EXPECT_EQ(names("through-a-pipe"), names("web.dolmen"));
  for (const std::string copy : {"copy", "through-a-pipe"}) {
    EXPECT_EQ(dolmen({"check", copy}).exit, kOk);
    EXPECT_EQ(dolmen({"dump", copy, copy + ".dump"}).exit, kOk);
    const std::string first = read_file(path("web.dump"));
    const std::string second = read_file(path(copy + ".dump"));
    EXPECT_EQ(first.substr(64), second.substr(64));
    EXPECT_EQ(first.substr(0, 16), second.substr(0, 16));
    EXPECT_EQ(first.substr(40, 16), second.substr(40, 16));
  }
  EXPECT_NE(dolmen({"stat", "copy", "--json"}).json()["space"],
            dolmen({"stat", "web.dolmen", "--json"}).json()["space"]);
}

TEST_F(Dump, ReplacesAFileInOneStepAndOnlyWhenItIsWhole) {
  std::ofstream(path("web.dump")) << "yesterday's";
  // Room for a part of it only.
  const Outcome cut = shell("ulimit -f 100; trap '' XFSZ; dolmen dump web.dolmen web.dump");
  EXPECT_EQ(cut.exit, kFailed) << cut.err;
  EXPECT_EQ(read_file(path("web.dump")), "yesterday's");
  EXPECT_EQ(dolmen({"dump", "web.dolmen", "web.dump"}).exit, kOk);
  EXPECT_EQ(dolmen({"load", "web.dump", "copy"}).exit, kOk);
  for (const auto& entry : fs::directory_iterator(root_)) {
    EXPECT_EQ(entry.path().filename().string().find(".part"), std::string::npos) << entry.path();
  }
  expect_error(dolmen({"dump", "web.dolmen", "no/such/file"}), kFailed,
               "No such file or directory");
}

TEST_F(Dump, ACutOrChangedOrForeignStreamIsRefusedWithThePlace) {
  ASSERT_EQ(dolmen({"dump", "web.dolmen", "web.dump"}).exit, kOk);
  const std::string whole = read_file(path("web.dump"));
  const auto load = [&](const std::string& bytes) {
    std::ofstream(path("bad.dump"), std::ios::binary) << bytes;
    return dolmen({"load", "bad.dump", "copy"});
  };
  expect_error(load(""), kDamaged, "no space was made: dump, byte 0: this is no dump of a space");
  expect_error(load("#!/bin/sh\necho hello, this is something else\n"), kDamaged, "dump, byte 0");
  EXPECT_FALSE(fs::exists(path("copy"))) << "nothing is touched for what is no dump";
  expect_error(load(whole.substr(0, whole.size() - 1)), kDamaged, "cut off within a frame");
  expect_error(load(whole.substr(0, 64)), kDamaged, "dump, byte 64: cut off");
  expect_error(load(whole + "x"), kDamaged, "bytes follow the last frame");
  std::string changed = whole;
  changed[whole.size() / 2] ^= 1;
  expect_error(load(changed), kDamaged, "checksum");
  expect_error(dolmen({"ls", "copy"}), kFailed, "'copy' holds no space");
  EXPECT_EQ(load(whole).exit, kOk) << "the directory can be loaded into";
  expect_error(dolmen({"load", "nothing.dump", "other"}), kFailed, "No such file or directory");
}

TEST_F(Dump, LoadOverwritesNothing) {
  ASSERT_EQ(dolmen({"dump", "web.dolmen", "web.dump"}).exit, kOk);
  expect_error(dolmen({"load", "web.dump", "web.dolmen"}), kFailed, "holds a space already");
  fs::create_directory(path("used"));
  std::ofstream(path("used/file")) << "text";
  expect_error(dolmen({"load", "web.dump", "used"}), kFailed, "'used' is not empty");
  expect_error(dolmen({"load", "web.dump", "no/such"}), kFailed,
               "the directory above it does not exist");
  {
    const dolmen::Space held = writer("web.dolmen");
    expect_error(dolmen({"load", "web.dump", "web.dolmen"}), kFailed, "holds a space already");
  }
}

TEST_F(Dump, AKilledLoadLeavesADirectoryThatNothingOpensUntilItIsLoadedAgain) {
  ASSERT_EQ(dolmen({"dump", "web.dolmen", "web.dump"}).exit, kOk);
  const Outcome run = shell(
      "mkfifo pipe; \"$D\" load pipe copy & exec 3>pipe; head -c 200000 web.dump >&3;"
      " while ! [ -e copy/space.unfinished ]; do sleep 0.05; done; kill -9 $!; wait $!; echo $?");
  EXPECT_EQ(run.out, "137\n") << run.err;
  for (const std::string command : {"ls", "stat", "check", "scrub", "dump", "init"}) {
    expect_error(dolmen({command, "copy"}), kFailed,
                 "'copy' holds a load that was cut short; run `dolmen load` with it again");
  }
  const auto opened = dolmen::Space::open(path("copy"));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), dolmen::Errc::unfinished);
  EXPECT_EQ(dolmen({"load", "web.dump", "copy"}).exit, kOk);
  EXPECT_EQ(names("copy"), names("web.dolmen"));
}

TEST_F(Dump, ASecondWriterIsRefusedWithProcessHostAndCommandLine) {
  // The command as the writer: a load that waits for the rest of its stream.
  ASSERT_EQ(dolmen({"dump", "web.dolmen", "web.dump"}).exit, kOk);
  const Outcome run = shell(
      "mkfifo pipe; \"$D\" load pipe copy & exec 3>pipe; head -c 200000 web.dump >&3;"
      " while ! [ -s copy/lock ]; do sleep 0.05; done; cat copy/lock >holder;"
      " dolmen load web.dump copy 3>&-; echo $?; dolmen init copy 3>&-; echo $?;"
      " tail -c +200001 web.dump >&3; exec 3>&-; wait");
  const std::string holder = read_file(path("holder"));
  EXPECT_NE(holder.find("pid "), std::string::npos) << holder;
  EXPECT_NE(holder.find(" on host "), std::string::npos) << holder;
  EXPECT_NE(holder.find("load pipe copy"), std::string::npos) << holder;
  EXPECT_NE(run.err.find("held: " + holder), std::string::npos) << run.err;
  EXPECT_TRUE(run.out.starts_with("1\n1\nloaded ")) << run.out << run.err;
  EXPECT_EQ(dolmen({"ls", "copy"}).exit, kOk);
}

TEST_F(Dump, ShowsProgressAfterASecondWhereAskedForAndNothingElsewhere) {
  ASSERT_EQ(dolmen({"dump", "web.dolmen", "web.dump"}).exit, kOk);
  const std::string slowly = "{ head -c 700000 web.dump; sleep 1.1; tail -c +700001 web.dump; } | ";
  const Outcome asked = shell(slowly + "dolmen load --progress - one");
  EXPECT_EQ(asked.exit, kOk) << asked.err;
  EXPECT_TRUE(asked.err.starts_with("loading: ")) << asked.err;
  const Outcome silent = shell(slowly + "dolmen load - two");
  EXPECT_EQ(silent.exit, kOk);
  EXPECT_EQ(silent.err, "");
  const Outcome dump = shell("dolmen dump --progress web.dolmen | { sleep 1.1; cat >again.dump; }");
  EXPECT_EQ(dump.exit, kOk);
  EXPECT_NE(dump.err.find("dumping: "), std::string::npos) << dump.err;
  EXPECT_NE(dump.err.find(" %\n"), std::string::npos) << dump.err;
  EXPECT_EQ(read_file(path("again.dump")), read_file(path("web.dump")));
  const auto begin = std::chrono::steady_clock::now();
  const Outcome quick = shell("dolmen load --progress web.dump three");
  // A busy machine, or a sanitizer, may need longer than a second.
  if (std::chrono::steady_clock::now() - begin < std::chrono::seconds(1)) {
    EXPECT_EQ(quick.err, "") << "nothing in the first second";
  }
}

TEST_F(Dump, ADeviceIsWrittenAndStaysWhatItIs) {
  EXPECT_EQ(dolmen({"dump", "web.dolmen", "/dev/null"}).exit, kOk);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  expect_error(dolmen({"dump", "web.dolmen", "/dev/full"}), kFailed, "No space left on device");
}

}  // namespace
