// SPDX-License-Identifier: Apache-2.0
//
// For tests: judges a HomeWorld by what is decided in all groups: where objects are, and what is in
// them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/directory.hpp"
#include "cluster/home_replica.hpp"

namespace dolmen::cluster {

class HomeJudge {
 public:
  struct Object {
    std::vector<std::byte> bytes{};  ///< as decided writes made it
    bool is_told = false;            ///< somebody was told that there is one
    bool is_erased = false;
  };
  using Homes = std::vector<const HomeReplica*>;  ///< by decided entries; of groups 1, 2, …
  using LookUp = std::function<std::optional<DirectoryEntry>(const ObjectId&)>;

  HomeJudge(LookUp directory, std::uint32_t window) : directory_(std::move(directory)) {
    window_ = window;
  }

  void require(bool holds, const char* what) {
    if (!holds && !complaint_) complaint_ = what;
  }
  [[nodiscard]] bool is_content() const noexcept { return !complaint_; }
  [[nodiscard]] const std::optional<std::string>& complaint() const noexcept { return complaint_; }
  [[nodiscard]] std::map<ObjectId, Object>& objects() noexcept { return objects_; }

  /// An entry was decided in a group; `before` is what that had of homes.
  void decided(const HomeEntry& entry, const HomeReplica::Outcome& outcome, const HomeTable& before,
               const HomeReplica& after) {
    if (!outcome.is_applied()) return;
    if (!entry.written.is_null()) {
      objects_[entry.written].bytes.push_back(entry.byte);
    } else if (entry.command) {
      if (const auto* const create = std::get_if<home::Create>(&*entry.command)) {
        require(objects_.emplace(create->id, Object{}).second, "an object was made twice");
      } else if (const auto* const erase = std::get_if<home::Erase>(&*entry.command)) {
        objects_[erase->id].is_erased = true;
      }
    }
    if (!before.is_draining()) return;
    for (const auto& [id, row] : after.table.rows()) {
      if (row.state != HomeState::here && row.state != HomeState::arriving) continue;
      const auto former = before.rows().find(id);
      require(former != before.rows().end() && former->second.state != HomeState::gone,
              "a group that drains got an object");
    }
  }

  /// Holds at every moment.
  void look(const Homes& homes) {
    for (const auto& [id, object] : objects_) look(homes, id, object);
  }

  /// When everything was carried out that was under way.
  void look_at_end(const Homes& homes) {
    for (const auto& [id, object] : objects_) {
      const auto entry = directory_(id);
      require(entry.has_value() != object.is_erased, "the directory is wrong about an object");
      for (const HomeReplica* const home : homes) {
        const HomeRow* const row = row_of(*home, id);
        if (row == nullptr) continue;
        require(entry && entry->group == home->table.self() && row->state == HomeState::here &&
                    row->is_registered && row->counter == entry->counter,
                "something was left of an object, or the directory leads elsewhere");
      }
    }
  }

 private:
  static const HomeRow* row_of(const HomeReplica& home, const ObjectId& id) {
    const auto found = home.table.rows().find(id);
    return found == home.table.rows().end() ? nullptr : &found->second;
  }

  void look(const Homes& homes, const ObjectId& id, const Object& object) {
    std::size_t serving = 0;
    std::size_t holding = 0;
    for (const HomeReplica* const home : homes) {
      const HomeFound said = home->table.find(id);
      const HomeAnswer answer = said.answer;
      const bool serves = answer == HomeAnswer::serves || answer == HomeAnswer::untold;
      serving += serves ? 1 : 0;
      const HomeRow* const row = row_of(*home, id);
      if (row != nullptr && (row->state == HomeState::here || row->state == HomeState::leaving)) {
        ++holding;
        require(home->objects.here.contains(id), "an object is said to be where its bytes are not");
      }
      if ((serves || said.is_current) && home->objects.here.contains(id)) {
        require(home->objects.here.at(id) == object.bytes && !object.is_erased,
                "an object is not what was written");
      }
      if (row != nullptr && row->state == HomeState::leaving) {
        require(row->parts - row->acknowledged <= window_, "too much of an object is under way");
      }
    }
    require(serving <= 1, "two groups serve one object");
    require(object.is_erased || holding >= 1, "an object was lost");
    require(!object.is_erased || serving == 0, "an object that was erased is served");
    if (object.is_told) look_up(homes, id, object);
  }

  /// Directory and at most one tombstone lead to it.
  void look_up(const Homes& homes, const ObjectId& id, const Object& object) {
    const auto entry = directory_(id);
    require(entry || object.is_erased, "the directory does not know an object");
    if (!entry) return;
    require(entry->group >= 1 && entry->group <= homes.size(), "the directory names no home");
    if (!is_content()) return;
    HomeFound found = homes[entry->group - 1]->table.find(id);
    if (found.answer == HomeAnswer::moved) found = homes[found.group - 1]->table.find(id);
    if (object.is_erased) {
      require(found.answer == HomeAnswer::erased || found.answer == HomeAnswer::frozen,
              "an erased object's way ends nowhere");
    } else {
      require(found.answer == HomeAnswer::serves || found.answer == HomeAnswer::frozen,
              "the way to an object ends nowhere");
    }
  }

  LookUp directory_;
  std::uint32_t window_ = 0;
  std::map<ObjectId, Object> objects_;
  std::optional<std::string> complaint_;
};

}  // namespace dolmen::cluster
