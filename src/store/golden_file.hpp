// SPDX-License-Identifier: Apache-2.0
//
// Files of tests/golden/: bytes that every later version has to read. Tests only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace dolmen::store {

inline std::vector<std::byte> read_golden(std::string_view name) {
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / name;
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  const std::vector<char> chars(std::istreambuf_iterator<char>(file), {});
  std::vector<std::byte> bytes(chars.size());
  std::ranges::transform(chars, bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}

}  // namespace dolmen::store
