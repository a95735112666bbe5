// SPDX-License-Identifier: Apache-2.0
//
// Who looks things up in a hash index from afar (docs/index.md): told a key, it says which bytes to
// read, and given them, what to read next or the answer. Both candidates are read in one round
// trip, a record in one more; or a record together with the bucket that led there before. Without
// input or output.
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
#include "cluster/index_places.hpp"
#include "cluster/index_record.hpp"
#include "cluster/region_reader.hpp"

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

  /// Where records were, of which look-ups make one round trip of two: none before remember().
  [[nodiscard]] IndexPlaces& places() noexcept { return places_; }

 private:
  IndexGeometry geometry_;
  IndexPlaces places_;
  std::vector<BucketNumber> words_;  ///< 2^depth_, or none
  std::uint32_t depth_ = 0;
};

/// How the two buckets are read that may hold a key.
enum class Candidates : std::uint8_t {
  together,  ///< in one round trip: what takes time is the way
  in_turn,   ///< the second one if the key is not in the first: what takes time is reading
};

class IndexLookup final : public RegionReader {
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
  /// A record, looked up anew in the memory of the look-up before, whatever that was of. Requires:
  /// as above.
  void start(const IndexGeometry& geometry, std::uint32_t epoch, IndexHints& hints, base::Bytes key,
             ReadLevel level, const LedEpoch& led, Candidates candidates);

  /// Requires: found, in a table of homes.
  [[nodiscard]] const Home& home() const noexcept { return home_; }
  /// Requires: found, in a table of records.
  [[nodiscard]] const std::vector<std::byte>& value() const noexcept { return value_; }
  [[nodiscard]] std::vector<std::byte> take_value() noexcept { return std::move(value_); }

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

  void start(const IndexGeometry& geometry, std::uint32_t epoch, IndexHints& hints,
             const ObjectId& slot_key, Candidates candidates);
  void take(std::span<const base::Bytes> bytes) override;
  /// `recalls`: the record is read where it was, if that is known.
  void begin(bool recalls);
  void look_up(Candidate& candidate);
  void look_into_directory(Candidate& candidate);
  void ask_for_reads();
  void take_depth(Candidate& candidate, base::Bytes bytes);
  void take_directory(Candidate& candidate, base::Bytes depth, base::Bytes word);
  void take_bucket(Candidate& candidate, base::Bytes bytes);
  void take_records(std::span<const base::Bytes> bytes);
  /// `recalled`: what was read where the record was; nothing: that was not read now.
  void settle(base::Bytes recalled);
  /// What came with the bucket, if the bucket leads there.
  [[nodiscard]] bool is_recalled(const RecordPlace& place, base::Bytes recalled);
  /// Nothing that was read has the key.
  void end_without();
  void again();

  IndexGeometry geometry_{};
  std::uint32_t epoch_ = 0;
  IndexHints* hints_ = nullptr;
  ObjectId slot_key_{};
  std::vector<std::byte> key_;
  Candidates order_ = Candidates::together;
  std::array<Candidate, 2> candidates_;
  std::optional<IndexPlaces::Place> recalled_;  ///< that is read with the first bucket
  std::vector<IndexPlaces::Place> places_;      ///< that are being read; else none
  std::uint64_t copy_ = 0;                      ///< of the hints' places
  std::uint32_t futile_ = 0;                    ///< reads of nothing whole
  Home home_{};
  std::vector<std::byte> value_;
};

}  // namespace dolmen::cluster
