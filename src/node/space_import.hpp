// SPDX-License-Identifier: Apache-2.0
//
// How an embedded space gets into a group, and what a group's space says of itself to who copies
// it: calls and queries of names that no program's function has (docs/formats/replicated-space.md).
//
// While an import is under way the space holds one object more, its marker, which says whose pages
// these are and how far they are here; it is written with each part and goes with the last one. A
// space that has it is opened by nobody. So what is imported is there whole or not at all, and
// whoever leads goes on with it.
//
// Decoders are bounded: hostile bytes give corrupt. Pure functions; safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "node/space_effect.hpp"

namespace dolmen::node {

/// Names that begin so are no program's.
inline constexpr std::string_view kReservedPrefix = "dolmen.";
inline constexpr std::string_view kImportFunction = "dolmen.import";
inline constexpr std::string_view kHeadQuery = "dolmen.head";

/// Of all spaces: it is there during an import alone.
inline constexpr ObjectId kImportMarker{0x646F6C6D656E2E69, 0x6D706F7274000001};
inline constexpr unsigned kMarkerCapacityLog2 = 9;
/// Of one part, about: larger ones keep the member's loop, and so the group's others, waiting.
inline constexpr std::size_t kImportPartBytes = 1u << 20;

/// Which moment of which space is imported.
struct ImportSource {
  ObjectId space;
  std::uint64_t last_index = 0;
  friend bool operator==(const ImportSource&, const ImportSource&) = default;
};

/// How far it is: all objects of lower ids are here, and of this one the pages below `page`.
struct ImportCursor {
  ObjectId object;  ///< null: nothing is here
  std::uint32_t page = 0;
  std::uint8_t capacity_log2 = 0;
  friend bool operator==(const ImportCursor&, const ImportCursor&) = default;
};

struct ImportState {
  ImportSource source;
  ImportCursor cursor;
  /// For ever: nobody goes on with it. What was here is being erased; without a cursor it is.
  bool is_given_up = false;
  friend bool operator==(const ImportState&, const ImportState&) = default;
};

enum class ImportStep : std::uint8_t {
  begin = 1,    ///< of a group without a space, or to go on; the cursor does not count
  part = 2,     ///< `pages` follow on the cursor
  finish = 3,   ///< the cursor is behind the last page
  give_up = 4,  ///< of one that is not finished, whosever it is; again until all of it is erased
};

/// The arguments of kImportFunction. It returns the state that is reached, as bytes: what does not
/// follow on the cursor changes nothing.
struct ImportCall {
  ImportStep step = ImportStep::begin;
  ImportState at;
  base::Bytes pages{};  ///< of a part: an image (space_effect.hpp)
};
[[nodiscard]] std::vector<std::byte> encode(const ImportCall& call);
[[nodiscard]] Result<ImportCall> decode_import_call(base::Bytes bytes);
/// What it returns, and the marker's first bytes.
[[nodiscard]] std::vector<std::byte> encode(const ImportState& state);
[[nodiscard]] Result<ImportState> decode_import_state(base::Bytes bytes);

/// A record that adds these pages behind the cursor, and moves it. Errors: corrupt (they do not
/// follow on it, or are of the marker), too_large (for one record of `bytes_max`).
struct ImportedPart {
  std::vector<std::byte> record;
  ImportCursor cursor;
};
[[nodiscard]] Result<ImportedPart> record_of(const ImportState& at, base::Bytes pages,
                                             std::size_t bytes_max);
/// … that begins, and that ends it.
[[nodiscard]] std::vector<std::byte> first_record(const ImportState& state);
[[nodiscard]] std::vector<std::byte> last_record();
/// … that says that it is given up, and erases these.
[[nodiscard]] std::vector<std::byte> record_that_erases(const ImportState& state,
                                                        const std::vector<ObjectId>& objects);
/// Objects that one of these erases.
inline constexpr std::size_t kErasedAtOnceMax = 1000;
/// What a record says of an import, as far as its first bytes show it, which may be all there are.
struct ImportNews {
  enum class Kind : std::uint8_t { begun, part, finished, given_up };
  Kind kind = Kind::begun;
  ImportState state{};  ///< finished: none
};
/// Nothing: it is of no import.
[[nodiscard]] std::optional<ImportNews> import_news_in(base::Bytes record_head);

/// What kHeadQuery returns.
struct SpaceHead {
  ImageHead head;           ///< of what is decided when it is told
  std::uint64_t bytes = 0;  ///< that its pages take, about
};
[[nodiscard]] std::vector<std::byte> encode(const SpaceHead& head);
[[nodiscard]] Result<SpaceHead> decode_space_head(base::Bytes bytes);

}  // namespace dolmen::node
