// SPDX-License-Identifier: Apache-2.0
#include "cluster/mail.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "base/checksum.hpp"
#include "cluster/mail_fixture.hpp"

namespace dolmen::cluster {
namespace {

MailChange example_change() {
  return {.received = {{.from = group(2), .sequence = 7, .bytes = bytes("open the door")}},
          .acknowledged = {{group(2), 3}, {group(3), 9}},
          .posted = {{group(3), bytes("it is open")}, {group(2), {}}}};
}

MailMessage example_message() {
  return {.from = group(1),
          .to = group(2),
          .consumed = 7,
          .first = 4,
          .mails = {bytes("one"), {}, bytes("another")}};
}

struct Edit {
  const char* what;
  std::size_t offset;
  std::uint64_t value;
  std::size_t bytes;
  Errc expected = Errc::corrupt;
};

std::vector<std::byte> edited(std::vector<std::byte> all, const Edit& edit) {
  for (std::size_t i = 0; i < edit.bytes; ++i) {
    all[edit.offset + i] = static_cast<std::byte>(edit.value >> (8 * i));
  }
  return all;
}

std::vector<std::byte> sealed(std::vector<std::byte> all) {
  const base::Bytes body = base::Bytes(all).first(all.size() - kMailMessageTailBytes);
  const std::uint64_t checksum = base::checksum64(body, kMailMessageMagic);
  base::store(base::MutableBytes(all), body.size(), checksum);
  return all;
}

template <class T>
Errc error_of(const Result<T>& result) {
  return result ? Errc{} : result.error().code();
}

TEST(MailChange, ComesBackAsItWas) {
  for (const MailChange& change :
       {example_change(), MailChange{}, MailChange{.posted = {{group(9), bytes("x")}}}}) {
    const std::vector<std::byte> all = encode(change);
    EXPECT_EQ(all.size(), encoded_bytes(change));
    const auto again = decode_mail_change(all);
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(*again, change);
  }
}

TEST(MailChange, IsTheGoldenFile) {
  EXPECT_EQ(encode(example_change()), golden("mail_change_v1.bin"));
}

TEST(MailChange, IsRefusedWhenItIsCutOrImpossible) {
  const std::vector<std::byte> all = encode(example_change());
  for (std::size_t length = 0; length < all.size(); ++length) {
    EXPECT_EQ(error_of(decode_mail_change(base::Bytes(all).first(length))), Errc::corrupt);
  }
  // The mail that was received ends at 12 + 28 + 13.
  const Edit edits[] = {
      {"a newer version", 0, 2, 2, Errc::version_unsupported},
      {"an unknown flag", 2, 3, 2},
      {"no received one, and yet its bytes", 2, 0, 2},
      {"more acknowledgements than bytes", 4, 1'000, 4},
      {"one acknowledgement less", 4, 1, 4},
      {"more mails than bytes", 8, 0xFFFF'FFFF, 4},
      {"one mail less", 8, 1, 4},
      {"from nobody", 20, 0, 8},
      {"before the first", 28, 0, 8},
      {"behind the last", 28, kMailSequenceMax + 1, 8},
      {"a mail longer than all", 36, 0xFFFF'FFFF, 4},
      {"acknowledged by nobody", 61, 0, 8},
      {"nothing acknowledged", 69, 0, 8},
      {"acknowledged by the same twice", 85, 2, 8},
      {"descending groups", 85, 1, 8},
      {"posted to nobody", 109, 0, 8},
  };
  for (const Edit& edit : edits) {
    EXPECT_EQ(error_of(decode_mail_change(edited(all, edit))), edit.expected) << edit.what;
  }
  EXPECT_EQ(error_of(decode_mail_change(std::vector<std::byte>(kMailChangeBytesMax + 1))),
            Errc::corrupt);
}

TEST(MailMessage, ComesBackAsItWas) {
  for (const MailMessage& message :
       {example_message(), MailMessage{.from = group(1), .to = group(2), .consumed = 3}}) {
    const auto again = decode_mail_message(encode(message));
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(*again, message);
  }
}

TEST(MailMessage, IsTheGoldenFile) {
  EXPECT_EQ(encode(example_message()), golden("mail_message_v1.bin"));
}

TEST(MailMessage, IsRefusedWhenAnyBitIsFlippedOrAnyByteIsMissing) {
  const std::vector<std::byte> all = encode(example_message());
  for (std::size_t i = 0; i < all.size() * 8; ++i) {
    std::vector<std::byte> changed = all;
    changed[i / 8] ^= std::byte{1} << (i % 8);
    EXPECT_EQ(error_of(decode_mail_message(changed)), Errc::corrupt) << i;
  }
  for (std::size_t length = 0; length < all.size(); ++length) {
    EXPECT_EQ(error_of(decode_mail_message(base::Bytes(all).first(length))), Errc::corrupt);
  }
}

TEST(MailMessage, IsRefusedWhenItsFieldsAreImpossibleThoughItsChecksumFits) {
  const Edit edits[] = {
      {"another magic", 0, 1, 4},
      {"a newer version", 4, 2, 2, Errc::version_unsupported},
      {"a spare field", 6, 1, 2},
      {"from nobody", 16, 0, 8},
      {"to nobody", 32, 0, 8},
      {"to itself", 32, 1, 8},
      {"behind the last", 40, kMailSequenceMax + 1, 8},
      {"before the first mail", 48, 0, 8},
      {"mails that end behind the last", 48, kMailSequenceMax - 1, 8},
      {"no mails, and yet a first one", 56, 0, 4},
      {"one mail less", 56, 2, 4},
      {"one mail more", 56, 4, 4},
      {"more mails than bytes", 56, 0xFFFF'FFFF, 4},
      {"another spare field", 60, 1, 4},
      {"a mail longer than the message", 64, 0xFFFF'FFFF, 4},
  };
  const std::vector<std::byte> all = encode(example_message());
  for (const Edit& edit : edits) {
    EXPECT_EQ(error_of(decode_mail_message(sealed(edited(all, edit)))), edit.expected) << edit.what;
  }
  EXPECT_EQ(error_of(decode_mail_message(std::vector<std::byte>(kMailMessageBytesMax + 1))),
            Errc::corrupt);
}

}  // namespace
}  // namespace dolmen::cluster
