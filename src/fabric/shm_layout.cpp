// SPDX-License-Identifier: Apache-2.0
#include "fabric/shm_layout.hpp"

#include <array>
#include <bit>
#include <charconv>
#include <initializer_list>
#include <span>

#include "base/checksum.hpp"
#include "fabric/shm_memory.hpp"

namespace dolmen::fabric::shm {
namespace {

// A card: magic, version and kind, up to ten numbers, checksum of what is before it.
constexpr std::uint64_t kMagic = 0x6D68'536E'656D'6C64;  // "dlmenShm"
constexpr std::size_t kNumbers = 10;
constexpr std::size_t kCheckAt = 16 + kNumbers * 8;
constexpr std::size_t kCardBytes = kCheckAt + 8;
static_assert(kCardBytes <= kNodeWaitingAt && kCardBytes <= kLinkAcceptedAt);

enum class Kind : std::uint32_t { node = 1, link = 2, region = 3 };
using Numbers = std::array<std::uint64_t, kNumbers>;

void write_numbers(MutableBytes header, Kind kind, const Numbers& numbers) {
  DOLMEN_ASSERT_CMP(header.size(), >=, kHeaderBytes);
  base::store(header, 0, kMagic);
  base::store(header, 8, kVersion);
  base::store(header, 12, kind);
  base::store(header, 16, numbers);
  base::store(header, kCheckAt, base::checksum64(header.first(kCheckAt), kMagic));
}

/// Gives the numbers when exactly `count` of them are used.
Result<Numbers> read_numbers(Bytes header, Kind kind, std::size_t count) {
  if (header.size() < kHeaderBytes) return fail(Errc::corrupt, "a shared object's header");
  std::array<std::byte, kCardBytes> card{};
  copy_from_shared(card, header.data());
  if (base::load<std::uint64_t>(card) != kMagic) {
    return fail(Errc::corrupt, "a shared object is none of dolmen's");
  }
  // What a later version has behind it is its own.
  if (const auto version = base::load<std::uint32_t>(card, 8); version != kVersion) {
    return fail(Errc::version_unsupported, "a shared object", version);
  }
  const auto sum = base::checksum64(Bytes(card).first(kCheckAt), kMagic);
  if (base::load<std::uint64_t>(card, kCheckAt) != sum || base::load<Kind>(card, 12) != kind) {
    return fail(Errc::corrupt, "a shared object's card");
  }
  const auto numbers = base::load<Numbers>(card, 16);
  for (std::size_t i = count; i < kNumbers; ++i) {
    if (numbers[i] != 0) return fail(Errc::corrupt, "a shared object's card");
  }
  return numbers;
}

NodeName name_of(std::uint64_t node, std::uint64_t incarnation) {
  return {.node = static_cast<NodeId>(node), .incarnation = incarnation};
}
std::uint64_t number_of(NodeId node) { return static_cast<std::uint64_t>(node); }

void append_hex(std::string& text, std::uint64_t number, int digits) {
  text += '-';
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    text += "0123456789abcdef"[number >> shift & 15];
  }
}
constexpr int kDigits = 16;
constexpr int kRegionDigits = 8;

std::string object_name(std::string_view kind, std::initializer_list<std::uint64_t> numbers) {
  std::string text(kind);
  for (const std::uint64_t number : numbers) append_hex(text, number, kDigits);
  return text;
}

/// Reads the numbers of a name of this kind; false: it is none.
bool parse(std::string_view name, std::string_view kind, std::span<std::uint64_t> numbers) {
  if (!name.starts_with(kind) || name.size() != kind.size() + numbers.size() * (kDigits + 1)) {
    return false;
  }
  name.remove_prefix(kind.size());
  for (std::uint64_t& number : numbers) {
    const char* const first = name.data() + 1;
    const char* const last = first + kDigits;
    const auto [end, error] = std::from_chars(first, last, number, 16);
    if (name.front() != '-' || error != std::errc() || end != last) return false;
    name.remove_prefix(kDigits + 1);
  }
  return true;
}

}  // namespace

std::string node_object(const NodeName& name) {
  return object_name("node", {number_of(name.node), name.incarnation});
}
std::string bell_of(const NodeName& name) {
  return object_name("bell", {number_of(name.node), name.incarnation});
}
std::string link_object(const LinkCard& link) {
  return object_name(
      "link", {number_of(link.dialer.node), link.dialer.incarnation, number_of(link.acceptor.node),
               link.acceptor.incarnation, link.number});
}
std::string region_object(const NodeName& owner, RegionId region) {
  std::string name = object_name("region", {number_of(owner.node), owner.incarnation});
  append_hex(name, static_cast<std::uint32_t>(region), kRegionDigits);
  return name;
}

std::optional<NodeName> node_of_object(std::string_view name) {
  std::array<std::uint64_t, 2> numbers{};
  if (!parse(name, "node", numbers)) return std::nullopt;
  const NodeName node = name_of(numbers[0], numbers[1]);
  if (node.node == NodeId::nobody || node_object(node) != name) return std::nullopt;
  return node;
}

std::optional<LinkCard> link_of_object(std::string_view name) {
  std::array<std::uint64_t, 5> numbers{};
  if (!parse(name, "link", numbers)) return std::nullopt;
  const LinkCard link{.dialer = name_of(numbers[0], numbers[1]),
                      .acceptor = name_of(numbers[2], numbers[3]),
                      .number = numbers[4]};
  if (link_object(link) != name) return std::nullopt;
  return link;
}

void write_card(MutableBytes header, const NodeCard& card) {
  write_numbers(header, Kind::node,
                {number_of(card.name.node), card.name.incarnation, card.process.pid,
                 card.process.started, card.process.space, card.message_bytes_max});
}

void write_card(MutableBytes header, const LinkCard& card) {
  write_numbers(
      header, Kind::link,
      {number_of(card.dialer.node), card.dialer.incarnation, number_of(card.acceptor.node),
       card.acceptor.incarnation, card.number, card.ring_bytes});
}

void write_card(MutableBytes header, const RegionCard& card) {
  write_numbers(header, Kind::region,
                {number_of(card.owner.node), card.owner.incarnation,
                 static_cast<std::uint32_t>(card.region), card.bytes});
}

Result<NodeCard> read_node_card(Bytes header) {
  DOLMEN_TRY(const Numbers numbers, read_numbers(header, Kind::node, 6));
  return NodeCard{.name = name_of(numbers[0], numbers[1]),
                  .process = {.pid = numbers[2], .started = numbers[3], .space = numbers[4]},
                  .message_bytes_max = numbers[5]};
}

Result<LinkCard> read_link_card(Bytes header) {
  DOLMEN_TRY(const Numbers numbers, read_numbers(header, Kind::link, 6));
  const LinkCard link{.dialer = name_of(numbers[0], numbers[1]),
                      .acceptor = name_of(numbers[2], numbers[3]),
                      .number = numbers[4],
                      .ring_bytes = numbers[5]};
  if (link.ring_bytes < kRingBytesMin || link.ring_bytes > kRingBytesMax ||
      !std::has_single_bit(link.ring_bytes)) {
    return fail(Errc::corrupt, "a connection's rings", link.ring_bytes);
  }
  return link;
}

Result<RegionCard> read_region_card(Bytes header) {
  DOLMEN_TRY(const Numbers numbers, read_numbers(header, Kind::region, 4));
  if (numbers[2] > ~std::uint32_t{0} || numbers[3] == 0 || numbers[3] > kRegionBytesMax) {
    return fail(Errc::corrupt, "a region's card");
  }
  return RegionCard{.owner = name_of(numbers[0], numbers[1]),
                    .region = static_cast<RegionId>(numbers[2]),
                    .bytes = numbers[3]};
}

}  // namespace dolmen::fabric::shm
