// SPDX-License-Identifier: Apache-2.0
#include "log/configuration.hpp"

#include <algorithm>
#include <functional>

#include <dolmen/assert.hpp>

namespace dolmen::log {

namespace {

/// In the highest byte of the number of voters. The first layout has nothing for witnesses, and is
/// the only one for who has none.
constexpr std::uint32_t kWithWitnesses = 1u << 24;
constexpr std::uint32_t kLayoutMask = 0xFFu << 24;

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

bool Configuration::is_witness(ReplicaId id) const noexcept { return holds(witnesses, id); }

bool is_valid(const Configuration& configuration) noexcept {
  const auto& [voters, learners, witnesses] = configuration;
  if (voters.empty() || voters.size() + learners.size() > kMembersMax) return false;
  if (!ascends(voters) || !ascends(learners) || !ascends(witnesses)) return false;
  if (witnesses.size() >= voters.size() || !std::ranges::includes(voters, witnesses)) return false;
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
  const auto witnesses = static_cast<std::uint32_t>(configuration.witnesses.size());
  out.put(static_cast<std::uint32_t>(configuration.voters.size()) |
          (witnesses == 0 ? 0 : kWithWitnesses));
  out.put(static_cast<std::uint32_t>(configuration.learners.size()));
  for (const ReplicaId id : configuration.voters) out.put(static_cast<std::uint64_t>(id));
  for (const ReplicaId id : configuration.learners) out.put(static_cast<std::uint64_t>(id));
  if (witnesses == 0) return out.release();
  out.put(witnesses);
  for (const ReplicaId id : configuration.witnesses) out.put(static_cast<std::uint64_t>(id));
  return out.release();
}

Result<Configuration> decode_configuration(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto first = in.get<std::uint32_t>();
  const std::uint32_t layout = first & kLayoutMask;
  const std::uint32_t voters = first & ~kLayoutMask;
  const auto learners = in.get<std::uint32_t>();
  if (!in.failed() && layout > kWithWitnesses) {
    return fail(Errc::version_unsupported, "a group's configuration", layout >> 24);
  }
  if (voters <= kMembersMax && learners <= kMembersMax) {
    Configuration configuration{.voters = take_ids(in, voters)};
    configuration.learners = take_ids(in, learners);
    const std::uint32_t witnesses = layout == kWithWitnesses ? in.get<std::uint32_t>() : 0;
    if (witnesses <= voters) configuration.witnesses = take_ids(in, witnesses);
    // None in a layout that is for some would be another way to say the same.
    const bool is_plain = layout == kWithWitnesses && witnesses == 0;
    if (!is_plain && in.finished() && is_valid(configuration)) return configuration;
  }
  return fail(Errc::corrupt, "a group's configuration");
}

}  // namespace dolmen::log
