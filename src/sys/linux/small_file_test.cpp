// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <string_view>

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "sys/linux/linux.hpp"

namespace dolmen::sys {
namespace {

class SmallFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "dolmen-small-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = folder_ + "/file";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  Result<void> write(std::string_view text, Secrecy secrecy, bool replaces = false) {
    return write_small_file(path_, base::as_bytes(text), secrecy, replaces);
  }
  Errc reading(std::size_t bytes_max, Secrecy secrecy) {
    const auto read = read_small_file(path_, bytes_max, secrecy);
    return read ? Errc{} : read.error().code();
  }
  unsigned mode() {
    struct stat facts{};
    EXPECT_EQ(::stat(path_.c_str(), &facts), 0);
    return facts.st_mode & 0777u;
  }

  std::string folder_;
  std::string path_;
};

TEST_F(SmallFile, IsReadAsItWasWrittenAndNotReplacedUnasked) {
  ASSERT_TRUE(write("first", Secrecy::secret));
  EXPECT_EQ(mode(), 0600u);
  EXPECT_EQ(write("second", Secrecy::secret).error().code(), Errc::already_exists);
  const auto read = read_small_file(path_, 5, Secrecy::secret);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_TRUE(std::ranges::equal(*read, base::as_bytes("first")));
  ASSERT_TRUE(write("second", Secrecy::open, true));
  EXPECT_EQ(mode() & 0700u, 0600u);
  EXPECT_EQ(read_small_file(path_, 99, Secrecy::open)->size(), 6u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_),
                          std::filesystem::directory_iterator()),
            1)
      << "nothing is left beside it";
}

TEST_F(SmallFile, ASecretThatOthersCanReachIsRefused) {
  ASSERT_TRUE(write("first", Secrecy::secret));
  for (const mode_t bit : {040, 020, 010, 04, 02, 01}) {
    ASSERT_EQ(::chmod(path_.c_str(), 0600 | bit), 0);
    EXPECT_EQ(reading(99, Secrecy::secret), Errc::invalid_argument) << bit;
    EXPECT_EQ(reading(99, Secrecy::open), Errc{}) << bit;
  }
}

TEST_F(SmallFile, WhatIsNoneOrTooLongIsSaid) {
  EXPECT_EQ(reading(99, Secrecy::open), Errc::not_found);
  ASSERT_TRUE(write("first", Secrecy::secret));
  EXPECT_EQ(reading(4, Secrecy::secret), Errc::invalid_argument);
  std::filesystem::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(reading(99, Secrecy::secret), Errc::invalid_argument) << "and does not wait";
  EXPECT_EQ(write_small_file(folder_ + "/no/file", {}, Secrecy::open, false).error().code(),
            Errc::not_found);
}

}  // namespace
}  // namespace dolmen::sys
