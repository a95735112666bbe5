// SPDX-License-Identifier: Apache-2.0
//
// Types at run time: tags of allocations, the types that this program has used, and the
// descriptions that a space keeps (each in an immutable object whose id follows from the tag), so
// that a space can be read by who does not have the program.
//
// Threads: safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include <dolmen/reflect.hpp>

#include "object/fot.hpp"
#include "object/type_table.hpp"
#include "txn/space_core.hpp"

namespace dolmen::txn {

/// Root of a type-description object: a 32-bit length and that many bytes of docs/formats/types.md.
inline constexpr std::uint32_t kTypeBytesTag = 8;

/// What an allocation is marked with: the low 32 bits of the type's identity (its name and layout),
/// above the reserved tags.
[[nodiscard]] constexpr std::uint32_t type_tag_of(std::uint64_t identity) noexcept {
  const auto tag = static_cast<std::uint32_t>(identity);
  return tag < object::kFirstUserTag ? tag + object::kFirstUserTag : tag;
}

/// Makes a type known to this process; gives its tag.
std::uint32_t register_type(const TypeInfo& type);
/// The program's own type behind a tag, or null.
[[nodiscard]] const TypeInfo* registered_type(std::uint32_t tag);

/// The description stored in the space, or the program's own if it has the type.
/// Errors: not_found, corrupt.
[[nodiscard]] Result<std::shared_ptr<const object::TypeDescription>> type_description(
    detail::SpaceCore& core, std::uint32_t tag);

/// A sentence that names the first field in which a stored type differs from the program's;
/// interned.
[[nodiscard]] const char* layout_difference(detail::SpaceCore& core, std::uint32_t stored_tag,
                                            const TypeInfo& now);

/// Offsets of the pointers inside an element of a stored type, for marking and scanning.
class StoredPointerLayout final : public object::PointerLayout {
 public:
  explicit StoredPointerLayout(detail::SpaceCore& core) noexcept : core_(core) {}
  [[nodiscard]] std::optional<std::span<const std::uint32_t>> pointer_offsets(
      std::uint32_t type_tag) override;

 private:
  detail::SpaceCore& core_;
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> known_;
};

}  // namespace dolmen::txn

namespace dolmen::detail {
[[nodiscard]] constexpr std::uint32_t type_tag(const TypeInfo& type) noexcept {
  return txn::type_tag_of(type.identity);
}
}  // namespace dolmen::detail
