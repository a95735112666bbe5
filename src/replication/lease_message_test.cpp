// SPDX-License-Identifier: Apache-2.0
#include "replication/lease_message.hpp"

#include <gtest/gtest.h>

#include "store/golden_file.hpp"

namespace dolmen::replication {
namespace {

TEST(LeaseMessage, IsWhatTheDocumentationSays) {
  EXPECT_EQ(encode(AskLease{.number = 9, .epoch = 5}),
            store::read_golden("member_ask_lease_v1.bin"));
  EXPECT_EQ(encode(LeaseTold{.number = 9, .left_ns = 40'000'000, .drift_ppm = 1000}),
            store::read_golden("member_lease_v1.bin"));
}

TEST(LeaseMessage, WhatCannotBeIsRefused) {
  const auto asks = [](const AskLease& ask) {
    const auto decoded = decode_ask_lease(encode(ask));
    return decoded && *decoded == ask;
  };
  EXPECT_TRUE(asks({.number = 1, .epoch = log::kEpochMax}));
  EXPECT_FALSE(asks({.number = 1, .epoch = log::kEpochMax + 1}));
  EXPECT_FALSE(asks({.number = 1, .epoch = 0}));
  const auto tells = [](const LeaseTold& told) {
    const auto decoded = decode_lease_told(encode(told));
    return decoded && *decoded == told;
  };
  EXPECT_TRUE(tells({.number = 1, .left_ns = kLeaseMaxNs, .drift_ppm = 500'000}));
  EXPECT_FALSE(tells({.left_ns = kLeaseMaxNs + 1}));
  EXPECT_FALSE(tells({.drift_ppm = 500'001}));
  auto body = encode(LeaseTold{});
  EXPECT_FALSE(decode_ask_lease(body));
  body.push_back(std::byte{0});
  EXPECT_FALSE(decode_lease_told(body));
  body.resize(body.size() - 2);
  EXPECT_FALSE(decode_lease_told(body));
}

}  // namespace
}  // namespace dolmen::replication
