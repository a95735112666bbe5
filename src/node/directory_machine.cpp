// SPDX-License-Identifier: Apache-2.0
#include "node/directory_machine.hpp"

#include <algorithm>
#include <new>
#include <string_view>
#include <utility>
#include <variant>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/hooks.hpp"
#include "node/replicated_group.hpp"
#include "node/shard_machine.hpp"

namespace dolmen::node {

namespace {

constexpr std::uint32_t kDirectoryMagic = 0x52444C44;  // "DLDR"
constexpr std::uint16_t kDirectoryVersion = 1;
/// A put takes few.
constexpr std::uint32_t kBucketsKept = 8;

std::unexpected<Error> damaged_directory() {
  return fail(Errc::corrupt, "a shard of the directory");
}

Result<cluster::GroupId> find_nobody(std::string_view /*name*/, std::uint64_t number) {
  return fail(Errc::not_found, "a group", number);
}

}  // namespace

std::vector<std::byte> encode_directory_answer(
    const std::optional<cluster::DirectoryEntry>& entry) {
  base::ByteWriter out;
  out.put(static_cast<std::uint8_t>(entry ? 1 : 0));
  if (!entry) return out.release();
  out.put(entry->group);
  out.put(entry->counter);
  out.put(entry->length_class);
  return out.release();
}

Result<std::optional<cluster::DirectoryEntry>> decode_directory_answer(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto is_known = in.get<std::uint8_t>();
  std::optional<cluster::DirectoryEntry> entry;
  if (is_known == 1) {
    entry.emplace();
    entry->group = in.get<cluster::GroupNumber>();
    entry->counter = in.get<cluster::MoveCounter>();
    entry->length_class = in.get<std::uint16_t>();
    if (entry->group == 0 || entry->counter == 0 || entry->counter > cluster::kMoveCounterMax) {
      in.fail();
    }
  }
  if (is_known > 1 || !in.finished()) return fail(Errc::corrupt, "an answer of the directory");
  return entry;
}

cluster::IndexGeometry DirectoryMachine::geometry_of(cluster::GroupNumber self,
                                                     std::uint32_t buckets) {
  return {.table = {0x646F6C6D656E, self},
          .seed = 0x5259'4F54'4345'5249,
          .bucket_count = buckets,
          .depth_max = cluster::depth_for(buckets),
          .kind = cluster::IndexKind::homes};
}

DirectoryMachine::DirectoryMachine(cluster::GroupNumber self, std::uint32_t buckets,
                                   const cluster::MailLimits& limits)
    : geometry_(geometry_of(self, buckets)),
      own_(static_cast<std::byte*>(std::calloc(geometry_.region_bytes(), 1))),
      mail_(group_of(self), find_nobody, limits) {
  if (own_ == nullptr) throw std::bad_alloc();
  reset();
}

std::optional<cluster::DirectoryEntry> DirectoryMachine::find(const ObjectId& id) const {
  const auto home = planned_->find(id);
  return home ? std::optional(cluster::entry_of(*home)) : std::nullopt;
}

std::uint64_t DirectoryMachine::state_hash() const {
  cluster::Mailbox mailbox = mail_.mailbox();
  mailbox.settle(~log::Index{0});
  return base::mix_seed(planned_->fingerprint(), base::checksum64(mailbox.snapshot(), 2));
}

std::optional<cluster::DirectoryPlan> DirectoryMachine::plan(cluster::MailChange& change) const {
  cluster::DirectoryPlan plan;
  if (change.received) {
    // What is no notice, or one of a later version, is consumed and does nothing.
    const auto mail = cluster::decode_home_mail(change.received->bytes);
    const bool is_of_group = change.received->from == group_of(change.received->from.low);
    if (mail && is_of_group) {
      plan = cluster::plan_notice(
          *planned_, static_cast<cluster::GroupNumber>(change.received->from.low), *mail);
    }
  }
  for (const cluster::HomeLetter& letter : plan.letters) {
    change.posted.push_back({.to = group_of(letter.to), .bytes = cluster::encode(letter.mail)});
  }
  if (mail_.mailbox().judge(change) != cluster::MailVerdict::applied) return std::nullopt;
  return plan;
}

// The command of the log is the change of the mail as the courier proposes it: what it posts, and
// what the table becomes, follows from the state.
Result<std::vector<std::byte>> DirectoryMachine::effect_of(Bytes request) {
  if (!MailPart::is_request(request)) {
    return fail(Errc::invalid_argument, "the directory changes by mail alone");
  }
  DOLMEN_TRY(const cluster::MailChange change, mail_.take(request));
  cluster::MailChange judged = change;
  const auto planned = plan(judged);
  if (!planned) return fail(Errc::busy, "a directory whose mails are not taken");
  const bool puts = planned->command && planned->command->kind == cluster::IndexCommand::Kind::put;
  const cluster::IndexStatistics now = planned_->statistics();
  if (puts && now.buckets_free + now.buckets_retired < kBucketsKept &&
      !find(planned->command->id)) {
    DOLMEN_PROBE("directory.full");
    return fail(Errc::busy, "a shard of the directory is full", now.keys);
  }
  return cluster::encode(change);
}

std::vector<std::byte> DirectoryMachine::apply(Bytes) {
  DOLMEN_ASSERT(false && "apply_at() is called instead");
  return {};
}

std::vector<std::byte> DirectoryMachine::apply_at(std::uint64_t index, Bytes command) {
  // By all members alike.
  auto change = cluster::decode_mail_change(command);
  if (!change) return {};
  const auto planned = plan(*change);
  if (!planned) return {};
  if (planned->command) {
    const auto outcome = fold(*planned_, *planned->command);
    if (shown_) {
      undecided_.push_back(
          {.index = index, .applied = planned_->applied(), .command = *planned->command});
      if (DOLMEN_PLANTED("directory.shown_early")) show(undecided_.back());
    }
    // It stays where it came from.
    if (outcome == cluster::IndexOutcome::no_space) return {};
  }
  const auto verdict = mail_.apply(index, std::move(*change));
  DOLMEN_ASSERT(verdict == cluster::MailVerdict::applied);
  return {};
}

cluster::IndexOutcome DirectoryMachine::fold(cluster::HashIndex& table,
                                             const cluster::IndexCommand& command) {
  const auto release = [&](log::Index upto) {
    (void)table.apply(table.applied() + 1, cluster::IndexCommand::release(upto));
  };
  release(table.applied() - std::min(table.applied(), kDirectoryGrace));
  const auto outcome = table.apply(table.applied() + 1, command);
  if (outcome != cluster::IndexOutcome::no_space) return outcome;
  // Nothing rests on the grace.
  DOLMEN_PROBE("directory.grace_cut_short");
  release(table.applied());
  return table.apply(table.applied() + 1, command);
}

/// Executed again, after something was undone, it may be there already.
void DirectoryMachine::show(const Undecided& one) {
  if (one.applied <= shown_->applied()) return;
  (void)fold(*shown_, one.command);
  DOLMEN_ASSERT_CMP(shown_->applied(), ==, one.applied);
}

Result<void> DirectoryMachine::decided(std::uint64_t index) {
  // In front of the mail, which says to others that it is so.
  while (!undecided_.empty() && undecided_.front().index <= index) {
    show(undecided_.front());
    undecided_.pop_front();
  }
  mail_.settle(index);
  return {};
}

Result<std::vector<std::byte>> DirectoryMachine::read(Bytes query) const {
  if (is_index_stats_question(query)) return encode_index_stats(stats_of(*planned_));
  base::ByteReader in(query);
  const ObjectId id = in.get_id();
  if (!in.finished() || id.is_null()) return fail(Errc::invalid_argument, "an object's id");
  return encode_directory_answer(find(id));
}

std::vector<std::byte> DirectoryMachine::snapshot() const {
  base::ByteWriter out;
  const std::vector<std::byte> mail = mail_.snapshot();
  out.put(kDirectoryMagic);
  out.put(kDirectoryVersion);
  out.put(std::uint16_t{0});
  out.put(static_cast<std::uint32_t>(mail.size()));
  out.put_bytes(mail);
  out.put_bytes(planned_->snapshot());
  return out.release();
}

Result<void> DirectoryMachine::restore(Bytes state) {
  base::ByteReader in(state);
  if (in.get<std::uint32_t>() != kDirectoryMagic) return damaged_directory();
  if (const auto version = in.get<std::uint16_t>(); version != kDirectoryVersion) {
    if (in.failed()) return damaged_directory();
    return fail(Errc::version_unsupported, "a shard of the directory", version);
  }
  const auto reserved = in.get<std::uint16_t>();
  const base::Bytes mail = in.take(in.get<std::uint32_t>());
  const base::Bytes table = in.take(in.remaining());
  if (in.failed() || reserved != 0) return damaged_directory();
  DOLMEN_CHECK(mail_.restore(mail));
  undecided_.clear();
  DOLMEN_CHECK(planned_->restore(table));
  if (memory_.empty()) return {};
  if (!shown_) shown_.emplace(empty_in(memory_));
  // A snapshot is of decided entries. An earlier one is restored to undo what came behind it, of
  // which what others read knows nothing; it holds more than that already.
  const bool is_later = planned_->applied() > shown_->applied();
  if (is_later || DOLMEN_PLANTED("directory.shown_goes_back")) return shown_->restore(table);
  return {};
}

void DirectoryMachine::reset() {
  const base::MutableBytes region(own_.get(), geometry_.region_bytes());
  if (planned_) cluster::IndexMemory(region, geometry_).clear(0, region.size());
  planned_.emplace(empty_in(region));
  undecided_.clear();
  mail_.reset();
  if (!memory_.empty() && !shown_) shown_.emplace(empty_in(memory_));
}

void DirectoryMachine::use_memory(std::span<std::byte> memory) {
  DOLMEN_ASSERT_CMP(memory.size(), ==, memory_bytes());
  memory_ = memory;
  shown_.reset();
  undecided_.clear();
}

cluster::HashIndex DirectoryMachine::empty_in(base::MutableBytes region) const {
  auto made = cluster::HashIndex::make(region, geometry_, kDirectoryEpoch);
  DOLMEN_ASSERT(made && "the geometry is possible");
  return std::move(*made);
}

}  // namespace dolmen::node
