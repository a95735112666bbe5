// SPDX-License-Identifier: Apache-2.0
//
// For tests of those who read an ordered index from afar: readers between all stores of the
// writer, who get keys and scan ranges, and a judge of what they say.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "cluster/index_reader_fixture.hpp"
#include "cluster/ordered_fixture.hpp"
#include "cluster/ordered_reader.hpp"

namespace dolmen::cluster {

/// Different for each number, in no order of the numbers: short, long, and alike in more than a
/// node has of them.
inline std::string ordered_text(std::uint64_t number) {
  std::string digits(2, '\0');
  digits[0] = static_cast<char>(number * 37 % 251);
  digits[1] = static_cast<char>(number);
  switch (number % 5) {
    case 0:
      return std::string(kKeyInlineBytes + 12, 'q') + digits;
    case 1:
      return digits + std::string(number % 3 * 90, '\xFF');
    case 2:
      return std::string(kKeyInlineBytes - 1, 'q') + digits;
    default:
      return "key " + digits;
  }
}
inline std::string ordered_value(std::uint64_t value) {
  return value_text(value) + std::string(value % 7 == 0 ? 300 : 0, 'w');
}
/// Nothing: it is not what any put wrote.
inline std::optional<std::uint64_t> ordered_number(base::Bytes value) {
  std::uint64_t number = 0;
  for (const std::byte digit : value) {
    if (digit < std::byte{'0'} || digit > std::byte{'9'}) break;
    number = number * 10 + (static_cast<std::uint64_t>(digit) - '0');
  }
  if (!std::ranges::equal(value, base::as_bytes(ordered_value(number)))) return std::nullopt;
  return number;
}

inline std::vector<std::byte> bytes_of(const std::string& text) {
  const base::Bytes bytes = base::as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

/// A writer that grows and shrinks a small tree, and readers in between its stores.
class OrderedTornCampaign {
 public:
  OrderedTornCampaign(std::uint64_t seed, ReadLevel level)
      : random_(seed), level_(level), keys_(20 + random_.below(130)) {
    piece_bytes_ = random_.chance(1, 2) ? 64 : 512;
    steps_per_store_ = 2 + random_.below(120);
    release_every_ = 1 + random_.below(20);
    pauses_ = 1 + random_.below(12);
    for (std::uint64_t key = 0; key < keys_; ++key) texts_.push_back(bytes_of(ordered_text(key)));
    for (std::uint64_t i = 0; i < 3; ++i) {
      readers_.push_back({.hints = OrderedHints(tree_.geometry(), i == 0 ? 1 : 64)});
    }
  }

  TornReport run(std::string_view bug, std::uint64_t changes = 300) {
    const IndexHooks hooks(bug, [this] { read(); });
    for (std::uint64_t i = 0; i < changes && !report_.is_wrong; ++i) {
      const std::uint64_t key = random_.below(keys_);
      const bool is_growing = i / 100 % 2 == 0;
      if (random_.chance(is_growing ? 1 : 4, 5)) {
        change(key, std::nullopt);
      } else {
        change(key, i);
      }
      if (random_.chance(1, release_every_)) tree_.apply(IndexCommand::release(tree_.last()));
      read();
    }
    if (!tree_.tree().check()) report_.is_wrong = true;
    return report_;
  }
  [[nodiscard]] std::uint64_t scanned() const { return scanned_; }
  [[nodiscard]] std::uint64_t scans() const { return scans_; }

 private:
  struct Reader {
    OrderedHints hints;
    bool is_scan = false;
    std::uint64_t key = 0;
    OrderedRange range{};
    std::vector<std::uint64_t> least{};  ///< of the key; of all of them
    std::unique_ptr<SlowRead<OrderedLookup>> lookup{};
    std::unique_ptr<SlowRead<OrderedScan>> scan{};
  };

  void change(std::uint64_t key, IndexJudge::Value value) {
    const std::uint64_t number = judge_.begins(key, value);
    const auto outcome = value ? tree_.put(ordered_text(key), ordered_value(*value))
                               : tree_.erase(ordered_text(key));
    if (outcome == IndexOutcome::no_space) report_.is_wrong = true;  // the tree is large enough
    judge_.ends(key, number);
  }

  void read() {
    if (report_.is_wrong) return;
    for (Reader& reader : readers_) {
      if (!random_.chance(1, pauses_)) continue;
      for (std::uint64_t i = random_.below(steps_per_store_); i > 0; --i) step(reader);
    }
  }

  void begin(Reader& reader) {
    reader.is_scan = random_.chance(1, 2);
    reader.least.clear();
    if (!reader.is_scan) {
      reader.key = random_.below(keys_);
      reader.least.push_back(judge_.asks(reader.key));
      reader.lookup = std::make_unique<SlowRead<OrderedLookup>>(
          OrderedLookup(tree_.geometry(), 1, reader.hints, base::as_bytes(ordered_text(reader.key)),
                        level_),
          piece_bytes_);
      return;
    }
    reader.range = {};
    if (random_.chance(2, 3)) reader.range.from = bytes_of(ordered_text(random_.below(keys_)));
    if (random_.chance(1, 2)) reader.range.to = bytes_of(ordered_text(random_.below(keys_)));
    for (std::uint64_t key = 0; key < keys_; ++key) reader.least.push_back(judge_.asks(key));
    const std::size_t limit = random_.chance(1, 2) ? 1'000 : random_.below(60);
    const std::size_t bytes = random_.chance(1, 2) ? 1u << 20 : random_.below(9'000);
    reader.scan = std::make_unique<SlowRead<OrderedScan>>(
        OrderedScan(tree_.geometry(), 1, reader.hints, reader.range, limit, bytes, level_),
        piece_bytes_);
  }

  template <typename Slow>
  void go_on(Reader& reader, std::unique_ptr<Slow>& slow) {
    const std::array<base::Bytes, 1> regions{tree_.region()};
    if (!slow->is_over()) slow->step(regions, random_);
    if (!slow->is_over()) return;
    judge(reader, slow->lookup());
    slow.reset();
  }

  void step(Reader& reader) {
    if (!reader.lookup && !reader.scan) begin(reader);
    if (reader.lookup) {
      go_on(reader, reader.lookup);
    } else {
      go_on(reader, reader.scan);
    }
  }

  void wrong(std::uint64_t key) {
    report_.is_wrong = true;
    report_.wrong_key = key;
  }

  void judge(const Reader& reader, const OrderedLookup& over) {
    if (over.state() == LookupState::found) {
      ++report_.found;
      const auto number = ordered_number(over.value());
      if (!number || !judge_.said(reader.key, reader.least[0], number)) wrong(reader.key);
    } else if (over.state() == LookupState::absent) {
      ++report_.absent;
      if (!judge_.said(reader.key, reader.least[0], std::nullopt)) wrong(reader.key);
    } else {
      ++report_.asked;
    }
  }

  /// Each key of the range, as a look-up of its own.
  void judge(const Reader& reader, OrderedScan& over) {
    if (over.state() != LookupState::found) {
      ++report_.asked;
      return;
    }
    const OrderedPage& page = over.page();
    for (std::size_t i = 1; i < page.entries.size(); ++i) {
      if (page.entries[i - 1].key >= page.entries[i].key) return wrong(i);
    }
    scanned_ += page.entries.size();
    ++scans_;
    std::size_t known = 0;
    for (std::uint64_t key = 0; key < keys_; ++key) {
      const std::vector<std::byte>& text = texts_[key];
      const auto found = std::ranges::lower_bound(page.entries, text, {}, &OrderedEntry::key);
      if (found != page.entries.end() && found->key == text) {
        ++known;
        const auto number = ordered_number(found->value);
        if (text < reader.range.from || (reader.range.to && text >= *reader.range.to)) wrong(key);
        if (!number || !judge_.said(key, reader.least[key], number)) wrong(key);
        continue;
      }
      if (text < reader.range.from || (reader.range.to && text >= *reader.range.to)) continue;
      // How far it came.
      if (!page.is_last && (page.entries.empty() || text > page.entries.back().key)) continue;
      if (level_ != ReadLevel::hint && !judge_.said(key, reader.least[key], std::nullopt)) {
        wrong(key);
      }
    }
    if (known != page.entries.size()) wrong(keys_);
  }

  Tree tree_{64, 1 << 20};
  base::Random random_;
  ReadLevel level_;
  std::uint64_t keys_;
  std::vector<std::vector<std::byte>> texts_;
  std::size_t piece_bytes_ = 64;
  std::uint64_t steps_per_store_ = 2;  ///< of a reader, less than this
  std::uint64_t release_every_ = 1;    ///< so many changes
  std::uint64_t pauses_ = 1;           ///< one of so many stores lets a reader go on
  std::vector<Reader> readers_;
  IndexJudge judge_;
  TornReport report_;
  std::uint64_t scanned_ = 0;  ///< entries
  std::uint64_t scans_ = 0;
};

}  // namespace dolmen::cluster
