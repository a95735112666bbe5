// SPDX-License-Identifier: Apache-2.0
#include "log/configuration.hpp"

#include <algorithm>
#include <functional>

#include <dolmen/assert.hpp>

namespace dolmen::log {

namespace {

bool holds(const std::vector<ReplicaId>& ids, ReplicaId id) noexcept {
  return std::ranges::binary_search(ids, id);
}

bool ascends(const std::vector<ReplicaId>& ids) noexcept {
  return std::ranges::adjacent_find(ids, std::greater_equal<>()) == ids.end() &&
         (ids.empty() || ids.front() != ReplicaId{});
}

std::vector<ReplicaId> take_ids(base::ByteReader& in, std::size_t count) {
  std::vector<ReplicaId> ids(count);
  for (ReplicaId& id : ids) id = ReplicaId{in.get<std::uint64_t>()};
  return ids;
}

}  // namespace

bool Configuration::is_voter(ReplicaId id) const noexcept { return holds(voters, id); }
bool Configuration::is_learner(ReplicaId id) const noexcept { return holds(learners, id); }

bool is_valid(const Configuration& configuration) noexcept {
  const auto& [voters, learners] = configuration;
  if (voters.empty() || voters.size() + learners.size() > kMembersMax) return false;
  if (!ascends(voters) || !ascends(learners)) return false;
  auto voter = voters.begin();
  for (const ReplicaId learner : learners) {
    while (voter != voters.end() && *voter < learner) ++voter;
    if (voter != voters.end() && *voter == learner) return false;
  }
  return true;
}

std::vector<std::byte> encode(const Configuration& configuration) {
  DOLMEN_ASSERT(is_valid(configuration));
  base::ByteWriter out;
  out.put(static_cast<std::uint32_t>(configuration.voters.size()));
  out.put(static_cast<std::uint32_t>(configuration.learners.size()));
  for (const ReplicaId id : configuration.voters) out.put(static_cast<std::uint64_t>(id));
  for (const ReplicaId id : configuration.learners) out.put(static_cast<std::uint64_t>(id));
  return out.release();
}

Result<Configuration> decode_configuration(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto voters = in.get<std::uint32_t>();
  const auto learners = in.get<std::uint32_t>();
  if (voters <= kMembersMax && learners <= kMembersMax) {
    Configuration configuration{.voters = take_ids(in, voters)};
    configuration.learners = take_ids(in, learners);
    if (in.finished() && is_valid(configuration)) return configuration;
  }
  return fail(Errc::corrupt, "a group's configuration");
}

}  // namespace dolmen::log
