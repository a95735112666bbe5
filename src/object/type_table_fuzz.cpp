// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a type table: refused, or read into a description that gives the same bytes again,
// does not differ from itself, and has a path for every offset. Half of the mutations are made on
// the description and get matching fingerprints, so that more than the first check is reached.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/random.hpp"
#include "object/type_fixtures.hpp"
#include "object/type_query.hpp"
#include "object/type_table.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using namespace dolmen::object;

const TypeDescription& program() {
  static const TypeDescription page =
      describe_type(dolmen::type_info<type_fixtures::Page>()).value();
  return page;
}

void mutate(TypeDescription& table, dolmen::base::Random& random) {
  const auto below = [&](std::size_t limit) {
    return static_cast<std::uint32_t>(random.below(limit));
  };
  const auto any_type = [&] { return static_cast<std::uint16_t>(below(table.types.size())); };
  TypeEntry& type = table.types[any_type()];
  switch (below(9)) {
    case 0:
      type.size = 1u << below(12);
      break;
    case 1:
      type.align = 1u << below(7);
      break;
    case 2:
      type.count = 1 + below(4);
      break;
    case 3:
      type.element = any_type();
      break;
    case 4:
      type.kind = static_cast<dolmen::TypeKind>(1 + below(16));
      break;
    case 5:
      type.layout_version ^= 1;
      break;
    case 6:
      type.fields.push_back({"new", below(256), 1 + below(3), any_type()});
      break;
    case 7:
      if (!type.fields.empty()) type.fields.pop_back();
      break;
    default:
      if (table.types.size() < 64) table.types.push_back(table.types[any_type()]);
  }
  for (int round = 0; round < 8; ++round) {  // fingerprints depend on each other
    for (std::uint16_t i = 0; i < table.types.size(); ++i) {
      const TypeEntry& entry = table.types[i];
      const bool needs_element =
          entry.kind == dolmen::TypeKind::array || entry.kind == dolmen::TypeKind::enumeration;
      if (!needs_element || entry.element != kNoType)
        table.types[i].fingerprint = layout_fingerprint(table, i);
    }
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  dolmen::base::Random random(seed);
  if (random.chance(1, 2)) return LLVMFuzzerMutate(data, size, max_size);
  TypeDescription table = decode_types(std::as_bytes(std::span(data, size))).value_or(program());
  mutate(table, random);
  const std::vector<std::byte> bytes = encode_types(table);
  if (bytes.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const dolmen::base::Bytes bytes = std::as_bytes(std::span(data, size));
  const auto decoded = decode_types(bytes);
  if (!decoded) return 0;
  DOLMEN_ASSERT(std::ranges::equal(encode_types(*decoded), bytes));
  DOLMEN_ASSERT(describe_difference(*decoded, *decoded).empty());
  static_cast<void>(describe_difference(*decoded, program()));
  static_cast<void>(describe_difference(program(), *decoded));
  for (std::uint16_t i = 0; i < decoded->types.size() && i < 16; ++i) {
    const std::uint32_t type_size = decoded->types[i].size;
    for (std::uint32_t offset = 0; offset < type_size; offset += 1 + type_size / 64)
      static_cast<void>(field_path(*decoded, i, offset));
  }
  return 0;
}
