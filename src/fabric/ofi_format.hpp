// SPDX-License-Identifier: Apache-2.0
//
// What two ofi endpoints say to each other, byte by byte (docs/formats/fabric-ofi.md): the hello,
// which travels encrypted over tcp, and the head of each piece of a unit. The units are those of
// tcp_format.hpp. Values; pure functions; decoders never believe a length.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "fabric/tcp_format.hpp"

namespace dolmen::fabric {

inline constexpr std::uint8_t kOfiVersion = 1;
/// Of one piece of a unit, its head included.
inline constexpr std::size_t kOfiPieceBytes = 8192;
inline constexpr std::size_t kOfiUnitMax = kUnitHeaderBytes + kRequestHeadBytes + kTcpBytesMax;
/// Pieces that a side must be able to take before it was polled; beside them it has room for
/// kOfiSpare more, which hold no data.
inline constexpr std::uint32_t kOfiBuffersMin = 8;
inline constexpr std::uint32_t kOfiBuffersMax = 4096;
inline constexpr std::uint32_t kOfiSpare = 4;

/// Where the other side's port is.
struct OfiHello {
  std::uint64_t token = 0;  ///< never 0; what pieces to this side begin with
  std::uint32_t buffers = 0;
  std::string provider;
  std::vector<std::byte> address;
  friend bool operator==(const OfiHello&, const OfiHello&) = default;
};
inline constexpr std::size_t kOfiProviderMax = 32;
inline constexpr std::size_t kOfiAddressMax = 256;
inline constexpr std::size_t kOfiHelloBytes = 16 + kOfiProviderMax + kOfiAddressMax;

/// Errors: limit (a name or an address that does not fit).
[[nodiscard]] Result<std::array<std::byte, kOfiHelloBytes>> encode(const OfiHello& hello);
/// Errors: corrupt; version_unsupported (detail: the other side's).
[[nodiscard]] Result<OfiHello> decode_ofi_hello(Bytes bytes);

struct OfiPieceHead {
  enum class Kind : std::uint8_t {
    greeting = 0,  ///< the first; says that the way is there
    data = 1,
    credits = 2,  ///< gives back credits and nothing else
  };
  std::uint64_t token = 0;     ///< the receiver's
  std::uint32_t sequence = 0;  ///< of the piece, from 0 on
  std::uint32_t left = 0;      ///< bytes of the unit from this piece on
  std::uint16_t credits = 0;   ///< buffers that are free again
  Kind kind = Kind::data;
  friend bool operator==(const OfiPieceHead&, const OfiPieceHead&) = default;
};
inline constexpr std::size_t kOfiPieceHeadBytes = 20;
inline constexpr std::size_t kOfiPieceData = kOfiPieceBytes - kOfiPieceHeadBytes;

[[nodiscard]] std::array<std::byte, kOfiPieceHeadBytes> encode(const OfiPieceHead& head) noexcept;
/// Of a whole piece, whose length it compares with what the head says. Errors: corrupt.
[[nodiscard]] Result<OfiPieceHead> decode_ofi_piece(Bytes piece);

/// Units beside those of tcp_format.hpp: bytes that the other side reads itself, by the fabric.
inline constexpr UnitKind kOfiShownWrite{8};  ///< a write: RequestHead with count, OfiShown
inline constexpr UnitKind kOfiShownRead{9};   ///< an answer to a read: OfiShown
inline constexpr UnitKind kOfiTaken{10};      ///< that answer's bytes were read
/// Where the bytes are. What has been closed or given away may be read all the same: the checksum
/// tells.
struct OfiShown {
  std::uint64_t start = 0;
  std::uint64_t key = 0;
  std::uint64_t checksum = 0;  ///< of the bytes: shown_checksum()
  friend bool operator==(const OfiShown&, const OfiShown&) = default;
};
inline constexpr std::size_t kOfiShownBytes = 24;
[[nodiscard]] std::array<std::byte, kOfiShownBytes> encode(const OfiShown& shown) noexcept;
/// `token`: that of the side that reads them; `number`: of the operation.
[[nodiscard]] std::uint64_t shown_checksum(Bytes bytes, std::uint64_t token,
                                           std::uint16_t number) noexcept;
/// Requires: kOfiShownBytes.
[[nodiscard]] OfiShown decode_ofi_shown(Bytes bytes) noexcept;

/// The header of a whole unit, whose length it compares with what the header says. Errors: corrupt.
[[nodiscard]] Result<UnitHeader> decode_ofi_unit(Bytes unit);

}  // namespace dolmen::fabric
