// SPDX-License-Identifier: Apache-2.0
//
// What lies in the shared directory of a cluster on one host, byte by byte in
// docs/formats/fabric-shm.md: names of the objects, the cards at their start that say what they
// are, and where their words are. What a card says was written by another process: it is copied,
// then checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "sys/shared_memory.hpp"

namespace dolmen::fabric::shm {

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kHeaderBytes = 4096;  ///< of every object: the card and the words

/// One life of a node: object `node-<node>-<incarnation>`, and the bell `bell-…` of the same
/// numbers.
struct NodeCard {
  NodeName name;
  sys::ProcessMark process;
  std::uint64_t message_bytes_max = 0;  ///< longer ones it does not take
  friend bool operator==(const NodeCard&, const NodeCard&) = default;
};
inline constexpr std::size_t kNodeWaitingAt = 128;  ///< u32: 1: it sleeps, ring its bell
inline constexpr std::size_t kNodeKnocksAt = 256;   ///< u64: raised by who wants to be looked for
inline constexpr std::size_t kNodeLeftAt = 384;     ///< u32: 1: it has ended in order
inline constexpr std::size_t kNodeLaterAt = 512;    ///< u64: a later life that somebody met, or 0
inline constexpr std::size_t kNodeLifeAt = 640;     ///< u32: with sys::kLifeEnded it is being ended

/// One connection, made by the side that dials: object `link-<dialer>-<acceptor>-<number>`.
struct LinkCard {
  NodeName dialer;
  NodeName acceptor;
  std::uint64_t number = 0;      ///< counts the connections that the dialer tried
  std::uint64_t ring_bytes = 0;  ///< of each of its two rings; a power of two
  friend bool operator==(const LinkCard&, const LinkCard&) = default;
};
inline constexpr std::size_t kLinkAcceptedAt = 128;        ///< u32: 1: by the acceptor
inline constexpr std::size_t kLinkDialerClosedAt = 256;    ///< u32: why, as an Errc, or 0
inline constexpr std::size_t kLinkAcceptorClosedAt = 384;  ///< u32
inline constexpr std::size_t kLinkRingsAt =
    512;  ///< words of the dialer's ring, then the acceptor's
inline constexpr std::size_t kRingWordsBytes = 384;
inline constexpr std::size_t kRingTailAt = 0;     ///< u64: bytes ever written
inline constexpr std::size_t kRingHeadAt = 128;   ///< u64: bytes ever read
inline constexpr std::size_t kRingWantsAt = 256;  ///< u32: 1: the writer sleeps until there is room
inline constexpr std::size_t kRingBytesMin = 4096;
inline constexpr std::size_t kRingBytesMax = std::size_t{1} << 30;

/// One region: object `region-<node>-<incarnation>-<region>`; its bytes follow the header.
struct RegionCard {
  NodeName owner;
  RegionId region{};
  std::uint64_t bytes = 0;
  friend bool operator==(const RegionCard&, const RegionCard&) = default;
};
inline constexpr std::size_t kRegionClosedAt = 128;  ///< u32: 1: its owner has closed it
/// The owner's grants: {u64 node, u32 rights, u32 0} each, 0 nodes at the end; all ones where a
/// node was that never comes again.
inline constexpr std::uint64_t kGrantOfNobody = ~std::uint64_t{0};
inline constexpr std::size_t kGrantsAt = 2048;
inline constexpr std::size_t kGrantBytes = 16;
inline constexpr std::size_t kGrantsMax = (kHeaderBytes - kGrantsAt) / kGrantBytes;
inline constexpr std::size_t kRegionBytesMax = std::size_t{1} << 40;

[[nodiscard]] constexpr std::uint32_t bits_of(const Rights& rights) noexcept {
  return (rights.read ? 1u : 0u) | (rights.write ? 2u : 0u) | (rights.atomic ? 4u : 0u);
}

[[nodiscard]] std::string node_object(const NodeName& name);
[[nodiscard]] std::string bell_of(const NodeName& name);
[[nodiscard]] std::string link_object(const LinkCard& link);
[[nodiscard]] std::string region_object(const NodeName& owner, RegionId region);
/// The life that an object's name names; none: it is the name of something else.
[[nodiscard]] std::optional<NodeName> node_of_object(std::string_view name);
/// Everything but ring_bytes, which its card says.
[[nodiscard]] std::optional<LinkCard> link_of_object(std::string_view name);

/// Requires: `header` has kHeaderBytes, zeroed.
void write_card(MutableBytes header, const NodeCard& card);
void write_card(MutableBytes header, const LinkCard& card);
void write_card(MutableBytes header, const RegionCard& card);
/// Errors: corrupt, version_unsupported (detail: the version).
[[nodiscard]] Result<NodeCard> read_node_card(Bytes header);
[[nodiscard]] Result<LinkCard> read_link_card(Bytes header);
[[nodiscard]] Result<RegionCard> read_region_card(Bytes header);

}  // namespace dolmen::fabric::shm
