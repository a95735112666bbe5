// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as keys of several kinds: what is read is exactly what is written. And two halves as
// parts: their order is that of their keys.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include <dolmen/assert.hpp>
#include <dolmen/index_key.hpp>

namespace {

using Bytes = std::span<const std::byte>;

template <class... Parts>
void read_as(Bytes key) {
  const auto parts = dolmen::key_parts<Parts...>(key);
  if (!parts) return;
  const auto again = dolmen::key_of(*parts);
  DOLMEN_ASSERT(std::ranges::equal(again, key));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes bytes = std::as_bytes(std::span(data, size));
  read_as<std::uint64_t>(bytes);
  read_as<double>(bytes);
  read_as<std::vector<std::byte>>(bytes);
  read_as<std::string, std::int64_t>(bytes);
  read_as<double, std::string, std::string>(bytes);
  read_as<std::uint32_t, std::tuple<std::int8_t, std::string>>(bytes);
  const Bytes a = bytes.first(size / 2);
  const Bytes b = bytes.subspan(size / 2);
  const bool is_below = std::ranges::lexicographical_compare(a, b);
  DOLMEN_ASSERT(is_below == (dolmen::key_of(a, 1u) < dolmen::key_of(b, 0u)) ||
                std::ranges::equal(a, b));
  const auto behind = dolmen::key_behind(a);
  DOLMEN_ASSERT(!behind || std::ranges::lexicographical_compare(a, *behind));
  return 0;
}
