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
#include <functional>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "cluster/home_table.hpp"
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
  /// … what makes it forgotten, if it is here or about to be. The object is erased.
  void erase(const ObjectId& id, std::vector<cluster::HomeCommand>& commands) const;

  /// Whether apply() would do it, if the entry came next. Errors: busy.
  [[nodiscard]] Result<void> judge(const std::vector<cluster::HomeCommand>& commands,
                                   cluster::MailChange change, const MailPart& mail);
  /// Does all of it, with the mail, or nothing. `change`: without what the commands post. Errors:
  /// corrupt, version_unsupported, conflict.
  [[nodiscard]] Result<void> apply(log::Index index, base::Bytes commands,
                                   cluster::MailChange change, MailPart& mail);
  void settle(log::Index index) { table_.settle(index); }
  void reset();
  /// Empty: nothing was ever done.
  [[nodiscard]] std::vector<std::byte> snapshot() const;
  /// Errors: as of HomeTable.
  [[nodiscard]] Result<void> restore(base::Bytes snapshot);

 private:
  /// Applies the commands to the table, and adds what they post. False: it is as it was.
  [[nodiscard]] bool carry_out(log::Index index, const std::vector<cluster::HomeCommand>& commands,
                               cluster::MailChange& change);

  const Shards shards_;
  const cluster::HomeLimits limits_;
  cluster::HomeTable table_;
  bool is_used_ = false;
};

}  // namespace dolmen::node
