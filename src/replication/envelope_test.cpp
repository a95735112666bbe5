// SPDX-License-Identifier: Apache-2.0
#include "replication/envelope.hpp"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "replication/message_heads.hpp"
#include "store/golden_file.hpp"

namespace dolmen::replication {
namespace {

using Message = std::vector<std::byte>;

constexpr Envelope kHead{
    .kind = EnvelopeKind::request, .group = {0x1122, 0x3344}, .to = {}, .shown = {1, 3}};

Message joined(Message head, base::Bytes body) {
  head.insert(head.end(), body.begin(), body.end());
  return head;
}

Request request() {
  return {.number = 12, .session = 700, .sequence = 3, .command = base::as_bytes("lock the door")};
}
Reply reply() {
  return {.number = 12,
          .status = ReplyStatus::done,
          .value = 5,
          .index = 118,
          .level = Level::replicated,
          .result = base::as_bytes("it is locked")};
}
ReadRequest read_request() {
  return {.number = 13, .level = ReadLevel::stale, .query = base::as_bytes("is it locked?")};
}
MemberStatus status() {
  return {.self = log::ReplicaId{(1ull << 32) | 1},
          .role = log::Role::leader,
          .epoch = 9,
          .leader = log::ReplicaId{(1ull << 32) | 1},
          .end = {.origin = 9, .index = 120},
          .stable = 118,
          .applied = 117,
          .base = 60,
          .configuration = {.voters = {log::ReplicaId{(1ull << 32) | 1},
                                       log::ReplicaId{(2ull << 32) | 1}},
                            .learners = {log::ReplicaId{(3ull << 32) | 2}}},
          .followers = {{.id = log::ReplicaId{(2ull << 32) | 1}, .matched = 118},
                        {.id = log::ReplicaId{(3ull << 32) | 2}, .matched = 80}}};
}

MemoryReply memory_reply() {
  return {.epoch = 9,
          .leader = 1,
          .configured = 60,
          .bytes = 4096,
          .region = 3,
          .configuration = status().configuration};
}

constexpr Denied kDenied{.what = EnvelopeKind::ask_memory, .why = Right::none};
Errc denied_error(base::Bytes body) {
  const auto decoded = decode_denied(body);
  return decoded ? Errc{} : decoded.error().code();
}

Message request_message() { return joined(encode(kHead), encode(request())); }
Message reply_message() {
  return joined(encode(Envelope{.kind = EnvelopeKind::reply,
                                .group = kHead.group,
                                .from = log::ReplicaId{(1ull << 32) | 1}}),
                encode(reply()));
}
Message read_request_message() {
  return joined(
      encode(
          Envelope{.kind = EnvelopeKind::read_request, .group = kHead.group, .shown = kHead.shown}),
      encode(read_request()));
}
Message status_message() {
  return joined(encode(Envelope{.kind = EnvelopeKind::status,
                                .group = kHead.group,
                                .from = log::ReplicaId{(1ull << 32) | 1}}),
                encode(status()));
}

Errc head_error(base::Bytes message) {
  const auto opened = decode_envelope(message);
  return opened ? Errc{} : opened.error().code();
}
Errc request_error(base::Bytes body) {
  const auto decoded = decode_request(body);
  return decoded ? Errc{} : decoded.error().code();
}
Errc read_request_error(base::Bytes body) {
  const auto decoded = decode_read_request(body);
  return decoded ? Errc{} : decoded.error().code();
}
Errc reply_error(base::Bytes body) {
  const auto decoded = decode_reply(body);
  return decoded ? Errc{} : decoded.error().code();
}
Errc memory_error(base::Bytes body) {
  const auto decoded = decode_memory_reply(body);
  return decoded ? Errc{} : decoded.error().code();
}
Errc status_error(base::Bytes body) {
  const auto decoded = decode_status(body);
  return decoded ? Errc{} : decoded.error().code();
}

struct Change {
  const char* what;
  std::size_t offset;
  std::uint64_t value;
  std::size_t bytes;
  Errc expected = Errc::corrupt;
};
void expect_refused(const Message& right, std::initializer_list<Change> changes,
                    const std::function<Errc(base::Bytes)>& error_of) {
  ASSERT_EQ(error_of(right), Errc{});
  for (const Change& change : changes) {
    Message changed = right;
    for (std::size_t i = 0; i < change.bytes; ++i) {
      changed.at(change.offset + i) = static_cast<std::byte>(change.value >> (8 * i));
    }
    EXPECT_EQ(error_of(changed), change.expected) << change.what;
  }
}

TEST(Envelope, HeadsOfAllKindsComeBackAsTheyWere) {
  for (const int kind :
       {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 37, 39, 40, 41}) {
    const Envelope envelope{.kind = static_cast<EnvelopeKind>(kind),
                            .group = {7, 9},
                            .from = log::ReplicaId{3},
                            .to = log::ReplicaId{~std::uint64_t{0}},
                            .shown = {7, static_cast<std::uint32_t>(kind)}};
    const Message message = joined(encode(envelope), base::as_bytes("body"));
    ASSERT_EQ(message.size(), kEnvelopeBytes + 4);
    const auto opened = decode_envelope(message);
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_EQ(opened->envelope, envelope);
    EXPECT_TRUE(std::ranges::equal(opened->body, base::as_bytes("body")));
  }
}

TEST(Envelope, BodiesComeBackAsTheyWere) {
  const Message body = encode(request());
  const auto asked = decode_request(body);
  ASSERT_TRUE(asked) << asked.error().message();
  EXPECT_EQ(asked->number, 12u);
  EXPECT_EQ(asked->session, 700u);
  EXPECT_EQ(asked->sequence, 3u);
  EXPECT_TRUE(std::ranges::equal(asked->command, request().command));
  for (std::uint64_t kind = 1; kind <= 9; ++kind) {
    Reply one = reply();
    one.status = static_cast<ReplyStatus>(kind);
    if (one.status != ReplyStatus::done) {
      one.index = 0;
      one.level = Level::durable;
    }
    const Message bytes = encode(one);
    const auto told = decode_reply(bytes);
    ASSERT_TRUE(told) << told.error().message();
    EXPECT_EQ(told->number, 12u);
    EXPECT_EQ(told->status, one.status);
    EXPECT_EQ(told->value, 5u);
    EXPECT_EQ(told->index, one.index);
    EXPECT_EQ(told->level, one.level);
    EXPECT_TRUE(std::ranges::equal(told->result, one.result));
  }
  const Message question = encode(read_request());
  const auto read = decode_read_request(question);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->number, 13u);
  EXPECT_EQ(read->level, ReadLevel::stale);
  EXPECT_TRUE(std::ranges::equal(read->query, read_request().query));
  const auto whole = decode_status(encode(status()));
  ASSERT_TRUE(whole) << whole.error().message();
  EXPECT_EQ(*whole, status());
  const auto memory = decode_memory_reply(encode(memory_reply()));
  ASSERT_TRUE(memory) << memory.error().message();
  EXPECT_EQ(*memory, memory_reply());
  EXPECT_EQ(decode_denied(encode(kDenied)), kDenied);
}

TEST(Envelope, MessagesAreTheGoldenFiles) {
  EXPECT_EQ(request_message(), store::read_golden("member_request_v3.bin"));
  EXPECT_EQ(reply_message(), store::read_golden("member_reply_v3.bin"));
  EXPECT_EQ(read_request_message(), store::read_golden("member_read_request_v3.bin"));
  EXPECT_EQ(status_message(), store::read_golden("member_status_v3.bin"));
  EXPECT_EQ(encode(memory_reply()), store::read_golden("member_memory_v1.bin"));
  EXPECT_EQ(encode(kDenied), store::read_golden("member_denied_v1.bin"));
}

TEST(Envelope, WhatIsCutShortIsRefused) {
  const Message head = encode(kHead);
  for (std::size_t length = 0; length < head.size(); ++length) {
    EXPECT_EQ(head_error(base::Bytes(head).first(length)), Errc::corrupt) << length;
  }
  const Message fixed = encode(Request{.number = 1, .session = 2, .sequence = 3});
  for (std::size_t length = 0; length < fixed.size(); ++length) {
    EXPECT_EQ(request_error(base::Bytes(fixed).first(length)), Errc::corrupt) << length;
  }
  const Message read = encode(ReadRequest{.number = 1});
  for (std::size_t length = 0; length < read.size(); ++length) {
    EXPECT_EQ(read_request_error(base::Bytes(read).first(length)), Errc::corrupt) << length;
  }
  const Message told = encode(Reply{.number = 1});
  for (std::size_t length = 0; length < told.size(); ++length) {
    EXPECT_EQ(reply_error(base::Bytes(told).first(length)), Errc::corrupt) << length;
  }
  Message whole = encode(status());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_EQ(status_error(base::Bytes(whole).first(length)), Errc::corrupt) << length;
  }
  whole.push_back(std::byte{0});
  EXPECT_EQ(status_error(whole), Errc::corrupt) << "and something behind it";
  Message memory = encode(memory_reply());
  for (std::size_t length = 0; length < memory.size(); ++length) {
    EXPECT_EQ(memory_error(base::Bytes(memory).first(length)), Errc::corrupt) << length;
  }
  memory.push_back(std::byte{0});
  EXPECT_EQ(memory_error(memory), Errc::corrupt) << "and something behind it";
  Message denied = encode(kDenied);
  for (std::size_t length = 0; length < denied.size(); ++length) {
    EXPECT_EQ(denied_error(base::Bytes(denied).first(length)), Errc::corrupt) << length;
  }
  denied.push_back(std::byte{0});
  EXPECT_EQ(denied_error(denied), Errc::corrupt) << "and something behind it";
}

TEST(Envelope, ImpossibleFieldsAreRefused) {
  expect_refused(request_message(),
                 {{"another magic", 0, 1, 4},
                  {"an older version", 4, 2, 2, Errc::version_unsupported},
                  {"a newer version", 4, 4, 2, Errc::version_unsupported},
                  {"no kind", 6, 0, 1},
                  {"an unknown kind", 6, 25, 1},
                  {"one behind the last", 6, 32, 1},
                  {"one that was never given", 6, 16, 1},
                  {"one behind those of rights", 6, 38, 1},
                  {"no right as of some time", 40, 0, 4},
                  {"a right as of no time", 44, 0, 4},
                  {"a spare byte", 7, 1, 1}},
                 head_error);
  Message nobody = request_message();
  std::fill_n(nobody.begin() + 8, 16, std::byte{0});
  EXPECT_EQ(head_error(nobody), Errc::corrupt) << "no group";
  for (const EnvelopeKind kind :
       {EnvelopeKind::ask_entries, EnvelopeKind::entries, EnvelopeKind::metrics}) {
    EXPECT_EQ(head_error(encode(Envelope{.kind = kind, .group = kHead.group})), Errc{});
  }

  expect_refused(encode(request()),
                 {{"a sequence without a session", 8, 0, 8},
                  {"a session that is nobody's", 8, ~std::uint64_t{0}, 8},
                  {"a session of addresses", 8, ~std::uint64_t{0} - 1, 8},
                  {"a command without a sequence", 16, 0, 8}},
                 request_error);
  EXPECT_EQ(request_error(encode(Request{.number = 1})), Errc{}) << "asks for a session";
  EXPECT_EQ(request_error(encode(Request{.number = 1, .command = base::as_bytes("x")})),
            Errc::corrupt)
      << "a command without a session";

  expect_refused(encode(read_request()), {{"no level", 8, 0, 8}, {"an unknown level", 8, 4, 8}},
                 read_request_error);
  expect_refused(encode(reply()),
                 {{"no status", 8, 0, 8},
                  {"an unknown status", 8, 9, 8},
                  {"a place of what was not done", 8, 2, 8},
                  {"an unknown level", 32, 2, 8},
                  {"a status of 64 bits", 8, (std::uint64_t{1} << 32) | 1, 8}},
                 reply_error);

  expect_refused(encode(status()),
                 {{"an unknown role", 8, 3, 4},
                  {"an unknown level", 12, 2, 4},
                  {"a configuration longer than the whole", 72, 0xFFFFFFFF, 4},
                  {"a configuration cut short", 72, 24, 4},
                  {"more followers than there are", 76, 3, 4},
                  {"fewer followers than there are", 76, 1, 4},
                  {"more followers than members can be", 76, 0xFFFFFFFF, 4},
                  {"no voters", 80, 0, 4}},
                 status_error);

  expect_refused(encode(memory_reply()),
                 {{"a part of a word", 24, 4097, 8},
                  {"a configuration longer than the whole", 36, 0xFFFFFFFF, 4},
                  {"a configuration cut short", 36, 24, 4},
                  {"no voters", 40, 0, 4}},
                 memory_error);

  expect_refused(encode(kDenied),
                 {{"what needs no right", 0, 4, 4},
                  {"no kind", 0, 0, 4},
                  {"a kind of more bits", 0, 256 + 11, 4},
                  {"it is held", 4, 1, 4},
                  {"an unknown reason", 4, 4, 4}},
                 denied_error);
}

TEST(Envelope, HeadsWithoutMemoryOfTheirOwnAreTheSameBytes) {
  const auto is_head_of = [](const auto& head, const Message& whole) {
    return whole.size() >= head.size() && std::equal(head.begin(), head.end(), whole.begin());
  };
  const Envelope full{.kind = EnvelopeKind::read_request,
                      .group = {0x1122334455667788, 0x99AABBCCDDEEFF00},
                      .from = log::ReplicaId{0x0102030405060708},
                      .to = log::ReplicaId{0x1112131415161718},
                      .shown = {0x21222324, 0x31323334}};
  EXPECT_TRUE(is_head_of(head_of(full), encode(full)));
  EXPECT_EQ(head_of(full).size(), kEnvelopeBytes);
  EXPECT_TRUE(is_head_of(head_of(request()), encode(request())));
  EXPECT_EQ(head_of(request()).size() + request().command.size(), encode(request()).size());
  EXPECT_TRUE(is_head_of(head_of(read_request()), encode(read_request())));
  EXPECT_EQ(head_of(read_request()).size() + read_request().query.size(),
            encode(read_request()).size());
  EXPECT_TRUE(is_head_of(head_of(reply()), encode(reply())));
  EXPECT_EQ(head_of(reply()).size() + reply().result.size(), encode(reply()).size());
}

}  // namespace
}  // namespace dolmen::replication
