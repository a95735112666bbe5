// SPDX-License-Identifier: Apache-2.0
#include "fabric/noise.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include <sodium.h>

#include <gtest/gtest.h>

#include "fabric/long_records.hpp"

namespace dolmen::fabric {
namespace {

std::vector<std::byte> from_hex(std::string_view text) {
  std::vector<std::byte> bytes;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(digit(text[i]) * 16 + digit(text[i + 1])));
  }
  return bytes;
}

Secret secret(std::string_view hex) { return Secret(from_hex(hex)); }

class NoiseTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(prepare_cryptography()); }
};

// One connection of Noise_NNpsk0_25519_AESGCM_SHA256 from the vectors that implementations of Noise
// share (cacophony.txt, in the form of the Noise wiki's "Test vectors"): the first two messages are
// the handshake, then the sides take turns, the initiator first.
constexpr std::string_view kPrologue = "4a6f686e2047616c74";
constexpr std::string_view kKey =
    "54686973206973206d7920417573747269616e20706572737065637469766521";
constexpr std::string_view kInitiatorKey =
    "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
constexpr std::string_view kResponderKey =
    "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
constexpr std::string_view kHash =
    "9f3b1f9afd7767767b5b9d1069844a6154fdbdcc36dfb3e31c0fffc5c973d530";
struct Message {
  std::string_view payload;
  std::string_view ciphertext;
};
constexpr Message kMessages[] = {
    {"4c756477696720766f6e204d69736573",
     "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79447c37a89fc17813788d30df2d59501"
     "d60"
     "66f5f8aecc3406bbd9829f2d24a531b1"},
    {"4d757272617920526f746862617264",
     "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088432f29d79368ef9de4e1ae7a362fb05"
     "bf0"
     "ad668e026bf5714554497b3a720461"},
    {"462e20412e20486179656b", "7c01e898a6201f36aecee532e29cd0b7f8ffa29d3366ad0dce39a6"},
    {"4361726c204d656e676572", "a9ff535aace3db6a1da1a7fb00fe2de2622bb373abad9fb42c00e0"},
    {"4a65616e2d426170746973746520536179",
     "6cfc49a3e65472edc2d0152abe5ce950170a8a47c959f30bd48b5f0aacf29adbfd"},
    {"457567656e2042f6686d20766f6e2042617765726b",
     "9bc86e6d974ed21ba04604a94aa68de21677eb409ead070c0cd569b069ee19ba142aa4c1a9"},
};

struct Sides {
  Handshake initiator;
  Handshake responder;
  explicit Sides(std::string_view responder_key_of_cluster = kKey)
      : initiator(true, secret(kKey), secret(kInitiatorKey), from_hex(kPrologue)),
        responder(false, secret(responder_key_of_cluster), secret(kResponderKey),
                  from_hex(kPrologue)) {}
};

TEST_F(NoiseTest, IsWhatOtherImplementationsCompute) {
  Sides sides;
  for (int turn = 0; turn < 2; ++turn) {
    Handshake& writer = turn == 0 ? sides.initiator : sides.responder;
    Handshake& reader = turn == 0 ? sides.responder : sides.initiator;
    const std::vector<std::byte> payload = from_hex(kMessages[turn].payload);
    std::vector<std::byte> message(payload.size() + kHandshakeOverhead);
    ASSERT_TRUE(writer.write(payload, message));
    EXPECT_EQ(message, from_hex(kMessages[turn].ciphertext)) << turn;
    base::Bytes read;
    ASSERT_TRUE(reader.read(message, read));
    EXPECT_TRUE(std::ranges::equal(read, payload));
  }
  for (const Handshake* side : {&sides.initiator, &sides.responder}) {
    EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(side->hash())), from_hex(kHash)));
  }
  Handshake::Ciphers initiator = sides.initiator.split();
  Handshake::Ciphers responder = sides.responder.split();
  for (std::size_t i = 2; i < std::size(kMessages); ++i) {
    Cipher& send = i % 2 == 0 ? initiator.send : responder.send;
    Cipher& receive = i % 2 == 0 ? responder.receive : initiator.receive;
    std::vector<std::byte> bytes = from_hex(kMessages[i].payload);
    std::vector<std::byte> tag(kTagBytes);
    send.seal(bytes, tag);
    std::vector<std::byte> sealed = bytes;
    sealed.insert(sealed.end(), tag.begin(), tag.end());
    EXPECT_EQ(sealed, from_hex(kMessages[i].ciphertext)) << i;
    ASSERT_TRUE(receive.open(bytes, tag));
    EXPECT_EQ(bytes, from_hex(kMessages[i].payload)) << i;
  }
}

TEST_F(NoiseTest, AnotherKeyOrAnyChangedBitIsRefused) {
  const std::vector<std::byte> payload = from_hex("00112233");
  std::vector<std::byte> hello(payload.size() + kHandshakeOverhead);
  {
    Sides sides(kInitiatorKey);
    ASSERT_TRUE(sides.initiator.write(payload, hello));
    base::Bytes read;
    EXPECT_FALSE(sides.responder.read(hello, read));
  }
  std::vector<std::byte> answer(payload.size() + kHandshakeOverhead);
  for (std::size_t bit = 0; bit < hello.size() * 8; ++bit) {
    Sides sides;
    ASSERT_TRUE(sides.initiator.write(payload, hello));
    hello[bit / 8] ^= std::byte{1} << (bit % 8);
    base::Bytes read;
    EXPECT_FALSE(sides.responder.read(hello, read)) << bit;
  }
  for (std::size_t bit = 0; bit < answer.size() * 8; ++bit) {
    Sides sides;
    base::Bytes read;
    ASSERT_TRUE(sides.initiator.write(payload, hello));
    ASSERT_TRUE(sides.responder.read(hello, read));
    ASSERT_TRUE(sides.responder.write(payload, answer));
    answer[bit / 8] ^= std::byte{1} << (bit % 8);
    // The highest bit of a point is ignored by X25519, but not by the hash over what was sent.
    EXPECT_FALSE(sides.initiator.read(answer, read)) << bit;
  }
}

TEST_F(NoiseTest, APublicKeyThatIsNoneIsRefused) {
  Sides sides;
  std::vector<std::byte> message(kHandshakeOverhead);
  ASSERT_TRUE(sides.initiator.write({}, message));
  std::vector<std::byte> zero(kHandshakeOverhead);
  base::Bytes read;
  EXPECT_FALSE(sides.initiator.read(zero, read));
}

TEST_F(NoiseTest, RecordsCannotBeLeftOutRepeatedOrExchanged) {
  Cipher send(secret(kKey));
  std::vector<std::vector<std::byte>> bytes(3, from_hex("0123456789"));
  std::vector<std::vector<std::byte>> tags(3, std::vector<std::byte>(kTagBytes));
  for (std::size_t i = 0; i < 3; ++i) send.seal(bytes[i], tags[i]);
  EXPECT_NE(bytes[0], bytes[1]);
  {
    Cipher receive(secret(kKey));
    EXPECT_FALSE(receive.open(bytes[1], tags[1]));
  }
  Cipher receive(secret(kKey));
  const std::vector<std::byte> first = bytes[0];
  ASSERT_TRUE(receive.open(bytes[0], tags[0]));
  bytes[0] = first;
  EXPECT_FALSE(receive.open(bytes[0], tags[0]));
}

// --- records that libcrypto seals: what goes over the wire does not tell ----------------------

constexpr std::size_t kLong = LongRecords::kBytesMin;

std::vector<std::byte> pattern(std::size_t bytes) {
  std::vector<std::byte> made(bytes);
  for (std::size_t i = 0; i < bytes; ++i) made[i] = static_cast<std::byte>(i * 7 + i / 256);
  return made;
}

unsigned char* raw(std::vector<std::byte>& bytes) {
  return static_cast<unsigned char*>(static_cast<void*>(bytes.data()));
}

/// By libsodium, as the record of this number.
void seal_by_hand(std::uint64_t number, std::vector<std::byte>& bytes,
                  std::vector<std::byte>& tag) {
  std::array<unsigned char, crypto_aead_aes256gcm_NPUBBYTES> nonce{};
  for (std::size_t i = 0; i < 8; ++i) {
    nonce[11 - i] = static_cast<unsigned char>(number >> (8 * i));
  }
  ASSERT_EQ(crypto_aead_aes256gcm_encrypt_detached(raw(bytes), raw(tag), nullptr, raw(bytes),
                                                   bytes.size(), nullptr, 0, nullptr, nonce.data(),
                                                   secret(kKey).data()),
            0);
}

const std::size_t kSizes[] = {1,         15,        16,        kLong - 1, kLong,     kLong + 1,
                              kLong + 2, kLong + 5, 4096 + 15, 16384,     65518 - 1, 65518};

TEST_F(NoiseTest, LongRecordsAreTheSameBytes) {
  Cipher send(secret(kKey));
  Cipher receive(secret(kKey));
  std::uint64_t number = 0;
  for (int again = 0; again < 3; ++again) {
    for (const std::size_t size : kSizes) {
      std::vector<std::byte> bytes = pattern(size);
      std::vector<std::byte> tag(kTagBytes);
      send.seal(bytes, tag);
      std::vector<std::byte> expected = pattern(size);
      std::vector<std::byte> expected_tag(kTagBytes);
      seal_by_hand(number++, expected, expected_tag);
      ASSERT_TRUE(bytes == expected) << size;
      ASSERT_EQ(tag, expected_tag) << size;
      ASSERT_TRUE(receive.open(bytes, tag)) << size;
      ASSERT_TRUE(bytes == pattern(size)) << size;
    }
  }
}

TEST_F(NoiseTest, AnyChangedBitOfALongRecordIsRefused) {
  for (const std::size_t size : {kLong - 1, kLong, kLong + 1, std::size_t{16384}}) {
    Cipher send(secret(kKey));
    std::vector<std::byte> bytes = pattern(size);
    std::vector<std::byte> tag(kTagBytes);
    send.seal(bytes, tag);
    const auto is_refused = [&](std::size_t byte, std::byte bit) {
      std::vector<std::byte> changed = bytes;
      std::vector<std::byte> its_tag = tag;
      (byte < size ? changed[byte] : its_tag[byte - size]) ^= bit;
      Cipher receive(secret(kKey));
      return !receive.open(changed, its_tag);
    };
    for (std::size_t byte = 0; byte < size + kTagBytes; byte += byte + 1 < size ? 97 : 1) {
      EXPECT_TRUE(is_refused(byte, std::byte{1} << (byte % 8))) << size << ": " << byte;
    }
    EXPECT_TRUE(is_refused(size - 1, std::byte{128}));
    EXPECT_FALSE(is_refused(0, std::byte{0})) << "nothing was changed";
    Cipher receive(secret(kKey));
    std::vector<std::byte> longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(receive.open(longer, tag));
  }
}

TEST_F(NoiseTest, LongRecordsCannotBeLeftOutRepeatedOrExchanged) {
  Cipher send(secret(kKey));
  std::vector<std::vector<std::byte>> bytes(3, pattern(kLong));
  std::vector<std::vector<std::byte>> tags(3, std::vector<std::byte>(kTagBytes));
  for (std::size_t i = 0; i < 3; ++i) send.seal(bytes[i], tags[i]);
  Cipher receive(secret(kKey));
  for (const std::size_t other : {1, 2}) {
    std::vector<std::byte> copy = bytes[other];
    EXPECT_FALSE(receive.open(copy, tags[other]));
  }
  for (std::size_t i = 0; i < 3; ++i) {
    std::vector<std::byte> copy = bytes[i];
    ASSERT_TRUE(receive.open(copy, tags[i])) << "what was refused does not count";
    copy = bytes[i];
    EXPECT_FALSE(receive.open(copy, tags[i]));
  }
}

TEST_F(NoiseTest, TheKeyIsReplacedOnBothSidesAfterManyRecords) {
  // Short ones, long ones, and both, which count together.
  for (const auto& sizes : {std::array<std::size_t, 4>{5, 5, 5, 5},
                            std::array<std::size_t, 4>{kLong, kLong, kLong, kLong},
                            std::array<std::size_t, 4>{kLong, kLong - 1, kLong, kLong}}) {
    Cipher send(secret(kKey));
    Cipher receive(secret(kKey));
    Cipher with_old_key(secret(kKey));
    for (Cipher* cipher : {&send, &receive}) cipher->skip_to(Cipher::kRecordsPerKey - 2);
    with_old_key.skip_to(Cipher::kRecordsPerKey);
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      std::vector<std::byte> bytes = pattern(sizes[i]);
      std::vector<std::byte> tag(kTagBytes);
      send.seal(bytes, tag);
      if (i == 2) {
        std::vector<std::byte> copy = bytes;
        EXPECT_FALSE(with_old_key.open(copy, tag));
      }
      ASSERT_TRUE(receive.open(bytes, tag)) << i;
      EXPECT_TRUE(bytes == pattern(sizes[i]));
    }
  }
}

}  // namespace
}  // namespace dolmen::fabric
