// SPDX-License-Identifier: Apache-2.0
//
// Which objects live in a group, as a part of its replicated state (docs/homes.md): those that are
// here, that leave, that arrive, and, until the directory knows, those that went. It changes only
// by what the group's log says, so that all replicas have the same. The objects' bytes are with
// whoever runs it, who is told what to do about them.
//
// A leader applies entries before they are stable: settle(), undo() and snapshot() are as those of
// a Mailbox, and an entry does to both what it does, or nothing. So apply() takes a plan: first
// plan(), then the mailbox judges the letters, then both apply.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "cluster/home.hpp"
#include "log/message.hpp"

namespace dolmen::cluster {

/// The same at all replicas of the group.
struct HomeLimits {
  std::size_t objects_max = std::size_t{1} << 20;
  std::size_t arriving_max = 64;
  /// Parts of one object that were posted and not put aside yet: what a move adds to an outbox.
  std::uint32_t window_parts = 4;
  friend bool operator==(const HomeLimits&, const HomeLimits&) = default;
};
/// No limit of objects may be above this, so that a snapshot fits into one of a log.
inline constexpr std::size_t kHomeObjectsMax = std::size_t{1} << 22;

enum class HomeState : std::uint8_t {
  here = 1,
  leaving = 2,   ///< frozen: it may be there already
  arriving = 3,  ///< parts of it; nobody sees them
  gone = 4,      ///< a tombstone: `peer` has it
  erased = 5,    ///< a tombstone: nobody has it
};

struct HomeRow {
  HomeState state = HomeState::here;
  /// The directory's log has this home; erased: the directory was asked to forget it.
  bool is_registered = false;
  bool is_cancelled = false;  ///< leaving: it was asked back
  std::uint16_t length_class = 0;
  /// Of the home where it is, as far as is known here; arriving: of the one that it leaves.
  MoveCounter counter = 0;
  GroupNumber peer = 0;  ///< leaving, gone: where it goes; arriving: from where
  // Leaving, arriving:
  MoveNumber move = 0;             ///< of the group that it leaves
  std::uint64_t object_bytes = 0;  ///< of all of it
  std::uint64_t moved_bytes = 0;   ///< of the parts
  std::uint64_t hash = 0;          ///< of all of it
  std::uint64_t moved_hash = 0;    ///< arriving: of the parts
  std::uint32_t part_bytes = 0;    ///< leaving: of each but the last
  std::uint32_t parts = 0;         ///< posted, or put aside
  std::uint32_t acknowledged = 0;  ///< leaving: put aside there
  friend bool operator==(const HomeRow&, const HomeRow&) = default;
};

enum class HomeVerdict : std::uint8_t {
  applied = 1,
  busy = 2,          ///< it moves, or the directory does not know it yet: again, later
  not_here = 3,      ///< find() says where, if it is known
  exists = 4,        ///< the id is, or was, an object's
  full = 5,          ///< too many objects
  draining = 6,      ///< the group gets nothing new
  closed = 7,        ///< nothing is moved to that group
  no_directory = 8,  ///< nobody said whom to tell
  invalid = 9,       ///< the command is impossible as things are
};

/// What is to be done about an object's bytes, beside the entry.
struct HomeBytes {
  enum class Kind : std::uint8_t {
    put_aside = 1,  ///< behind the parts before; the first part begins anew
    publish = 2,    ///< what was put aside is the object
    drop = 3,       ///< what was put aside is nothing any more
    erase = 4,      ///< the object is not here any more
  };
  Kind kind = Kind::put_aside;
  ObjectId id{};
  base::Bytes part{};  ///< put_aside: in the mail
};

struct HomeLetter {
  GroupNumber to = 0;
  HomeMail mail{};
};

/// What an entry does; it has not happened.
struct HomePlan {
  HomeVerdict verdict = HomeVerdict::applied;
  std::vector<HomeLetter> letters{};  ///< to be posted by this entry, in this order
  std::vector<HomeBytes> bytes{};     ///< valid as long as the mail
  // For apply():
  std::vector<std::pair<ObjectId, std::optional<HomeRow>>> rows{};
  std::optional<std::vector<GroupNumber>> shards{};
  std::optional<bool> is_draining{};
  GroupNumber close = 0;
  bool is_move = false;
};

/// What is said to somebody who asks here for an object.
enum class HomeAnswer : std::uint8_t {
  serves = 1,
  /// … but that it was made must not be told before the directory knows: who is told could look it
  /// up, and not find it.
  untold = 2,
  frozen = 3,    ///< writes: again, later; and reads too, unless `is_current`
  moved = 4,     ///< ask that group
  erased = 5,    ///< there is no such object any more
  not_here = 6,  ///< ask the directory
};
struct HomeFound {
  HomeAnswer answer = HomeAnswer::not_here;
  GroupNumber group = 0;  ///< frozen: where it goes; moved
  /// frozen: what is here is the object yet. It is so until the last part was posted: from then on
  /// it may be written where it goes.
  bool is_current = false;
  friend bool operator==(const HomeFound&, const HomeFound&) = default;
};

/// A part that may be posted now.
struct HomePartWanted {
  ObjectId id{};
  std::uint32_t number = 0;
  std::uint64_t offset = 0;
  std::size_t bytes = 0;
  friend bool operator==(const HomePartWanted&, const HomePartWanted&) = default;
};

class HomeTable {
 public:
  /// Requires: `self` is not 0; limits of at most kHomeObjectsMax.
  explicit HomeTable(GroupNumber self, const HomeLimits& limits = {});

  /// What the command would do. Requires: not Take. Cost: a look at one row.
  [[nodiscard]] HomePlan plan(const HomeCommand& command) const;
  /// What the mail would do, that is consumed by the same entry: always `applied`, and what means
  /// nothing any more does nothing.
  [[nodiscard]] HomePlan plan(const home::Take& take, GroupNumber from, const HomeMail& mail) const;
  /// Executes it in the entry at `index`, not below that of any before. Requires: the plan was made
  /// of this state, and its verdict is `applied`.
  void apply(log::Index index, const HomePlan& plan);
  void settle(log::Index index);
  /// The log lost its entries from here on. Requires: none of them was settled.
  void undo(log::Index from);

  [[nodiscard]] HomeFound find(const ObjectId& id) const;
  /// Which parts a leader may read and post. Cost: all objects that leave.
  [[nodiscard]] std::vector<HomePartWanted> parts_wanted() const;

  [[nodiscard]] GroupNumber self() const noexcept { return self_; }
  [[nodiscard]] const std::map<ObjectId, HomeRow>& rows() const noexcept { return rows_; }
  [[nodiscard]] bool is_draining() const noexcept { return is_draining_; }
  [[nodiscard]] const HomeLimits& limits() const noexcept { return limits_; }
  /// Whom it tells about objects; empty: not known yet.
  [[nodiscard]] const std::vector<GroupNumber>& shards() const noexcept { return shards_; }
  /// Nothing is moved to that group by this one, now or ever.
  [[nodiscard]] bool has_closed(GroupNumber group) const;
  /// It drains, and nobody needs it for any object, tombstones included.
  [[nodiscard]] bool is_drained() const noexcept { return is_draining_ && rows_.empty(); }

  /// The state behind the last settled entry: the same bytes at every replica. Cost: all rows, and
  /// a copy of them where entries are not settled.
  [[nodiscard]] std::vector<std::byte> snapshot() const;
  /// Becomes what snapshot() gave, all of it settled; the next index may be any. Errors: corrupt,
  /// version_unsupported (the state is then as it was).
  [[nodiscard]] Result<void> restore(base::Bytes snapshot);

 private:
  /// One entry that is not settled, and what was there before it.
  struct Step {
    log::Index index = 0;
    std::vector<std::pair<ObjectId, std::optional<HomeRow>>> rows{};
    std::optional<std::vector<GroupNumber>> shards{};
    bool is_draining = false;
    GroupNumber closed = 0;
    MoveNumber moves = 0;
  };

  [[nodiscard]] const HomeRow* row(const ObjectId& id) const;
  [[nodiscard]] GroupNumber directory_of(const ObjectId& id) const;
  void set_row(const ObjectId& id, const std::optional<HomeRow>& row);

  [[nodiscard]] HomePlan plan(const home::Take& take) const;
  [[nodiscard]] HomePlan plan(const home::SetShards& shards) const;
  [[nodiscard]] HomePlan plan(const home::Create& create) const;
  [[nodiscard]] HomePlan plan(const home::Erase& erase) const;
  [[nodiscard]] HomePlan plan(const home::Move& move) const;
  [[nodiscard]] HomePlan plan(const home::PostPart& part) const;
  [[nodiscard]] HomePlan plan(const home::CancelMove& cancel) const;
  [[nodiscard]] HomePlan plan(const home::Drain& drain) const;
  [[nodiscard]] HomePlan plan(const home::Close& close) const;

  [[nodiscard]] HomePlan take(HomeRefusal refuse, GroupNumber from, const home::Part& part) const;
  [[nodiscard]] HomeRefusal reason_against(HomeRefusal said, const home::Part& part) const;
  [[nodiscard]] HomePlan take(GroupNumber from, const home::Took& took) const;
  [[nodiscard]] HomePlan take(GroupNumber from, const home::Arrived& arrived) const;
  [[nodiscard]] HomePlan take(GroupNumber from, const home::Refused& refused) const;
  [[nodiscard]] HomePlan take(GroupNumber from, const home::Cancel& cancel) const;
  [[nodiscard]] HomePlan take(GroupNumber from, const home::Logged& logged) const;
  /// The row, if it is that move to or from `peer`.
  [[nodiscard]] const HomeRow* moving(HomeState state, const ObjectId& id, GroupNumber peer,
                                      MoveNumber move) const;

  GroupNumber self_;
  HomeLimits limits_;
  std::map<ObjectId, HomeRow> rows_;
  std::set<ObjectId> leaving_;
  std::size_t arriving_ = 0;
  std::vector<GroupNumber> shards_;  ///< of the directory; empty: not known yet
  std::set<GroupNumber> closed_;
  bool is_draining_ = false;
  MoveNumber moves_ = 0;    ///< that were begun
  std::deque<Step> steps_;  ///< by index, ascending
};

inline constexpr std::uint32_t kHomeTableVersion = 1;
/// "DLHT": the first bytes of a snapshot.
inline constexpr std::uint32_t kHomeTableMagic = 0x54484C44;

}  // namespace dolmen::cluster
