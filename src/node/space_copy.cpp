// SPDX-License-Identifier: Apache-2.0
//
// An import reads the directory as a member's image is read for another member, and sends what it
// read through the group's log, part by part. An export is a member that gets a state and then
// ends.
#include "node/space_copy.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <dolmen/replicated_space.hpp>
#include <dolmen/space.hpp>

#include "log/snapshot.hpp"
#include "node/open_space.hpp"
#include "node/replicated_client.hpp"
#include "node/space_disk.hpp"
#include "node/space_import.hpp"
#include "node/space_machine.hpp"
#include "node/space_transfer.hpp"
#include "replication/state_fetch.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {

namespace {

constexpr std::string_view kSpaceRoot = "space";
constexpr std::string_view kLockFile = "lock";
constexpr std::uint64_t kPartPauseNs = 200'000;

/// What the directory holds, once nobody changes it.
struct Counted {
  ImportSource source;
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;
};

Result<Counted> count(const sys::Env& env, sys::Disk& disk) {
  DOLMEN_TRY(const SpaceOptions options,
             prepare_process(env, {.create = false, .read_only = true, .background = false}));
  DOLMEN_TRY(Space space, open_space(env, std::make_unique<ImageDisk>(disk), options,
                                     env.memory->best_driver()));
  {
    // One whose creation was cut short, or whose names cannot be read, would be of no use there.
    DOLMEN_TRY(const View view, space.view());
    DOLMEN_CHECK(view.names());
  }
  const auto stats = space.stats();
  Counted counted{.source = {.space = stats.space_id, .last_index = stats.last_index},
                  .bytes = stats.pages_live_bytes + stats.log_tail_bytes};
  DOLMEN_CHECK(space.core().store().for_each_object([&](const store::ObjectInfo&) {
    ++counted.objects;
    return true;
  }));
  return counted;
}

/// Where the leader is behind these pages.
Result<ImportCursor> behind(ImportCursor at, base::Bytes pages) {
  DOLMEN_TRY(const DecodedImage image, decode_image(pages));
  if (image.objects.empty()) return at;
  const ImageObject& last = image.objects.back();
  if (last.id != at.object) at = {.object = last.id, .capacity_log2 = last.capacity_log2};
  if (!last.pages.empty()) at.page = last.pages.back().number + 1;
  return at;
}

class Importer {
 public:
  Importer(const sys::Env& env, sys::Disk& disk, const Counted& counted, ReplicatedClient& client,
           std::chrono::milliseconds patience)
      : env_(env), disk_(disk), counted_(counted), client_(client), patience_(patience) {}

  Result<CopySummary> run(const Progress& progress) {
    at_.source = counted_.source;
    DOLMEN_CHECK(ask(ImportStep::begin, {}));
    CopySummary summary{.space = counted_.source.space,
                        .commit = counted_.source.last_index,
                        .objects = counted_.objects,
                        .goes_on = !at_.cursor.object.is_null()};
    while (true) {
      DOLMEN_TRY(const std::vector<std::byte> part, next());
      if (part.empty()) break;
      const ImportCursor before = at_.cursor;
      DOLMEN_TRY(const ImportCursor wanted, behind(before, part));
      DOLMEN_CHECK(ask(ImportStep::part, part));
      summary.bytes += part.size();
      if (progress) {
        progress(std::min(summary.bytes, counted_.bytes), counted_.bytes);
      }
      if (at_.cursor == wanted) continue;
      // Somebody with a copy of the directory is at it, too.
      if (at_.cursor == before) return fail(Errc::corrupt, "an import does not get on");
      source_.reset();
    }
    DOLMEN_CHECK(ask(ImportStep::finish, {}));
    return summary;
  }

 private:
  /// The next part of what is behind the cursor; empty: there is none.
  Result<std::vector<std::byte>> next() {
    if (!source_) {
      source_ = std::make_unique<SpaceSource>(
          env_, disk_,
          ImageHead{.space = counted_.source.space, .last_index = counted_.source.last_index},
          kImportPartBytes, store::PageKey{at_.cursor.object, at_.cursor.page});
      number_ = 0;
    }
    while (true) {
      DOLMEN_TRY(auto part, source_->part(number_));
      if (part) {
        ++number_;
        return std::move(*part);
      }
      env_.clock->sleep_ns(kPartPauseNs);
    }
  }

  Result<void> ask(ImportStep step, base::Bytes pages) {
    const auto call = encode(ImportCall{.step = step, .at = at_, .pages = pages});
    DOLMEN_TRY(const auto told, call_space(client_, kImportFunction, call, patience_));
    DOLMEN_TRY(const ImportState reached, decode_import_state(told));
    if (reached.source != at_.source) return fail(Errc::corrupt, "an import of another space");
    at_ = reached;
    return {};
  }

  const sys::Env& env_;
  sys::Disk& disk_;
  const Counted counted_;
  ReplicatedClient& client_;
  const std::chrono::milliseconds patience_;
  ImportState at_;
  std::unique_ptr<SpaceSource> source_;
  std::uint64_t number_ = 0;
};

/// A directory that an export may take: nothing is in it but what one that was cut short left.
Result<std::unique_ptr<sys::Disk>> room_for(const std::string& directory) {
  DOLMEN_TRY(auto disk, sys::open_directory(directory, sys::DirectoryMode::open_or_create));
  DOLMEN_TRY(const auto names, disk->list());
  for (const std::string& name : names) {
    if (name == kLockFile || name.starts_with(kStagedPrefix)) continue;
    return fail(Errc::already_exists, interned(directory));
  }
  return disk;
}

/// Gets the state from whoever leads, or knows it.
class Exporter {
 public:
  Exporter(const sys::Env& env, ReplicatedClient& client, SpaceMachine& machine,
           const SpaceHead& head, std::chrono::milliseconds patience)
      : env_(env),
        inside_(ClientOf::inside(client)),
        head_(head),
        patience_ns_(static_cast<std::uint64_t>(std::max<std::int64_t>(patience.count(), 1)) *
                     1'000'000),
        machine_(machine) {}
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;
  ~Exporter() { inside_.on_state = nullptr; }

  /// Everything is in the machine's directory, beside the image, when it returns.
  Result<std::uint64_t> run(const Progress& progress) {
    const std::vector<std::byte> reference = ImageWriter(head_.head).finish();
    // Of which entry, and whose: that is no matter of a client's.
    log::SnapshotPlace place{.last = {1, 1}, .configuration = {}};
    place.configuration.voters.push_back(replication::replica_of(fabric::NodeId{1}, 1));
    DOLMEN_TRY(const auto wanted, log::Snapshot::make(place, {}));
    replication::StateFetch fetch(machine_, {}, *env_.entropy, wanted, reference);
    inside_.on_state = [&](fabric::NodeId from, const replication::StatePart& part) {
      if (part.status == replication::StateStatus::part) {
        bytes_ += part.bytes.size();
        heard_ns_ = now_ns();
      }
      is_busy_ = part.status == replication::StateStatus::busy;
      fetch.take(now_ns(), replication::replica_of(from, 0), part);
    };
    heard_ns_ = now_ns();
    while (fetch.arrived() == nullptr) {
      DOLMEN_CHECK(inside_.look_after_roster());
      choose();
      std::optional<Error> lost;
      DOLMEN_CHECK(fetch.go_on(now_ns(), replication::replica_of(inside_.target_node(), 0),
                               [&](log::ReplicaId from, const replication::AskState& ask) {
                                 const auto sent = inside_.send(replication::node_of(from),
                                                                replication::EnvelopeKind::ask_copy,
                                                                replication::encode(ask));
                                 if (!sent) lost = sent.error();
                               }));
      if (lost) return std::unexpected(*lost);
      if (fetch.is_waiting()) heard_ns_ = now_ns();  // for the own disk
      if (now_ns() >= heard_ns_ + patience_ns_) {
        if (is_busy_) return fail(Errc::busy, "another copy of the space is being made");
        return fail(Errc::timed_out, "no member of the group sends its state");
      }
      if (progress) progress(std::min(bytes_, head_.bytes), head_.bytes);
      DOLMEN_CHECK(inside_.poll_until(now_ns() + kLookNs));
    }
    // While the sink is there, which has it.
    DOLMEN_CHECK(machine_.image().adopt());
    return bytes_;
  }

 private:
  static constexpr std::uint64_t kLookNs = 1'000'000;
  /// Who was silent for so long is not asked again at once.
  static constexpr std::uint64_t kSilenceNs = 2'000'000'000;

  [[nodiscard]] std::uint64_t now_ns() const { return env_.clock->monotonic_ns(); }
  /// Whom to ask when it begins anew.
  void choose() {
    if (now_ns() < std::max(heard_ns_, chosen_ns_) + kSilenceNs) return;
    chosen_ns_ = now_ns();
    inside_.ask_next();
  }

  const sys::Env& env_;
  ClientOf::Impl& inside_;
  const SpaceHead head_;
  const std::uint64_t patience_ns_;
  SpaceMachine& machine_;
  std::uint64_t bytes_ = 0;
  std::uint64_t heard_ns_ = 0;
  std::uint64_t chosen_ns_ = 0;
  bool is_busy_ = false;
};

Result<SpaceHead> head_of(ReplicatedClient& client, std::chrono::milliseconds patience) {
  DOLMEN_TRY(const auto told, query_space(client, kHeadQuery, {}, patience));
  DOLMEN_TRY(const SpaceHead head, decode_space_head(told));
  if (head.head.space.is_null()) return fail(Errc::not_found, kNothingYet);
  return head;
}

Result<CopySummary> export_to(const sys::Env& env, ReplicatedClient& client, const SpaceHead& head,
                              sys::Disk& disk, std::chrono::milliseconds patience,
                              const Progress& progress) {
  DOLMEN_TRY(const auto machine,
             SpaceMachine::open(env, std::make_unique<sys::BorrowedDisk>(disk),
                                env.memory->best_driver(), {}, {.image = {.is_copy = true}}));
  CopySummary summary;
  {
    Exporter exporter(env, client, *machine, head, patience);
    DOLMEN_TRY(summary.bytes, exporter.run(progress));
  }
  summary.space = machine->image().space();
  summary.commit = machine->image().last_index();
  DOLMEN_CHECK(machine->image().store().for_each_object([&](const store::ObjectInfo&) {
    ++summary.objects;
    return true;
  }));
  DOLMEN_CHECK(machine->close());
  return summary;
}

}  // namespace

Result<CopySummary> import_space(const sys::Env& env, const std::string& directory,
                                 ReplicatedClient& client, std::chrono::milliseconds patience,
                                 const Progress& progress) {
  DOLMEN_TRY(const auto disk, sys::open_directory(directory, sys::DirectoryMode::open_existing));
  DOLMEN_TRY(const auto names, disk->list());
  if (std::ranges::find(names, kSpaceRoot) == names.end()) {
    return fail(Errc::not_a_space, interned(directory));
  }
  std::string holder;
  const auto lock = disk->try_lock(kLockFile, sys::LockMode::exclusive, "an import", &holder);
  if (!lock && lock.error().code() == Errc::held) return fail(Errc::held, interned(holder));
  if (!lock) return std::unexpected(lock.error());
  DOLMEN_TRY(const Counted counted, count(env, *disk));
  return Importer(env, *disk, counted, client, patience).run(progress);
}

Result<CopySummary> export_space(const sys::Env& env, ReplicatedClient& client,
                                 const std::string& directory, std::chrono::milliseconds patience,
                                 const Progress& progress) {
  DOLMEN_TRY(const SpaceHead head, head_of(client, patience));
  DOLMEN_TRY(const auto disk, room_for(directory));
  return export_to(env, client, head, *disk, patience, progress);
}

Result<CopySummary> export_space(const sys::Env& env, ReplicatedClient& client, sys::Disk& disk,
                                 std::chrono::milliseconds patience, const Progress& progress) {
  DOLMEN_TRY(const SpaceHead head, head_of(client, patience));
  return export_to(env, client, head, disk, patience, progress);
}

}  // namespace dolmen::node
