// SPDX-License-Identifier: Apache-2.0
#include "cluster/region_reader.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::cluster {

RegionReader::RegionReader(ReadLevel level, const LedEpoch& led) { start(level, led); }

void RegionReader::start(ReadLevel level, const LedEpoch& led) {
  DOLMEN_ASSERT((led.lines > 0) == (level == ReadLevel::epoch));
  level_ = level;
  led_ = led;
  state_ = LookupState::reading;
  round_trips_ = 0;
  reads_.clear();
}

void RegionReader::read_lines() {
  for (std::uint32_t line = 1; line <= led_.lines; ++line) {
    reads_.push_back({.line = line, .bytes = kLineReadBytes});
  }
}

/// A member that elected a later leader, before the look-up began or since, promised a later epoch
/// before that. Whoever leads puts a configuration into its log before it counts.
bool RegionReader::leads_yet(std::span<const base::Bytes> lines) const noexcept {
  if (DOLMEN_PLANTED("cluster.lines_not_looked_at")) return true;
  const auto promised = [&](base::Bytes line) { return base::load<std::uint64_t>(line); };
  return promised(lines[0]) == led_.epoch &&
         base::load<std::uint64_t>(lines[0], 8) == led_.configured &&
         std::ranges::all_of(lines, [&](base::Bytes line) { return promised(line) <= led_.epoch; });
}

bool RegionReader::is_in_time(const ReadTimes& times) const noexcept {
  if (level_ != ReadLevel::lease) return true;
  if (DOLMEN_PLANTED("cluster.lease_looked_at_before"))
    return times.issued_ns < times.lease_until_ns;
  return times.completed_ns < times.lease_until_ns;
}

LookupState RegionReader::arrived(std::span<const base::Bytes> bytes, const ReadTimes& times) {
  DOLMEN_ASSERT(state_ == LookupState::reading && bytes.size() == reads_.size());
  ++round_trips_;
  bool is_complete = true;
  for (std::size_t i = 0; i < bytes.size(); ++i) is_complete &= bytes[i].size() == reads_[i].bytes;
  if (level_ == ReadLevel::epoch) {
    const bool has_lines = round_trips_ == 1;
    if (!is_complete || (has_lines && !leads_yet(bytes.last(led_.lines)))) {
      end(LookupState::deposed);
      return state_;
    }
    if (has_lines) bytes = bytes.first(bytes.size() - led_.lines);
  }
  if (!is_complete || !is_in_time(times)) {
    end(LookupState::ask);
    return state_;
  }
  take(bytes);
  return state_;
}

void RegionReader::end_absent() {
  const bool may_say_so = level_ != ReadLevel::hint || DOLMEN_PLANTED("cluster.hint_says_absent");
  end(may_say_so ? LookupState::absent : LookupState::ask);
}

void RegionReader::end(LookupState state) {
  state_ = state;
  reads_.clear();
}

}  // namespace dolmen::cluster
