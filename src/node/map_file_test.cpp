// SPDX-License-Identifier: Apache-2.0
//
// The map as a node's directory keeps it.
#include <filesystem>
#include <string>

#include <unistd.h>

#include <gtest/gtest.h>

#include "cluster/root_fixture.hpp"
#include "node/cluster_core.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

// Whoever takes a map over that says it is later tells it to all others.
TEST(MapFile, OneWrongBitIsNoLaterMap) {
  const std::string root =
      std::filesystem::temp_directory_path() / ("dolmen-map-test-" + std::to_string(::getpid()));
  std::filesystem::remove_all(root);
  const auto disk = sys::open_directory(root, sys::DirectoryMode::open_or_create).value();
  EXPECT_FALSE(ClusterCore::read_map(*disk)->is_begun()) << "there is none";
  const cluster::RootState map = cluster::rich_root_state();
  ASSERT_TRUE(ClusterCore::write_map(*disk, map));
  EXPECT_EQ(ClusterCore::read_map(*disk), map);
  const auto file = disk->open("map", sys::OpenMode::create_or_open).value();
  const std::uint64_t size = file->size().value();
  for (std::uint64_t at = 0; at < size; ++at) {
    std::byte whole{};
    ASSERT_TRUE(file->read(at, {&whole, 1}));
    const std::byte wrong = whole ^ static_cast<std::byte>(1 << at % 8);
    ASSERT_TRUE(file->write(at, {&wrong, 1}));
    const auto told = ClusterCore::read_map(*disk);
    EXPECT_TRUE(told && !told->is_begun()) << at;
    ASSERT_TRUE(file->write(at, {&whole, 1}));
  }
  EXPECT_EQ(ClusterCore::read_map(*disk), map);
  for (const std::uint64_t cut : {size - 1, size / 2, std::uint64_t{7}, std::uint64_t{0}}) {
    ASSERT_TRUE(file->resize(cut));
    EXPECT_FALSE(ClusterCore::read_map(*disk)->is_begun()) << cut;
  }
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace dolmen::node
