// SPDX-License-Identifier: Apache-2.0
//
// Memories of simulated replicas that others write into (log/lane.hpp). What is written lands in
// pieces of 64 bytes at times of their own, operations between two replicas one after the other;
// the load of the word is a moment of its own as well, and so is the report. While the owner does
// something with its memory, anything under way may land.
//
// Two kinds of machinery. Mapped: the writing process does it, so that a pause or its end stops it
// in the middle, and no cut of the network is in the way. A card: what was posted lands whatever
// the process does, and fails where the network is cut.
//
// Threads: one. Deterministic: everything comes from the seed and the order of calls.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "log/lane.hpp"
#include "log/witness_area.hpp"
#include "sim/event_queue.hpp"

namespace dolmen::sim {

/// A process that writes: which node's, and in which of its lives.
struct Writer {
  std::size_t node = 0;
  std::uint64_t life = 0;
};

class LogMemory {
 public:
  /// How it is carried out and what else there is in the world.
  struct World {
    /// Nothing: the process has ended. Else: until when it stands still.
    std::function<std::optional<std::uint64_t>(Writer)> paused_until_ns;
    std::function<bool(std::size_t from, std::size_t to)> is_cut;
    /// Of an operation; `word` is nothing for one that failed, and of a raise what it was before.
    std::function<void(Writer, const log::LaneWrite&, std::optional<log::Epoch> word)> report;
  };

  LogMemory(EventQueue& queue, std::size_t nodes, std::uint64_t seed, World world);
  LogMemory(const LogMemory&) = delete;
  LogMemory& operator=(const LogMemory&) = delete;

  [[nodiscard]] log::LaneMemory& of(std::size_t node) { return *areas_[node]; }
  void write(Writer writer, std::size_t to, const log::LaneWrite& operation);
  /// It is a witness's, in areas of so many bytes.
  void use_areas(std::size_t bytes) { area_bytes_ = bytes; }
  /// Its areas, as `reader` finds them.
  [[nodiscard]] std::vector<log::AreaView> areas_of(std::size_t node, std::size_t reader);
  /// While it is, nothing reaches it.
  void set_away(std::size_t node, bool is_away) { areas_[node]->is_away_ = is_away; }
  /// Everything in it, now and later.
  void lose(std::size_t node);
  /// … and is empty memory from then on.
  void forget(std::size_t node);
  /// Whether some lane that still counts holds this entry as a whole.
  [[nodiscard]] bool holds(std::size_t node, log::Position where) const;
  /// From now on nothing is late or fails.
  void calm_down();

 private:
  struct Lane {
    std::shared_ptr<std::vector<std::uint64_t>> words;
    std::size_t bytes = 0;
    bool is_dropped = false;
  };
  class Area final : public log::LaneMemory {
   public:
    Area(LogMemory& all, std::size_t node) : all_(all), node_(node) {}
    log::Epoch word() override;
    log::Epoch raise(log::Epoch epoch) override;
    base::MutableBytes make_lane(log::ReplicaId writer, log::LaneName name,
                                 std::size_t bytes) override;
    void drop_lane(log::LaneName name) override;
    std::vector<base::Bytes> kept_lanes() override;

   private:
    friend class LogMemory;
    LogMemory& all_;
    const std::size_t node_;
    log::Epoch word_ = 0;
    std::optional<log::Epoch> stored_{};  ///< a plain store of the owner's that nobody sees yet
    bool is_lost_ = false;
    bool is_away_ = false;
    /// Of a witness: of each node, its areas.
    std::map<std::size_t, std::array<std::vector<std::uint64_t>, log::kAreasOfServer>> of_servers_;
    std::map<std::pair<log::Epoch, std::uint32_t>, Lane> lanes_;
  };
  struct Operation {
    Writer writer;
    log::LaneWrite write;
    std::vector<std::byte> bytes;
    std::size_t landed = 0;
  };
  struct Link {
    std::deque<Operation> operations;
    bool is_scheduled = false;
  };

  static base::MutableBytes bytes_of(const Lane& lane);
  [[nodiscard]] bool chance(std::uint64_t one_in) { return random_.below(one_in) == 0; }
  Link& link(std::size_t from, std::size_t to) { return links_[from * areas_.size() + to]; }
  void schedule(std::size_t from, std::size_t to);
  /// Where an operation's bytes go; nothing: there is no such lane.
  [[nodiscard]] std::optional<base::MutableBytes> place_of(Area& area, const Operation& operation);
  /// The next thing of the first operation; false: its process stands still.
  bool step(std::size_t from, std::size_t to);
  /// Anything that is on its way to `node` may go on while its owner is at work.
  void go_on_elsewhere(std::size_t node);

  EventQueue& queue_;
  base::Random random_;
  const World world_;
  std::vector<std::unique_ptr<Area>> areas_;
  std::vector<Link> links_;
  bool is_mapped_;
  std::uint64_t step_max_ns_;
  std::uint64_t late_one_in_;  ///< of the steps; 0: none
  std::uint64_t late_max_ns_;
  bool lacks_room_;
  std::size_t area_bytes_ = 0;
};

}  // namespace dolmen::sim
