// SPDX-License-Identifier: Apache-2.0
//
// For tests: what clients of two spaces saw, and whether what is found in the spaces in the end can
// be true beside it. The judge knows the final books, and so the place of every operation: what
// only some clients saw needs no search.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace dolmen::processes {

inline constexpr std::uint64_t kAccounts = 16;
inline constexpr std::array<const char*, 2> kSpaces{"north", "south"};

/// What a client asks of a space.
enum class What : std::uint8_t {
  move,  ///< from one account to another, which is booked
  send,  ///< to an account of the other space, by mail
  look,  ///< how long the book is
};

struct Entry {
  std::uint64_t key = 0;
  std::uint64_t what = 0;  ///< booked: What; received: 0; told: whether it arrived
  friend bool operator==(const Entry&, const Entry&) = default;
};

/// Every eighth is sent to an account that does not exist, and comes back.
[[nodiscard]] inline bool is_for_nobody(std::uint64_t key) { return key % 8 == 7; }
[[nodiscard]] inline std::uint64_t payer_of(std::uint64_t key) { return key % kAccounts; }
[[nodiscard]] inline std::uint64_t payee_of(std::uint64_t key) {
  return (key / kAccounts + (key >> 32)) % kAccounts;
}
[[nodiscard]] inline std::int64_t amount_of(std::uint64_t key) {
  return 1 + static_cast<std::int64_t>(key % 99);
}

/// What a space holds.
struct Books {
  std::vector<Entry> booked{}, received{}, told{};
  std::int64_t money = 0;  ///< in all accounts, which began with none
  std::int64_t out = 0;    ///< sent, and not known to have arrived
};

enum class Outcome : std::uint8_t {
  unknown,   ///< nobody saw the answer, or the client was told that it may have happened
  answered,  ///< with `value`: how long the book is with it, or was
  refused,   ///< it has not happened, and will not
};

struct Operation {
  std::uint64_t key = 0;
  std::uint32_t space = 0;
  What what = What::look;
  Outcome outcome = Outcome::unknown;
  std::uint64_t begin_ns = 0;
  std::uint64_t end_ns = ~std::uint64_t{0};  ///< of what was answered
  std::uint64_t value = 0;
};

/// The first thing that cannot be; empty: all is right.
class Judge {
 public:
  Judge(const std::vector<Operation>& operations, const std::array<Books, 2>& books)
      : operations_(operations), books_(books) {}

  [[nodiscard]] std::string verdict() {
    for (std::uint32_t space = 0; space < 2 && wrong_.empty(); ++space) {
      find_places(space);
      if (wrong_.empty()) look_at_answers(space);
      if (wrong_.empty()) look_at_times(space);
      if (wrong_.empty()) look_at_mail(space);
    }
    const std::int64_t money = books_[0].money + books_[1].money;
    if (wrong_.empty() && money != 0) wrong_ = "money was made: " + std::to_string(money);
    return wrong_;
  }

 private:
  void say(std::uint32_t space, std::uint64_t key, const std::string& what) {
    wrong_ = std::string(kSpaces[space]) + ": operation " + std::to_string(key & 0xffff'ffff) +
             " of client " + std::to_string(key >> 32) + " " + what;
  }

  /// Which operation stands where in the book.
  void find_places(std::uint32_t space) {
    places_.clear();
    std::map<std::uint64_t, const Operation*> asked;
    for (const Operation& one : operations_) {
      if (one.space == space && one.what != What::look) asked.emplace(one.key, &one);
    }
    for (const Entry& entry : books_[space].booked) {
      const auto found = asked.find(entry.key);
      if (found == asked.end()) return say(space, entry.key, "is booked, and nobody asked for it");
      if (entry.what != static_cast<std::uint64_t>(found->second->what)) {
        return say(space, entry.key, "is booked as something else");
      }
      if (found->second->outcome == Outcome::refused) {
        return say(space, entry.key, "was refused, and is booked");
      }
      if (!places_.emplace(entry.key, places_.size() + 1).second) {
        return say(space, entry.key, "is booked twice");
      }
    }
  }

  void look_at_answers(std::uint32_t space) {
    for (const Operation& one : operations_) {
      if (one.space != space || one.outcome != Outcome::answered) continue;
      if (one.what == What::look) {
        if (one.value > books_[space].booked.size()) {
          return say(space, one.key, "saw a book that is longer than the last one");
        }
        continue;
      }
      const auto found = places_.find(one.key);
      if (found == places_.end()) return say(space, one.key, "was acknowledged, and is lost");
      if (found->second != one.value) return say(space, one.key, "is elsewhere than it was told");
    }
  }

  /// What had ended before another one began is before it in the book; looks are between entries.
  void look_at_times(std::uint32_t space) {
    struct Placed {
      std::uint64_t begin_ns, end_ns, rank, key;
    };
    std::vector<Placed> begins;
    for (const Operation& one : operations_) {
      if (one.space != space) continue;
      if (one.what == What::look) {
        if (one.outcome != Outcome::answered) continue;
        begins.push_back({one.begin_ns, one.end_ns, 2 * one.value + 1, one.key});
      } else if (const auto found = places_.find(one.key); found != places_.end()) {
        const bool has_ended = one.outcome == Outcome::answered;
        begins.push_back(
            {one.begin_ns, has_ended ? one.end_ns : ~std::uint64_t{0}, 2 * found->second, one.key});
      }
    }
    std::vector<Placed> ends = begins;
    std::ranges::sort(begins, {}, &Placed::begin_ns);
    std::ranges::sort(ends, {}, &Placed::end_ns);
    std::size_t ended = 0;
    std::uint64_t highest = 0;
    for (const Placed& one : begins) {
      while (ended < ends.size() && ends[ended].end_ns < one.begin_ns) {
        highest = std::max(highest, ends[ended++].rank);
      }
      if (one.rank < highest) return say(space, one.key, "was answered from the past");
    }
  }

  /// Every entry that sends arrived once over there, or came back, in the order of the book.
  void look_at_mail(std::uint32_t space) {
    std::vector<Entry> arrived, told;
    for (const Entry& entry : books_[space].booked) {
      if (entry.what != static_cast<std::uint64_t>(What::send)) continue;
      const bool arrives = !is_for_nobody(entry.key);
      if (arrives) arrived.push_back({entry.key, 0});
      told.push_back({entry.key, arrives ? 1u : 0u});
    }
    if (books_[1 - space].received != arrived) {
      wrong_ = std::string("what came from ") + kSpaces[space] + " is not what was sent";
    } else if (books_[space].told != told) {
      wrong_ = std::string(kSpaces[space]) + " was told something else than what came of its mail";
    } else if (books_[space].out != 0) {
      wrong_ = std::string(kSpaces[space]) + " has money under way, and no mail";
    }
  }

  const std::vector<Operation>& operations_;
  const std::array<Books, 2>& books_;
  std::map<std::uint64_t, std::uint64_t> places_;  ///< in one space's book, counted from 1
  std::string wrong_;
};

[[nodiscard]] inline std::string judge(const std::vector<Operation>& operations,
                                       const std::array<Books, 2>& books) {
  return Judge(operations, books).verdict();
}

}  // namespace dolmen::processes
