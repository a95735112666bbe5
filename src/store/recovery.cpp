// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string_view>

#include "base/hooks.hpp"
#include "store/durable_store.hpp"
#include "store/log_format.hpp"

namespace dolmen::store {

namespace {

constexpr unsigned kReaderAttemptsMax = 200;
constexpr unsigned kSameDamageMax = 3;

[[nodiscard]] Result<RootChoice> read_root(sys::Disk& disk, std::string_view name = kRootFile) {
  auto file = disk.open(name, sys::OpenMode::read_only);
  if (!file && file.error().code() == Errc::not_found) {
    return fail(Errc::not_a_space, interned(disk.describe()));
  }
  if (!file) return std::unexpected(file.error());
  return RootKeeper::read(**file);
}

// What a killed process wrote but did not sync was read from memory: it must not be forgotten again
// after it was shown to somebody. Only the last segment can hold such records. Who may write does
// more: Log::rewrite_unproven().
[[nodiscard]] Result<void> sync_what_was_read(sys::Disk& disk, const Root& root) {
  if (root.segments.empty()) return {};
  DOLMEN_TRY(auto file,
             disk.open(segment_name(root.segments.back().file), sys::OpenMode::read_only));
  return file->sync();
}

[[nodiscard]] Result<Recovered> recover_from(sys::Disk& disk, sys::Memory* memory,
                                             RootChoice choice, Contents contents) {
  Recovered recovered;
  recovered.choice = std::move(choice);
  const Root& root = recovered.choice.root;
  if (root.contents != contents) {
    const char* const what = root.contents == Contents::journal
                                 ? ": it holds the journal of a replica, and no objects"
                                 : ": it holds objects, and no journal of a replica";
    return fail(Errc::not_a_space, interned(disk.describe() + what));
  }
  if (contents == Contents::journal) {
    const TransactionSink keep = [&](Index index, base::Bytes payload) -> Result<void> {
      recovered.records.emplace_back(index, payload);
      return {};
    };
    DOLMEN_TRY(recovered.scan, scan_log(disk, root, keep, {.memory = memory}));
    return recovered;
  }
  auto tail = std::make_shared<TailIndex>();
  const TransactionSink sink = [&](Index, base::Bytes payload) { return tail->add(payload); };
  DOLMEN_TRY(recovered.scan, scan_log(disk, root, sink, {.memory = memory}));
  tail->own(std::move(recovered.scan.memory));
  if (!tail->empty()) recovered.tail = std::move(tail);
  return recovered;
}

// Whether every segment of `scanned` still lives the life in which it was read.
[[nodiscard]] bool still_listed(const Root& scanned, const Root& now) {
  return std::ranges::all_of(scanned.segments, [&](const SegmentRef& segment) {
    return std::ranges::find(now.segments, segment) != now.segments.end();
  });
}

}  // namespace

Result<Recovered> recover(sys::Disk& disk, sys::Memory* memory, std::string_view root_file,
                          Contents contents) {
  DOLMEN_TRY(RootChoice choice, read_root(disk, root_file));
  return recover_from(disk, memory, std::move(choice), contents);
}

Result<Recovered> recover_beside_writer(sys::Disk& disk, sys::Memory* memory, Contents contents) {
  std::string_view last_damage;
  unsigned same_damage = 0;
  for (unsigned attempt = 0; attempt < kReaderAttemptsMax; ++attempt) {
    auto choice = read_root(disk);
    auto recovered =
        choice ? recover_from(disk, memory, *choice, contents) : std::unexpected(choice.error());
    if (recovered) {
      const auto synced = sync_what_was_read(disk, recovered->choice.root);
      if (!synced) recovered = std::unexpected(synced.error());
    }
    if (!recovered) {
      const Error& error = recovered.error();
      if (error.code() != Errc::corrupt && error.code() != Errc::not_found) return recovered;
      // A record, slot or segment that was being written, or recycled: real damage stays where it
      // is.
      same_damage = error.context() == last_damage ? same_damage + 1 : 1;
      last_damage = error.context();
      if (same_damage >= kSameDamageMax) return recovered;
      DOLMEN_PROBE("store.reader_tries_again");
      continue;
    }
    DOLMEN_TRY(const RootChoice now, read_root(disk));
    if (still_listed(recovered->choice.root, now.root)) return recovered;
    DOLMEN_PROBE("store.reader_overtaken");
  }
  return fail(Errc::conflict, "the writer recycles the log faster than it can be read");
}

std::string describe_process(const sys::Env& env) {
  return "pid " + std::to_string(env.process->pid()) + " on host " + env.process->host_name() +
         ": " + env.process->command_line();
}

}  // namespace dolmen::store
