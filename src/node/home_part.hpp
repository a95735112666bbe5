// SPDX-License-Identifier: Apache-2.0
//
// A group's homes of objects as a part of its state machine (docs/homes.md): what the machine of
// any kind whose objects are in the directory holds, beside its MailPart; and what clients and
// machines say about such objects (docs/formats/homes.md, In a space).
//
// A machine calls apply() for each entry with commands about homes, settle() as entries are
// decided, and snapshot(), restore() and reset() with its own. What a log lost is undone by the
// last two.
//
// Threads: one (the member's).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "cluster/home_table.hpp"
#include "node/home_request.hpp"
#include "node/mail_part.hpp"

namespace dolmen::node {

/// Of one entry.
inline constexpr std::size_t kHomeCommandsMax = 2048;
[[nodiscard]] std::vector<std::byte> encode_home_commands(
    const std::vector<cluster::HomeCommand>& commands);
/// Errors: corrupt, version_unsupported.
[[nodiscard]] Result<std::vector<cluster::HomeCommand>> decode_home_commands(base::Bytes bytes);

/// Functions of all spaces. The arguments of the first one: an AtObject; it calls the function
/// there if the object lives there. Of the second one: ids, 16 bytes each; it returns one byte: 1
/// if the directory has logged all of them.
inline constexpr std::string_view kAtFunction = "dolmen.at";
inline constexpr std::string_view kToldQuery = "dolmen.told";
struct AtObject {
  ObjectId object;
  base::Bytes call;  ///< encode(SpaceCall)
};
[[nodiscard]] std::vector<std::byte> encode(const AtObject& at);
/// Errors: corrupt.
[[nodiscard]] Result<AtObject> decode_at_object(base::Bytes bytes);
[[nodiscard]] std::vector<std::byte> encode_ids(const std::vector<ObjectId>& ids);
/// Errors: corrupt (none, null ones, too many).
[[nodiscard]] Result<std::vector<ObjectId>> decode_ids(base::Bytes bytes);

/// What an entry did about the bytes of an object, beside what it says itself.
struct HomeDone {
  cluster::HomeBytes::Kind kind = cluster::HomeBytes::Kind::put_aside;
  ObjectId id{};
  std::vector<std::byte> part{};  ///< put_aside
};

/// A request to call kPartsFunction.
[[nodiscard]] const std::vector<std::byte>& parts_request();

class HomePart {
 public:
  /// Which group serves each shard of the directory, as far as is known here; 0, or empty: none.
  using Shards = std::function<std::vector<cluster::GroupNumber>()>;

  HomePart(const cluster::GroupId& self, Shards shards, const cluster::HomeLimits& limits = {});

  [[nodiscard]] const cluster::HomeTable& table() const noexcept { return table_; }
  /// Adds to `commands` what makes the object known to the directory, if anything is to be done.
  /// True: the directory has not logged it yet, so nobody is to be told of it before. Errors:
  /// unsupported (there is no directory), limit, busy (it was erased a moment ago).
  [[nodiscard]] Result<bool> publish(const ObjectId& id,
                                     std::vector<cluster::HomeCommand>& commands) const;
  /// Nobody here may write it: it leaves.
  [[nodiscard]] bool is_frozen(const ObjectId& id) const;
  /// Nobody here may see it: it arrives, or all of it was posted.
  [[nodiscard]] bool is_hidden(const ObjectId& id) const;
  /// Another one whenever an object became hidden here, or is no more.
  [[nodiscard]] std::uint64_t hidings() const noexcept { return hidings_; }
  /// Another one whenever something changed.
  [[nodiscard]] std::uint64_t changes() const noexcept { return changes_; }
  /// What a mail that arrived says of homes; nothing: it is no such mail, or a later version's.
  [[nodiscard]] static std::optional<cluster::HomeMail> mail_in(const cluster::MailChange& change);
  /// The commands of an entry that consumes such a mail.
  [[nodiscard]] std::vector<cluster::HomeCommand> taking(const cluster::HomeMail& mail,
                                                         cluster::HomeRefusal refuse) const;
  /// What they would do about bytes, if the entry came next. Errors: busy.
  [[nodiscard]] Result<std::vector<HomeDone>> done_by(
      const std::vector<cluster::HomeCommand>& commands, cluster::MailChange change);
  /// What a request of a client becomes; nothing is to be done unless the reply says `applied`.
  [[nodiscard]] HomeReply plan(const HomeRequest& request, const cluster::home::Move& move,
                               std::vector<cluster::HomeCommand>& commands) const;
  /// The parts that may be posted now, as many as fit one entry, and as `read` gives them. Errors:
  /// those of `read`.
  using ReadPart = std::function<Result<std::vector<std::byte>>(
      const ObjectId& id, std::uint64_t offset, std::size_t bytes)>;
  [[nodiscard]] Result<std::vector<cluster::HomeCommand>> post_parts(const ReadPart& read) const;
  [[nodiscard]] bool wants_parts() const { return !table_.parts_wanted().empty(); }
  [[nodiscard]] HomeListing answer(const HomeQuery& query) const;

  /// … what makes it forgotten, if it is here or about to be. The object is erased.
  void erase(const ObjectId& id, std::vector<cluster::HomeCommand>& commands) const;

  /// As judge(), of parts that are posted: the last ones wait where there is no room for all.
  [[nodiscard]] Result<void> fit(std::vector<cluster::HomeCommand>& commands,
                                 const MailPart& mail) {
    Result<void> judged = judge(commands, {}, mail);
    while (!judged && commands.size() > 1) {
      commands.pop_back();
      judged = judge(commands, {}, mail);
    }
    return judged;
  }
  /// Whether apply() would do it, if the entry came next. Errors: busy.
  [[nodiscard]] Result<void> judge(const std::vector<cluster::HomeCommand>& commands,
                                   cluster::MailChange change, const MailPart& mail);
  /// Does all of it, with the mail, or nothing. `change`: without what the commands post. Errors:
  /// corrupt, version_unsupported, conflict. `done`: unless null, what it did about bytes.
  [[nodiscard]] Result<void> apply(log::Index index, base::Bytes commands,
                                   cluster::MailChange change, MailPart& mail,
                                   std::vector<HomeDone>* done = nullptr);
  void settle(log::Index index) { table_.settle(index); }
  void reset();
  /// Empty: nothing was ever done.
  [[nodiscard]] std::vector<std::byte> snapshot() const;
  /// Errors: as of HomeTable.
  [[nodiscard]] Result<void> restore(base::Bytes snapshot);

 private:
  /// Applies the commands to the table, and adds what they post. False: it is as it was.
  [[nodiscard]] bool carry_out(log::Index index, const std::vector<cluster::HomeCommand>& commands,
                               cluster::MailChange& change, std::vector<HomeDone>* done);
  void remember_refusal(const cluster::HomeMail& mail);
  [[nodiscard]] HomeStatus status_of(const ObjectId& id, const cluster::HomeRow* row) const;
  static constexpr std::size_t kRefusalsKept = 64;

  const Shards shards_;
  const cluster::HomeLimits limits_;
  cluster::HomeTable table_;
  bool is_used_ = false;
  std::uint64_t hidings_ = 0;
  std::uint64_t changes_ = 1;
  /// For whoever asks: the last ones that this replica saw, the newest last.
  std::deque<std::pair<ObjectId, cluster::home::Refused>> refusals_{};
};

}  // namespace dolmen::node
