// SPDX-License-Identifier: Apache-2.0
//
// A shard of the directory as a replicated state machine (docs/homes.md, The directory): it
// changes by the mail of homes alone, and answers who asks where an object lives. Bytes:
// docs/formats/homes.md.
//
// Threads: one (the member's).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/state_machine.hpp>

#include "base/bytes.hpp"
#include "cluster/directory.hpp"
#include "node/mail_part.hpp"

namespace dolmen::node {

/// Of a shard: 16 MiB, for some 400,000 objects.
inline constexpr std::uint32_t kDirectoryBuckets = 1u << 16;

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
  [[nodiscard]] std::uint64_t objects() const { return index_->statistics().keys; }
  /// Of everything, with what is applied and not known to be decided yet.
  [[nodiscard]] std::uint64_t state_hash() const;

  Result<std::vector<std::byte>> effect_of(Bytes request) override;
  std::vector<std::byte> apply(Bytes command) override;
  std::vector<std::byte> apply_at(std::uint64_t index, Bytes command) override;
  Result<void> decided(std::uint64_t index) override;
  [[nodiscard]] bool executes_ahead() const override { return true; }
  /// An id, 16 bytes; the answer as of encode_directory_answer().
  Result<std::vector<std::byte>> read(Bytes query) const override;
  [[nodiscard]] std::vector<std::byte> snapshot() const override;
  Result<void> restore(Bytes state) override;
  void reset() override;

 private:
  /// What the mail does, with what it posts; nothing: there is no room for one of it.
  [[nodiscard]] std::optional<cluster::DirectoryPlan> plan(cluster::MailChange& change) const;

  const cluster::IndexGeometry geometry_;
  std::vector<std::uint64_t> words_;
  std::optional<cluster::HashIndex> index_;
  bool is_used_ = false;
  MailPart mail_;
};

}  // namespace dolmen::node
