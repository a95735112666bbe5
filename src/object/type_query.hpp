// SPDX-License-Identifier: Apache-2.0
//
// Questions about described types, answered for people: what changed between a stored struct and
// the program's, and which field lies at an offset.
//
// Thread contract: pure functions; safe from any thread. Requires: descriptions that keep the
// invariants of "object/type_table.hpp".
#pragma once

#include <cstdint>
#include <string>

#include "object/type_table.hpp"

namespace dolmen::object {

/// The first difference of layout between two roots or anything that they reach, as a sentence that
/// names the field: "field `Page::rank` changed from f64 at offset 24 to f32 at offset 24"; empty
/// if there is none. A record's own name is no part of its layout, but the name of what a pointer
/// points to is.
[[nodiscard]] std::string describe_difference(const TypeDescription& stored,
                                              const TypeDescription& now);

/// "links[3].name": the innermost field at `offset` bytes into types[type]; "[3].name" in an array,
/// "links[3].(padding)" between fields, "" outside the type and for a type without parts.
[[nodiscard]] std::string field_path(const TypeDescription& table, std::uint16_t type,
                                     std::uint32_t offset);

/// Whether a value of the type with this fingerprint begins `offset` bytes into types[type]: it
/// itself or a part of it.
[[nodiscard]] bool type_lies_at(const TypeDescription& table, std::uint16_t type,
                                std::uint32_t offset, std::uint64_t fingerprint);

}  // namespace dolmen::object
