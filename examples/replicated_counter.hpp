// SPDX-License-Identifier: Apache-2.0
//
// A number that commands add to: what the examples of counters replicate.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include <dolmen/state_machine.hpp>

class Counter final : public dolmen::StateMachine {
 public:
  std::vector<std::byte> apply(Bytes command) override {
    std::uint64_t amount = 0;
    if (command.size() == sizeof amount) std::memcpy(&amount, command.data(), sizeof amount);
    total_ += amount;
    return snapshot();
  }
  std::vector<std::byte> snapshot() const override {
    std::vector<std::byte> bytes(sizeof total_);
    std::memcpy(bytes.data(), &total_, sizeof total_);
    return bytes;
  }
  dolmen::Result<void> restore(Bytes state) override {
    if (state.size() != sizeof total_) return dolmen::fail(dolmen::Errc::corrupt, "a counter");
    std::memcpy(&total_, state.data(), sizeof total_);
    return {};
  }
  void reset() override { total_ = 0; }
  /// Whatever is asked: the total.
  dolmen::Result<std::vector<std::byte>> read(Bytes) const override { return snapshot(); }

 private:
  std::uint64_t total_ = 0;
};
