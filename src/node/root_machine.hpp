// SPDX-License-Identifier: Apache-2.0
//
// What the root group knows (cluster/root.hpp) as a replicated state machine: a command and its
// reply are those of docs/formats/root.md.
#pragma once

#include <vector>

#include <dolmen/state_machine.hpp>

#include "cluster/root.hpp"

namespace dolmen::node {

class RootMachine final : public StateMachine {
 public:
  [[nodiscard]] const cluster::RootState& state() const noexcept { return state_; }

  /// Errors: invalid_argument (no command).
  Result<std::vector<std::byte>> effect_of(Bytes request) override;
  std::vector<std::byte> apply_for(std::uint64_t client, std::uint64_t index,
                                   Bytes command) override;
  std::vector<std::byte> apply_at(std::uint64_t index, Bytes command) override {
    return apply_for(0, index, command);
  }
  std::vector<std::byte> apply(Bytes command) override;
  [[nodiscard]] std::vector<std::byte> snapshot() const override;
  Result<void> restore(Bytes state) override;
  void reset() override { state_ = {}; }

 private:
  cluster::RootState state_;
};

}  // namespace dolmen::node
