// SPDX-License-Identifier: Apache-2.0
#include "replication/journal_format.hpp"

#include <utility>

namespace dolmen::replication {

namespace {

enum class Part : std::uint8_t { epoch = 1, entry = 2, snapshot = 3, new_replica = 4, removed = 5 };

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a replica's journal"); }

void put_head(base::ByteWriter& out, const GroupId& group) {
  out.put(kJournalVersion);
  out.put(std::uint16_t{0});
  out.put(std::uint32_t{0});
  out.put_id(group);
}

/// The version, then the group. Errors: corrupt, version_unsupported.
Result<GroupId> take_head(base::ByteReader& in) {
  const auto version = in.get<std::uint16_t>();
  const bool is_spare_used = in.get<std::uint16_t>() != 0 || in.get<std::uint32_t>() != 0;
  const GroupId group = in.get_id();
  if (in.failed()) return damaged();
  if (version != kJournalVersion) {
    return fail(Errc::version_unsupported, "a replica's journal", version);
  }
  if (is_spare_used || group.is_null()) return damaged();
  return group;
}

void put_part(base::ByteWriter& out, Part part, std::uint8_t kind, std::size_t bytes) {
  out.put(static_cast<std::uint8_t>(part));
  out.put(kind);
  out.put(std::uint16_t{0});
  out.put(static_cast<std::uint32_t>(bytes));
}

void put_entry(base::ByteWriter& out, const log::Entry& entry) {
  put_part(out, Part::entry, static_cast<std::uint8_t>(entry.kind), 16 + entry.payload.size());
  out.put(entry.origin);
  out.put(entry.index);
  out.put_bytes(entry.payload);
}

void put_configuration(base::ByteWriter& out, const log::Configuration& configuration) {
  const std::vector<std::byte> bytes = log::encode(configuration);
  out.put(static_cast<std::uint32_t>(bytes.size()));
  out.put(std::uint32_t{0});
  out.put_bytes(bytes);
}

Result<log::Configuration> take_configuration(base::ByteReader& in) {
  const auto bytes = in.get<std::uint32_t>();
  if (in.get<std::uint32_t>() != 0) return damaged();
  return log::decode_configuration(in.take(bytes));
}

Result<log::Entry> take_entry(base::Bytes body, std::uint8_t kind) {
  base::ByteReader in(body);
  log::Entry entry{.origin = in.get<std::uint64_t>(), .index = in.get<std::uint64_t>()};
  if (in.failed() || entry.origin == 0 || entry.origin > log::kEpochMax) return damaged();
  if (entry.index == 0 || entry.index > log::kIndexMax) return damaged();
  if (kind < static_cast<std::uint8_t>(log::EntryKind::command) ||
      kind > static_cast<std::uint8_t>(log::EntryKind::settled)) {
    return damaged();
  }
  entry.kind = static_cast<log::EntryKind>(kind);
  const base::Bytes payload = in.take(in.remaining());
  if (payload.size() > log::kPayloadBytesMax) return damaged();
  const bool is_bare =
      entry.kind == log::EntryKind::opening || entry.kind == log::EntryKind::settled;
  if (is_bare && !payload.empty()) return damaged();
  if (entry.kind == log::EntryKind::configuration && !log::decode_configuration(payload)) {
    return damaged();
  }
  entry.payload.assign(payload.begin(), payload.end());
  return entry;
}

/// One of the records of a batch.
Result<log::Record> take_record(base::ByteReader& in) {
  const auto part = static_cast<Part>(in.get<std::uint8_t>());
  const auto kind = in.get<std::uint8_t>();
  const bool is_spare_used = in.get<std::uint16_t>() != 0;
  const base::Bytes body = in.take(in.get<std::uint32_t>());
  if (in.failed() || is_spare_used) return damaged();
  if (part == Part::entry) {
    DOLMEN_TRY(log::Entry entry, take_entry(body, kind));
    return log::Record{.entry = std::move(entry)};
  }
  if (kind != 0) return damaged();
  if (part == Part::snapshot) {
    DOLMEN_TRY(log::SnapshotPtr snapshot, log::Snapshot::decode({body.begin(), body.end()}));
    return log::Record{.snapshot = std::move(snapshot)};
  }
  base::ByteReader fields(body);
  log::Record record{.epoch = fields.get<std::uint64_t>(),
                     .granted_to = log::ReplicaId{fields.get<std::uint64_t>()}};
  if (part != Part::epoch || !fields.finished()) return damaged();
  if (record.epoch == 0 || record.epoch > log::kEpochMax) return damaged();
  return record;
}

}  // namespace

std::vector<std::byte> encode_new_replica(const GroupId& group, log::ReplicaId self,
                                          const log::Configuration& first) {
  base::ByteWriter out;
  put_head(out, group);
  put_part(out, Part::new_replica, 0, 16 + log::encode(first).size());
  out.put(static_cast<std::uint64_t>(self));
  put_configuration(out, first);
  return out.release();
}

std::vector<std::byte> encode_removed_replica(const GroupId& group) {
  base::ByteWriter out;
  put_head(out, group);
  put_part(out, Part::removed, 0, 0);
  return out.release();
}

std::vector<std::byte> encode_records(const GroupId& group,
                                      const std::vector<log::Record>& records) {
  base::ByteWriter out;
  put_head(out, group);
  for (const log::Record& record : records) {
    if (record.entry) {
      put_entry(out, *record.entry);
    } else if (record.snapshot) {
      put_part(out, Part::snapshot, 0, record.snapshot->bytes().size());
      out.put_bytes(record.snapshot->bytes());
    } else {
      put_part(out, Part::epoch, 0, 16);
      out.put(record.epoch);
      out.put(static_cast<std::uint64_t>(record.granted_to));
    }
  }
  return out.release();
}

Result<Batch> decode_batch(base::Bytes bytes) {
  base::ByteReader in(bytes);
  Batch batch;
  DOLMEN_TRY(batch.group, take_head(in));
  if (in.remaining() == 0) return damaged();
  if (static_cast<Part>(bytes[in.position()]) == Part::removed) {
    batch.is_removed = in.get<std::uint64_t>() == static_cast<std::uint64_t>(Part::removed);
    if (!in.finished() || !batch.is_removed) return damaged();
    return batch;
  }
  if (static_cast<Part>(bytes[in.position()]) == Part::new_replica) {
    const auto head = in.get<std::uint32_t>();
    const auto body_bytes = in.get<std::uint32_t>();
    if (head != static_cast<std::uint32_t>(Part::new_replica)) return damaged();
    if (body_bytes != in.remaining()) return damaged();
    batch.self = log::ReplicaId{in.get<std::uint64_t>()};
    DOLMEN_TRY(batch.first, take_configuration(in));
    if (!in.finished() || batch.self == log::ReplicaId{}) return damaged();
    return batch;
  }
  while (in.remaining() > 0) {
    DOLMEN_TRY(log::Record record, take_record(in));
    batch.records.push_back(std::move(record));
  }
  if (!in.finished()) return damaged();
  return batch;
}

std::vector<std::byte> encode_hosted(const Hosted& hosted) {
  const log::DurableState& state = hosted.state;
  base::ByteWriter out;
  out.put(kJournalVersion);
  out.put(std::uint16_t{0});
  out.put(std::uint32_t{0});
  out.put(static_cast<std::uint64_t>(hosted.self));
  out.put(state.epoch);
  out.put(static_cast<std::uint64_t>(state.granted_to));
  out.put(state.base.origin);
  out.put(state.base.index);
  out.put(state.snapshot ? state.snapshot->last().index : log::Index{0});
  put_configuration(out, hosted.first);
  for (const log::Entry& entry : state.entries) put_entry(out, entry);
  return out.release();
}

Result<Hosted> decode_hosted(base::Bytes bytes, log::SnapshotPtr snapshot) {
  base::ByteReader in(bytes);
  const auto version = in.get<std::uint16_t>();
  const bool is_spare_used = in.get<std::uint16_t>() != 0 || in.get<std::uint32_t>() != 0;
  if (!in.failed() && version != kJournalVersion) {
    return fail(Errc::version_unsupported, "a replica's journal", version);
  }
  Hosted hosted;
  hosted.self = log::ReplicaId{in.get<std::uint64_t>()};
  log::DurableState& state = hosted.state;
  state.epoch = in.get<std::uint64_t>();
  state.granted_to = log::ReplicaId{in.get<std::uint64_t>()};
  state.base.origin = in.get<std::uint64_t>();
  state.base.index = in.get<std::uint64_t>();
  const auto snapshot_end = in.get<std::uint64_t>();
  DOLMEN_TRY(hosted.first, take_configuration(in));
  if (is_spare_used || in.failed() || hosted.self == log::ReplicaId{}) return damaged();
  if (state.epoch > log::kEpochMax || state.base.index > snapshot_end) return damaged();
  if (state.epoch == 0 && state.granted_to != log::ReplicaId{}) return damaged();
  const log::Position last = snapshot ? snapshot->last() : log::Position{};
  if (snapshot_end != last.index || last.origin > state.epoch) return damaged();
  if ((state.base.index == 0) != (state.base.origin == 0)) return damaged();
  if (state.base.index == last.index && state.base != last) return damaged();
  state.snapshot = std::move(snapshot);
  while (in.remaining() > 0) {
    DOLMEN_TRY(const log::Record record, take_record(in));
    if (!record.entry) return damaged();
    if (record.entry->index != state.base.index + state.entries.size() + 1) return damaged();
    DOLMEN_CHECK(apply(state, record));
  }
  if (!in.finished() || state.base.index + state.entries.size() < snapshot_end) return damaged();
  if (state.snapshot && !state.holds(state.snapshot->last())) return damaged();
  return hosted;
}

std::vector<std::byte> encode_catalog(const std::vector<GroupId>& groups) {
  base::ByteWriter out;
  out.put(kJournalVersion);
  out.put(std::uint16_t{0});
  out.put(std::uint32_t{0});
  for (const GroupId& group : groups) out.put_id(group);
  return out.release();
}

Result<std::vector<GroupId>> decode_catalog(base::Bytes bytes) {
  base::ByteReader in(bytes);
  const auto version = in.get<std::uint16_t>();
  const bool is_spare_used = in.get<std::uint16_t>() != 0 || in.get<std::uint32_t>() != 0;
  if (!in.failed() && version != kJournalVersion) {
    return fail(Errc::version_unsupported, "a replica's journal", version);
  }
  std::vector<GroupId> groups;
  while (in.remaining() > 0) {
    groups.push_back(in.get_id());
  }
  if (is_spare_used || !in.finished()) return damaged();
  if (!groups.empty() && groups.back().is_null()) return damaged();
  return groups;
}

Result<void> apply(log::DurableState& state, const log::Record& record) {
  if (record.snapshot) {
    const log::Position known = state.snapshot ? state.snapshot->last() : log::Position{};
    const log::Position last = record.snapshot->last();
    if (last.index <= known.index || last.origin < known.origin) return damaged();
    if (last.origin > state.epoch) return damaged();
  } else if (record.entry) {
    const log::Entry& entry = *record.entry;
    const log::Index end = state.base.index + state.entries.size();
    const log::Index decided = state.snapshot ? state.snapshot->last().index : 0;
    if (entry.index <= state.base.index || entry.index > end + 1) return damaged();
    // Of what a snapshot stands for only entries that are kept for others come again, as they were.
    if (entry.index <= decided && entry.index != end + 1) return damaged();
    const log::Epoch before = entry.index == state.base.index + 1
                                  ? state.base.origin
                                  : state.entries[entry.index - state.base.index - 2].origin;
    if (entry.origin < before || entry.origin > state.epoch) return damaged();
  } else {
    const bool is_again = record.epoch == state.epoch;
    const bool was_granted = state.granted_to != log::ReplicaId{};
    if (record.epoch < state.epoch) return damaged();
    if (is_again && was_granted && record.granted_to != state.granted_to) return damaged();
  }
  state.apply(record);
  return {};
}

}  // namespace dolmen::replication
