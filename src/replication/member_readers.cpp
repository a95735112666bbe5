// SPDX-License-Identifier: Apache-2.0
//
// A machine's state in memory that others read one-sidedly, and the line in front of it, which says
// what this member promised (docs/index.md, As a service).
//
// What stays true: no message, answer or lane write that rests on a promise of an epoch, or on a
// configuration, leaves this member before its line says so.
#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "replication/lease_message.hpp"
#include "replication/member.hpp"

namespace dolmen::replication {

namespace {

void store_word(base::MutableBytes memory, std::size_t at, std::uint64_t value) noexcept {
  auto* const word =
      static_cast<std::uint64_t*>(static_cast<void*>(memory.subspan(at, sizeof value).data()));
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

}  // namespace

Result<void> Member::make_memory(Hosting& hosting) {
  const std::size_t bytes = hosting.machine->memory_bytes();
  if (bytes == 0) return {};
  if (bytes % 8 != 0) {
    return fail(Errc::invalid_argument, "a state machine whose memory others read", bytes);
  }
  hosting.memory_region = fabric::RegionId{next_region_};
  DOLMEN_TRY(hosting.memory,
             endpoint_.make_region(hosting.memory_region, kMemoryLineBytes + bytes));
  ++next_region_;
  publish_promises(hosting);
  hosting.machine->use_memory(hosting.memory.subspan(kMemoryLineBytes));
  return {};
}

void Member::publish_promises(const Hosting& hosting) noexcept {
  if (hosting.memory.empty()) return;
  const log::Replica& replica = hosting.replica;
  const auto is_told = [&](std::size_t at, std::uint64_t value) {
    return base::load<std::uint64_t>(hosting.memory, at) == value;
  };
  if (!is_told(kEpochWordAt, replica.epoch())) {
    store_word(hosting.memory, kEpochWordAt, replica.epoch());
  }
  if (!is_told(kConfiguredWordAt, replica.configured_at())) {
    store_word(hosting.memory, kConfiguredWordAt, replica.configured_at());
  }
}

/// Who has it mapped reads on, and must not take this member for one that promised nothing since.
void Member::retire_memory(const Hosting& hosting) noexcept {
  store_word(hosting.memory, kEpochWordAt, ~std::uint64_t{0});
  (void)endpoint_.close_region(hosting.memory_region);
}

void Member::answer_memory(const GroupId& group, const Hosting& hosting,
                           const fabric::NodeName& reader, const Capability& shown) {
  const log::Replica& replica = hosting.replica;
  MemoryReply reply{
      .leader = replica.leader() ? static_cast<std::uint64_t>(node_of(*replica.leader())) : 0,
      .configured = replica.configured_at(),
      .configuration = replica.last_configuration()};
  const bool is_granted =
      !hosting.memory.empty() && !DOLMEN_BUGGIFY("replication.memory_untold") &&
      endpoint_.grant(hosting.memory_region, reader.node, {.read = true}).has_value();
  if (is_granted) {
    memory_readers_[reader] = shown;
    reply.bytes = hosting.memory.size() - kMemoryLineBytes;
    reply.region = static_cast<std::uint32_t>(hosting.memory_region);
    if (replica.deciding().size() == 1) reply.epoch = epoch_of_memory(hosting);
  }
  send(reader, {.kind = EnvelopeKind::memory, .group = group, .from = replica.self()},
       encode(reply));
}

/// The last entry that is in what others read, at least. Of what is executed ahead the machine
/// shows what it was told is decided.
log::Index Member::shown_in_memory(const Hosting& hosting) {
  return hosting.executes_ahead() ? hosting.told_decided : hosting.executor->executed();
}

log::Epoch Member::epoch_of_memory(const Hosting& hosting) const {
  if (hosting.memory.empty()) return 0;
  const log::Replica& replica = hosting.replica;
  // The next life of a replica with a disk promises more under the same name, while memory that
  // is mapped still shows what the one before had: unless whoever reads it sees that it is dead.
  const fabric::Traits& traits = endpoint_.traits();
  const bool is_name_of_one_life = journal_ == nullptr || !traits.mapped || traits.tells_lives;
  const log::Index shown = shown_in_memory(hosting);
  const log::Position last =
      shown > replica.base().index ? replica.at(shown).position() : replica.base();
  const bool has_caught_up =
      last.origin == replica.epoch() || DOLMEN_PLANTED("replication.leader_not_caught_up");
  const bool is_leaders =
      replica.role() == log::Role::leader && has_caught_up && is_name_of_one_life;
  return is_leaders ? replica.epoch() : 0;
}

/// What the reader counts on is kept by this one as well from now on.
void Member::answer_lease(const fabric::NodeName& from, const GroupId& group, Hosting& hosting,
                          base::Bytes body) {
  const auto asked = decode_ask_lease(body);
  if (!asked || hosting.memory.empty()) return;
  LeaseTold told{.number = asked->number, .drift_ppm = options_.replica.drift_ppm};
  if (epoch_of_memory(hosting) == asked->epoch) {
    const std::uint64_t now_ns = env_.clock->monotonic_ns();
    const std::uint64_t until_ns = hosting.replica.lease_until_ns(now_ns);
    told.left_ns = std::min(until_ns - std::min(until_ns, now_ns), kLeaseMaxNs);
    if (DOLMEN_BUGGIFY("replication.lease_short")) told.left_ns /= 8;
  }
  send(from, {.kind = EnvelopeKind::lease, .group = group, .from = hosting.replica.self()},
       encode(told));
}

/// So that rights do not pile up with clients that come and go. Where memory is mapped nothing can
/// be taken back, but the room that a grant takes may be.
void Member::forget_reader(const fabric::NodeName& reader) {
  memory_readers_.erase(reader);
  for (const auto& [group, hosting] : groups_) {
    if (!hosting.memory.empty()) (void)endpoint_.revoke(hosting.memory_region, reader.node);
  }
}

}  // namespace dolmen::replication
