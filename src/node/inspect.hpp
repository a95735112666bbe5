// SPDX-License-Identifier: Apache-2.0
//
// What tools see of a space: its objects, their values by field name, what they reference, and
// whether all of it is sound. Reads through one view, so a space that a program is using can be
// looked at meanwhile (opened read-only).
//
// Threads: one. Errors never come as exceptions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/space.hpp>

#include "node/inspect_value.hpp"

namespace dolmen::node {

struct ObjectFacts {
  ObjectId id;
  std::string type;  ///< of the root; "(unknown)" if the space does not describe it
  std::uint64_t capacity = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t allocations = 0;
  std::uint32_t foreign = 0;  ///< objects that it references
  bool internal = false;      ///< the space's own: names, descriptions of types
};

/// Something wrong in one object.
struct Finding {
  ObjectId object;
  std::string what;   ///< "header", "heap", "dangling pointer", "absolute address", …
  std::string where;  ///< "Page.links[3] at offset 4096"
  std::string detail;
};

using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// Stored bytes that do not verify.
struct StoredDamage {
  std::string what;   ///< "page", "tree node", "page tree", "root slot", "log"
  std::string where;  ///< in words: block, page and object, log segment
  std::string file;   ///< in the space's directory; "" if `where` says it
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::optional<ObjectId> object;  ///< whose page it is; of a tree node the first one below it
  std::uint32_t page = 0;
};

struct ScrubSummary {
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
  std::uint64_t records = 0;
  std::vector<StoredDamage> damage;
};

/// Reads and verifies every byte that the space uses on the disk.
[[nodiscard]] Result<ScrubSummary> scrub(Space& space, const Progress& progress);

class Explorer {
 public:
  /// Errors: as Space::view(). Requires: the space outlives the explorer.
  [[nodiscard]] static Result<Explorer> make(Space& space);

  [[nodiscard]] const std::vector<NameEntry>& names() const noexcept { return names_; }
  /// Every object in id order, the space's own included.
  [[nodiscard]] Result<std::vector<ObjectId>> objects();
  /// A name or 32 hexadecimal digits. Errors: not_found.
  [[nodiscard]] Result<ObjectId> find(std::string_view name_or_id) const;
  [[nodiscard]] Result<ObjectFacts> facts(const ObjectId& id);
  /// The root, or with `offset` what lies there (the whole allocation). Errors: corrupt, not_found.
  [[nodiscard]] Result<Value> value(const ObjectId& id, std::uint64_t offset,
                                    const ValueLimits& limits);
  /// The objects in the foreign object table, in order of index.
  [[nodiscard]] Result<std::vector<ObjectId>> references(const ObjectId& id);
  /// Everything that is wrong with the object. Errors: io_error and the like only. Memory: in a
  /// space opened read-only bounded however many objects are checked, in another what they hold.
  [[nodiscard]] Result<std::vector<Finding>> check(const ObjectId& id);

 private:
  struct Image {
    const std::byte* base = nullptr;
    unsigned capacity_log2 = 0;
  };
  class Checker;

  Explorer(Space& space, View view, std::vector<NameEntry> names) noexcept
      : space_(&space), view_(std::move(view)), names_(std::move(names)) {}
  [[nodiscard]] Result<Image> image(const ObjectId& id);
  [[nodiscard]] bool damaged(const ObjectId& id);
  [[nodiscard]] Result<void> let_go();

  Space* space_;
  View view_;
  std::uint64_t looked_at_bytes_ = 0;  // by check(), since the view was opened
  std::vector<NameEntry> names_;
};

}  // namespace dolmen::node
