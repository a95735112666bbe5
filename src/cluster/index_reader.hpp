// SPDX-License-Identifier: Apache-2.0
//
// Who looks things up in a hash index from afar (docs/index.md): told a key, it says which bytes to
// read, and given them, what to read next or the answer. Both candidates are read in one round
// trip, a record in one more. Without input or output.
//
// Threads: one at a time; hints belong to one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "cluster/index_layout.hpp"
#include "cluster/index_record.hpp"

namespace dolmen::cluster {

/// What a reader remembers of a shard's directory. All of it may be old: what it leads to says so.
class IndexHints {
 public:
  explicit IndexHints(const IndexGeometry& geometry) noexcept : geometry_(geometry) {}

  /// Nothing: not known, look at kDepthAt.
  [[nodiscard]] std::optional<std::uint32_t> depth() const noexcept;
  /// kNoBucket: not known, look into the directory.
  [[nodiscard]] BucketNumber bucket_for(std::uint32_t position) const noexcept;
  void learn_depth(std::uint32_t depth);
  void learn(BucketNumber number, const Bucket& bucket);
  /// A whole directory, as it was read at directory_word_at(depth, 0).
  void learn_all(std::uint32_t depth, base::Bytes words);

 private:
  IndexGeometry geometry_;
  std::vector<BucketNumber> words_;  ///< 2^depth_, or none
  std::uint32_t depth_ = 0;
};

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

/// How the two buckets are read that may hold a key.
enum class Candidates : std::uint8_t {
  together,  ///< in one round trip: what takes time is the way
  in_turn,   ///< the second one if the key is not in the first: what takes time is reading
};

enum class LookupState : std::uint8_t {
  reading,      ///< do what reads() says
  found,        ///< home(), value()
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

class IndexLookup {
 public:
  /// A home. `epoch`: the shard's. Requires: the geometry is of a table of homes; lines for level
  /// `epoch` and no other; the hints stay while it reads.
  IndexLookup(const IndexGeometry& geometry, std::uint32_t epoch, IndexHints& hints,
              const ObjectId& id, ReadLevel level, const LedEpoch& led = {},
              Candidates candidates = Candidates::together);
  /// A record. Requires: the same, of a table of records.
  IndexLookup(const IndexGeometry& geometry, std::uint32_t epoch, IndexHints& hints,
              base::Bytes key, ReadLevel level, const LedEpoch& led = {},
              Candidates candidates = Candidates::together);

  [[nodiscard]] LookupState state() const noexcept { return state_; }
  /// What to read now, all of it together and in any order. None begins before the look-up did.
  [[nodiscard]] std::span<const IndexRead> reads() const noexcept { return reads_; }
  /// The bytes of reads(), in their order, from copies that nobody changes any more; an empty one
  /// for a read that failed. Requires: state() is `reading`.
  LookupState arrived(std::span<const base::Bytes> bytes, const ReadTimes& times = {});

  /// Requires: found, in a table of homes.
  [[nodiscard]] const Home& home() const noexcept { return home_; }
  /// Requires: found, in a table of records.
  [[nodiscard]] const std::vector<std::byte>& value() const noexcept { return value_; }
  [[nodiscard]] std::vector<std::byte> take_value() noexcept { return std::move(value_); }
  [[nodiscard]] std::uint32_t round_trips() const noexcept { return round_trips_; }

 private:
  /// A bucket that may hold the key.
  struct Candidate {
    enum class Step : std::uint8_t { depth, directory, bucket, settled, later };
    std::uint32_t position = 0;
    Step step = Step::depth;
    std::uint32_t depth = 0;  ///< of the directory that is looked into
    BucketNumber number = kNoBucket;
    Bucket bucket{};
  };

  IndexLookup(const IndexGeometry& geometry, std::uint32_t epoch, IndexHints& hints,
              const ObjectId& slot_key, std::vector<std::byte> key, ReadLevel level,
              const LedEpoch& led, Candidates candidates);
  void begin();
  /// Nothing that was read has the key.
  void answer_none();
  void look_up(Candidate& candidate);
  void look_into_directory(Candidate& candidate);
  void ask_for_reads();
  [[nodiscard]] bool leads_yet(std::span<const base::Bytes> lines) const noexcept;
  [[nodiscard]] bool is_in_time(const ReadTimes& times) const noexcept;
  void take_depth(Candidate& candidate, base::Bytes bytes);
  void take_directory(Candidate& candidate, base::Bytes depth, base::Bytes word);
  void take_bucket(Candidate& candidate, base::Bytes bytes);
  void take_records(std::span<const base::Bytes> bytes);
  void settle();
  void again();
  void answer_absent();
  void end(LookupState state);

  IndexGeometry geometry_;
  std::uint32_t epoch_;
  IndexHints* hints_;
  ObjectId slot_key_;
  std::vector<std::byte> key_;
  ReadLevel level_;
  LedEpoch led_;
  LookupState state_ = LookupState::reading;
  Candidates order_;
  std::array<Candidate, 2> candidates_;
  std::vector<RecordPlace> places_;  ///< that are being read; else none
  std::vector<IndexRead> reads_;
  std::uint32_t round_trips_ = 0;
  std::uint32_t futile_ = 0;  ///< reads of nothing whole
  Home home_{};
  std::vector<std::byte> value_;
};

}  // namespace dolmen::cluster
