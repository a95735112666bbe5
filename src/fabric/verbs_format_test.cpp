// SPDX-License-Identifier: Apache-2.0
#include "fabric/verbs_format.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/assembly.hpp"

namespace dolmen::fabric {
namespace {

using Kind = VerbsControl::Kind;

sys::RdmaAddress queue(std::uint32_t number, std::uint32_t packet, std::uint16_t lid,
                       std::uint8_t mtu) {
  sys::RdmaAddress address{.queue = number, .first_packet = packet, .lid = lid, .mtu = mtu};
  for (unsigned i = 0; i < 16; ++i) address.gid[i] = static_cast<std::byte>(i);
  return address;
}

std::vector<VerbsControl> one_of_each() {
  return {{.kind = Kind::hello, .buffers = 64, .queue = queue(0x123456, 0xFFFFFF, 7, 5)},
          {.kind = Kind::ready},
          {.kind = Kind::ask,
           .rights = {.write = true},
           .lane = 9,
           .region = RegionId{10},
           .start = 11,
           .bytes = 12,
           .queue = queue(13, 14, 7, 3)},
          {.kind = Kind::answer,
           .rights = {.read = true, .atomic = true},
           .lane = 9,
           .region = RegionId{10},
           .key = 0xAABBCCDD,
           .start = 0x1122334455667788,
           .bytes = 4096,
           .queue = queue(15, 16, 8, 4)},
          {.kind = Kind::answer,
           .status = VerbsControl::Status::no_right,
           .lane = 9,
           .region = RegionId{10}},
          {.kind = Kind::withdrawn, .lane = 9},
          {.kind = Kind::closed, .lane = 9}};
}

std::vector<std::byte> piece_of(const VerbsPieceHead& head, std::size_t data, char fill) {
  std::vector<std::byte> piece(kVerbsPieceHeadBytes + data, static_cast<std::byte>(fill));
  std::ranges::copy(encode(head), piece.begin());
  return piece;
}

TEST(VerbsFormat, ControlMessagesComeBackAsTheyWere) {
  for (const VerbsControl& control : one_of_each()) {
    const auto decoded = decode_verbs_control(encode(control));
    ASSERT_TRUE(decoded);
    EXPECT_EQ(*decoded, control);
  }
}

TEST(VerbsFormat, IsTheGoldenFile) {
  std::vector<std::byte> bytes;
  for (const VerbsControl& control : one_of_each())
    std::ranges::copy(encode(control), std::back_inserter(bytes));
  std::ranges::copy(encode(VerbsPieceHead{.left = 5, .credits = 3, .is_data = true}),
                    std::back_inserter(bytes));
  std::ranges::copy(base::as_bytes("hello"), std::back_inserter(bytes));
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "fabric_verbs_v1.bin";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), std::span(bytes)));
}

TEST(VerbsFormat, WhatNoControlMessageIsIsRefused) {
  const auto hello = encode(one_of_each()[0]);
  const auto with = [&](std::size_t at, unsigned value) {
    auto bytes = hello;
    bytes[at] = static_cast<std::byte>(value);
    const auto decoded = decode_verbs_control(bytes);
    return decoded ? Errc{} : decoded.error().code();
  };
  EXPECT_EQ(with(0, 1), Errc{});
  EXPECT_EQ(with(0, 2), Errc::version_unsupported);
  for (const unsigned kind : {0u, 7u, 255u}) EXPECT_EQ(with(1, kind), Errc::corrupt) << kind;
  EXPECT_EQ(with(2, 4), Errc::corrupt) << "status";
  EXPECT_EQ(with(3, 8), Errc::corrupt) << "rights";
  EXPECT_EQ(with(51, 1), Errc::corrupt) << "a queue of more than 24 bits";
  EXPECT_EQ(with(55, 1), Errc::corrupt) << "a packet of more than 24 bits";
  EXPECT_EQ(with(58, 0), Errc::corrupt) << "no packet size";
  EXPECT_EQ(with(58, 6), Errc::corrupt) << "no packet size";
  EXPECT_EQ(with(59, 1), Errc::corrupt) << "reserved";
  EXPECT_EQ(with(60, 7), Errc::corrupt) << "too few buffers";
  EXPECT_EQ(with(62, 1), Errc::corrupt) << "too many buffers";
  EXPECT_EQ(with(1, 2), Errc::corrupt) << "a queue that is none of ready's";
  EXPECT_EQ(with(1, 3), Errc::corrupt) << "asks for nothing";
  for (std::size_t length = 0; length < hello.size(); ++length) {
    EXPECT_FALSE(decode_verbs_control(Bytes(hello).first(length))) << length;
  }
}

TEST(VerbsFormat, PiecesMakeMessages) {
  Assembly assembly;
  constexpr std::uint32_t kWhole = static_cast<std::uint32_t>(kVerbsPieceData);
  for (const std::uint32_t bytes : {0u, 1u, kWhole, kWhole + 1, 3 * kWhole, 3 * kWhole + 7}) {
    std::uint32_t left = bytes;
    for (;;) {
      const std::uint32_t data = std::min(left, kWhole);
      const auto piece = piece_of({.left = left, .is_data = true}, data, 'x');
      const auto head = decode_verbs_piece(piece);
      ASSERT_TRUE(head);
      const auto message = assembly.add(head->left, Bytes(piece).subspan(kVerbsPieceHeadBytes));
      ASSERT_TRUE(message);
      left -= data;
      ASSERT_EQ(message->is_complete, left == 0);
      if (left > 0) continue;
      ASSERT_EQ(message->bytes.size(), bytes);
      EXPECT_TRUE(
          std::ranges::all_of(message->bytes, [](std::byte b) { return b == std::byte{'x'}; }));
      break;
    }
  }
}

TEST(VerbsFormat, PiecesThatDoNotFitAreRefused) {
  const auto refused = [](const std::vector<std::byte>& piece) {
    return !decode_verbs_piece(piece);
  };
  EXPECT_TRUE(refused({}));
  EXPECT_TRUE(refused(piece_of({.left = 5, .is_data = true}, 4, 'x')));
  EXPECT_TRUE(refused(piece_of({.left = 5, .is_data = true}, 6, 'x')));
  EXPECT_TRUE(refused(piece_of({.left = 0, .is_data = false}, 1, 'x')));
  EXPECT_TRUE(refused(piece_of({.left = 1, .is_data = false}, 0, 'x')));
  EXPECT_TRUE(
      refused(piece_of({.left = kVerbsMessageMax + 1, .is_data = true}, kVerbsPieceData, 'x')));
  Assembly assembly;
  const std::uint32_t whole = static_cast<std::uint32_t>(kVerbsPieceData);
  const auto first = piece_of({.left = 2 * whole, .is_data = true}, whole, 'x');
  const Bytes data = Bytes(first).subspan(kVerbsPieceHeadBytes);
  ASSERT_TRUE(assembly.add(decode_verbs_piece(first).value().left, data));
  const auto again = assembly.add(decode_verbs_piece(first).value().left, data);
  ASSERT_FALSE(again) << "not what follows";
  EXPECT_EQ(again.error().code(), Errc::corrupt);
}

}  // namespace
}  // namespace dolmen::fabric
