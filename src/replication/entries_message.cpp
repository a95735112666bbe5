// SPDX-License-Identifier: Apache-2.0
#include "replication/entries_message.hpp"

#include <algorithm>

namespace dolmen::replication {

namespace {

std::unexpected<Error> damaged_entries() {
  return fail(Errc::corrupt, "a message about a log's entries");
}

}  // namespace

std::vector<std::byte> encode(const AskEntries& ask) {
  base::ByteWriter out;
  out.put(ask.number);
  out.put(ask.from);
  out.put(ask.count);
  return out.release();
}

std::vector<std::byte> encode(const EntriesTold& told) {
  base::ByteWriter out;
  out.put(told.number);
  out.put(told.base);
  out.put(told.end);
  out.put(told.stable);
  out.put(told.first);
  out.put(static_cast<std::uint32_t>(told.entries.size()));
  for (const EntriesTold::One& one : told.entries) {
    out.put(one.origin);
    out.put(static_cast<std::uint32_t>(one.kind));
    out.put(one.bytes);
    out.put_bytes(one.head);
  }
  return out.release();
}

Result<AskEntries> decode_ask_entries(base::Bytes body) {
  base::ByteReader in(body);
  const AskEntries ask{.number = in.get<std::uint64_t>(),
                       .from = in.get<std::uint64_t>(),
                       .count = in.get<std::uint32_t>()};
  if (!in.finished() || ask.from > log::kIndexMax || ask.count == 0 ||
      ask.count > kEntriesToldMax) {
    return damaged_entries();
  }
  return ask;
}

Result<EntriesTold> decode_entries_told(base::Bytes body) {
  base::ByteReader in(body);
  EntriesTold told{.number = in.get<std::uint64_t>(),
                   .base = in.get<std::uint64_t>(),
                   .end = in.get<std::uint64_t>(),
                   .stable = in.get<std::uint64_t>(),
                   .first = in.get<std::uint64_t>()};
  const auto count = in.get<std::uint32_t>();
  if (in.failed() || count > kEntriesToldMax || told.base > told.end || told.end > log::kIndexMax ||
      told.first <= told.base || told.first > log::kIndexMax + 1) {
    return damaged_entries();
  }
  if (count != 0 && (told.first > told.end || count > told.end - told.first + 1)) {
    return damaged_entries();
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    EntriesTold::One one{.origin = in.get<std::uint64_t>()};
    const auto kind = in.get<std::uint32_t>();
    one.bytes = in.get<std::uint32_t>();
    if (kind < static_cast<std::uint32_t>(log::EntryKind::command) ||
        kind > static_cast<std::uint32_t>(log::EntryKind::settled) || one.origin > log::kEpochMax ||
        one.bytes > log::kPayloadBytesMax) {
      return damaged_entries();
    }
    one.kind = static_cast<log::EntryKind>(kind);
    one.head = in.take(std::min<std::size_t>(one.bytes, kEntryHeadToldMax));
    if (in.failed()) return damaged_entries();
    told.entries.push_back(one);
  }
  if (!in.finished()) return damaged_entries();
  return told;
}

}  // namespace dolmen::replication
