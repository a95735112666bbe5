// SPDX-License-Identifier: Apache-2.0
//
// For tests: a client on its way to an object of a HomeWorld, step by step, and what that world
// counts.
#pragma once

#include <cstdint>
#include <optional>

#include "cluster/home_judge.hpp"

namespace dolmen::cluster {

/// How often what a campaign is for was reached.
struct HomeWorldTally {
  std::uint64_t created = 0, written = 0, moved = 0, moved_back = 0, refused = 0, cancelled = 0,
                damaged = 0, erased = 0, drained = 0, found = 0, not_found = 0, by_tombstone = 0,
                given_up = 0, lost_entries = 0, led_again = 0, restored = 0, lost_messages = 0;
  void add(const HomeWorldTally& o) {
    created += o.created, written += o.written, moved += o.moved, moved_back += o.moved_back;
    refused += o.refused, cancelled += o.cancelled, damaged += o.damaged, erased += o.erased;
    drained += o.drained, found += o.found, not_found += o.not_found;
    by_tombstone += o.by_tombstone, given_up += o.given_up, lost_entries += o.lost_entries;
    led_again += o.led_again, restored += o.restored, lost_messages += o.lost_messages;
  }
};

class HomeSearch {
 public:
  HomeSearch(const ObjectId& id, GroupNumber hint) : id_(id), asks_(hint) {}

  [[nodiscard]] const ObjectId& id() const noexcept { return id_; }
  /// Whom it asks next; 0: the directory.
  [[nodiscard]] GroupNumber asks() const noexcept { return asks_; }

  // What the one whom it asked says; false: it is at its end.

  [[nodiscard]] bool hear(const std::optional<DirectoryEntry>& entry, HomeJudge& judge,
                          HomeWorldTally& tally) {
    if (has_given_up(tally)) return false;
    if (!entry) return does_not_exist(judge, tally);
    asks_ = entry->group;
    return true;
  }
  /// `is_stale`: of a member that has not heard everything. It may say where an object is not; that
  /// it is here only who leads says.
  [[nodiscard]] bool hear(const HomeFound& found, bool is_stale, HomeJudge& judge,
                          HomeWorldTally& tally) {
    if (has_given_up(tally)) return false;
    switch (found.answer) {
      case HomeAnswer::serves: {
        if (is_stale) return true;
        ++tally.found;
        const auto object = judge.objects().find(id_);
        judge.require(object != judge.objects().end() && !object->second.is_erased,
                      "a client found an object that does not exist");
        return false;
      }
      case HomeAnswer::untold:
      case HomeAnswer::frozen:
        return true;  // again, later
      case HomeAnswer::moved:
        ++tally.by_tombstone;
        asks_ = found.group;
        return true;
      case HomeAnswer::erased:
        return does_not_exist(judge, tally);
      case HomeAnswer::not_here:
        asks_ = 0;
        return true;
    }
    return false;
  }

 private:
  static constexpr std::uint32_t kHopsMax = 12;

  bool has_given_up(HomeWorldTally& tally) {
    if (++hops_ <= kHopsMax) return false;
    ++tally.given_up;
    return true;
  }
  bool does_not_exist(HomeJudge& judge, HomeWorldTally& tally) const {
    const auto object = judge.objects().find(id_);
    const bool is_so =
        object == judge.objects().end() || !object->second.is_told || object->second.is_erased;
    judge.require(is_so, "a client was told that an object does not exist");
    ++tally.not_found;
    return false;
  }

  ObjectId id_;
  GroupNumber asks_;
  std::uint32_t hops_ = 0;
};

}  // namespace dolmen::cluster
