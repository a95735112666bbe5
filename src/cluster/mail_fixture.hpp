// SPDX-License-Identifier: Apache-2.0
//
// What the tests of mail share.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "base/hooks.hpp"
#include "cluster/mail.hpp"

namespace dolmen::cluster {

inline GroupId group(std::uint64_t number) { return {.high = 0, .low = number}; }

inline std::vector<std::byte> bytes(std::string_view text) {
  const base::Bytes all = base::as_bytes(text);
  return {all.begin(), all.end()};
}

/// A file of tests/golden/: bytes that every later version has to read.
inline std::vector<std::byte> golden(std::string_view name) {
  std::ifstream file(std::filesystem::path(DOLMEN_GOLDEN_DIR) / name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  const std::vector<char> chars(std::istreambuf_iterator<char>(file), {});
  std::vector<std::byte> all(chars.size());
  std::ranges::transform(chars, all.begin(), [](char c) { return static_cast<std::byte>(c); });
  return all;
}

/// Plants one bug as long as it lives, and counts how often its place was passed.
class PlantedMailBug final : public base::Hooks {
 public:
  explicit PlantedMailBug(std::string_view bug) : bug_(bug), former_(base::install_hooks(this)) {}
  ~PlantedMailBug() override { base::install_hooks(former_); }
  PlantedMailBug(const PlantedMailBug&) = delete;
  PlantedMailBug& operator=(const PlantedMailBug&) = delete;
  bool buggify(std::string_view) override { return false; }
  void probe(std::string_view) override {}
  bool planted(std::string_view bug) override {
    if (bug != bug_) return false;
    ++reached;
    return true;
  }
  std::size_t reached = 0;

 private:
  std::string_view bug_;
  base::Hooks* former_;
};

}  // namespace dolmen::cluster
