// SPDX-License-Identifier: Apache-2.0
//
// Making and opening a space's directory.
#include "store/store.hpp"

#include <algorithm>
#include <array>

#include "store/durable_store.hpp"
#include "store/log_format.hpp"
#include "store/reader_pins.hpp"

namespace dolmen::store {

namespace {

constexpr std::string_view kLockFile = "lock";

[[nodiscard]] Result<std::unique_ptr<sys::FileLock>> take_writer_lock(const sys::Env& env,
                                                                      sys::Disk& disk) {
  std::string holder;
  auto lock = disk.try_lock(kLockFile, sys::LockMode::exclusive, describe_process(env), &holder);
  if (!lock && lock.error().code() == Errc::held) return fail(Errc::held, interned(holder));
  return lock;
}

[[nodiscard]] ObjectId new_space_id(const sys::Env& env) {
  ObjectId id;
  while (id.is_null()) {
    std::array<std::byte, 16> random{};
    env.entropy->fill(random);
    id = {base::load<std::uint64_t>(random), base::load<std::uint64_t>(random, 8)};
  }
  return id;
}

bool is_own_file(std::string_view name) {
  return name == kNewRootFile || name == kUnfinishedRootFile || name == kPagesFile ||
         name == kLockFile || name.starts_with("log/") || name.starts_with("readers/");
}

bool has_file(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

// An interrupted creation left `space.new`: whatever else is there came after it and holds nothing.
// What an unfinished space left is in the way of an empty one, so that nobody takes the one for the
// other.
[[nodiscard]] Result<void> require_empty(sys::Disk& disk, bool unfinished) {
  DOLMEN_TRY(const std::vector<std::string> names, disk.list());
  const bool filled = has_file(names, kUnfinishedRootFile);
  if (filled && !unfinished) return fail(Errc::unfinished, interned(disk.describe()));
  const bool interrupted = filled || has_file(names, kNewRootFile);
  for (const std::string& name : names) {
    if (name == kLockFile || (interrupted && is_own_file(name))) continue;
    return fail(Errc::already_exists, interned(disk.describe() + "/" + name));
  }
  return {};
}

[[nodiscard]] Result<void> clear_leftovers(sys::Disk& disk, std::string_view keep) {
  DOLMEN_TRY(const std::vector<std::string> names, disk.list());
  for (const std::string& name : names) {
    if (name != kLockFile && name != keep && is_own_file(name)) {
      DOLMEN_CHECK(disk.remove(name));
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Store>> Store::create(const sys::Env& env, std::unique_ptr<sys::Disk> disk,
                                             const CreateOptions& options,
                                             const OpenOptions& open_options) {
  if (!valid_segment_bytes(options.segment_bytes)) {
    return fail(Errc::invalid_argument, "segment_bytes", options.segment_bytes);
  }
  if (open_options.read_only) return fail(Errc::invalid_argument, "create: read_only");
  if (open_options.contents != options.contents) {
    return fail(Errc::invalid_argument, "create: contents");
  }
  DOLMEN_CHECK(require_empty(*disk, options.unfinished));
  DOLMEN_TRY(auto lock, take_writer_lock(env, *disk));
  DOLMEN_CHECK(require_empty(*disk, options.unfinished));

  Root root;
  root.space = options.space.is_null() ? new_space_id(env) : options.space;
  root.generation = 1;
  root.created_wall_ns = env.clock->wall_ns();
  root.segment_bytes = options.segment_bytes;
  root.tail_bytes_max = options.tail_bytes_max;
  root.contents = options.contents;
  root.checkpoint_index = options.base_index;
  root.durable_index = options.base_index;
  const std::string_view root_file = options.unfinished ? kUnfinishedRootFile : kNewRootFile;
  // From here on a crash leaves a directory that create() takes over and open() refuses.
  DOLMEN_TRY(auto file, disk->open(root_file, sys::OpenMode::create_or_open));
  DOLMEN_CHECK(disk->sync_directory());
  DOLMEN_CHECK(clear_leftovers(*disk, root_file));
  DOLMEN_CHECK(RootKeeper::write_first(*file, root));
  // All names that a space needs become durable now: a directory sync that fails later, for a new
  // segment, then takes none of them with it.
  DOLMEN_CHECK(disk->open(kPagesFile, sys::OpenMode::create_new));
  SegmentPool pool(*disk, options.segment_bytes, 0);
  for (std::uint32_t k = 0; k <= open_options.reserve_segments; ++k) {
    DOLMEN_CHECK(pool.prepare());
  }
  if (!options.unfinished) {
    DOLMEN_CHECK(publish_root(*disk, kNewRootFile));
    return DurableStore::open(env, std::move(disk), std::move(lock), open_options);
  }
  DOLMEN_CHECK(disk->sync_directory());
  return DurableStore::open(env, std::move(disk), std::move(lock), open_options, root_file);
}

Result<void> Store::remove_unfinished(const sys::Env& env, sys::Disk& disk) {
  DOLMEN_TRY(const auto lock, take_writer_lock(env, disk));
  DOLMEN_CHECK(require_empty(disk, true));
  // Its root last: without it nobody could tell what the rest is.
  DOLMEN_CHECK(clear_leftovers(disk, kUnfinishedRootFile));
  DOLMEN_CHECK(disk.sync_directory());
  DOLMEN_TRY(const std::vector<std::string> names, disk.list());
  if (has_file(names, kUnfinishedRootFile)) DOLMEN_CHECK(disk.remove(kUnfinishedRootFile));
  return disk.sync_directory();
}

Result<std::unique_ptr<Store>> Store::open(const sys::Env& env, std::unique_ptr<sys::Disk> disk,
                                           const OpenOptions& options) {
  // Looked at first: no lock file is made in a directory that is none of ours.
  auto probe = disk->open(kRootFile, sys::OpenMode::read_only);
  if (!probe && probe.error().code() == Errc::not_found) {
    const bool filled = disk->open(kUnfinishedRootFile, sys::OpenMode::read_only).has_value();
    return fail(filled ? Errc::unfinished : Errc::not_a_space, interned(disk->describe()));
  }
  if (!probe) return std::unexpected(probe.error());
  probe->reset();
  std::unique_ptr<sys::FileLock> lock;
  if (options.read_only) {
    DOLMEN_TRY(lock, take_reader_pin(*disk, describe_process(env)));
  } else {
    DOLMEN_TRY(lock, take_writer_lock(env, *disk));
  }
  return DurableStore::open(env, std::move(disk), std::move(lock), options);
}

}  // namespace dolmen::store
