// SPDX-License-Identifier: Apache-2.0
//
// Spaces for tests, and the small structures that tests keep in them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

#include <dolmen/space.hpp>

namespace dolmen::node {

/// A directory that goes with its owner.
struct TestDirectory {
  TestDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "dolmen-test-XXXXXX").string();
    path = ::mkdtemp(pattern.data());
  }
  ~TestDirectory() { std::filesystem::remove_all(path); }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  std::string path;
};

[[nodiscard]] inline Space open_test_space(const TestDirectory& directory,
                                           const SpaceOptions& options = {}) {
  auto space = Space::open(directory.path, options);
  if (!space) throw std::runtime_error(space.error().message());
  return std::move(*space);
}

/// A value and a way on: lists, also across objects.
struct Cell {
  std::uint64_t value;
  ptr<Cell> next;
};

/// A root of an object of any size.
struct Shelf {
  std::uint64_t value;
  ptr<Cell> first;
  ptr<Cell> second;
};

}  // namespace dolmen::node
