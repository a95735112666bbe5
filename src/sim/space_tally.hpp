// SPDX-License-Identifier: Apache-2.0
//
// A replicated space as a state machine of simulated members: the number of tally.hpp, kept in
// objects that point into each other, which come, grow and go meanwhile; the accounts of
// accounts.hpp; and, in a cluster with banks, the books of space_books.hpp.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <dolmen/state_machine.hpp>

#include "node/space_machine.hpp"
#include "sim/accounts.hpp"
#include "sim/space_books.hpp"
#include "sys/disk.hpp"
#include "sys/env.hpp"

namespace dolmen::sim {

class SpaceTally final : public StateMachine {
 public:
  /// `env`, which has memory, `disk` and `judge` outlive it; `judge`, if it is not null, hears what
  /// was decided about accounts. Errors: as SpaceMachine::open().
  [[nodiscard]] static Result<std::unique_ptr<SpaceTally>> open(const sys::Env& env,
                                                                sys::Disk& disk,
                                                                AccountsJudge* judge = nullptr);
  /// As those of SpaceMachine.
  void use_mail(const cluster::GroupId& self, node::MailPart::Find find,
                const cluster::MailLimits& limits) {
    machine_->use_mail(self, std::move(find), limits);
  }
  void use_homes(node::HomePart::Shards shards) { machine_->use_homes(std::move(shards)); }
  [[nodiscard]] node::MailPart* mail() noexcept { return machine_->mail(); }
  [[nodiscard]] const node::HomePart* homes() const noexcept { return machine_->homes(); }

  /// A command that adds an amount, and its result; nothing: it failed, and did nothing.
  [[nodiscard]] static std::vector<std::byte> add(std::uint64_t amount);
  /// A query for the same; 0 where there is nothing yet.
  [[nodiscard]] static std::vector<std::byte> look();
  [[nodiscard]] static std::optional<std::uint64_t> value_of(base::Bytes result);

  std::vector<std::byte> apply(Bytes command) override { return machine_->apply(command); }
  std::vector<std::byte> apply_at(std::uint64_t index, Bytes command) override;
  std::vector<std::byte> snapshot() const override { return machine_->snapshot(); }
  Result<void> restore(Bytes state) override;
  void reset() override;
  bool executes_ahead() const override { return true; }
  bool keeps_state() const override { return true; }
  Bytes reference_in(Bytes state) const override { return machine_->reference_in(state); }
  bool has_state(Bytes reference) const override { return machine_->has_state(reference); }
  Result<std::unique_ptr<StateSource>> send_state(Bytes reference,
                                                  std::size_t part_bytes) override {
    return machine_->send_state(reference, part_bytes);
  }
  Result<std::unique_ptr<StateSink>> receive_state(Bytes reference) override {
    return machine_->receive_state(reference);
  }
  bool waits_for_decided() const override { return machine_->waits_for_decided(); }
  Result<std::vector<std::byte>> effect_of(Bytes request) override {
    return machine_->effect_of(request);
  }
  Result<void> decided(std::uint64_t index) override;
  Result<void> prepare_read() override { return machine_->prepare_read(); }
  Result<std::vector<std::byte>> read(Bytes query) const override { return machine_->read(query); }
  Result<std::vector<std::byte>> try_snapshot() override { return machine_->try_snapshot(); }

  /// What is in all accounts. Requires: everything is decided. Errors: as SpaceMachine::read().
  [[nodiscard]] Result<Balances> balances();
  /// Likewise, in the books.
  [[nodiscard]] Result<SpaceBooks> books();
  /// What the last command of the tally gave; nothing: not known since a restore().
  [[nodiscard]] std::optional<std::uint64_t> value() const noexcept { return value_; }
  /// Every page of the image. Errors: as SpaceImage::pages().
  [[nodiscard]] Result<std::vector<std::byte>> image();

 private:
  SpaceTally(std::unique_ptr<node::SpaceMachine> machine, AccountsJudge* judge) noexcept
      : machine_(std::move(machine)), judge_(judge) {}
  std::unique_ptr<node::SpaceMachine> machine_;
  AccountsJudge* const judge_;
  std::optional<std::uint64_t> value_ = 0;
  std::deque<std::pair<std::uint64_t, AccountAnswer>> undecided_{};  ///< entries, what they gave
};

/// Whether two members have the same image. Of a space without a commit nothing is decided, nor its
/// id: whoever led may have opened one of its own.
[[nodiscard]] bool is_same_image(base::Bytes one, base::Bytes other);

}  // namespace dolmen::sim
