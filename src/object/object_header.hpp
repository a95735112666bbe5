// SPDX-License-Identifier: Apache-2.0
//
// The 64 bytes at offset 0 of every object: what it is, whose id it verifies, and where its root,
// its foreign object table and its heap begin. The layout is a stored format
// (docs/formats/object.md).
//
// Threads: values. Changes of a header inside an object go through the heap's WriteLog.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"

namespace dolmen::object {

inline constexpr std::uint32_t kObjectMagic = 0x4F4D4C44;  // "DLMO"
inline constexpr std::uint8_t kObjectFormat = 1;
inline constexpr std::uint8_t kMinCapacityLog2 = 9;
inline constexpr std::uint8_t kMaxCapacityLog2 = 30;

/// ObjectHeader::flags; part of what the id is derived from.
enum ObjectFlag : std::uint16_t {
  kImmutable = 1,
  kTypeDescription = 2,
  kCatalog = 4,
};

struct ObjectHeader {
  std::uint32_t magic = kObjectMagic;
  std::uint8_t format = kObjectFormat;
  std::uint8_t capacity_log2 = 0;
  std::uint16_t flags = 0;
  std::array<std::byte, 16> nonce{};
  ObjectId owner_key{};
  std::uint16_t default_rights = 0;
  std::uint16_t heap_state = 0;  ///< offset of the heap's state / 16; 0 = none (capacity <= 4 KiB)
  std::uint32_t root_offset = 0;
  std::uint32_t root_type = 0;  ///< type tag of the root; 0 only while there is none
  std::uint32_t fot_offset = 0;
  std::uint32_t fot_count = 0;  ///< highest foreign index ever used
  std::uint32_t heap_origin = 0;

  [[nodiscard]] ObjectIdSeed seed() const noexcept {
    return {
        .nonce = nonce, .owner_key = owner_key, .flags = flags, .default_rights = default_rights};
  }
};
static_assert(sizeof(ObjectHeader) == 64 && offsetof(ObjectHeader, nonce) == 8 &&
                  offsetof(ObjectHeader, owner_key) == 24 &&
                  offsetof(ObjectHeader, root_offset) == 44 &&
                  offsetof(ObjectHeader, heap_origin) == 60,
              "the header is a stored format");

/// Requires: `base` points to at least 64 readable bytes.
[[nodiscard]] inline ObjectHeader load_header(const std::byte* base) noexcept {
  ObjectHeader header;
  std::memcpy(static_cast<void*>(&header), base, sizeof header);
  return header;
}

/// Whether the header's nonce, owner, flags and rights hash to `id`. Cost: one SHA-256 block (~300
/// ns).
[[nodiscard]] bool verify_id(const ObjectHeader& header, const ObjectId& id) noexcept;

/// Bounded validation of the first bytes of an untrusted object (64 at least): magic, version,
/// capacity, id, and that every offset lies inside the object and is aligned. Errors: corrupt
/// (detail = offset of the bad field), version_unsupported.
[[nodiscard]] Result<void> check_header(base::Bytes first_page, const ObjectId& id,
                                        unsigned capacity_log2);

}  // namespace dolmen::object
