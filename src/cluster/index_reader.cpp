// SPDX-License-Identifier: Apache-2.0
#include "cluster/index_reader.hpp"

#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "cluster/index_memory.hpp"

namespace dolmen::cluster {

namespace {

/// So often it reads again what was not whole.
constexpr std::uint32_t kFutileMax = 3;
/// Beside one hop for each bit of the directory.
constexpr std::uint32_t kRoundTripsMore = 6;

/// Where the aligned word is that holds such a word of a directory.
std::size_t word_around(std::uint32_t depth, std::uint32_t position) noexcept {
  return IndexGeometry::directory_word_at(depth, position) / 8 * 8;
}

}  // namespace

std::optional<std::uint32_t> IndexHints::depth() const noexcept {
  if (words_.empty()) return std::nullopt;
  return depth_;
}

BucketNumber IndexHints::bucket_for(std::uint32_t position) const noexcept {
  const auto bits = depth();
  if (!bits) return kNoBucket;
  return words_[*bits == 0 ? 0 : position >> (32 - *bits)];
}

void IndexHints::learn_depth(std::uint32_t depth) {
  if (depth > geometry_.depth_max) return;
  if (words_.empty()) words_.push_back(kNoBucket);
  for (; depth_ < depth; ++depth_) {
    std::vector<BucketNumber> twice(words_.size() * 2);
    for (std::size_t i = 0; i < twice.size(); ++i) twice[i] = words_[i / 2];
    words_ = std::move(twice);
  }
}

void IndexHints::learn(BucketNumber number, const Bucket& bucket) {
  learn_depth(bucket.depth);
  const std::uint32_t below = *depth() - bucket.depth;
  const auto first = words_.begin() + (std::ptrdiff_t{bucket.prefix} << below);
  std::fill(first, first + (std::ptrdiff_t{1} << below), number);
}

void IndexHints::learn_all(std::uint32_t depth, base::Bytes words) {
  if (depth > geometry_.depth_max || words.size() != std::size_t{4} << depth) return;
  words_.assign(std::size_t{1} << depth, kNoBucket);
  depth_ = depth;
  for (std::size_t i = 0; i < words_.size(); ++i) {
    const auto number = base::load<BucketNumber>(words, i * 4);
    words_[i] = number <= geometry_.bucket_count ? number : kNoBucket;
  }
}

IndexLookup::IndexLookup(const IndexGeometry& geometry, std::uint32_t epoch, IndexHints& hints,
                         const ObjectId& id, ReadLevel level, const LedEpoch& led,
                         Candidates candidates)
    : RegionReader(level, led) {
  DOLMEN_ASSERT(geometry.kind == IndexKind::homes);
  start(geometry, epoch, hints, id, candidates);
}

IndexLookup::IndexLookup(const IndexGeometry& geometry, std::uint32_t epoch, IndexHints& hints,
                         base::Bytes key, ReadLevel level, const LedEpoch& led,
                         Candidates candidates)
    : RegionReader(level, led) {
  start(geometry, epoch, hints, key, level, led, candidates);
}

void IndexLookup::start(const IndexGeometry& geometry, std::uint32_t epoch, IndexHints& hints,
                        base::Bytes key, ReadLevel level, const LedEpoch& led,
                        Candidates candidates) {
  DOLMEN_ASSERT(geometry.kind == IndexKind::records);
  RegionReader::start(level, led);
  key_.assign(key.begin(), key.end());
  start(geometry, epoch, hints, hash_of_key(key, geometry.seed), candidates);
}

void IndexLookup::start(const IndexGeometry& geometry, std::uint32_t epoch, IndexHints& hints,
                        const ObjectId& slot_key, Candidates candidates) {
  geometry_ = geometry;
  epoch_ = epoch;
  hints_ = &hints;
  slot_key_ = slot_key;
  order_ = candidates;
  copy_ = hints.places().copy();
  futile_ = 0;
  begin(true);
  read_lines();
}

void IndexLookup::begin(bool recalls) {
  places_.clear();
  auto positions = positions_of(slot_key_, geometry_.seed);
  recalled_.reset();
  if (recalls) recalled_ = hints_->places().recall(slot_key_);
  // One bucket is enough then, and which is read first is all the same (docs/index.md).
  if (recalled_ && recalled_->is_second) std::swap(positions[0], positions[1]);
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    candidates_[i].position = positions[i];
    candidates_[i].step = Candidate::Step::later;
    if (i == 0 || (order_ == Candidates::together && !recalled_)) look_up(candidates_[i]);
  }
  ask_for_reads();
  if (!recalled_) return;
  if (candidates_[0].step == Candidate::Step::bucket) {
    reads_.push_back({0, recalled_->record.at(geometry_), recalled_->record.bytes});
  } else {
    recalled_.reset();
  }
}

void IndexLookup::look_up(Candidate& candidate) {
  candidate.number = hints_->bucket_for(candidate.position);
  candidate.step = Candidate::Step::bucket;
  if (candidate.number == kNoBucket) look_into_directory(candidate);
}

void IndexLookup::look_into_directory(Candidate& candidate) {
  const auto depth = hints_->depth();
  candidate.step = depth ? Candidate::Step::directory : Candidate::Step::depth;
  candidate.depth = depth.value_or(0);
}

void IndexLookup::ask_for_reads() {
  reads_.clear();
  for (const Candidate& candidate : candidates_) {
    const auto read = [&](std::size_t offset, std::size_t bytes) {
      reads_.push_back({0, offset, static_cast<std::uint32_t>(bytes)});
    };
    switch (candidate.step) {
      case Candidate::Step::depth:
        read(kDepthAt, 8);
        break;
      case Candidate::Step::directory:
        read(kDepthAt, 8);
        read(word_around(candidate.depth, candidate.position), 8);
        break;
      case Candidate::Step::bucket:
        read(geometry_.bucket_at(candidate.number), kBucketBytes);
        break;
      case Candidate::Step::settled:
      case Candidate::Step::later:
        break;
    }
  }
}

void IndexLookup::take(std::span<const base::Bytes> bytes) {
  if (!places_.empty()) return take_records(bytes);
  const base::Bytes recalled = recalled_ ? bytes.back() : base::Bytes{};
  std::size_t next = 0;
  for (Candidate& candidate : candidates_) {
    if (state() != LookupState::reading) return;
    switch (candidate.step) {
      case Candidate::Step::depth:
        take_depth(candidate, bytes[next++]);
        break;
      case Candidate::Step::directory:
        take_directory(candidate, bytes[next], bytes[next + 1]);
        next += 2;
        break;
      case Candidate::Step::bucket:
        take_bucket(candidate, bytes[next++]);
        break;
      case Candidate::Step::settled:
      case Candidate::Step::later:
        break;
    }
  }
  if (state() != LookupState::reading) return;
  const bool is_settled = std::ranges::all_of(candidates_, [](const Candidate& candidate) {
    return candidate.step == Candidate::Step::settled || candidate.step == Candidate::Step::later;
  });
  if (is_settled) {
    settle(recalled);
  } else if (futile_ > kFutileMax || round_trips() > geometry_.depth_max + kRoundTripsMore) {
    end(LookupState::ask);
  } else {
    recalled_.reset();
    ask_for_reads();
  }
}

void IndexLookup::take_depth(Candidate& candidate, base::Bytes bytes) {
  hints_->learn_depth(base::load<std::uint32_t>(bytes));
  if (!hints_->depth()) {
    ++futile_;
    return;
  }
  look_into_directory(candidate);
}

void IndexLookup::take_directory(Candidate& candidate, base::Bytes depth, base::Bytes word) {
  hints_->learn_depth(base::load<std::uint32_t>(depth));
  if (hints_->depth() != candidate.depth) {  // there is a deeper one
    look_into_directory(candidate);
    return;
  }
  const std::size_t at = IndexGeometry::directory_word_at(candidate.depth, candidate.position) % 8;
  const auto number = base::load<BucketNumber>(word, at);
  if (number == kNoBucket || number > geometry_.bucket_count) {
    ++futile_;
    return;
  }
  candidate.number = number;
  candidate.step = Candidate::Step::bucket;
}

void IndexLookup::take_bucket(Candidate& candidate, base::Bytes bytes) {
  JudgedBucket judged =
      judge_bucket(bytes, candidate.number, candidate.position, epoch_, geometry_);
  switch (judged.verdict) {
    case BucketVerdict::speaks:
      hints_->learn(candidate.number, judged.bucket);
      candidate.bucket = judged.bucket;
      candidate.step = Candidate::Step::settled;
      break;
    case BucketVerdict::torn:
      ++futile_;
      break;
    case BucketVerdict::wrong_epoch:
      end(LookupState::wrong_epoch);
      break;
    case BucketVerdict::forward:
    case BucketVerdict::sibling:
      candidate.number = judged.bucket.link;
      break;
    case BucketVerdict::elsewhere:
      look_into_directory(candidate);
      break;
  }
}

void IndexLookup::settle(base::Bytes recalled) {
  for (std::size_t i = 0; i < 2; ++i) {
    if (candidates_[i].step == Candidate::Step::later) break;
    // The same bucket at another moment may have taken in the key's other candidate.
    const bool is_same = i == 1 && candidates_[1].number == candidates_[0].number;
    if (is_same && (candidates_[1].bucket.sequence == candidates_[0].bucket.sequence ||
                    DOLMEN_PLANTED("cluster.second_look_skipped"))) {
      break;
    }
    const Bucket& bucket = candidates_[i].bucket;
    for (std::size_t slot = 0; slot < bucket.count; ++slot) {
      if (bucket.slots[slot].key != slot_key_) continue;
      if (geometry_.kind == IndexKind::records) {
        const auto place = RecordPlace::of(bucket.slots[slot], geometry_);
        if (!place) return end(LookupState::ask);
        if (is_recalled(*place, recalled)) return end(LookupState::found);
        places_.push_back({.record = *place, .is_second = (bucket.second >> slot & 1) != 0});
        continue;
      }
      const auto home = Home::of(bucket.slots[slot]);
      if (!home) return end(LookupState::ask);
      home_ = *home;
      return end(LookupState::found);
    }
  }
  recalled_.reset();
  if (places_.empty()) return end_without();
  reads_.clear();
  for (const auto& [place, is_second] : places_) {
    reads_.push_back({0, place.at(geometry_), place.bytes});
  }
}

bool IndexLookup::is_recalled(const RecordPlace& place, base::Bytes recalled) {
  if (!recalled_) return false;
  RecordPlace led_to = place;
  if (DOLMEN_PLANTED("cluster.recalled_any_generation")) {
    led_to.generation = recalled_->record.generation;
  }
  if (led_to != recalled_->record && !DOLMEN_PLANTED("cluster.recalled_any_place")) return false;
  const auto record = decode_record(recalled, recalled_->record, geometry_);
  if (!record || !std::ranges::equal(record->key, key_)) return false;
  value_.assign(record->value.begin(), record->value.end());
  return true;
}

void IndexLookup::take_records(std::span<const base::Bytes> bytes) {
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const auto record = decode_record(bytes[i], places_[i].record, geometry_);
    if (!record) return again();
    if (!std::ranges::equal(record->key, key_) && !DOLMEN_PLANTED("cluster.record_unmatched")) {
      continue;
    }
    value_.assign(record->value.begin(), record->value.end());
    hints_->places().learn(slot_key_, places_[i], copy_);
    return end(LookupState::found);
  }
  end_without();
}

void IndexLookup::end_without() {
  if (candidates_[1].step != Candidate::Step::later) {
    hints_->places().forget(slot_key_);
    return end_absent();
  }
  places_.clear();
  look_up(candidates_[1]);
  ask_for_reads();
}

// The record is another one by now.
void IndexLookup::again() {
  if (++futile_ > kFutileMax) return end(LookupState::ask);
  begin(false);
}

}  // namespace dolmen::cluster
