// SPDX-License-Identifier: Apache-2.0
//
// HashTable: linear hashing over buckets of one cache line, without knowledge of keys and values.
// It links and unlinks nodes that its owner allocates; a node begins with one word, `next`.
//
// A bucket has eight slots. A node sits in any free slot of its bucket; when all are taken, in the
// chain behind the slot that its hash chooses. A look-up costs a cache miss for the bucket and one
// for the node: a link carries 14 bits of its node's hash, so that other nodes are not touched. One
// bucket is split per 7.5 insertions; nothing is ever rehashed as a whole. Buckets lie in segments,
// one allocation each, of 1, 2, 4, … 1024, 1024, 1024, … buckets, found through a directory.
//
// Link: bits 0–46 location, 47 the node has a next, 48 set, 49–62 hash bits 49–62, 63 clear.
// Invariants:
//   1. A link's bit 47 is set exactly if its node's `next` is not zero.
//   2. A node behind a slot's first has hash bits 45–47 equal to that slot's number.
//   3. A node lies in bucket i = hash & mask if i < bucket_count, else hash & (mask >> 1).
//   4. The segments of all buckets exist, and no others; the directory has bit_ceil(segments), at
//   least 4,
//      entries.
//
// Threads: as the containers.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <dolmen/detail/container_base.hpp>

namespace dolmen::detail {

/// One cache line: allocations of whole lines begin at one where the home can do it.
struct HashBucket {
  static constexpr unsigned kSlots = 8;
  std::uint64_t slots[kSlots];
};
static_assert(sizeof(HashBucket) == 64);

/// Where things lie, for HashTable and for who reads it without trusting it.
struct HashLayout {
  static constexpr unsigned kTagShift = 48;
  static constexpr std::uint64_t kHasNext = std::uint64_t{1} << 47;
  static constexpr std::uint64_t kLocationMask = kHasNext - 1;
  static constexpr std::uint32_t kSegmentShift = 10;
  static constexpr std::uint32_t kSegmentMax = std::uint32_t{1} << kSegmentShift;

  struct Place {
    std::uint32_t segment;
    std::uint32_t offset;
  };
  /// Of bucket `index`.
  static constexpr Place place_of(std::uint32_t index) noexcept {
    const std::uint32_t number = index + 1;
    if (number >> kSegmentShift != 0) {
      return {kSegmentShift + (number >> kSegmentShift) - 1, number & (kSegmentMax - 1)};
    }
    // Never 0, which `| 1` tells compilers: no case for it, and no shift by -1.
    const unsigned segment = static_cast<unsigned>(std::bit_width(number | 1)) - 1u;
    return {segment, number ^ (std::uint32_t{1} << segment)};
  }
  static constexpr std::uint32_t segment_buckets(std::uint32_t segment) noexcept {
    return segment < kSegmentShift ? std::uint32_t{1} << segment : kSegmentMax;
  }
  static constexpr std::size_t directory_capacity(std::uint32_t segments) noexcept {
    return segments <= 4 ? 4 : std::bit_ceil(segments);
  }
  static constexpr std::uint32_t bucket_of(std::uint64_t hash, std::uint32_t buckets,
                                           std::uint32_t mask) noexcept {
    const std::uint32_t index = static_cast<std::uint32_t>(hash) & mask;
    return index < buckets ? index : index & (mask >> 1);
  }
};

class HashTable : private HashLayout {
 public:
  /// Where a node hangs; `node` is null at the end.
  struct Position {
    std::uint64_t* node = nullptr;
    std::uint32_t bucket = 0;
    std::uint32_t slot = 0;
    friend bool operator==(const Position& left, const Position& right) noexcept {
      return left.node == right.node;
    }
  };

  HashTable() = default;
  HashTable(const HashTable&) = delete;
  HashTable& operator=(const HashTable&) = delete;
  ~HashTable() = default;  // its owner calls release()

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t bucket_count() const noexcept { return bucket_count_; }

  /// The first node of this hash for which match(node) holds.
  template <class Match>
  [[gnu::always_inline]] Position find(std::uint64_t hash, Match&& match) const {
    if (size_ == 0) return {};
    const Home home(this);
    const std::uint32_t index = bucket_of(hash);
    const HashBucket& bucket = *bucket_at(home, index);
    const std::uint64_t tag = tag_of(hash);
    for (unsigned candidates = slots_tagged(bucket, tag); candidates != 0;
         candidates &= candidates - 1) {
      const unsigned slot = static_cast<unsigned>(std::countr_zero(candidates));
      std::uint64_t* const node = node_of(home, bucket.slots[slot]);
      if (match(node)) [[likely]]
        return {node, index, slot};
    }
    const unsigned slot = chain_slot(hash);
    for (std::uint64_t link = bucket.slots[slot]; (link & kHasNext) != 0;) {
      link = *node_of(home, link);
      if ((link ^ tag) >> kTagShift != 0) continue;
      std::uint64_t* const node = node_of(home, link);
      if (match(node)) return {node, index, slot};
    }
    return {};
  }

  /// Makes room for one more node. `hash_of(node)` gives a linked node's hash.
  template <class HashOf>
  void make_room(const HashOf& hash_of) {
    if ((size_ + 1) * 2 > std::uint64_t{bucket_count_} * 15) [[unlikely]]
      add_bucket(hash_of);
  }
  /// Buckets for `count` nodes.
  template <class HashOf>
  void reserve(std::size_t count, const HashOf& hash_of) {
    const std::size_t wanted = (count * 2 + 14) / 15;
    if (wanted > kBucketsMax) throw_error(Errc::limit, "hash_map", count);
    if (size_ != 0) {
      while (bucket_count_ < wanted) add_bucket(hash_of);
      return;
    }
    while (bucket_count_ < wanted) {  // nothing to split: segment by segment
      const Place next = place_of(bucket_count_);
      if (next.offset == 0) open_segment(next.segment);
      const std::size_t full = bucket_count_ - next.offset + segment_buckets(next.segment);
      set_bucket_count(static_cast<std::uint32_t>(full < wanted ? full : wanted));
    }
  }
  /// Requires: make_room() since the last link(), `node` is logged.
  Position link(std::uint64_t hash, std::uint64_t* node) {
    const Home home(this);
    const std::uint32_t index = bucket_of(hash);
    HashBucket& bucket = *bucket_at(home, index);
    const std::uint64_t link = home.location_of(node) | tag_of(hash);
    unsigned slot = 0;
    while (slot < HashBucket::kSlots && bucket.slots[slot] != 0) ++slot;
    if (slot < HashBucket::kSlots) {
      *node = 0;
      put(bucket.slots[slot], link);
    } else {
      slot = chain_slot(hash);
      chain(home, bucket.slots[slot], link, node);
    }
    put(size_, size_ + 1);
    return {node, index, slot};
  }
  void unlink(const Position& at) {
    const Home home(this);
    std::uint64_t* before = nullptr;  // the link to the node that holds `link`
    std::uint64_t* link = &bucket_at(home, at.bucket)->slots[at.slot];
    while (node_of(home, *link) != at.node) {
      if ((*link & kHasNext) == 0) throw_error(Errc::corrupt, "hash_map");
      before = link;
      link = node_of(home, *link);
    }
    const std::uint64_t next = *at.node;
    put(*link, next);
    if (next == 0 && before != nullptr) put(*before, *before & ~kHasNext);
    put(size_, size_ - 1);
  }

  [[nodiscard]] Position first() const {
    Position at;
    if (size_ != 0) seek(Home(this), at);
    return at;
  }
  void advance(Position& at) const {
    const Home home(this);
    if (*at.node != 0) {
      at.node = node_of(home, *at.node);
    } else {
      at.node = nullptr;
      ++at.slot;
      seek(home, at);
    }
  }

  /// Gives back buckets and directory; the nodes are the caller's. Logs itself.
  void release() {
    if (directory_.is_null()) return;
    const Home home(this);
    log_write(this, sizeof(*this));
    raw_ptr<HashBucket>* const directory = directory_.get(home);
    const std::uint32_t segments = segment_count();
    for (std::uint32_t s = 0; s < segments; ++s) {
      if (HashBucket* const segment = directory[s].get(home)) {
        deallocate_array(segment, segment_buckets(s));
      }
    }
    deallocate_array(directory, directory_capacity(segments));
    directory_.set(home, nullptr);
    size_ = 0;
    bucket_count_ = mask_ = 0;
  }
  /// Requires: same home, this table is empty and logged.
  void take(HashTable& other) {
    log_write(&other, sizeof(other));
    directory_.take(other.directory_);
    size_ = std::exchange(other.size_, 0);
    bucket_count_ = std::exchange(other.bucket_count_, 0);
    mask_ = std::exchange(other.mask_, 0);
  }

 private:
  static constexpr std::uint32_t kBucketsMax = std::uint32_t{1} << 30;

  static std::uint64_t tag_of(std::uint64_t hash) noexcept {
    return ((hash >> kTagShift & 0x7FFF) | 1) << kTagShift;
  }
  /// Bit i: slot i has this tag.
  [[gnu::always_inline]] static unsigned slots_tagged(const HashBucket& bucket,
                                                      std::uint64_t tag) noexcept {
#if defined(__SSE2__)
    const auto two = [&](unsigned first) {
      const void* const slots = bucket.slots + first;
      return _mm_loadu_ps(static_cast<const float*>(slots));
    };
    // The high halves of four slots; of these the high halves.
    const auto tags_of_four = [&](unsigned first) {
      const __m128 high = _mm_shuffle_ps(two(first), two(first + 2), 0b11'01'11'01);
      return _mm_srli_epi32(_mm_castps_si128(high), kTagShift - 32);
    };
    const __m128i wanted = _mm_set1_epi32(static_cast<int>(tag >> kTagShift));
    const __m128i equal = _mm_packs_epi32(_mm_cmpeq_epi32(tags_of_four(0), wanted),
                                          _mm_cmpeq_epi32(tags_of_four(4), wanted));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())));
#else
    unsigned tagged = 0;
    for (unsigned i = 0; i < HashBucket::kSlots; ++i) {
      tagged |= static_cast<unsigned>((bucket.slots[i] ^ tag) >> kTagShift == 0) << i;
    }
    return tagged;
#endif
  }
  static unsigned chain_slot(std::uint64_t hash) noexcept {
    return static_cast<unsigned>(hash >> 45) & 7u;
  }
  [[gnu::always_inline]] static std::uint64_t* node_of(Home home, std::uint64_t link) {
    return static_cast<std::uint64_t*>(home.at(link & kLocationMask));
  }
  [[nodiscard]] std::uint32_t bucket_of(std::uint64_t hash) const noexcept {
    return HashLayout::bucket_of(hash, bucket_count_, mask_);
  }
  [[nodiscard]] std::uint32_t segment_count() const noexcept {
    return bucket_count_ == 0 ? 0 : place_of(bucket_count_ - 1).segment + 1;
  }
  [[gnu::always_inline]] HashBucket* bucket_at(Home home, std::uint32_t index) const {
    const Place place = place_of(index);
    return directory_.must(home)[place.segment].must(home) + place.offset;
  }
  void set_bucket_count(std::uint32_t count) {
    log_write(this, sizeof(*this));
    bucket_count_ = count;
    mask_ = std::bit_ceil(count) - 1;
  }
  /// Requires: all segments below `segment` are there.
  void open_segment(std::uint32_t segment) {
    const Home home(this);
    HashBucket* const memory = allocate_array<HashBucket>(this, segment_buckets(segment));
    Rollback rollback([&] { deallocate_array(memory, segment_buckets(segment)); });
    raw_ptr<HashBucket>* directory = directory_.get(home);
    const std::size_t old_capacity = directory == nullptr ? 0 : directory_capacity(segment);
    const std::size_t capacity = directory_capacity(segment + 1);
    if (capacity != old_capacity) {
      raw_ptr<HashBucket>* const larger = allocate_array<raw_ptr<HashBucket>>(this, capacity);
      relocate(larger, directory, segment * sizeof(*larger));
      log_write(&directory_, sizeof(directory_));
      directory_.set(home, larger);
      if (directory != nullptr) deallocate_array(directory, old_capacity);
      directory = larger;
    } else {
      log_write(directory + segment, sizeof(*directory));
    }
    rollback.dismiss();
    directory[segment].set(home, memory);
  }
  void seek(Home home, Position& at) const {
    for (; at.bucket < bucket_count_; ++at.bucket, at.slot = 0) {
      const HashBucket& bucket = *bucket_at(home, at.bucket);
      if (at.slot == 0) {
        for (const std::uint64_t link : bucket.slots) prefetch(home, link);
      }
      for (; at.slot < HashBucket::kSlots; ++at.slot) {
        if (bucket.slots[at.slot] == 0) continue;
        at.node = node_of(home, bucket.slots[at.slot]);
        return;
      }
    }
  }
  static void prefetch(Home home, std::uint64_t link) {
    if (link != 0) __builtin_prefetch(node_of(home, link));
  }

  template <class HashOf>
  [[gnu::noinline]] void add_bucket(const HashOf& hash_of) {
    const std::uint32_t index = bucket_count_;
    if (index == kBucketsMax) throw_error(Errc::limit, "hash_map", size_);
    if (place_of(index).offset == 0) open_segment(place_of(index).segment);
    if (index != 0) {
      const Home home(this);
      split(home, *bucket_at(home, index - std::bit_floor(index)), *bucket_at(home, index), index,
            hash_of);
    }
    set_bucket_count(index + 1);
  }

  /// Moves the nodes of `low` whose place is now bucket `index` to `high`, which is empty.
  template <class HashOf>
  static void split(Home home, HashBucket& low, HashBucket& high, std::uint32_t index,
                    const HashOf& hash_of) {
    const std::uint32_t mask = std::bit_ceil(index + 1) - 1;
    for (const std::uint64_t link : low.slots) prefetch(home, link);
    HashBucket images[2] = {};
    std::uint64_t chains[HashBucket::kSlots];
    for (unsigned i = 0; i < HashBucket::kSlots; ++i) {  // first nodes keep their slots
      const std::uint64_t link = low.slots[i];
      chains[i] = 0;
      if (link == 0) continue;
      std::uint64_t* const node = node_of(home, link);
      chains[i] = *node;
      set_next(node, 0);
      images[(hash_of(node) & mask) == index].slots[i] = link & ~kHasNext;
    }
    for (std::uint64_t link : chains) {
      while (link != 0) {
        std::uint64_t* const node = node_of(home, link);
        const std::uint64_t next = *node;
        const std::uint64_t hash = hash_of(node);
        HashBucket& image = images[(hash & mask) == index];
        unsigned slot = 0;
        while (slot < HashBucket::kSlots && image.slots[slot] != 0) ++slot;
        if (slot < HashBucket::kSlots) {
          set_next(node, 0);
          image.slots[slot] = link & ~kHasNext;
        } else {
          slot = chain_slot(hash);
          chain(home, image.slots[slot], link & ~kHasNext, node);
        }
        link = next;
      }
    }
    log_write(&low, sizeof(low));
    log_write(&high, sizeof(high));
    low = images[0];
    high = images[1];
  }
  /// Hangs a node behind the first one of a slot. The first stays: it may belong to another chain
  /// slot.
  static void chain(Home home, std::uint64_t& slot, std::uint64_t link, std::uint64_t* node) {
    std::uint64_t* const first = node_of(home, slot);
    set_next(node, *first);
    put(*first, *first == 0 ? link : link | kHasNext);
    if ((slot & kHasNext) == 0) put(slot, slot | kHasNext);
  }
  static void set_next(std::uint64_t* node, std::uint64_t next) {
    if (*node != next) put(*node, next);
  }

  raw_ptr<raw_ptr<HashBucket>> directory_;
  std::uint64_t size_ = 0;
  std::uint32_t bucket_count_ = 0;
  std::uint32_t mask_ = 0;
};
static_assert(sizeof(HashTable) == 24);

}  // namespace dolmen::detail
