// SPDX-License-Identifier: Apache-2.0
//
// The contract of sys::Disk, for the real ones and the simulated one alike.
#include <filesystem>
#include <string>
#include <vector>

#include <stdlib.h>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "sim/sim_disk.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/scratch_disk.hpp"

namespace dolmen::sim {
namespace {

using sys::LockMode;
using sys::OpenMode;

std::string text_of(sys::File& file, std::uint64_t offset, std::size_t bytes) {
  std::string text(bytes, '?');
  const auto count = file.read(offset, std::as_writable_bytes(std::span(text)));
  text.resize(count.value());
  return text;
}

enum class DiskKind : std::uint8_t { real, scratch, simulated };

class DiskContract : public testing::TestWithParam<DiskKind> {
 protected:
  void SetUp() override {
    if (GetParam() == DiskKind::simulated) {
      disk = std::make_unique<SimDisk>(1);
      return;
    }
    path_ = testing::TempDir() + "dolmen-contract-XXXXXX";
    ASSERT_NE(mkdtemp(path_.data()), nullptr);
    if (GetParam() == DiskKind::scratch) {
      disk = std::move(sys::open_scratch(path_).value());
      return;
    }
    disk = std::move(sys::open_directory(path_, sys::DirectoryMode::open_existing).value());
  }
  void TearDown() override {
    if (GetParam() == DiskKind::scratch) {
      EXPECT_TRUE(std::filesystem::is_empty(path_)) << "a scratch file has a name";
    }
    if (!path_.empty()) std::filesystem::remove_all(path_);
  }
  std::unique_ptr<sys::File> file(std::string_view name, OpenMode mode = OpenMode::create_or_open) {
    return std::move(disk->open(name, mode).value());
  }
  [[nodiscard]] std::vector<std::string> names() { return disk->list().value(); }

  std::unique_ptr<sys::Disk> disk;

 private:
  std::string path_;
};

INSTANTIATE_TEST_SUITE_P(All, DiskContract,
                         testing::Values(DiskKind::real, DiskKind::scratch, DiskKind::simulated),
                         [](const auto& parameter) {
                           return parameter.param == DiskKind::simulated ? "Simulated"
                                  : parameter.param == DiskKind::scratch ? "Scratch"
                                                                         : "Real";
                         });

TEST_P(DiskContract, WhatIsWrittenIsRead) {
  const auto f = file("f");
  ASSERT_TRUE(f->write(3, base::as_bytes("dolmen")));
  EXPECT_EQ(f->size().value(), 9u);
  EXPECT_EQ(text_of(*f, 0, 100), std::string("\0\0\0dolmen", 9));
  EXPECT_EQ(text_of(*f, 5, 2), "lm");
  EXPECT_EQ(text_of(*f, 9, 5), "");
  EXPECT_EQ(text_of(*f, 1000, 5), "");
  ASSERT_TRUE(f->write(20'000, base::as_bytes("far")));
  EXPECT_EQ(text_of(*f, 9, 3), std::string(3, '\0'));
  EXPECT_EQ(f->size().value(), 20'003u);
  ASSERT_TRUE(f->sync());
}

TEST_P(DiskContract, OpenModesDoWhatTheySay) {
  EXPECT_EQ(disk->open("f", OpenMode::read_only).error().code(), Errc::not_found);
  EXPECT_EQ(disk->open("f", OpenMode::read_write).error().code(), Errc::not_found);
  ASSERT_TRUE(file("f", OpenMode::create_new)->write(0, base::as_bytes("x")));
  EXPECT_EQ(disk->open("f", OpenMode::create_new).error().code(), Errc::already_exists);
  EXPECT_EQ(file("f", OpenMode::create_or_open)->size().value(), 1u);
  const auto reader = file("f", OpenMode::read_only);
  EXPECT_EQ(text_of(*reader, 0, 9), "x");
  EXPECT_EQ(reader->write(0, base::as_bytes("y")).error().code(), Errc::read_only);
  EXPECT_EQ(reader->resize(0).error().code(), Errc::read_only);
}

TEST_P(DiskContract, NamesCannotLeaveTheDirectory) {
  for (const char* name : {"", "/f", "../f", "a/b/c", "a/", ".", "a/.."}) {
    EXPECT_EQ(disk->open(name, OpenMode::create_or_open).error().code(), Errc::invalid_argument);
    EXPECT_EQ(disk->remove(name).error().code(), Errc::invalid_argument) << name;
    EXPECT_EQ(disk->rename("f", name).error().code(), Errc::invalid_argument) << name;
  }
}

TEST_P(DiskContract, ListIsSortedAndKnowsOneLevelOfFolders) {
  for (const char* name : {"z", "log/2", "a", "log/1"}) (void)file(name);
  EXPECT_EQ(names(), (std::vector<std::string>{"a", "log/1", "log/2", "z"}));
  ASSERT_TRUE(disk->remove("log/1"));
  ASSERT_TRUE(disk->rename("z", "new/z"));
  ASSERT_TRUE(disk->sync_directory());
  EXPECT_EQ(names(), (std::vector<std::string>{"a", "log/2", "new/z"}));
  EXPECT_EQ(disk->remove("log/1").error().code(), Errc::not_found);
  EXPECT_EQ(disk->rename("no", "b").error().code(), Errc::not_found);
}

TEST_P(DiskContract, RenameReplacesTheTarget) {
  ASSERT_TRUE(file("old")->write(0, base::as_bytes("old")));
  ASSERT_TRUE(file("new")->write(0, base::as_bytes("newer")));
  ASSERT_TRUE(disk->rename("new", "old"));
  EXPECT_EQ(names(), std::vector<std::string>{"old"});
  EXPECT_EQ(text_of(*file("old"), 0, 9), "newer");
  ASSERT_TRUE(disk->rename("old", "old"));
  EXPECT_EQ(names(), std::vector<std::string>{"old"});
}

TEST_P(DiskContract, ARemovedFileLivesWhileItIsOpen) {
  const auto f = file("f");
  ASSERT_TRUE(f->write(0, base::as_bytes("still here")));
  ASSERT_TRUE(disk->remove("f"));
  ASSERT_TRUE(disk->sync_directory());
  EXPECT_EQ(text_of(*f, 0, 99), "still here");
  ASSERT_TRUE(f->sync());
  EXPECT_EQ(file("f", OpenMode::create_new)->size().value(), 0u);
}

TEST_P(DiskContract, AFileOutlivesItsDiskObject) {
  const auto f = file("f");
  disk.reset();
  ASSERT_TRUE(f->write(0, base::as_bytes("x")));
  EXPECT_EQ(text_of(*f, 0, 9), "x");
}

TEST_P(DiskContract, ResizeCutsAndExtendsByZeros) {
  const auto f = file("f");
  ASSERT_TRUE(f->write(0, base::as_bytes("dolmen")));
  ASSERT_TRUE(f->resize(3));
  EXPECT_EQ(text_of(*f, 0, 9), "dol");
  ASSERT_TRUE(f->resize(5));
  EXPECT_EQ(text_of(*f, 0, 9), std::string("dol\0\0", 5));
}

TEST_P(DiskContract, AllocateExtendsAndKeepsContents) {
  const auto f = file("f");
  ASSERT_TRUE(f->write(0, base::as_bytes("dolmen")));
  ASSERT_TRUE(f->allocate(0, 100'000));
  EXPECT_EQ(f->size().value(), 100'000u);
  EXPECT_EQ(text_of(*f, 0, 8), std::string("dolmen\0\0", 8));
  EXPECT_GE(f->allocated_bytes().value(), 100'000u);
  ASSERT_TRUE(f->allocate(0, 10));
  EXPECT_EQ(f->size().value(), 100'000u);
}

TEST_P(DiskContract, PunchZeroesAndKeepsTheSize) {
  const auto f = file("f");
  const std::string text(64 << 10, 'x');
  ASSERT_TRUE(f->write(0, base::as_bytes(text)));
  ASSERT_TRUE(f->sync());
  const std::uint64_t before = f->allocated_bytes().value();
  ASSERT_TRUE(f->punch(4096, 32 << 10));
  EXPECT_EQ(f->size().value(), 64u << 10);
  EXPECT_EQ(text_of(*f, 4095, 3), std::string("x\0\0", 3));
  EXPECT_EQ(text_of(*f, 36 << 10, 2), "xx");
  EXPECT_EQ(f->allocated_bytes().value(), before - (32 << 10));
  ASSERT_TRUE(f->punch(1 << 20, 4096));
  EXPECT_EQ(f->size().value(), 64u << 10);
}

TEST_P(DiskContract, LocksExcludeAndNameTheirHolder) {
  auto exclusive = disk->try_lock("lock", LockMode::exclusive, "pid 7 on stone", nullptr);
  ASSERT_TRUE(exclusive);
  std::string holder;
  EXPECT_EQ(disk->try_lock("lock", LockMode::exclusive, "me", &holder).error().code(), Errc::held);
  EXPECT_EQ(holder, "pid 7 on stone");
  EXPECT_EQ(disk->try_lock("lock", LockMode::shared, "me", &holder).error().code(), Errc::held);
  EXPECT_TRUE(disk->try_lock("other", LockMode::exclusive, "me", nullptr));
  exclusive->reset();
  auto one = disk->try_lock("lock", LockMode::shared, "me", nullptr);
  auto two = disk->try_lock("lock", LockMode::shared, "me", nullptr);
  ASSERT_TRUE(one);
  ASSERT_TRUE(two);
  holder = "?";
  EXPECT_EQ(disk->try_lock("lock", LockMode::exclusive, "me", &holder).error().code(), Errc::held);
  EXPECT_EQ(holder, "") << "a dead owner's text was taken for a reader's";
  one->reset();
  EXPECT_FALSE(disk->try_lock("lock", LockMode::exclusive, "me", nullptr));
  two->reset();
  EXPECT_TRUE(disk->try_lock("lock", LockMode::exclusive, "me", nullptr));
  EXPECT_EQ(names(), (std::vector<std::string>{"lock", "other"}));
}

TEST_P(DiskContract, AgreesWithPlainMemoryOverRandomOperations) {
  base::Random random(5);
  std::string model;
  const auto f = file("f");
  for (int round = 0; round < 1500; ++round) {
    const std::uint64_t offset = random.below(60'000);
    const std::uint64_t bytes = random.below(random.chance(1, 4) ? 20'000 : 700);
    switch (random.below(8)) {
      case 0:
        ASSERT_TRUE(f->resize(offset));
        model.resize(offset);
        break;
      case 1:
        ASSERT_TRUE(f->punch(offset, bytes));
        for (std::uint64_t at = offset; at < offset + bytes && at < model.size(); ++at) {
          model[at] = '\0';
        }
        break;
      case 2:
        ASSERT_TRUE(f->allocate(offset, bytes));
        if (bytes > 0 && model.size() < offset + bytes) model.resize(offset + bytes);
        break;
      case 3:
        ASSERT_TRUE(f->sync());
        break;
      default: {
        const std::string text(bytes, static_cast<char>('a' + random.below(26)));
        ASSERT_TRUE(f->write(offset, base::as_bytes(text)));
        if (bytes > 0 && model.size() < offset + bytes) model.resize(offset + bytes);
        model.replace(bytes > 0 ? offset : 0, bytes, text);
      }
    }
    ASSERT_EQ(f->size().value(), model.size());
    ASSERT_EQ(text_of(*f, 0, 100'000), model) << "round " << round;
  }
}

}  // namespace
}  // namespace dolmen::sim
