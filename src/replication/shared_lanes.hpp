// SPDX-License-Identifier: Apache-2.0
//
// Lanes of the direct path (docs/direct-path.md) in memory that the members of a group have mapped:
// what a member keeps for its leader, and how a leader finds and writes it. The bytes: the
// directory of docs/formats/lane.md, and lanes, each a region of the endpoint.
//
// A region's memory is never given back, since others have it mapped; it is used again. When that
// may be is said at let_go().
//
// Threads: one, the endpoint's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "log/lane.hpp"
#include "replication/membership.hpp"

namespace dolmen::replication {

inline constexpr std::uint32_t kDirectoryVersion = 1;
inline constexpr std::uint32_t kDirectoryMagic = 0x444C4C44;  // "DLLD"
inline constexpr std::size_t kDirectoryBytes = 4096;
inline constexpr std::size_t kDirectoryWordAt = 0;     ///< the epoch word
inline constexpr std::size_t kDirectoryCardAt = 64;    ///< magic, version, group, owner
inline constexpr std::size_t kDirectorySlotsAt = 128;  ///< {u64 epoch, u32 number, u32 region}
inline constexpr std::size_t kDirectorySlotBytes = 16;
inline constexpr std::size_t kDirectorySlots = 32;
/// That of a witness that is memory alone: its slots are {u64 server, u32 which of its areas, u32
/// region}, and stay as they are.
inline constexpr std::uint32_t kWitnessDirectoryMagic = 0x57444C44;  // "DLDW"
inline constexpr std::size_t kWitnessSlots = 128;

/// The region of the directory of a group's replica on a node.
[[nodiscard]] fabric::RegionId directory_region(const GroupId& group);

/// What this member keeps.
class SharedLanes final : public log::LaneMemory {
 public:
  /// `next_region` numbers the regions of all groups of the node. It and `endpoint` outlive this.
  /// Errors: those of Endpoint::make_region().
  [[nodiscard]] static Result<std::unique_ptr<SharedLanes>> make(fabric::Endpoint& endpoint,
                                                                 std::uint32_t& next_region,
                                                                 const GroupId& group,
                                                                 log::ReplicaId self);

  log::Epoch word() override;
  log::Epoch raise(log::Epoch epoch) override;
  base::MutableBytes make_lane(log::ReplicaId writer, log::LaneName name,
                               std::size_t bytes) override;
  void drop_lane(log::LaneName name) override;
  /// None: the memory ends with the process, and the next one is another replica.
  std::vector<base::Bytes> kept_lanes() override { return {}; }

  /// `writer` said something in `epoch`: it writes nothing more into lanes of epochs below. Of
  /// earlier lives of its node no process runs any more.
  void let_go(log::ReplicaId writer, log::Epoch epoch) noexcept;
  /// No LaneWrite is under way that reads own lanes.
  void carried_out() noexcept;
  /// Whether there is room for one more lane of that size and for an own one, which whoever leads
  /// next need not wait for; or there is none and none can be made.
  [[nodiscard]] bool is_prepared(std::size_t bytes) const noexcept;
  /// Makes it: a millisecond for 4 MiB.
  void prepare(std::size_t bytes);

 private:
  enum class Use : std::uint8_t { free, lane, held };
  struct Lane {
    fabric::RegionId region{};
    base::MutableBytes bytes{};
    Use use = Use::free;   ///< held: dropped, but its writer may not know that yet
    bool is_clean = true;  ///< all of it is zero
    log::ReplicaId writer{};
    log::LaneName name{};
    std::size_t slot = 0;
  };
  /// In a region that is granted to nobody: those have their pages at once, and a leader that
  /// begins a lane would meet them one by one.
  struct OwnLane {
    base::MutableBytes bytes{};
    Use use = Use::free;  ///< held: dropped, but read by a LaneWrite
    log::LaneName name{};
  };

  SharedLanes(fabric::Endpoint& endpoint, std::uint32_t& next_region, log::ReplicaId self,
              fabric::RegionId directory_region, base::MutableBytes directory)
      : endpoint_(endpoint),
        next_region_(next_region),
        self_(self),
        directory_region_(directory_region),
        directory_(directory) {}
  [[nodiscard]] base::MutableBytes make_own(log::LaneName name, std::size_t bytes);
  [[nodiscard]] bool add_own(std::size_t bytes);
  [[nodiscard]] Lane* find_room(std::size_t bytes);
  [[nodiscard]] Lane* make_room(std::size_t bytes);
  [[nodiscard]] std::optional<std::size_t> free_slot() const noexcept;
  void write_slot(std::size_t slot, log::LaneName name, fabric::RegionId region) noexcept;

  fabric::Endpoint& endpoint_;
  std::uint32_t& next_region_;
  const log::ReplicaId self_;
  const fabric::RegionId directory_region_;
  const base::MutableBytes directory_;
  std::vector<Lane> lanes_;
  std::vector<OwnLane> own_;
  bool has_no_room_ = false;  ///< prepare() found none: it does not try for ever
};

/// Others' lanes and the areas of witnesses, as a leader or a candidate reaches them.
class LaneWriter {
 public:
  LaneWriter(fabric::Endpoint& endpoint, const GroupId& group)
      : endpoint_(endpoint), group_(group) {}
  /// Lands the bytes; a full fence and word() have to follow before that counts. False: nothing
  /// was written, and the lane cannot be.
  [[nodiscard]] bool land(const log::LaneWrite& write);
  /// Of a member for which land() gave true. Requires: a full fence since.
  [[nodiscard]] log::Epoch word(log::ReplicaId to);

  /// Maps what is needed to write to it, or to raise its word: a millisecond for some MiB.
  void prepare(log::ReplicaId to) { (void)reach(to); }

  struct Raised {
    log::Epoch former = 0;
    std::vector<log::AreaView> areas{};  ///< of all servers; good until the target is another life
  };
  /// Raises the word of a witness that is memory alone to `epoch` unless it is higher; a full fence
  /// is behind that. Nothing: it cannot be reached, or its memory is of another life.
  [[nodiscard]] std::optional<Raised> raise(log::ReplicaId to, log::Epoch epoch);

 private:
  struct Area {
    fabric::NodeId server{};
    std::uint32_t number = 0;
    base::MutableBytes bytes{};
  };
  struct Target {
    log::ReplicaId id{};
    fabric::NodeName name{};
    base::MutableBytes directory{};
    log::LaneName lane_name{};
    base::MutableBytes lane{};
    std::vector<Area> areas{};                ///< of a witness
    std::vector<fabric::RegionId> regions{};  ///< all that are mapped
  };
  [[nodiscard]] Target* target_of(log::ReplicaId to);
  /// … whose memory is open; null: it is not there.
  [[nodiscard]] Target* reach(log::ReplicaId to);
  [[nodiscard]] bool open(Target& target, const fabric::NodeName& name) const;
  [[nodiscard]] bool read_directory(Target& target) const;
  [[nodiscard]] bool open_areas(Target& target) const;
  [[nodiscard]] std::optional<base::MutableBytes> map(Target& target,
                                                      fabric::RegionId region) const;
  void close(Target& target) const noexcept;
  [[nodiscard]] bool open_lane(Target& target, log::LaneName name) const;

  fabric::Endpoint& endpoint_;
  const GroupId group_;
  std::vector<Target> targets_;
};

}  // namespace dolmen::replication
