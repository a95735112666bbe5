// SPDX-License-Identifier: Apache-2.0
//
// Who reads the region of a shard of an index from afar (docs/index.md, Who reads): what is read
// in a round, and whether what came may be believed. What is looked for is the business of those
// that derive from it: index_reader.hpp (hash), ordered_reader.hpp. Without input or output.
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.hpp"

namespace dolmen::cluster {

enum class ReadLevel : std::uint8_t {
  hint,   ///< of any copy: what is found was so at some moment; never "absent"
  lease,  ///< of the leader's copy, under a lease: linearizable
  epoch,  ///< of the leader's copy, with what a majority promised: linearizable (docs/index.md)
};

/// Level `epoch`: what was learned, by message, of whoever leads the shard's group.
struct LedEpoch {
  std::uint64_t epoch = 0;       ///< it leads in that, and had executed an entry of it
  std::uint64_t configured = 0;  ///< the entry of the configuration whose majority is asked
  std::uint32_t lines = 0;       ///< of a majority; the leader's is the first
};

/// Bytes of the leader's copy of the region, or of a member's line.
struct IndexRead {
  std::uint32_t line = 0;    ///< 0: of the copy; i: of the i-th line
  std::uint64_t offset = 0;  ///< a multiple of 8
  std::uint32_t bytes = 0;   ///< a multiple of 8
};
/// What is read of a line: the highest epoch that its member promised, and the entry of the last
/// configuration in its log.
inline constexpr std::uint32_t kLineReadBytes = 16;

enum class LookupState : std::uint8_t {
  reading,      ///< do what reads() says
  found,        ///< there is an answer
  absent,       ///< the key is not there
  ask,          ///< by message, of the leader: this did not get anywhere
  wrong_epoch,  ///< the shard has another one now: look at the map
  deposed,      ///< another may lead the group by now, or it cannot be told: ask who does, and look
                ///< anew
};

/// When the reads were done and how long the lease holds, on one clock. Other levels than `lease`
/// need neither.
struct ReadTimes {
  std::uint64_t issued_ns = 0;
  std::uint64_t completed_ns = 0;  ///< all of them
  std::uint64_t lease_until_ns = 0;
};

class RegionReader {
 public:
  virtual ~RegionReader() = default;

  [[nodiscard]] LookupState state() const noexcept { return state_; }
  /// What to read now, all of it together and in any order. None begins before the look-up did.
  [[nodiscard]] std::span<const IndexRead> reads() const noexcept { return reads_; }
  /// The bytes of reads(), in their order, from copies that nobody changes any more; an empty one
  /// for a read that failed. Requires: state() is `reading`.
  LookupState arrived(std::span<const base::Bytes> bytes, const ReadTimes& times = {});
  [[nodiscard]] std::uint32_t round_trips() const noexcept { return round_trips_; }
  [[nodiscard]] ReadLevel level() const noexcept { return level_; }

 protected:
  /// Requires: lines for level `epoch` and no other.
  RegionReader(ReadLevel level, const LedEpoch& led);
  /// A new look-up in the memory of the one before. Requires: the same.
  void start(ReadLevel level, const LedEpoch& led);
  RegionReader(const RegionReader&) = default;
  RegionReader(RegionReader&&) = default;
  RegionReader& operator=(const RegionReader&) = default;
  RegionReader& operator=(RegionReader&&) = default;

  /// What the copy's reads brought, all of it there and to be believed as of some moment since the
  /// look-up began. Either it ends, or there are other reads then.
  virtual void take(std::span<const base::Bytes> bytes) = 0;

  /// Behind the first round's reads, once: what counts is that no line is read before the look-up
  /// began.
  void read_lines();
  void end(LookupState state);
  /// `absent`, where the level may say so.
  void end_absent();

  std::vector<IndexRead> reads_;

 private:
  [[nodiscard]] bool leads_yet(std::span<const base::Bytes> lines) const noexcept;
  [[nodiscard]] bool is_in_time(const ReadTimes& times) const noexcept;

  ReadLevel level_ = ReadLevel::hint;
  LedEpoch led_;
  LookupState state_ = LookupState::reading;
  std::uint32_t round_trips_ = 0;
};

}  // namespace dolmen::cluster
