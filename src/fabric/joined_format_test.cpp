// SPDX-License-Identifier: Apache-2.0
#include "fabric/joined_format.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <vector>

#include <gtest/gtest.h>

namespace dolmen::fabric {
namespace {

std::vector<JoinedMessage> one_of_each() {
  JoinedToken token{};
  token.fill(std::byte{0xAB});
  return {{.kind = JoinedKind::offer,
           .offer = {.exchange = {0x1122334455667788, 99},
                     .name = {NodeId{0xFEDCBA9876543210}, 7},
                     .token = token}},
          {.kind = JoinedKind::tcp},
          {.kind = JoinedKind::token, .offer = {.token = token}},
          {.kind = JoinedKind::begin}};
}

TEST(JoinedFormat, IsTheGoldenFile) {
  std::vector<std::byte> bytes;
  for (const JoinedMessage& message : one_of_each()) {
    const JoinedBytes encoded = encode(message);
    const auto decoded = decode_joined(encoded.bytes());
    ASSERT_TRUE(decoded);
    EXPECT_EQ(*decoded, message);
    bytes.insert(bytes.end(), encoded.bytes().begin(), encoded.bytes().end());
  }
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "fabric_joined_v1.bin";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), std::span(bytes)));
}

TEST(JoinedFormat, WhatIsNoneIsRefused) {
  const JoinedBytes offer = encode(one_of_each()[0]);
  const auto with = [&](std::size_t at, unsigned value) {
    JoinedBytes bytes = offer;
    bytes.all[at] = static_cast<std::byte>(value);
    const auto decoded = decode_joined(bytes.bytes());
    return decoded ? Errc{} : decoded.error().code();
  };
  EXPECT_EQ(with(0, 2), Errc::version_unsupported);
  for (const unsigned kind : {0u, 2u, 3u, 4u, 5u, 255u}) {
    EXPECT_EQ(with(1, kind), Errc::corrupt) << kind;
  }
  for (std::size_t at = 2; at < kJoinedHeadBytes; ++at) EXPECT_EQ(with(at, 1), Errc::corrupt) << at;
  for (const JoinedMessage& message : one_of_each()) {
    const JoinedBytes whole = encode(message);
    for (std::size_t size = 0; size < whole.size; ++size) {
      EXPECT_FALSE(decode_joined(whole.bytes().first(size))) << size;
    }
    std::vector<std::byte> longer(whole.bytes().begin(), whole.bytes().end());
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode_joined(longer));
  }
  JoinedMessage nobody = one_of_each()[0];
  nobody.offer.name.node = NodeId::nobody;
  EXPECT_FALSE(decode_joined(encode(nobody).bytes()));
}

}  // namespace
}  // namespace dolmen::fabric
