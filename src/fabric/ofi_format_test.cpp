// SPDX-License-Identifier: Apache-2.0
#include "fabric/ofi_format.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dolmen::fabric {
namespace {

using Kind = OfiPieceHead::Kind;

std::vector<std::byte> bytes_of(std::string_view text) {
  const Bytes bytes = base::as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

OfiHello a_hello() {
  return {.token = 0x1122334455667788,
          .buffers = 64,
          .provider = "tcp;ofi_rxm",
          .address = bytes_of("sixteen bytes...")};
}

std::vector<std::byte> piece_of(const OfiPieceHead& head, Bytes data) {
  std::vector<std::byte> piece;
  std::ranges::copy(encode(head), std::back_inserter(piece));
  std::ranges::copy(data, std::back_inserter(piece));
  return piece;
}

std::vector<std::byte> unit_of(UnitKind kind, std::uint16_t number, Bytes body) {
  std::vector<std::byte> unit;
  std::ranges::copy(encode(UnitHeader{.body_bytes = static_cast<std::uint32_t>(body.size()),
                                      .kind = kind,
                                      .detail = 0,
                                      .number = number}),
                    std::back_inserter(unit));
  std::ranges::copy(body, std::back_inserter(unit));
  return unit;
}

std::vector<std::byte> shown_write() {
  std::vector<std::byte> body;
  std::ranges::copy(encode(RequestHead{.offset = 4096, .region = RegionId{7}, .count = 70'000}),
                    std::back_inserter(body));
  std::ranges::copy(encode(OfiShown{.start = 0xA0A1A2A3A4A5A6A7, .key = 0xB0B1B2B3, .checksum = 5}),
                    std::back_inserter(body));
  return unit_of(kOfiShownWrite, 9, body);
}

/// All that the golden file holds.
std::vector<std::byte> one_of_each() {
  std::vector<std::byte> all;
  const auto add = [&](Bytes bytes) { std::ranges::copy(bytes, std::back_inserter(all)); };
  const auto piece = [&](OfiPieceHead head, Bytes data) {
    head.token = 0x8877665544332211;
    head.left = static_cast<std::uint32_t>(data.size());
    add(piece_of(head, data));
  };
  add(encode(a_hello()).value());
  piece({.kind = Kind::greeting}, {});
  piece({.sequence = 1, .credits = 3}, unit_of(UnitKind::message, 0, bytes_of("hello")));
  piece({.sequence = 2}, shown_write());
  piece({.sequence = 3},
        unit_of(kOfiShownRead, 10, encode(OfiShown{.start = 1, .key = 2, .checksum = 3})));
  piece({.sequence = 4}, unit_of(kOfiTaken, 10, {}));
  piece({.sequence = 5, .credits = 32, .kind = Kind::credits}, {});
  return all;
}

TEST(OfiFormat, AHelloComesBackAsItWas) {
  for (const std::size_t address : {std::size_t{1}, kOfiAddressMax}) {
    for (const std::size_t provider : {std::size_t{1}, kOfiProviderMax}) {
      OfiHello hello = a_hello();
      hello.address.assign(address, std::byte{0});
      hello.provider.assign(provider, 'p');
      const auto decoded = decode_ofi_hello(encode(hello).value());
      ASSERT_TRUE(decoded);
      EXPECT_EQ(*decoded, hello);
    }
  }
  OfiHello large = a_hello();
  large.address.resize(kOfiAddressMax + 1);
  EXPECT_EQ(encode(large).error().code(), Errc::limit);
  large = a_hello();
  large.provider.resize(kOfiProviderMax + 1);
  EXPECT_EQ(encode(large).error().code(), Errc::limit);
}

TEST(OfiFormat, IsTheGoldenFile) {
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "fabric_ofi_v1.bin";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), one_of_each()));
}

TEST(OfiFormat, WhatNoHelloIsIsRefused) {
  const auto hello = encode(a_hello()).value();
  const auto with = [&](std::size_t at, unsigned value) {
    auto bytes = hello;
    bytes[at] = static_cast<std::byte>(value);
    const auto decoded = decode_ofi_hello(bytes);
    return decoded ? Errc{} : decoded.error().code();
  };
  EXPECT_EQ(with(0, 1), Errc{});
  EXPECT_EQ(with(0, 2), Errc::version_unsupported);
  EXPECT_EQ(with(1, 2), Errc::corrupt) << "kind";
  EXPECT_EQ(with(2, 0), Errc::corrupt) << "no address";
  EXPECT_EQ(with(2, 15), Errc::corrupt) << "more behind the address";
  EXPECT_EQ(with(3, 1), Errc::corrupt) << "an address of more than 256 bytes";
  EXPECT_EQ(with(3, 255), Errc::corrupt) << "an address of more than 256 bytes";
  EXPECT_EQ(with(4, 7), Errc::corrupt) << "too few buffers";
  EXPECT_EQ(with(6, 1), Errc::corrupt) << "too many buffers";
  EXPECT_EQ(with(16, 0), Errc::corrupt) << "no provider";
  EXPECT_EQ(with(20, 0), Errc::corrupt) << "more behind the provider";
  EXPECT_EQ(with(kOfiHelloBytes - 1, 1), Errc::corrupt) << "more behind the address";
  auto no_token = a_hello();
  no_token.token = 0;
  EXPECT_FALSE(decode_ofi_hello(encode(no_token).value()));
  for (std::size_t length = 0; length < hello.size(); ++length) {
    EXPECT_FALSE(decode_ofi_hello(Bytes(hello).first(length))) << length;
  }
}

TEST(OfiFormat, PiecesOfAnotherLengthAreRefused) {
  const std::vector<std::byte> data(kOfiPieceData + 1, std::byte{1});
  const auto refused = [&](const OfiPieceHead& head, std::size_t bytes) {
    return !decode_ofi_piece(piece_of(head, Bytes(data).first(bytes)));
  };
  EXPECT_FALSE(refused({.left = 5}, 5));
  EXPECT_TRUE(refused({.left = 5}, 4));
  EXPECT_TRUE(refused({.left = 5}, 6));
  EXPECT_TRUE(refused({.left = 0}, 0));
  EXPECT_FALSE(refused({.left = kOfiUnitMax}, kOfiPieceData));
  EXPECT_TRUE(refused({.left = kOfiUnitMax}, kOfiPieceData + 1));
  EXPECT_TRUE(refused({.left = kOfiUnitMax + 1}, kOfiPieceData));
  EXPECT_FALSE(refused({.kind = Kind::credits}, 0));
  EXPECT_TRUE(refused({.kind = Kind::credits}, 1));
  EXPECT_TRUE(refused({.left = 1, .kind = Kind::greeting}, 1));
  auto piece = piece_of({.left = 5}, Bytes(data).first(5));
  for (std::size_t length = 0; length < piece.size(); ++length) {
    EXPECT_FALSE(decode_ofi_piece(Bytes(piece).first(length))) << length;
  }
  piece[18] = std::byte{3};
  EXPECT_FALSE(decode_ofi_piece(piece)) << "kind";
  piece[18] = std::byte{1};
  piece[19] = std::byte{1};
  EXPECT_FALSE(decode_ofi_piece(piece)) << "reserved";
}

TEST(OfiFormat, UnitsOfAnotherLengthAreRefused) {
  const auto message = unit_of(UnitKind::message, 0, bytes_of("hello"));
  EXPECT_TRUE(decode_ofi_unit(message));
  const auto write = shown_write();
  const auto decoded = decode_ofi_unit(write);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->kind, kOfiShownWrite);
  EXPECT_EQ(decoded->number, 9u);
  for (std::size_t length = 0; length < write.size(); ++length) {
    EXPECT_FALSE(decode_ofi_unit(Bytes(write).first(length))) << length;
    if (length < message.size()) {
      EXPECT_FALSE(decode_ofi_unit(Bytes(message).first(length))) << length;
    }
  }
  EXPECT_FALSE(decode_ofi_unit(unit_of(UnitKind::ready, 0, {}))) << "a connection's, over tcp";
  EXPECT_FALSE(decode_ofi_unit(unit_of(kOfiTaken, 1, bytes_of("x"))));
  EXPECT_FALSE(decode_ofi_unit(unit_of(kOfiShownRead, 1, bytes_of("x"))));
  EXPECT_FALSE(decode_ofi_unit(unit_of(UnitKind{11}, 1, {})));
  auto detailed = shown_write();
  detailed[5] = std::byte{1};
  EXPECT_FALSE(decode_ofi_unit(detailed));
}

TEST(OfiFormat, TheChecksumIsThatOfOneReaderAndOneOperation) {
  const auto bytes = bytes_of("what is shown");
  const std::uint64_t sum = shown_checksum(bytes, 5, 6);
  EXPECT_EQ(sum, shown_checksum(bytes, 5, 6));
  EXPECT_NE(sum, shown_checksum(bytes, 4, 6));
  EXPECT_NE(sum, shown_checksum(bytes, 5, 7));
  EXPECT_NE(sum, shown_checksum(bytes_of("What is shown"), 5, 6));
}

}  // namespace
}  // namespace dolmen::fabric
