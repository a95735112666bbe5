// SPDX-License-Identifier: Apache-2.0
#include "base/sha256.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dolmen::base {
namespace {

std::string hex(const Sha256Digest& digest) {
  std::string text;
  for (const std::byte b : digest) {
    text += "0123456789abcdef"[std::to_integer<unsigned>(b) >> 4];
    text += "0123456789abcdef"[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

TEST(Sha256, GivesTheStandardsDigests) {
  EXPECT_EQ(hex(sha256(as_bytes(""))),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex(sha256(as_bytes("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(sha256(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hex(sha256(as_bytes("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
                                "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"))),
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  EXPECT_EQ(hex(sha256(as_bytes(std::string(1'000'000, 'a')))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// Every length around the block and padding limits; the expected value is another implementation's.
TEST(Sha256, PadsEveryLengthRightly) {
  std::vector<std::byte> digests;
  for (unsigned length = 0; length <= 200; ++length) {
    std::vector<std::byte> message(length);
    for (unsigned i = 0; i < length; ++i) {
      message[i] = static_cast<std::byte>((i * 7 + length) & 255);
    }
    const Sha256Digest digest = sha256(message);
    digests.insert(digests.end(), digest.begin(), digest.end());
  }
  EXPECT_EQ(hex(sha256(digests)),
            "e673d33f6940a6d3856d0d305fd88363ae0ba3b96e2411d8ddd5e0dd443f4525");
}

}  // namespace
}  // namespace dolmen::base
