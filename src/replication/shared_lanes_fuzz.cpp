// SPDX-License-Identifier: Apache-2.0
//
// What a member reads of memory that others write. The first byte says which side is looked at:
// a leader that lands entries in the memory of a member or a witness who fills its directory and
// its lanes or areas with anything, and changes them between two steps; or a member that takes in
// lanes in which anything stands, with checksums that fit it.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "log/replica.hpp"
#include "log/witness_area.hpp"
#include "replication/shared_lanes.hpp"
#include "sim/mapped_memory.hpp"
#include "sim/sim_fabric.hpp"

namespace {

using namespace dolmen;
using replication::SharedLanes;

constexpr replication::GroupId kGroup{5, 8};
constexpr fabric::NodeId kLeaderNode{1};
constexpr fabric::NodeId kMemberNode{2};
constexpr log::ReplicaId kLeader = replication::replica_of(kLeaderNode, 1);
constexpr log::ReplicaId kMember = replication::replica_of(kMemberNode, 1);

class Deaf final : public fabric::Sink {
  void on_connected(const fabric::NodeName& /*peer*/) override {}
  void on_lost(const fabric::NodeName& /*peer*/, const Error& /*why*/) override {}
  void on_refused(fabric::NodeId /*who*/, const Error& /*why*/) override {}
  void on_message(const fabric::NodeName& /*from*/, base::Bytes /*message*/) override {}
  void on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) override {}
};

/// A leader's node and a member's on one host, connected.
struct World {
  World() {
    Deaf deaf;
    while (!leader.connected(kMemberNode) || !member.connected(kLeaderNode)) {
      fabric.run_for(1'000'000);
      DOLMEN_ASSERT(leader.poll(deaf).has_value() && member.poll(deaf).has_value());
    }
  }
  sim::SimFabric fabric{1};
  sim::MappedMemory memory;
  sim::MappedEndpoint leader{fabric.make({.self = {kLeaderNode, 1}}), memory};
  sim::MappedEndpoint member{fabric.make({.self = {kMemberNode, 1}}), memory};
};

// --- a leader
// --------------------------------------------------------------------------------------

constexpr std::size_t kLanes = 3;
constexpr std::size_t kLaneBytes = 256;
/// Of a witness, which has more of them.
constexpr std::size_t kSlotsEnd =
    replication::kDirectorySlotsAt + replication::kWitnessSlots * replication::kDirectorySlotBytes;

class HostileMember {
 public:
  HostileMember(World& world, base::ByteReader& in) {
    std::uint32_t next_region = 1;
    DOLMEN_ASSERT(SharedLanes::make(world.member, next_region, kGroup, kMember).has_value());
    const auto flags = in.get<std::uint8_t>();
    const fabric::RegionId directory = replication::directory_region(kGroup);
    DOLMEN_ASSERT(world.member.grant(directory, kLeaderNode, kAll).has_value());
    regions_.push_back(*world.leader.map({kMemberNode, 1}, directory));
    if ((flags & 128) != 0) {
      base::store(regions_[0], replication::kDirectoryCardAt, replication::kWitnessDirectoryMagic);
    }
    const bool has_card = (flags & 1) == 0;
    fill(regions_[0].subspan(has_card ? replication::kDirectorySlotsAt : 0,
                             kSlotsEnd - (has_card ? replication::kDirectorySlotsAt : 0)),
         in);
    for (std::size_t i = 0; i < kLanes; ++i) {
      const fabric::RegionId region{static_cast<std::uint32_t>(i + 1)};
      const bool is_short = (flags & (16u << i)) != 0;
      regions_.push_back(*world.member.make_region(region, is_short ? 24 : kLaneBytes));
      if ((flags & (2u << i)) == 0) {
        DOLMEN_ASSERT(world.member.grant(region, kLeaderNode, kAll).has_value());
      }
      fill(regions_.back().first(std::min(regions_.back().size(), log::kLaneHeaderBytes)), in);
      seal(regions_.back());
    }
  }
  /// Between two steps of the leader.
  void change(base::ByteReader& in) {
    const base::MutableBytes region = regions_[in.get<std::uint8_t>() % regions_.size()];
    const std::size_t at = in.get<std::uint16_t>() % (region.size() / 8) * 8;
    base::store(region, at, in.get<std::uint64_t>());
    if (region.data() != regions_[0].data()) seal(region);
  }
  [[nodiscard]] std::vector<std::vector<std::byte>> contents() const {
    std::vector<std::vector<std::byte>> all;
    for (const base::MutableBytes region : regions_) all.emplace_back(region.begin(), region.end());
    return all;
  }

 private:
  static constexpr fabric::Rights kAll{.read = true, .write = true};
  static void fill(base::MutableBytes into, base::ByteReader& in) {
    std::ranges::copy(in.take(std::min(into.size(), in.remaining())), into.begin());
  }
  static void seal(base::MutableBytes lane) {
    if (lane.size() < log::kLaneHeaderBytes) return;
    base::store(lane, 48, base::checksum64(lane.first(48), log::kLaneMagic));
  }
  std::vector<base::MutableBytes> regions_;  ///< the directory, and lanes
};

/// Whether `after` is `before` with `write` in one lane.
bool has_landed(const std::vector<std::vector<std::byte>>& before,
                const std::vector<std::vector<std::byte>>& after, const log::LaneWrite& write) {
  for (std::size_t i = 1; i < before.size(); ++i) {
    if (write.offset > before[i].size() || write.bytes.size() > before[i].size() - write.offset) {
      continue;
    }
    auto expected = before;
    std::ranges::copy(write.bytes, expected[i].begin() + static_cast<std::ptrdiff_t>(write.offset));
    if (expected == after) return true;
  }
  return false;
}

void raise(replication::LaneWriter& writer, log::Epoch epoch) {
  const auto raised = writer.raise(kMember, epoch);
  if (!raised) return;
  DOLMEN_ASSERT_CMP(writer.word(kMember), >=, epoch);
  for (const log::AreaView& area : raised->areas) (void)log::read_area(area.bytes);
}

void lead(base::ByteReader& in) {
  World world;
  HostileMember member(world, in);
  replication::LaneWriter writer(world.leader, kGroup);
  while (in.remaining() > 0) {
    const unsigned what = in.get<std::uint8_t>() % 4;
    if (what % 2 == 0) {
      member.change(in);
      continue;
    }
    if (what == 3 && in.get<std::uint8_t>() % 2 == 0) {
      raise(writer, in.get<std::uint64_t>());
      continue;
    }
    const log::LaneName name{.epoch = in.get<std::uint8_t>(), .number = in.get<std::uint8_t>()};
    const std::uint64_t offset = in.get<std::uint16_t>();
    const std::vector<std::byte> bytes(in.get<std::uint8_t>(), std::byte{0xA5});
    const log::LaneWrite write{
        .to = kMember,
        .lane = name,
        .offset = offset,
        .bytes = bytes,
        .end = 1,
        .area = what == 3 ? std::optional<std::uint32_t>(name.number % 3) : std::nullopt};
    const auto before = member.contents();
    const bool landed = writer.land(write);
    DOLMEN_ASSERT(landed ? has_landed(before, member.contents(), write)
                         : before == member.contents());
    (void)writer.word(kMember);
  }
}

// --- a member
// --------------------------------------------------------------------------------------

/// Entries with the checksums that fit them, as far as their lengths lead.
void write_entries(base::MutableBytes lane, base::ByteReader& in) {
  std::ranges::copy(in.take(std::min(lane.size() - log::kLaneHeaderBytes, in.remaining())),
                    lane.begin() + log::kLaneHeaderBytes);
  const std::uint64_t seed = base::mix_seed(log::kLaneMagic, 1);
  for (std::size_t at = log::kLaneHeaderBytes; lane.size() - at >= log::kLaneEntryHeaderBytes;) {
    const std::size_t bytes = log::lane_entry_bytes(base::load<std::uint32_t>(lane, at + 32));
    if (bytes > lane.size() - at) break;
    base::store(lane, at, base::checksum64(lane.subspan(at + 8, bytes - 8), seed));
    at += bytes;
  }
}

void follow(base::ByteReader& in) {
  World world;
  std::uint32_t next_region = 1;
  auto lanes = SharedLanes::make(world.member, next_region, kGroup, kMember);
  DOLMEN_ASSERT(lanes.has_value());
  const log::Configuration first{.voters = {kLeader, kMember}};
  log::Replica replica(kMember, first, {.lane_bytes = 1024}, {}, 1, 0, lanes->get());
  replica.receive(0, kLeader, {.kind = log::MessageKind::append, .epoch = 1});
  replica.receive(0, kLeader,
                  {.kind = log::MessageKind::want_lane, .epoch = 1, .position = {0, 1}});
  const auto lane = world.leader.map({kMemberNode, 1}, fabric::RegionId{1});
  const auto directory = world.leader.map({kMemberNode, 1}, replication::directory_region(kGroup));
  DOLMEN_ASSERT(lane.has_value() && directory.has_value());
  const auto steps = in.get<std::uint32_t>();
  const auto word = in.get<std::uint8_t>();
  write_entries(*lane, in);
  log::Epoch epoch = 1;
  for (std::uint32_t left = steps; left != 0; left >>= 3) {
    switch (left & 7) {
      case 1:
        replica.receive(0, kLeader, {.kind = log::MessageKind::ask, .epoch = ++epoch});
        break;
      case 2:
        replica.receive(0, kLeader,
                        {.kind = log::MessageKind::want_lane, .epoch = epoch, .position = {0, 2}});
        break;
      case 3:
        replica.tick(replica.next_wakeup_ns());
        break;
      case 4:
        base::store(*directory, replication::kDirectoryWordAt, std::uint64_t{word});
        break;
      case 5:
        (*lanes)->let_go(kLeader, epoch);
        break;
      default:
        (void)replica.poll();
    }
    (void)replica.take_output();
    DOLMEN_ASSERT_CMP(replica.stable(), <=, replica.end().index);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::ByteReader in(std::as_bytes(std::span(data, size)));
  if (in.get<std::uint8_t>() % 2 == 0) {
    lead(in);
  } else {
    follow(in);
  }
  return 0;
}
