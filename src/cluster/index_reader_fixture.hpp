// SPDX-License-Identifier: Apache-2.0
//
// Readers of a hash index who copy its region in pieces, in any order, while the writer stores; and
// a judge of what they say.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "cluster/index_fixture.hpp"
#include "cluster/index_reader.hpp"

namespace dolmen::cluster {

inline IndexLookup lookup_of(const Table& table, IndexHints& hints, std::uint64_t key,
                             ReadLevel level, const LedEpoch& led = {}, std::uint32_t epoch = 1,
                             Candidates candidates = Candidates::together) {
  if (table.is_homes()) {
    return {table.geometry(), epoch, hints, id_of(key), level, led, candidates};
  }
  return {table.geometry(), epoch, hints, base::as_bytes(text_of(key)), level, led, candidates};
}
/// Both ways are tried, each with half of the keys.
inline Candidates candidates_for(std::uint64_t key) {
  return key % 2 == 0 ? Candidates::together : Candidates::in_turn;
}

/// What a look-up for that key found. Nothing: what no put wrote for it.
inline std::optional<std::uint64_t> number_in(const Table& table, const IndexLookup& lookup,
                                              std::uint64_t key) {
  if (!table.is_homes()) return Table::number_of(lookup.value());
  const std::uint64_t number = lookup.home().location;
  if (table.put_command(key, number).home != lookup.home()) return std::nullopt;
  return number;
}

/// One look-up under way: each read of a round is copied piece by piece.
template <typename Lookup>
class SlowRead {
 public:
  SlowRead(Lookup lookup, std::size_t piece_bytes)
      : lookup_(std::move(lookup)), piece_bytes_(piece_bytes) {
    begin_round();
  }
  [[nodiscard]] const Lookup& lookup() const { return lookup_; }
  [[nodiscard]] Lookup& lookup() { return lookup_; }
  [[nodiscard]] bool is_over() const { return lookup_.state() != LookupState::reading; }
  /// Copies one piece; when that was the last one of the round, the look-up goes on. `regions`: the
  /// copy, and the lines.
  void step(std::span<const base::Bytes> regions, base::Random& random) {
    const std::size_t chosen = random.below(pieces_.size());
    std::swap(pieces_[chosen], pieces_.back());
    const auto [read, at] = pieces_.back();
    pieces_.pop_back();
    const IndexRead& from = lookup_.reads()[read];
    const std::size_t size = std::min<std::size_t>(piece_bytes_, from.bytes - at);
    const base::Bytes piece = regions[from.line].subspan(from.offset + at, size);
    std::ranges::copy(piece, buffers_[read].begin() + at);
    if (!pieces_.empty()) return;
    const std::vector<base::Bytes> bytes(buffers_.begin(), buffers_.end());
    lookup_.arrived(bytes, {.issued_ns = 1, .completed_ns = 2, .lease_until_ns = 3});
    if (!is_over()) begin_round();
  }

 private:
  void begin_round() {
    buffers_.clear();
    pieces_.clear();
    for (std::size_t read = 0; read < lookup_.reads().size(); ++read) {
      buffers_.emplace_back(lookup_.reads()[read].bytes);
      for (std::ptrdiff_t at = 0; at < static_cast<std::ptrdiff_t>(buffers_.back().size());
           at += static_cast<std::ptrdiff_t>(piece_bytes_)) {
        pieces_.emplace_back(read, at);
      }
    }
  }

  Lookup lookup_;
  std::size_t piece_bytes_;
  std::vector<std::vector<std::byte>> buffers_;
  std::vector<std::pair<std::size_t, std::ptrdiff_t>> pieces_;  ///< yet to be copied
};

using SlowLookup = SlowRead<IndexLookup>;

/// What happened to each key, and whether what readers say of it is linearizable. There is one
/// writer, so that the values of a key are a sequence; a reader is given the earliest of them that
/// fits, which leaves most to those that come later.
class IndexJudge {
 public:
  using Value = std::optional<std::uint64_t>;
  /// The writer begins to give a key this value; the number of that.
  std::uint64_t begins(std::uint64_t key, Value value) {
    values_of(key).push_back({value, kNever});
    return values_of(key).size() - 1;
  }
  /// It is acknowledged, and so is what came before.
  void ends(std::uint64_t key, std::uint64_t number) { values_of(key)[number].ended = ++now_; }
  /// A reader begins; `said()` takes what this gives.
  std::uint64_t asks(std::uint64_t key) {
    const auto& values = values_of(key);
    std::uint64_t least = seen_[key];
    while (least + 1 < values.size() && values[least + 1].ended <= now_) ++least;
    ++now_;
    return least;
  }
  /// Whether it may say so now.
  [[nodiscard]] bool said(std::uint64_t key, std::uint64_t least, Value value) {
    ++now_;
    const auto& values = values_of(key);
    for (std::uint64_t i = least; i < values.size(); ++i) {
      if (values[i].value != value) continue;
      seen_[key] = std::max(seen_[key], i);
      return true;
    }
    return false;
  }

 private:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  struct Version {
    Value value;
    std::uint64_t ended;
  };
  std::vector<Version>& values_of(std::uint64_t key) {
    auto& values = values_[key];
    if (values.empty()) values.push_back({std::nullopt, 0});
    return values;
  }

  std::map<std::uint64_t, std::vector<Version>> values_;
  std::map<std::uint64_t, std::uint64_t> seen_;  ///< the latest that a reader was given
  std::uint64_t now_ = 0;
};

struct TornReport {
  bool is_wrong = false;
  std::uint64_t wrong_key = 0;
  std::uint64_t found = 0;
  std::uint64_t absent = 0;
  std::uint64_t asked = 0;
  std::uint64_t in_one_round = 0;  ///< of those found
};

/// A writer that grows and shrinks a small table, and readers in between its stores.
class TornCampaign {
 public:
  TornCampaign(IndexKind kind, std::uint64_t seed, ReadLevel level)
      : table_(sizes_of(kind)), random_(seed), level_(level), keys_(10 + random_.below(120)) {
    piece_bytes_ = random_.chance(1, 2) ? 8 : 64;
    steps_per_store_ = 2 + random_.below(24);
    release_every_ = 1 + random_.below(20);
    pauses_ = random_.chance(1, 2) ? 1 : 1 + random_.below(20);
    for (std::uint64_t i = 0; i < 3; ++i) {
      readers_.push_back({.hints = IndexHints(table_.geometry())});
      // Of some keys, so that they take places from each other.
      if ((seed + i) % 2 == 0) readers_.back().hints.places().remember(1 + keys_ / 2);
    }
  }

  TornReport run(std::string_view bug, std::uint64_t changes = 400) {
    const IndexHooks hooks(bug, [this] { read(); });
    for (std::uint64_t i = 0; i < changes && !report_.is_wrong; ++i) {
      const std::uint64_t key = random_.below(keys_);
      const bool is_growing = i / 100 % 2 == 0;
      if (random_.chance(is_growing ? 1 : 4, 5)) {
        change(key, std::nullopt);
      } else {
        change(key, i);
      }
      if (random_.chance(1, release_every_)) table_.apply(IndexCommand::release(table_.last()));
      read();
    }
    if (auto checked = table_.index().check(); !checked) report_.is_wrong = true;
    return report_;
  }

 private:
  struct Reader {
    IndexHints hints;
    std::uint64_t key = 0;
    std::uint64_t least = 0;
    std::unique_ptr<SlowLookup> lookup{};
  };

  void change(std::uint64_t key, IndexJudge::Value value) {
    const std::uint64_t number = judge_.begins(key, value);
    const auto outcome =
        table_.apply(value ? table_.put_command(key, *value) : table_.erase_command(key));
    if (outcome == IndexOutcome::no_space) report_.is_wrong = true;  // the table is large enough
    judge_.ends(key, number);
  }

  void read() {
    for (Reader& reader : readers_) {
      if (!random_.chance(1, pauses_)) continue;
      for (std::uint64_t i = random_.below(steps_per_store_); i > 0; --i) step(reader);
    }
  }

  void step(Reader& reader) {
    if (!reader.lookup) {
      reader.key = random_.below(keys_);
      reader.least = judge_.asks(reader.key);
      IndexLookup lookup =
          lookup_of(table_, reader.hints, reader.key, level_, {}, 1, candidates_for(reader.key));
      reader.lookup = std::make_unique<SlowLookup>(std::move(lookup), piece_bytes_);
    }
    const std::array<base::Bytes, 1> regions{table_.region()};
    reader.lookup->step(regions, random_);
    if (!reader.lookup->is_over()) return;
    const IndexLookup& over = reader.lookup->lookup();
    switch (over.state()) {
      case LookupState::found:
        ++report_.found;
        if (over.round_trips() == 1) ++report_.in_one_round;
        judge_found(reader, over);
        break;
      case LookupState::absent:
        ++report_.absent;
        judge(reader, std::nullopt);
        break;
      default:
        ++report_.asked;
        break;
    }
    reader.lookup.reset();
  }

  void judge_found(const Reader& reader, const IndexLookup& over) {
    const IndexJudge::Value number = number_in(table_, over, reader.key);
    if (number) return judge(reader, number);
    report_.is_wrong = true;
    report_.wrong_key = reader.key;
  }

  void judge(const Reader& reader, IndexJudge::Value value) {
    if (judge_.said(reader.key, reader.least, value)) return;
    report_.is_wrong = true;
    report_.wrong_key = reader.key;
  }

  Table table_;
  base::Random random_;
  ReadLevel level_;
  std::uint64_t keys_;
  std::size_t piece_bytes_ = 8;
  std::uint64_t steps_per_store_ = 2;  ///< of a reader, less than this
  std::uint64_t release_every_ = 1;    ///< so many changes
  std::uint64_t pauses_ = 1;           ///< one of so many stores lets a reader go on
  std::vector<Reader> readers_;
  IndexJudge judge_;
  TornReport report_;
};

}  // namespace dolmen::cluster
