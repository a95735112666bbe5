// SPDX-License-Identifier: Apache-2.0
//
// The one bounded reader and writer for bytes that cross a disk or a wire. Integers are little
// endian. A reader never reads past its span: after the first short or refused read it is
// `failed()` and every later read gives zeros, so that a decoder checks once, at its end (and
// before it trusts a length).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <dolmen/id.hpp>

namespace dolmen::base {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

static_assert(std::endian::native == std::endian::little,
              "formats are little endian and read in place");

[[nodiscard]] inline Bytes as_bytes(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// Reads a trivially copyable integer at `offset`. Requires: offset + sizeof(T) <= bytes.size().
template <class T>
[[nodiscard]] T load(Bytes bytes, std::size_t offset = 0) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <class T>
void store(MutableBytes bytes, std::size_t offset, const T& value) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) noexcept : bytes_(bytes) {}

  template <class T>
  [[nodiscard]] T get() noexcept {
    static_assert(std::is_integral_v<T>);
    if (!reserve(sizeof(T))) return T{};
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof value);
    position_ += sizeof value;
    return value;
  }
  [[nodiscard]] ObjectId get_id() noexcept {
    const auto high = get<std::uint64_t>();
    return ObjectId{high, get<std::uint64_t>()};
  }
  /// The next `count` bytes in place, or an empty span and failure.
  [[nodiscard]] Bytes take(std::size_t count) noexcept {
    if (!reserve(count)) return {};
    const Bytes result = bytes_.subspan(position_, count);
    position_ += count;
    return result;
  }
  /// A string with a 16-bit length in front.
  [[nodiscard]] std::string_view get_string() noexcept {
    const Bytes text = take(get<std::uint16_t>());
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }
  void fail() noexcept { failed_ = true; }
  [[nodiscard]] bool failed() const noexcept { return failed_; }
  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  [[nodiscard]] std::size_t remaining() const noexcept {
    return failed_ ? 0 : bytes_.size() - position_;
  }
  /// True when everything was read and nothing failed.
  [[nodiscard]] bool finished() const noexcept { return !failed_ && remaining() == 0; }

 private:
  [[nodiscard]] bool reserve(std::size_t count) noexcept {
    if (failed_ || count > bytes_.size() - position_) failed_ = true;
    return !failed_;
  }

  Bytes bytes_;
  std::size_t position_ = 0;
  bool failed_ = false;
};

class ByteWriter {
 public:
  /// So many bytes will be written: nothing is moved meanwhile.
  void reserve(std::size_t bytes) { bytes_.reserve(bytes); }
  template <class T>
  void put(T value) {
    static_assert(std::is_integral_v<T>);
    const auto raw = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
    bytes_.insert(bytes_.end(), raw.begin(), raw.end());
  }
  void put_id(const ObjectId& id) {
    put(id.high);
    put(id.low);
  }
  void put_bytes(Bytes bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  /// Requires: at most 65,535 bytes.
  void put_string(std::string_view text) {
    put(static_cast<std::uint16_t>(text.size()));
    put_bytes(as_bytes(text));
  }
  /// Overwrites an integer written earlier, at `offset`.
  template <class T>
  void patch(std::size_t offset, T value) {
    store(MutableBytes(bytes_), offset, value);
  }
  void pad_to(std::size_t alignment) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(std::byte{0});
  }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] Bytes bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::vector<std::byte> release() noexcept { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace dolmen::base
