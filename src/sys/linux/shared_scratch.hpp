// SPDX-License-Identifier: Apache-2.0
//
// A folder in memory for one test. Tests only.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <stdlib.h>

#include <gtest/gtest.h>

#include "sys/linux/linux.hpp"

namespace dolmen::sys::test {

class SharedScratch {
 public:
  SharedScratch() {
    std::string pattern = "/dev/shm/dolmen-test-XXXXXX";
    if (::mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~SharedScratch() {
    if (!path_.empty()) std::filesystem::remove_all(path_);
  }
  SharedScratch(const SharedScratch&) = delete;
  SharedScratch& operator=(const SharedScratch&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::unique_ptr<SharedDirectory> open() const {
    auto opened = open_shared_directory(path_);
    EXPECT_TRUE(opened) << opened.error().message();
    return opened ? std::move(*opened) : nullptr;
  }

 private:
  std::string path_;
};

}  // namespace dolmen::sys::test
