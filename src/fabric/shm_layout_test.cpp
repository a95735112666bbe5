// SPDX-License-Identifier: Apache-2.0
#include "fabric/shm_layout.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/shm_ring.hpp"

namespace dolmen::fabric::shm {
namespace {

NodeName life(std::uint64_t node, std::uint64_t incarnation) {
  return {.node = static_cast<NodeId>(node), .incarnation = incarnation};
}
const NodeCard kNode{.name = life(0x11, 0x22),
                     .process = {.pid = 3, .started = 4, .space = 5},
                     .message_bytes_max = 6};
const LinkCard kLink{.dialer = life(1, 2), .acceptor = life(3, 4), .number = 5, .ring_bytes = 8192};
const RegionCard kRegion{.owner = life(1, 2), .region = static_cast<RegionId>(3), .bytes = 999};

template <class Card>
std::vector<std::byte> header_of(const Card& card) {
  std::vector<std::byte> header(kHeaderBytes);
  write_card(header, card);
  return header;
}

TEST(ShmLayout, CardsComeBackAsTheyWere) {
  EXPECT_EQ(read_node_card(header_of(kNode)).value(), kNode);
  EXPECT_EQ(read_link_card(header_of(kLink)).value(), kLink);
  EXPECT_EQ(read_region_card(header_of(kRegion)).value(), kRegion);
}

TEST(ShmLayout, NamesComeBackAsTheyWereAndNoOthersAreTaken) {
  EXPECT_EQ(node_object(kNode.name), "node-0000000000000011-0000000000000022");
  EXPECT_EQ(bell_of(kNode.name), "bell-0000000000000011-0000000000000022");
  EXPECT_EQ(region_object(kRegion.owner, kRegion.region),
            "region-0000000000000001-0000000000000002-00000003");
  EXPECT_EQ(node_of_object(node_object(kNode.name)), kNode.name);
  LinkCard named = kLink;
  named.ring_bytes = 0;
  EXPECT_EQ(link_of_object(link_object(kLink)), named);
  for (const char* name :
       {"", "node", "node-", "node-0000000000000000-0000000000000001",
        "node-0000000000000011-000000000000002", "node-0000000000000011-00000000000000222",
        "node-0000000000000011_0000000000000022", "node-00000000000000AB-0000000000000022",
        "node-+000000000000011-0000000000000022", "bell-0000000000000011-0000000000000022"}) {
    EXPECT_EQ(node_of_object(name), std::nullopt) << name;
    EXPECT_EQ(link_of_object(name), std::nullopt) << name;
  }
}

TEST(ShmLayout, DamagedCardsOfOtherKindsAndVersionsAreTold) {
  const auto code = [](const auto& result) { return result ? Errc{} : result.error().code(); };
  auto header = header_of(kNode);
  EXPECT_EQ(code(read_link_card(header)), Errc::corrupt);
  EXPECT_EQ(code(read_region_card(header)), Errc::corrupt);
  EXPECT_EQ(code(read_node_card(Bytes(header).first(kHeaderBytes - 1))), Errc::corrupt);
  std::set<Errc> seen;
  for (std::size_t i = 0; i < 104; ++i) {
    header[i] ^= std::byte{0x10};
    seen.insert(code(read_node_card(header)));
    header[i] ^= std::byte{0x10};
  }
  EXPECT_EQ(seen, (std::set<Errc>{Errc::corrupt, Errc::version_unsupported}));
  header[104] = std::byte{1};  // behind the card
  EXPECT_EQ(code(read_node_card(header)), Errc{});

  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{2048}, std::uint64_t{5000},
                                    std::uint64_t{1} << 31, std::uint64_t{1} << 63}) {
    LinkCard link = kLink;
    link.ring_bytes = bytes;
    EXPECT_EQ(code(read_link_card(header_of(link))), Errc::corrupt) << bytes;
  }
  for (const std::uint64_t bytes : {std::uint64_t{0}, (std::uint64_t{1} << 40) + 1}) {
    RegionCard region = kRegion;
    region.bytes = bytes;
    EXPECT_EQ(code(read_region_card(header_of(region))), Errc::corrupt) << bytes;
  }
}

TEST(ShmLayout, IsTheGoldenFile) {
  std::vector<std::byte> bytes;
  const auto append = [&](Bytes part) { bytes.insert(bytes.end(), part.begin(), part.end()); };
  append(Bytes(header_of(kNode)).first(128));
  append(Bytes(header_of(kLink)).first(128));
  append(Bytes(header_of(kRegion)).first(128));
  std::vector<std::byte> words(kRingWordsBytes);
  std::vector<std::byte> data(kRingBytesMin);
  RingWriter writer(words, data);
  const Bytes text = base::as_bytes("a message in two pieces");
  ASSERT_EQ(writer.room(~std::size_t{0}).value(), kRingBytesMin);
  writer.put({.bytes = 11, .last = false}, std::span(&text, 1), 0);
  writer.put({.bytes = 12, .last = true}, std::span(&text, 1), 11);
  append(words);
  append(Bytes(data).first(64));

  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "fabric_shm_v1.bin";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  ASSERT_EQ(bytes.size(), golden.size());
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), std::span(bytes)));
}

}  // namespace
}  // namespace dolmen::fabric::shm
