// SPDX-License-Identifier: Apache-2.0
#include "replication/membership.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "store/golden_file.hpp"

namespace dolmen::replication {
namespace {

using Bytes = std::vector<std::byte>;

constexpr log::ReplicaId kFirst = replica_of(fabric::NodeId{1}, 1);
constexpr log::ReplicaId kThird = replica_of(fabric::NodeId{3}, 0x12345678);

Roster roster() {
  return {.as_of = 77,
          .is_settled = true,
          .configuration = log::Configuration{.voters = {kFirst}, .learners = {kThird}},
          .addresses = {{fabric::NodeId{1}, "192.0.2.1:7400"}, {fabric::NodeId{3}, "[::1]:7"}},
          .groups = {{6, 1}, {6, 2}}};
}
Change change() {
  return {.number = 9,
          .kind = ChangeKind::learn,
          .replica = kThird,
          .instead = {},
          .address = "[::1]:7"};
}
ChangeReply reply() { return {.number = 9, .status = ChangeStatus::behind, .value = 1000}; }

template <class Decode>
Errc error_of(const Decode& decode, base::Bytes body) {
  const auto decoded = decode(body);
  return decoded ? Errc{} : decoded.error().code();
}
Bytes with(Bytes bytes, std::size_t offset, std::uint64_t value, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    bytes.at(offset + i) = static_cast<std::byte>(value >> (8 * i));
  }
  return bytes;
}

TEST(Membership, AReplicasIdHasItsNodeAndItsLife) {
  EXPECT_EQ(node_of(kThird), fabric::NodeId{3});
  EXPECT_EQ(life_of(kThird), 0x12345678u);
}

TEST(Membership, BodiesComeBackAsTheyWere) {
  EXPECT_EQ(decode_roster(encode(roster())), roster());
  EXPECT_EQ(decode_roster(encode(Roster{})), Roster{}) << "of a node without the group";
  EXPECT_EQ(decode_change(encode(change())), change());
  const Change vote{.number = 1, .kind = ChangeKind::vote, .replica = kThird, .instead = kFirst};
  EXPECT_EQ(decode_change(encode(vote)), vote);
  for (std::uint64_t status = 1; status <= 10; ++status) {
    ChangeReply one = reply();
    one.status = static_cast<ChangeStatus>(status);
    EXPECT_EQ(decode_change_reply(encode(one)), one);
  }
}

TEST(Membership, BodiesAreTheGoldenFiles) {
  EXPECT_EQ(encode(roster()), store::read_golden("member_roster_v1.bin"));
  EXPECT_EQ(encode(change()), store::read_golden("member_change_v1.bin"));
  EXPECT_EQ(encode(reply()), store::read_golden("member_change_reply_v1.bin"));
}

TEST(Membership, WhatIsCutShortIsRefused) {
  const Bytes whole = encode(roster());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_EQ(error_of(decode_roster, base::Bytes(whole).first(length)), Errc::corrupt) << length;
  }
  Bytes longer = whole;
  longer.push_back(std::byte{0});
  EXPECT_EQ(error_of(decode_roster, longer), Errc::corrupt);
  const Bytes asked = encode(Change{.number = 9, .replica = kThird});
  for (std::size_t length = 0; length < asked.size(); ++length) {
    EXPECT_EQ(error_of(decode_change, base::Bytes(asked).first(length)), Errc::corrupt) << length;
  }
  const Bytes told = encode(reply());
  for (std::size_t length = 0; length < told.size(); ++length) {
    EXPECT_EQ(error_of(decode_change_reply, base::Bytes(told).first(length)), Errc::corrupt);
  }
}

TEST(Membership, ImpossibleFieldsAreRefused) {
  const Bytes right = encode(roster());
  const std::size_t first_address = 24 + 8 + 2 * 8;
  const auto of_roster = [&](std::size_t offset, std::uint64_t value, std::size_t count) {
    return error_of(decode_roster, with(right, offset, value, count));
  };
  EXPECT_EQ(of_roster(8, 2, 4), Errc::corrupt) << "settled";
  EXPECT_EQ(of_roster(12, 23, 4), Errc::corrupt) << "a configuration cut short";
  EXPECT_EQ(of_roster(12, 0xFFFFFFFF, 4), Errc::corrupt);
  EXPECT_EQ(of_roster(16, 1, 4), Errc::corrupt) << "fewer addresses";
  EXPECT_EQ(of_roster(16, 0xFFFFFFFF, 4), Errc::corrupt);
  EXPECT_EQ(of_roster(20, 3, 4), Errc::corrupt) << "more groups";
  EXPECT_EQ(of_roster(20, 0xFFFFFFFF, 4), Errc::corrupt);
  EXPECT_EQ(of_roster(first_address, 0, 8), Errc::corrupt) << "nobody's address";
  EXPECT_EQ(of_roster(first_address, 3, 8), Errc::corrupt) << "not ascending";
  EXPECT_EQ(of_roster(right.size() - 32, 7, 8), Errc::corrupt) << "groups that do not ascend";
  EXPECT_EQ(
      error_of(decode_roster, with(with(right, right.size() - 32, 0, 8), right.size() - 24, 0, 8)),
      Errc::corrupt)
      << "no group";

  const auto of_change = [&](std::size_t offset, std::uint64_t value) {
    return error_of(decode_change, with(encode(change()), offset, value, 8));
  };
  EXPECT_EQ(of_change(8, 0), Errc::corrupt) << "no kind";
  EXPECT_EQ(of_change(8, 4), Errc::corrupt) << "an unknown kind";
  EXPECT_EQ(of_change(8, (std::uint64_t{1} << 32) | 1), Errc::corrupt);
  EXPECT_EQ(of_change(8, 2), Errc::corrupt) << "a vote with an address";
  EXPECT_EQ(of_change(16, 5), Errc::corrupt) << "of no node";
  EXPECT_EQ(of_change(24, static_cast<std::uint64_t>(kFirst)), Errc::corrupt)
      << "learns instead of somebody";
  EXPECT_EQ(
      error_of(decode_change, with(encode(Change{.kind = ChangeKind::vote, .replica = kThird}), 24,
                                   static_cast<std::uint64_t>(kThird), 8)),
      Errc::corrupt)
      << "instead of itself";
  Bytes longest = encode(
      Change{.replica = kThird, .instead = {}, .address = std::string(kAddressBytesMax, 'a')});
  EXPECT_EQ(error_of(decode_change, longest), Errc{});
  longest.push_back(std::byte{'a'});
  EXPECT_EQ(error_of(decode_change, longest), Errc::corrupt);

  const auto of_reply = [&](std::uint64_t status) {
    return error_of(decode_change_reply, with(encode(reply()), 8, status, 8));
  };
  EXPECT_EQ(of_reply(0), Errc::corrupt);
  EXPECT_EQ(of_reply(11), Errc::corrupt);
  EXPECT_EQ(of_reply((std::uint64_t{1} << 32) | 1), Errc::corrupt);
}

}  // namespace
}  // namespace dolmen::replication
