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
#include <optional>
#include <span>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>
#include <dolmen/state_machine.hpp>

#include "node/space_effect.hpp"
#include "node/space_transfer.hpp"
#include "store/store.hpp"
#include "sys/env.hpp"

namespace dolmen::node {

struct SpaceImageOptions {
  /// Of the log; two are written when an image is made. One has room for whatever one entry of the
  /// group's log holds.
  std::uint32_t segment_bytes = 9u << 20;
  std::uint64_t tail_bytes_max = 64u << 20;
  /// While pages are sent, those of before are kept until they take so much beside the present
  /// ones.
  std::uint64_t pinned_bytes_max = std::uint64_t{8} << 30;
  /// What it receives is to be a space of its own, which no group goes on with: objects that are
  /// still arriving from another space are left out.
  bool is_copy = false;
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
  /// Begins to give all pages to another member, as of what is durable by then. Requires: the
  /// image outlives it. Errors: not_found (it does not hold the records of `head`), store_failed.
  [[nodiscard]] Result<std::unique_ptr<StateSource>> send(const ImageHead& head,
                                                          std::size_t part_bytes);
  /// … and to take them in, beside what is here; those that are here are not asked for, unless it
  /// is to take all, or that went wrong the last time. Requires: the one before is gone; the image
  /// outlives it. Errors: io_error, corrupt (not a head of a space).
  [[nodiscard]] Result<std::unique_ptr<StateSink>> receive(const ImageHead& head,
                                                           bool takes_all = false);
  /// What the last receive() brought, once it is whole; nothing: it is not.
  [[nodiscard]] std::optional<ImageHead> received() const {
    return sink_ == nullptr ? std::nullopt : sink_->done();
  }
  /// Becomes what was received, in place of what is here; a crash leaves one or the other.
  /// Requires: received(); nobody uses store(). Errors: io_error.
  [[nodiscard]] Result<void> adopt();
  /// That its disk has left. Errors: io_error.
  [[nodiscard]] Result<std::uint64_t> free_bytes() { return disk_->free_bytes(); }
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
  /// Everything in it, as one image: for who compares. Errors: corrupt, io_error, store_failed,
  /// too_large (more than `bytes_max`). Cost: reads all of it.
  [[nodiscard]] Result<std::vector<std::byte>> pages(std::size_t bytes_max);
  /// Everything in it is durable on return. Errors: store_failed.
  [[nodiscard]] Result<void> sync() {
    return store_ ? store_->wait_durable(store_->last_index()) : Result<void>();
  }
  [[nodiscard]] Result<void> close();

 private:
  SpaceImage(const sys::Env& env, std::unique_ptr<sys::Disk> disk, const SpaceImageOptions& options)
      : env_(env), disk_(std::move(disk)), options_(options) {}
  [[nodiscard]] Result<void> open_store();
  [[nodiscard]] Result<void> clear();
  /// What a crash left of adopt() and of receive().
  [[nodiscard]] Result<void> tidy();
  [[nodiscard]] Result<void> finish_switch();
  class Receiver;
  [[nodiscard]] store::CreateOptions create_options(const ObjectId& space) const;

  const sys::Env& env_;
  const std::unique_ptr<sys::Disk> disk_;
  const SpaceImageOptions options_;
  std::unique_ptr<store::Store> store_;
  ObjectId space_;
  store::Index settled_at_ = 0;  ///< pages read as of it
  ImageSink* sink_ = nullptr;    ///< of the last receive(), while there is one
  bool takes_all_ = false;       ///< what is here was of no use to it
};

/// Of the object, those that may not be zeros, ascending. `changed`: sorted, of the log.
[[nodiscard]] Result<std::vector<std::uint32_t>> pages_of(store::Store& store,
                                                          const store::ObjectInfo& info,
                                                          std::span<const store::PageKey> changed);

}  // namespace dolmen::node
