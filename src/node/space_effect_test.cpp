// SPDX-License-Identifier: Apache-2.0
#include "node/space_effect.hpp"

#include <gtest/gtest.h>

#include "base/commit_record.hpp"
#include "node/home_part.hpp"
#include "node/space_post.hpp"
#include "store/golden_file.hpp"

namespace dolmen::node {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  const base::Bytes bytes = base::as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> some_call() {
  const auto arguments = bytes_of("ten");
  return encode(SpaceCall{.function = "deposit", .arguments = arguments});
}

std::vector<std::byte> some_effect() {
  base::CommitRecordWriter record;
  record.create({1, 2}, 12);
  const auto reply = encode_reply(bytes_of("done"));
  return encode(SpaceEffect{.space = {3, 4}, .records = {record.bytes()}, .reply = reply});
}

std::vector<std::byte> some_effect_with_mail() {
  base::CommitRecordWriter record;
  record.create({1, 2}, 12);
  const auto reply = encode_reply(bytes_of("done"));
  const auto mail = cluster::encode(cluster::MailChange{
      .received = {}, .acknowledged = {}, .posted = {{.to = {5, 6}, .bytes = bytes_of("mail")}}});
  return encode(
      SpaceEffect{.space = {3, 4}, .records = {record.bytes()}, .reply = reply, .mail = mail});
}

std::vector<std::byte> some_effect_with_homes() {
  base::CommitRecordWriter record;
  record.create({1, 2}, 12);
  const auto reply = encode_reply(bytes_of("done"));
  const auto homes =
      encode_home_commands({cluster::home::SetShards{{9}}, cluster::home::Create{.id = {1, 2}}});
  return encode(
      SpaceEffect{.space = {3, 4}, .records = {record.bytes()}, .reply = reply, .homes = homes});
}

std::vector<std::byte> some_state_with_homes() {
  const auto head = ImageWriter({.space = {3, 4}, .last_index = 17}).finish();
  const auto mail = bytes_of("the mail of a group");
  const auto homes = bytes_of("its homes");
  return encode(SpaceState{.head = head, .mail = mail, .homes = homes});
}

std::vector<std::byte> some_untold_reply() {
  const auto reply = encode_reply(bytes_of("done"));
  return encode(UntoldReply{.objects = {{1, 2}, {1, 3}}, .reply = reply});
}

std::vector<std::byte> some_letter() {
  const auto context = bytes_of("order 7");
  const auto body = bytes_of("ten");
  return encode(
      SpaceLetter{.function = "receive", .on_result = "told", .context = context, .body = body});
}

std::vector<std::byte> some_state() {
  const auto head = ImageWriter({.space = {3, 4}, .last_index = 17}).finish();
  const auto mail = bytes_of("the mail of a group");
  return encode(SpaceState{.head = head, .mail = mail});
}

std::vector<std::byte> some_image() {
  ImageWriter image({.space = {3, 4}, .last_index = 17});
  image.begin({1, 2}, 9);
  std::ranges::fill(image.page(0, 512), std::byte{0x2A});
  image.begin({1, 3}, 13);
  (void)image.page(0, 4096);
  image.take_back();
  std::ranges::fill(image.page(1, 4096), std::byte{0x2B});
  return image.finish();
}

// Several at once are what one after the other is.
TEST(SpaceEffect, PagesOfAnImageThatAreZerosAreTakenBack) {
  for (std::uint32_t zeros = 0; zeros < 32; ++zeros) {
    const std::vector<std::uint32_t> numbers{1, 3, 4, 9, 15};
    const auto is_zero_at = [&](std::size_t i) { return (zeros >> i & 1) != 0; };
    ImageWriter expected({.space = {3, 4}, .last_index = 17});
    ImageWriter image({.space = {3, 4}, .last_index = 17}, 1000);
    for (ImageWriter* const one : {&expected, &image}) {
      one->begin({1, 2}, 16);
      std::ranges::fill(one->page(0, 4096), std::byte{7});
    }
    const base::MutableBytes room = image.pages(numbers, 4096);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const auto last = static_cast<std::byte>(is_zero_at(i) ? 0 : i + 1);
      room[i * ImageWriter::stride(4096) + 4095] = last;
      expected.page(numbers[i], 4096).back() = last;
      if (is_zero_at(i)) expected.take_back();
    }
    image.drop_zeros();
    EXPECT_EQ(image.finish(), expected.finish()) << zeros;
  }
}

TEST(SpaceEffect, BytesAreAsDocumented) {
  EXPECT_EQ(some_call(), store::read_golden("space_call_v1.bin"));
  EXPECT_EQ(some_effect(), store::read_golden("space_effect_v1.bin"));
  EXPECT_EQ(encode_reply(fail(Errc::not_found, "function x", 7)),
            store::read_golden("space_reply_v1.bin"));
  EXPECT_EQ(some_image(), store::read_golden("space_image_v1.bin"));
  EXPECT_EQ(some_effect_with_mail(), store::read_golden("space_effect_v2.bin"));
  EXPECT_EQ(some_letter(), store::read_golden("space_letter_v1.bin"));
  EXPECT_EQ(some_state(), store::read_golden("space_state_v1.bin"));
  EXPECT_EQ(some_effect_with_homes(), store::read_golden("space_effect_v3.bin"));
  EXPECT_EQ(some_state_with_homes(), store::read_golden("space_state_v3.bin"));
  EXPECT_EQ(some_untold_reply(), store::read_golden("space_untold_v1.bin"));
}

TEST(SpaceEffect, ComesBackAsItWent) {
  const auto call_bytes = some_call();
  const SpaceCall call = decode_space_call(call_bytes).value();
  EXPECT_EQ(call.function, "deposit");
  EXPECT_TRUE(std::ranges::equal(call.arguments, bytes_of("ten")));

  const auto effect_bytes = some_effect();
  const SpaceEffect effect = decode_space_effect(effect_bytes).value();
  EXPECT_EQ(effect.space, (ObjectId{3, 4}));
  ASSERT_EQ(effect.records.size(), 1u);
  EXPECT_EQ(decode_reply(effect.reply).value(), bytes_of("done"));

  const auto refused = decode_reply(encode_reply(fail(Errc::not_found, "function x", 7)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::not_found);
  EXPECT_EQ(refused.error().context(), "function x");
  EXPECT_EQ(refused.error().detail(), 7u);

  const auto image_bytes = some_image();
  const DecodedImage image = decode_image(image_bytes).value();
  EXPECT_EQ(image.head.last_index, 17u);
  ASSERT_EQ(image.objects.size(), 2u);
  ASSERT_EQ(image.objects[1].pages.size(), 1u);
  EXPECT_EQ(image.objects[1].pages[0].number, 1u);
}

TEST(SpaceEffect, OfMailComesBackAsItWent) {
  const auto effect_bytes = some_effect_with_mail();
  const SpaceEffect effect = decode_space_effect(effect_bytes).value();
  EXPECT_EQ(effect.records.size(), 1u);
  EXPECT_EQ(cluster::decode_mail_change(effect.mail).value().posted.size(), 1u);
  EXPECT_EQ(decode_reply(effect.reply).value(), bytes_of("done"));
  // One of before has none.
  const auto before = some_effect();
  EXPECT_TRUE(decode_space_effect(before).value().mail.empty());

  const auto letter_bytes = some_letter();
  const SpaceLetter letter = decode_space_letter(letter_bytes).value();
  EXPECT_EQ(letter.on_result, "told");
  EXPECT_TRUE(std::ranges::equal(letter.context, bytes_of("order 7")));

  const auto state_bytes = some_state();
  const SpaceState state = decode_space_state(state_bytes).value();
  EXPECT_EQ(decode_image_head(state.head).value().last_index, 17u);
  EXPECT_TRUE(std::ranges::equal(state.mail, bytes_of("the mail of a group")));
  const SpaceState older = decode_space_state(state.head).value();
  EXPECT_TRUE(std::ranges::equal(older.head, state.head));
  EXPECT_TRUE(older.mail.empty());
}

TEST(SpaceEffect, CutBytesAreCorrupt) {
  const auto is_corrupt = [](const auto& result) {
    return !result && result.error().code() == Errc::corrupt;
  };
  const auto call = some_call();
  const auto effect = some_effect();
  const auto image = some_image();
  // What follows the last field is the owner's: only the fixed parts can be cut short.
  for (std::size_t cut = 0; cut < 13; ++cut) {
    EXPECT_TRUE(is_corrupt(decode_space_call(base::Bytes(call).first(cut)))) << cut;
  }
  for (std::size_t cut = 0; cut < 52; ++cut) {
    EXPECT_TRUE(is_corrupt(decode_space_effect(base::Bytes(effect).first(cut)))) << cut;
  }
  for (std::size_t cut = 0; cut < image.size(); ++cut) {
    const auto decoded = decode_image(base::Bytes(image).first(cut));
    // Between objects it is an image with fewer of them.
    if (cut == 32 || cut == 32 + 24 + 8 + 512) {
      EXPECT_TRUE(decoded) << cut;
    } else {
      EXPECT_TRUE(is_corrupt(decoded)) << cut;
    }
  }
}

TEST(SpaceEffect, ImagesThatNobodyWritesAreCorrupt) {
  const auto is_corrupt = [](std::vector<std::byte> image, std::size_t at, std::uint32_t value) {
    base::store(base::MutableBytes(image), at, value);
    const auto decoded = decode_image(image);
    return !decoded && decoded.error().code() == Errc::corrupt;
  };
  const auto image = some_image();
  EXPECT_TRUE(is_corrupt(image, 0, 2));            // version
  EXPECT_TRUE(is_corrupt(image, 4, 1));            // reserved
  EXPECT_TRUE(is_corrupt(image, 32 + 16, 8));      // too small an object
  EXPECT_TRUE(is_corrupt(image, 32 + 16, 31));     // too large
  EXPECT_TRUE(is_corrupt(image, 32 + 24, 1));      // a page outside
  EXPECT_TRUE(is_corrupt(image, 32 + 24 + 4, 1));  // reserved
  constexpr std::size_t kSecond = 32 + 24 + 8 + 512;
  EXPECT_TRUE(is_corrupt(image, kSecond, 0));       // not ascending
  EXPECT_TRUE(is_corrupt(image, kSecond + 20, 2));  // a page that is not there
}

TEST(SpaceEffect, OfHomesComesBackAsItWasAndOnlyWhole) {
  const auto effect_bytes = some_effect_with_homes();
  const SpaceEffect effect = decode_space_effect(effect_bytes).value();
  EXPECT_TRUE(effect.mail.empty());
  EXPECT_EQ(decode_home_commands(effect.homes).value().size(), 2u);
  EXPECT_EQ(encode(effect), effect_bytes);
  const auto state_bytes = some_state_with_homes();
  const SpaceState state = decode_space_state(state_bytes).value();
  EXPECT_EQ(state.homes.size(), 9u);
  EXPECT_EQ(encode(state), state_bytes);
  const auto untold_bytes = some_untold_reply();
  const UntoldReply untold = decode_untold_reply(untold_bytes).value();
  EXPECT_EQ(untold.objects.size(), 2u);
  EXPECT_EQ(decode_reply(untold.reply).value(), bytes_of("done"));
  EXPECT_FALSE(decode_reply(untold_bytes)) << "who does not know it is told an error";
  for (std::size_t length = 4; length < 40; ++length) {
    EXPECT_FALSE(decode_untold_reply(base::Bytes(untold_bytes).first(length))) << length;
  }
  // Who may be told at once is told what there is.
  const auto reply = encode_reply(bytes_of("done"));
  EXPECT_TRUE(decode_untold_reply(reply).value().objects.empty());
  for (std::size_t length = 1; length < effect.homes.size(); ++length) {
    const auto commands = decode_home_commands(effect.homes.first(length));
    EXPECT_TRUE(!commands || commands->size() == 1) << length;
  }
}

}  // namespace
}  // namespace dolmen::node
