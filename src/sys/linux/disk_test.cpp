// SPDX-License-Identifier: Apache-2.0
//
// What is special about real directories; the contract of sys::Disk itself is tested for this and
// the simulated disk together in sim/disk_contract_test.cpp.
#include "sys/disk.hpp"

#include <filesystem>

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "sys/linux/linux.hpp"

namespace dolmen::sys {
namespace {

class LinuxDirectory : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "dolmen-disk-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    path = pattern;
    auto opened = open_directory(path, DirectoryMode::open_existing);
    ASSERT_TRUE(opened) << opened.error().message();
    disk = std::move(*opened);
  }
  void TearDown() override { std::filesystem::remove_all(path); }

  std::string path;
  std::unique_ptr<Disk> disk;
};

TEST_F(LinuxDirectory, OpensAndCreatesAsAsked) {
  EXPECT_EQ(open_directory(path + "/no", DirectoryMode::open_existing).error().code(),
            Errc::not_found);
  EXPECT_EQ(open_directory(path, DirectoryMode::create).error().code(), Errc::already_exists);
  EXPECT_TRUE(open_directory(path + "/new/", DirectoryMode::create));
  EXPECT_TRUE(open_directory(path + "/new", DirectoryMode::open_or_create));
  EXPECT_TRUE(open_directory(path + "/newer", DirectoryMode::open_or_create));
  EXPECT_EQ(open_directory(path + "/a/b/c", DirectoryMode::create).error().code(), Errc::not_found);
  EXPECT_EQ(open_directory("", DirectoryMode::create).error().code(), Errc::invalid_argument);
}

TEST_F(LinuxDirectory, ErrorsNameTheFileAndTheSystemsReason) {
  const auto missing = disk->open("absent", OpenMode::read_only);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().detail(), std::uint64_t{ENOENT});
  EXPECT_EQ(missing.error().context(), "absent: No such file or directory");
}

TEST_F(LinuxDirectory, AFolderThatCouldNotBeSyncedIsSyncedNextTime) {
  ASSERT_TRUE(disk->open("folder/file", OpenMode::create_new));
  const std::string away = path + "-away";
  std::filesystem::rename(path + "/folder", away);
  EXPECT_FALSE(disk->sync_directory());
  EXPECT_FALSE(disk->sync_directory()) << "forgotten";
  std::filesystem::rename(away, path + "/folder");
  EXPECT_TRUE(disk->sync_directory());
}

TEST_F(LinuxDirectory, AFolderInTheWayIsAnIoError) {
  std::filesystem::create_directory(path + "/folder");
  const auto opened = disk->open("folder", OpenMode::read_write);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Errc::io_error);
  EXPECT_EQ(opened.error().detail(), std::uint64_t{EISDIR});
}

TEST_F(LinuxDirectory, APipeInTheWayIsAnIoErrorAndNotWaitedFor) {
  ASSERT_EQ(mkfifo((path + "/pipe").c_str(), 0600), 0);
  for (const OpenMode mode : {OpenMode::read_only, OpenMode::read_write}) {
    const auto opened = disk->open("pipe", mode);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), Errc::io_error);
    EXPECT_EQ(opened.error().context(), "pipe is no ordinary file");
  }
}

TEST_F(LinuxDirectory, NamesCannotLeaveTheDirectory) {
  for (const char* name : {"", "/etc/passwd", "../x", "a/../b", "a/b/c", ".", "a/", "/a"}) {
    EXPECT_EQ(disk->open(name, OpenMode::create_or_open).error().code(), Errc::invalid_argument)
        << name;
  }
}

TEST_F(LinuxDirectory, FilesAreClosedOnExec) {
  auto file = disk->open("f", OpenMode::create_new);
  ASSERT_TRUE(file);
  auto lock = disk->try_lock("lock", LockMode::exclusive, "me", nullptr);
  ASSERT_TRUE(lock);
  const std::string command = "ls -l /proc/self/fd | grep -c " + path + "; true";
  FILE* const pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  int inherited = -1;
  EXPECT_EQ(fscanf(pipe, "%d", &inherited), 1);
  pclose(pipe);
  EXPECT_EQ(inherited, 0);
}

TEST_F(LinuxDirectory, ALockEndsWithItsProcessAndItsFileStays) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto lock = disk->try_lock("lock", LockMode::exclusive, "the child", nullptr);
    const char byte = lock ? 'y' : 'n';
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  std::string holder;
  EXPECT_EQ(disk->try_lock("lock", LockMode::exclusive, "me", &holder).error().code(), Errc::held);
  EXPECT_EQ(holder, "the child");
  EXPECT_EQ(disk->try_lock("lock", LockMode::shared, "me", &holder).error().code(), Errc::held);
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  {
    auto lock = disk->try_lock("lock", LockMode::exclusive, "me", nullptr);
    EXPECT_TRUE(lock);
  }
  EXPECT_TRUE(std::filesystem::exists(path + "/lock"));
  EXPECT_EQ(std::filesystem::file_size(path + "/lock"), 0u);
  close(ready[0]);
  close(ready[1]);
}

TEST_F(LinuxDirectory, AForkedChildThatDropsTheLockDoesNotReleaseIt) {
  auto lock = disk->try_lock("lock", LockMode::exclusive, "the parent", nullptr);
  ASSERT_TRUE(lock);
  const pid_t child = fork();
  if (child == 0) {
    lock->reset();
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  std::string holder;
  EXPECT_EQ(disk->try_lock("lock", LockMode::exclusive, "x", &holder).error().code(), Errc::held);
  EXPECT_EQ(holder, "the parent");
}

TEST_F(LinuxDirectory, PunchingGivesBlocksBack) {
  auto file = disk->open("f", OpenMode::create_new);
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->allocate(0, 1 << 20));
  EXPECT_GE((*file)->allocated_bytes().value(), 1u << 20);
  EXPECT_EQ((*file)->size().value(), 1u << 20);
  ASSERT_TRUE((*file)->punch(0, 1 << 20));
  EXPECT_LT((*file)->allocated_bytes().value(), 64u << 10);
  EXPECT_EQ((*file)->size().value(), 1u << 20);
}

TEST_F(LinuxDirectory, AFullDeviceIsNoSpace) {
  // /dev/full refuses every write in the same way as a full disk.
  auto devices = open_directory("/dev", DirectoryMode::open_existing);
  ASSERT_TRUE(devices);
  auto full = (*devices)->open("full", OpenMode::read_write);
  if (!full) GTEST_SKIP() << "no /dev/full here";
  const std::byte byte{1};
  const auto written = (*full)->write(0, base::Bytes(&byte, 1));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), Errc::no_space);
}

}  // namespace
}  // namespace dolmen::sys
