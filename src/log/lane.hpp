// SPDX-License-Identifier: Apache-2.0
//
// The direct path's memory (docs/direct-path.md): what a replica lets its leader write into. A lane
// is written from front to back by one leader in one epoch and never overwritten; the epoch word
// beside the lanes says whether what lands still counts. The bytes: docs/formats/lane.md.
//
// Values and pure functions; who may call LaneMemory is said there.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "log/message.hpp"

namespace dolmen::log {

inline constexpr std::uint32_t kLaneVersion = 1;
/// "DLLN": the first bytes of a lane, and what its checksums are seeded with.
inline constexpr std::uint32_t kLaneMagic = 0x4E4C4C44;
/// Where the first entry of a lane is.
inline constexpr std::size_t kLaneHeaderBytes = 64;
/// What an entry in a lane takes beside its payload, which is padded to a multiple of 8.
inline constexpr std::size_t kLaneEntryHeaderBytes = 40;
/// Most bytes of a lane.
inline constexpr std::size_t kLaneBytesMax = std::size_t{1} << 30;

/// One lane of a member: lanes of an epoch are numbered from 1 and follow on each other.
struct LaneName {
  Epoch epoch = 0;
  std::uint32_t number = 0;
  friend bool operator==(const LaneName&, const LaneName&) = default;
};

/// What stands at the front of a lane; its owner writes it before anybody else may write.
struct LaneHeader {
  ReplicaId owner{};
  ReplicaId writer{};
  LaneName name{};
  std::uint64_t bytes = 0;  ///< of the lane, this included
  friend bool operator==(const LaneHeader&, const LaneHeader&) = default;
};

/// An entry as it stands in a lane.
struct LaneEntry {
  Entry entry;
  Index stable = 0;       ///< decided, as its leader knew when it wrote this
  std::size_t bytes = 0;  ///< that it takes in the lane
};

/// Requires: lane.size() >= kLaneHeaderBytes.
void encode_lane_header(base::MutableBytes lane, const LaneHeader& header);
/// Others may be writing there: it looks at a copy. Requires: lane begins at a multiple of 8.
/// Errors: corrupt, version_unsupported.
[[nodiscard]] Result<LaneHeader> decode_lane_header(base::Bytes lane);

/// A multiple of 8.
[[nodiscard]] constexpr std::size_t lane_entry_bytes(std::size_t payload_bytes) noexcept {
  return kLaneEntryHeaderBytes + (payload_bytes + 7) / 8 * 8;
}
/// Requires: lane_entry_bytes() in `place`; `epoch` is the lane's. Allocates nothing.
void encode_lane_entry(base::MutableBytes place, const Entry& entry, Index stable, Epoch epoch);
/// The entry that begins at `offset`, if it is one of that epoch and has landed as a whole. Others
/// may be writing there: it looks at a copy. Nothing for what is no entry, or another than `index`
/// (0: any). Requires: lane begins at a multiple of 8, and so is `offset`.
[[nodiscard]] std::optional<LaneEntry> decode_lane_entry(base::Bytes lane, std::size_t offset,
                                                         Epoch epoch, Index index);

/// Words that others write meanwhile, each as a whole. Requires: both are of the same length, and
/// that and where `from` begins are multiples of 8.
void copy_shared(base::MutableBytes into, base::Bytes from) noexcept;

/// What a replica asks of another's memory: land these bytes in its lane, then load its epoch word
/// behind a full fence, and give that to Replica::landed(). Operations to one member are carried
/// out, and reported, in the order in which they were taken; one that fails is told to
/// lane_failed().
///
/// At a witness without compute the lane stands in an area of the writer's, and one of the
/// operations is to raise its word to lane.epoch, as LaneMemory::raise() does, and then to read all
/// its areas: that is given to Replica::raised(), or raise_failed().
struct LaneWrite {
  ReplicaId to{};
  LaneName lane{};
  std::uint64_t offset = 0;  ///< in the lane; a multiple of 8
  /// In a lane of the own memory: it stays readable until the operation is reported, even when the
  /// lane was dropped.
  base::Bytes bytes{};
  Index end = 0;  ///< the last entry in them
  /// Which of the writer's areas, where they are memory of a witness without compute.
  std::optional<std::uint32_t> area{};
  bool is_raise = false;
  /// The writer's latest round of readers when it was made; given to Replica::landed() as it is.
  std::uint64_t round = 0;
  std::vector<std::byte> made{};  ///< if there are any: instead of `bytes`
  [[nodiscard]] base::Bytes content() const noexcept {
    return made.empty() ? bytes : base::Bytes(made);
  }
};

/// An area of a witness without compute, as whoever raised its word finds it.
struct AreaView {
  /// Which of the own ones; nothing: another server's.
  std::optional<std::uint32_t> own{};
  base::Bytes bytes{};  ///< others may be writing there; begins at a multiple of 8
};

/// A replica's own memory. Whoever implements it keeps the word and the lanes where the other
/// members' LaneWrites land. A member whose memory was lost is another replica, with another id.
///
/// Threads: called by the replica's thread; others write into lanes meanwhile.
class LaneMemory {
 public:
  LaneMemory() = default;
  LaneMemory(const LaneMemory&) = delete;
  LaneMemory& operator=(const LaneMemory&) = delete;
  virtual ~LaneMemory() = default;

  /// The epoch word, loaded behind a full fence. 0 in new memory.
  [[nodiscard]] virtual Epoch word() = 0;
  /// Raises the word to `epoch` unless it is higher, by compare-and-swap; then a full fence. The
  /// word as it was before.
  virtual Epoch raise(Epoch epoch) = 0;
  /// A new lane, all zero, at a multiple of 8, that `writer` alone is to write (the owner itself
  /// when it leads). Empty: there is no room, and the group goes on without. Requires: bytes is a
  /// multiple of 8.
  [[nodiscard]] virtual base::MutableBytes make_lane(ReplicaId writer, LaneName name,
                                                     std::size_t bytes) = 0;
  /// The owner needs the lane no more. Its memory is used for something else only when its writer
  /// has let go of it, or cannot write any more, and no LaneWrite of the owner's reads it.
  virtual void drop_lane(LaneName name) = 0;
  /// What an earlier life of the owner left: lanes that were made and not dropped.
  [[nodiscard]] virtual std::vector<base::Bytes> kept_lanes() = 0;
};

}  // namespace dolmen::log
