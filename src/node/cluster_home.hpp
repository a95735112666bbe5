// SPDX-License-Identifier: Apache-2.0
//
// What clients do about objects that live somewhere in a cluster (docs/homes.md).
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>
#include <dolmen/replicated.hpp>

#include "base/bytes.hpp"
#include "cluster/root.hpp"
#include "node/home_request.hpp"

namespace dolmen::node {

/// Calls, and tells what came of it when the directory has logged all objects that it published.
/// Errors: as ReplicatedClient::call(), those of the function; connection_lost as well if it is
/// done, and that is not known of the directory in time.
[[nodiscard]] Result<std::vector<std::byte>> call_until_told(ReplicatedClient& client,
                                                             base::Bytes call,
                                                             std::chrono::milliseconds patience);
/// The same of a call of an object; or where it is, and then the call was not executed there and
/// never will be.
[[nodiscard]] Result<std::variant<Elsewhere, std::vector<std::byte>>> call_at_home(
    ReplicatedClient& client, base::Bytes call, std::chrono::milliseconds patience);

/// Where objects were when a client heard of them last; who is asked there says if that is old.
/// Threads: one.
class HomeHints {
 public:
  /// The oldest ones are forgotten.
  static constexpr std::size_t kHintsMax = 4096;
  [[nodiscard]] std::optional<cluster::GroupNumber> find(const ObjectId& object) const {
    const auto found = groups_.find(object);
    return found == groups_.end() ? std::nullopt : std::optional(found->second);
  }
  void learn(const ObjectId& object, cluster::GroupNumber group);
  void forget(const ObjectId& object);
  [[nodiscard]] std::size_t size() const noexcept { return groups_.size(); }

 private:
  std::map<ObjectId, cluster::GroupNumber> groups_;
  std::deque<ObjectId> order_;  ///< each that is in `groups_`, the oldest first; and some that went
};

}  // namespace dolmen::node
