// SPDX-License-Identifier: Apache-2.0
//
// One member's copy of a replicated space: a store in a directory that holds the records which the
// group decided, and nothing else, under the indices that they have in every copy. It is not what
// makes them durable (the group's log is): after a crash it holds a prefix of what it was given.
//
// Threads: one for everything.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "node/space_effect.hpp"
#include "store/store.hpp"
#include "sys/env.hpp"

namespace dolmen::node {

struct SpaceImageOptions {
  /// Of the log; two are written when an image is made. One has room for whatever one entry of the
  /// group's log holds.
  std::uint32_t segment_bytes = 9u << 20;
  std::uint64_t tail_bytes_max = 64u << 20;
};

class SpaceImage {
 public:
  /// What is in the directory, which may be nothing yet. A making of it that was cut short is
  /// cleared away. Errors: held, corrupt, version_unsupported, io_error, already_exists (files that
  /// are no space's).
  [[nodiscard]] static Result<std::unique_ptr<SpaceImage>> open(const sys::Env& env,
                                                                std::unique_ptr<sys::Disk> disk,
                                                                const SpaceImageOptions& options);

  /// Null: no record was ever given to it.
  [[nodiscard]] ObjectId space() const noexcept { return space_; }
  [[nodiscard]] store::Index last_index() const noexcept {
    return store_ ? store_->last_index() : 0;
  }

  /// An empty one, in place of what is there; null: of a space of its own. Errors: io_error,
  /// no_space.
  [[nodiscard]] Result<void> create(const ObjectId& space);
  /// Becomes what snapshot() gave at another member, in place of what is there. A crash leaves
  /// that, or none. Errors: corrupt (a state that is none; what was there stays), io_error,
  /// no_space.
  [[nodiscard]] Result<void> load(base::Bytes state);
  /// What one segment of the log holds: in parts, a record would have several indices.
  [[nodiscard]] std::size_t record_bytes_max() const noexcept;
  /// The record behind the last one. Requires: space() is not null. Errors: no_space, io_error,
  /// store_failed, corrupt (not a commit record), too_large.
  [[nodiscard]] Result<void> append(base::Bytes record);

  /// From now on pages read as of the last record. Errors: as open(). Requires: nobody uses
  /// store(). Cost: a sync and a recovery, if anything was appended since the last time.
  [[nodiscard]] Result<void> settle();
  /// Requires: space() is not null. Good until the next call that changes the image, but append().
  [[nodiscard]] store::Store& store() noexcept { return *store_; }
  /// Writes the pages that the log changed since the last checkpoint, and cuts the log. Requires:
  /// nobody uses store(). Errors: as settle(), no_space.
  [[nodiscard]] Result<void> checkpoint();
  /// The whole image. Durable on return. Errors: corrupt, io_error, store_failed, too_large (more
  /// than `bytes_max`). Cost: reads all of it.
  [[nodiscard]] Result<std::vector<std::byte>> snapshot(std::size_t bytes_max);
  [[nodiscard]] Result<void> close();

 private:
  SpaceImage(const sys::Env& env, std::unique_ptr<sys::Disk> disk, const SpaceImageOptions& options)
      : env_(env), disk_(std::move(disk)), options_(options) {}
  [[nodiscard]] Result<void> open_store();
  [[nodiscard]] Result<void> clear();
  [[nodiscard]] store::CreateOptions create_options(const ObjectId& space) const;

  const sys::Env& env_;
  const std::unique_ptr<sys::Disk> disk_;
  const SpaceImageOptions options_;
  std::unique_ptr<store::Store> store_;
  ObjectId space_;
  store::Index settled_at_ = 0;  ///< pages read as of it
};

}  // namespace dolmen::node
