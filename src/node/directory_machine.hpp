// SPDX-License-Identifier: Apache-2.0
//
// A shard of the directory as a replicated state machine (docs/homes.md, Looked up from afar): it
// changes by the mail of homes alone, and answers who asks where an object lives. Bytes:
// docs/formats/homes.md.
//
// It has two tables, equal byte for byte as of equal entries: the one that it plans with is as of
// what was executed, which may be undone; the other one lies in the memory that others read, if
// there is some, and is as of what decided() told of. That one never goes back.
//
// Threads: one (the member's).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/state_machine.hpp>

#include "base/bytes.hpp"
#include "cluster/directory.hpp"
#include "node/mail_part.hpp"

namespace dolmen::node {

/// Of a shard: 16 MiB, for some 400,000 objects.
inline constexpr std::uint32_t kDirectoryBuckets = 1u << 16;
/// Of a shard's buckets: the epoch, which nothing changes yet.
inline constexpr std::uint32_t kDirectoryEpoch = 1;
/// A bucket that went is used again when the table has applied so much more: who is still reading
/// it meanwhile need not look again. All members count alike, so no clock is needed.
inline constexpr std::uint64_t kDirectoryGrace = 256;

/// What is told of an object; nothing: it is not known.
[[nodiscard]] std::vector<std::byte> encode_directory_answer(
    const std::optional<cluster::DirectoryEntry>& entry);
/// Errors: corrupt.
[[nodiscard]] Result<std::optional<cluster::DirectoryEntry>> decode_directory_answer(
    base::Bytes bytes);

class DirectoryMachine final : public StateMachine {
 public:
  explicit DirectoryMachine(cluster::GroupNumber self, std::uint32_t buckets = kDirectoryBuckets,
                            const cluster::MailLimits& limits = {});

  [[nodiscard]] MailPart& mail() noexcept { return mail_; }
  [[nodiscard]] const MailPart& mail() const noexcept { return mail_; }
  [[nodiscard]] std::optional<cluster::DirectoryEntry> find(const ObjectId& id) const;
  [[nodiscard]] std::uint64_t objects() const { return planned_->statistics().keys; }
  /// Of everything, with what is applied and not known to be decided yet.
  [[nodiscard]] std::uint64_t state_hash() const;

  Result<std::vector<std::byte>> effect_of(Bytes request) override;
  std::vector<std::byte> apply(Bytes command) override;
  std::vector<std::byte> apply_at(std::uint64_t index, Bytes command) override;
  Result<void> decided(std::uint64_t index) override;
  [[nodiscard]] bool executes_ahead() const override { return true; }
  /// An id, 16 bytes; the answer as of encode_directory_answer(). Or index_stats_question().
  Result<std::vector<std::byte>> read(Bytes query) const override;
  [[nodiscard]] std::vector<std::byte> snapshot() const override;
  Result<void> restore(Bytes state) override;
  void reset() override;
  [[nodiscard]] std::size_t memory_bytes() const override { return geometry_.region_bytes(); }
  void use_memory(std::span<std::byte> memory) override;

  /// What others read; null: no memory was given. It is as of decided entries.
  [[nodiscard]] const cluster::HashIndex* shown() const { return shown_ ? &*shown_ : nullptr; }
  [[nodiscard]] const cluster::HashIndex& planned() const { return *planned_; }
  [[nodiscard]] const cluster::IndexGeometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] static cluster::IndexGeometry geometry_of(cluster::GroupNumber self,
                                                          std::uint32_t buckets);

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  /// What an entry did to the table, to be done to the other one when it is decided.
  struct Undecided {
    std::uint64_t index = 0;  ///< of the log
    log::Index applied = 0;   ///< the table counts so far with it
    cluster::IndexCommand command{};
  };
  /// What the mail does, with what it posts; nothing: there is no room for one of it.
  [[nodiscard]] std::optional<cluster::DirectoryPlan> plan(cluster::MailChange& change) const;

  /// In either table. Equal tables come out equal.
  static cluster::IndexOutcome fold(cluster::HashIndex& table,
                                    const cluster::IndexCommand& command);
  void show(const Undecided& one);
  /// An empty table in zeroed memory.
  [[nodiscard]] cluster::HashIndex empty_in(base::MutableBytes region) const;

  const cluster::IndexGeometry geometry_;
  /// Zeros that nobody has touched take no memory: a table that is small is small twice.
  const std::unique_ptr<std::byte, Free> own_;
  std::optional<cluster::HashIndex> planned_;
  base::MutableBytes memory_{};  ///< that others read
  std::optional<cluster::HashIndex> shown_;
  std::deque<Undecided> undecided_;  ///< ascending
  MailPart mail_;
};

}  // namespace dolmen::node
