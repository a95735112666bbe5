// SPDX-License-Identifier: Apache-2.0
#include "node/node_file.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "store/golden_file.hpp"

namespace dolmen::node {
namespace {

NodeFile founder() {
  return {.number = 2,
          .life = 0xDEADBEEF,
          .name = "north",
          .address = "192.0.2.2:7400",
          .key_file = "/etc/dolmen/key",
          .founders = {"192.0.2.1:7400", "192.0.2.2:7400", "[2001:db8::3]:7400"}};
}
NodeFile joined() {
  return {.number = 0,
          .life = 1,
          .name = {},
          .address = "[::1]:7",
          .key_file = {},
          .seeds = {"192.0.2.1:7400", "192.0.2.9:1"}};
}
Errc error_of(std::string_view text) {
  const auto parsed = parse_node_file(text);
  return parsed ? Errc{} : parsed.error().code();
}
/// What a founder's file says with this instead of that.
std::string with(const std::string& that, const std::string& instead) {
  std::string text = text_of(founder());
  const std::size_t at = text.find(that);
  EXPECT_NE(at, std::string::npos) << that;
  return text.replace(at, that.size(), instead);
}

TEST(NodeFile, ComesBackAsItWas) {
  NodeFile with_lease = founder();
  with_lease.lease_ms = 60;
  NodeFile trusted = with_lease;
  trusted.is_trusted_fabric = true;
  NodeFile with_journal = founder();
  with_journal.journal = ObjectId{.high = 1, .low = ~std::uint64_t{0}};
  NodeFile joined_trusted = joined();
  joined_trusted.is_trusted_fabric = true;
  for (NodeFile file : {founder(), joined(), with_lease, trusted, with_journal, joined_trusted}) {
    EXPECT_EQ(parse_node_file(text_of(file)), file);
    EXPECT_TRUE(can_be_kept(file));
    file.life = ~std::uint32_t{0};
    EXPECT_EQ(parse_node_file(text_of(file)), file);
  }
  NodeFile named = joined();
  named.number = ~std::uint32_t{0};
  named.name = "b\xC3\xBCro";
  named.key_file = "/a path/with blanks ";
  EXPECT_EQ(parse_node_file(text_of(named)), named);
  EXPECT_TRUE(can_be_kept(named));
}

TEST(NodeFile, IsTheGoldenFile) {
  const std::vector<std::byte> golden = store::read_golden("node_file_v1.txt");
  std::string text(golden.size(), '\0');
  std::ranges::transform(golden, text.begin(), [](std::byte b) { return static_cast<char>(b); });
  EXPECT_EQ(text_of(founder()), text);
  EXPECT_EQ(parse_node_file(text), founder());
}

TEST(NodeFile, ACutOrLongerOneIsRefused) {
  NodeFile last = founder();  // so that fewer founders are too few
  last.number = 3;
  last.address = last.founders.back();
  const std::string whole = text_of(last);
  ASSERT_EQ(error_of(whole), Errc{});
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_EQ(error_of(std::string_view(whole).substr(0, length)), Errc::corrupt) << length;
  }
  for (const std::string more : {"\n", "x\n", "seed 192.0.2.1:7400\n", "name north\n", "founder"}) {
    EXPECT_EQ(error_of(whole + more), Errc::corrupt) << more;
  }
}

TEST(NodeFile, EveryRuleOfItsFormatIsKept) {
  EXPECT_EQ(error_of(with("dolmen-node 1", "dolmen-node 2")), Errc::version_unsupported);
  EXPECT_EQ(parse_node_file(with("dolmen-node 1", "dolmen-node 77")).error().detail(), 77u);
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"dolmen-node 1", "dolmen-node"},
      {"dolmen-node 1", "dolmen-node "},
      {"dolmen-node 1", "dolmen-node 01"},
      {"dolmen-node 1", "dolmen-node 1 "},
      {"dolmen-node 1", "dolmen-space 1"},
      {"number 2", "number 02"},
      {"number 2", "number +2"},
      {"number 2", "number -2"},
      {"number 2", "number  2"},
      {"number 2", "number 0x2"},
      {"number 2", "number "},
      {"number 2", "number 4294967298"},
      {"number 2", "number 0"},  // of a founder
      {"number 2", "number 1"},  // another founder's
      {"number 2", "number 4"},  // nobody's
      {"life 3735928559", "life 0"},
      {"life 3735928559", "life 4294967296"},
      {"life 3735928559", "life 1 2"},
      {"name north\n", ""},
      {"name north", "name nor\tth"},
      {"name north", "name north\r"},
      {"name north", "name no\x7Frth"},
      {"name north", std::string("name no\0rth", 11)},
      {"address 192.0.2.2:7400", "address "},
      {"address 192.0.2.2:7400", "address 192.0.2.2:7401"},
      {"key /etc", "key\t/etc"},
      {"key /etc/dolmen/key\n", ""},
      {"life 3735928559\nname north\n", "name north\nlife 3735928559\n"},
      {"founder [2001:db8::3]:7400\n", "founder [2001:db8::3]:7400\nlease 0\n"},
      {"founder [2001:db8::3]:7400\n", "founder [2001:db8::3]:7400\nlease 10001\n"},
      {"founder [2001:db8::3]:7400\n", "lease 60\nfounder [2001:db8::3]:7400\n"},
      {"founder [2001:db8::3]:7400\n", "founder [2001:db8::3]:7400\nfabric \n"},
      {"founder [2001:db8::3]:7400\n", "founder [2001:db8::3]:7400\nfabric open\n"},
      {"founder [2001:db8::3]:7400\n", "founder [2001:db8::3]:7400\nfabric trusted\nlease 60\n"},
      {"founder 192.0.2.2", "founder 192.0.2.4"},
      {"founder 192.0.2.2", "seed 192.0.2.2"},
  };
  for (const auto& [that, instead] : wrong) {
    EXPECT_EQ(error_of(with(that, instead)), Errc::corrupt) << that << " as " << instead;
  }
  std::string alone = text_of(joined());
  alone.resize(alone.find("seed "));
  EXPECT_EQ(error_of(alone), Errc::corrupt) << "neither founders nor seeds";
  NodeFile lent = joined();
  lent.lease_ms = 60;
  EXPECT_FALSE(can_be_kept(lent)) << "it has the cluster's";
}

TEST(NodeFile, HasNineFoundersAnd8KibAtMost) {
  NodeFile file = founder();
  while (file.founders.size() < kFoundersMax) file.founders.push_back("192.0.2.1:1");
  EXPECT_EQ(parse_node_file(text_of(file)), file);
  file.founders.push_back("192.0.2.1:1");
  EXPECT_EQ(error_of(text_of(file)), Errc::corrupt);
  EXPECT_FALSE(can_be_kept(file));

  file = joined();
  file.key_file.assign(kNodeTextMax - text_of(file).size(), 'k');
  ASSERT_EQ(text_of(file).size(), kNodeTextMax);
  EXPECT_EQ(parse_node_file(text_of(file)), file);
  file.key_file += 'k';
  EXPECT_EQ(error_of(text_of(file)), Errc::corrupt);
  EXPECT_FALSE(can_be_kept(file));
}

TEST(NodeFile, WhatWouldSaySomethingElseCannotBeKept) {
  for (const std::string bad : {"a\nseed b", "a\n", "\n", "a\rb", "\x01", "\x1F", "\x7F"}) {
    for (std::string NodeFile::* const field :
         {&NodeFile::name, &NodeFile::address, &NodeFile::key_file}) {
      NodeFile file = joined();
      file.*field = bad;
      EXPECT_FALSE(can_be_kept(file)) << bad;
    }
    for (std::vector<std::string> NodeFile::* const list :
         {&NodeFile::founders, &NodeFile::seeds}) {
      NodeFile file = list == &NodeFile::seeds ? joined() : founder();
      (file.*list).back() = bad;
      EXPECT_FALSE(can_be_kept(file)) << bad;
    }
  }
}

}  // namespace
}  // namespace dolmen::node
