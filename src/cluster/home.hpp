// SPDX-License-Identifier: Apache-2.0
//
// What groups tell each other about where objects live (docs/homes.md), and what entries of their
// logs ask for; the bytes of both are in docs/formats/homes.md. Values; pure functions.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "cluster/root.hpp"

namespace dolmen::cluster {

/// How many homes an object had, the present one included: 1 where it was made. 0: none.
using MoveCounter = std::uint64_t;
/// No higher one is believed, so that there is always a next, and a slot of the directory holds it.
inline constexpr MoveCounter kMoveCounterMax = (std::uint64_t{1} << 48) - 1;
/// Of the moves that one group began, from 1 on.
using MoveNumber = std::uint64_t;
/// Most bytes of an object that moves, and of one part of it.
inline constexpr std::uint64_t kHomeObjectBytesMax = std::uint64_t{1} << 32;
inline constexpr std::size_t kHomePartBytesMax = 512u << 10;

/// Folds a part into the hash of those before it; the first one into the id's.
[[nodiscard]] std::uint64_t hash_of_part(std::uint64_t before, base::Bytes part) noexcept;
[[nodiscard]] std::uint64_t hash_before_parts(const ObjectId& id) noexcept;
/// Of an object that travels in parts of `part_bytes`, and a shorter last one. Requires:
/// part_bytes > 0.
[[nodiscard]] std::uint64_t hash_of_object(const ObjectId& id, base::Bytes bytes,
                                           std::size_t part_bytes) noexcept;

/// Which of 2^shard_bits shards of the directory an id belongs to. Requires: at most kShardBitsMax.
[[nodiscard]] std::uint32_t shard_of(const ObjectId& id, std::uint32_t shard_bits) noexcept;

/// Why a group does not take an object.
enum class HomeRefusal : std::uint8_t {
  none = 0,
  draining = 1,
  full = 2,       ///< too many objects, or too many that are arriving
  no_space = 3,   ///< said by whoever leads: no room for the bytes
  damaged = 4,    ///< the parts are not what the hash says
  cancelled = 5,  ///< whoever sends it wants it back
  exists = 6,  ///< the id is here already, or not with that counter: never, unless a log was lost
  type_conflict = 7,  ///< said by whoever leads: a type that it has is another one there
};

namespace home {

// Between homes.

/// The next bytes of an object that moves. The first one asks for room.
struct Part {
  ObjectId id{};
  MoveNumber move = 0;
  MoveCounter counter = 0;  ///< of the home that it leaves
  std::uint16_t length_class = 0;
  std::uint64_t object_bytes = 0;
  std::uint64_t hash = 0;    ///< of the object, as hash_of_object()
  std::uint32_t number = 0;  ///< from 1 on
  std::vector<std::byte> bytes{};
  friend bool operator==(const Part&, const Part&) = default;
};
/// Parts up to here were put aside.
struct Took {
  ObjectId id{};
  MoveNumber move = 0;
  std::uint32_t parts = 0;
  friend bool operator==(const Took&, const Took&) = default;
};
/// The object lives with who says so.
struct Arrived {
  ObjectId id{};
  MoveNumber move = 0;
  friend bool operator==(const Arrived&, const Arrived&) = default;
};
/// … and never will by this move.
struct Refused {
  ObjectId id{};
  MoveNumber move = 0;
  HomeRefusal why = HomeRefusal::none;
  friend bool operator==(const Refused&, const Refused&) = default;
};
/// Who gets the object shall give it up, unless it is there already.
struct Cancel {
  ObjectId id{};
  MoveNumber move = 0;
  friend bool operator==(const Cancel&, const Cancel&) = default;
};

// Between a home and the directory.

/// The object lives with who says so.
struct Settled {
  ObjectId id{};
  MoveCounter counter = 0;
  GroupNumber former = 0;  ///< its home before; 0: it was made here
  std::uint16_t length_class = 0;
  friend bool operator==(const Settled&, const Settled&) = default;
};
/// … was erased, which counts as a move.
struct Erased {
  ObjectId id{};
  MoveCounter counter = 0;
  friend bool operator==(const Erased&, const Erased&) = default;
};
/// The directory's log has that.
struct Logged {
  ObjectId id{};
  MoveCounter counter = 0;
  friend bool operator==(const Logged&, const Logged&) = default;
};

}  // namespace home

using HomeMail = std::variant<home::Part, home::Took, home::Arrived, home::Refused, home::Cancel,
                              home::Settled, home::Erased, home::Logged>;

inline constexpr std::uint32_t kHomeMailVersion = 1;
/// "DLHM": the first bytes of such a mail, which tell it from others.
inline constexpr std::uint32_t kHomeMailMagic = 0x4D484C44;

[[nodiscard]] bool is_home_mail(base::Bytes mail) noexcept;
/// Requires: what is said above.
[[nodiscard]] std::vector<std::byte> encode(const HomeMail& mail);
/// Errors: corrupt (cut, impossible), version_unsupported. Never more memory than the bytes.
[[nodiscard]] Result<HomeMail> decode_home_mail(base::Bytes bytes);

// --------------------------------------------------------------------------- entries of a home's
// log

namespace home {

/// The mail that this entry consumes does what it says; an object that it brings is refused for
/// this reason, unless `none`.
struct Take {
  HomeRefusal refuse = HomeRefusal::none;
  friend bool operator==(const Take&, const Take&) = default;
};
/// Whom to tell about objects: the group of each shard of the directory, 2^n of them.
struct SetShards {
  std::vector<GroupNumber> groups{};
  friend bool operator==(const SetShards&, const SetShards&) = default;
};
struct Create {
  ObjectId id{};
  std::uint16_t length_class = 0;
  friend bool operator==(const Create&, const Create&) = default;
};
struct Erase {
  ObjectId id{};
  friend bool operator==(const Erase&, const Erase&) = default;
};
/// The object is frozen, as so many bytes with this hash, and leaves.
struct Move {
  ObjectId id{};
  GroupNumber to = 0;
  std::uint64_t object_bytes = 0;
  std::uint32_t part_bytes = 0;  ///< of each part but the last
  std::uint64_t hash = 0;        ///< hash_of_object()
  friend bool operator==(const Move&, const Move&) = default;
};
/// The part of that number is posted.
struct PostPart {
  ObjectId id{};
  std::uint32_t number = 0;
  std::vector<std::byte> bytes{};
  friend bool operator==(const PostPart&, const PostPart&) = default;
};
struct CancelMove {
  ObjectId id{};
  friend bool operator==(const CancelMove&, const CancelMove&) = default;
};
/// The group gets no more objects, or does again.
struct Drain {
  bool is_draining = false;
  friend bool operator==(const Drain&, const Drain&) = default;
};
/// Nothing is ever moved to that group again: it is to be removed.
struct Close {
  GroupNumber group = 0;
  friend bool operator==(const Close&, const Close&) = default;
};

}  // namespace home

using HomeCommand = std::variant<home::Take, home::SetShards, home::Create, home::Erase, home::Move,
                                 home::PostPart, home::CancelMove, home::Drain, home::Close>;

inline constexpr std::uint32_t kHomeCommandVersion = 1;

/// Requires: what is said above.
[[nodiscard]] std::vector<std::byte> encode(const HomeCommand& command);
/// Errors: corrupt, version_unsupported. Never more memory than the bytes.
[[nodiscard]] Result<HomeCommand> decode_home_command(base::Bytes bytes);

}  // namespace dolmen::cluster
