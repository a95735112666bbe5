// SPDX-License-Identifier: Apache-2.0
//
// The state machine of simulated members: a number that is wrong for ever once something was
// executed twice, or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include <dolmen/assert.hpp>
#include <dolmen/error.hpp>
#include <dolmen/state_machine.hpp>

#include "base/bytes.hpp"

namespace dolmen::sim {

/// A number. A command adds to it and gives the new value; bytes behind the eighth say nothing.
/// Where it executes ahead the log has the sum as well, as effect_of() saw it: if that is not what
/// comes out, something was executed twice, or not at all, or was not undone, and the number is
/// wrong for ever.
class Tally final : public StateMachine {
 public:
  /// `is_read`: its value lies in memory that others read.
  explicit Tally(bool is_ahead = false, bool is_read = false)
      : is_ahead_(is_ahead), is_read_(is_read) {}
  static std::vector<std::byte> add(std::uint64_t amount, std::size_t padding = 0) {
    std::vector<std::byte> command(sizeof amount + padding);
    base::store(base::MutableBytes(command), 0, amount);
    return command;
  }
  static std::uint64_t value_of(base::Bytes result) {
    return result.size() == 8 ? base::load<std::uint64_t>(result) : ~std::uint64_t{0};
  }

  std::vector<std::byte> apply(Bytes command) override {
    DOLMEN_ASSERT(command.size() >= (is_ahead_ ? 16 : 8) && "nothing else passes effect_of()");
    value_ += base::load<std::uint64_t>(command);
    if (is_ahead_ && value_ != base::load<std::uint64_t>(command, 8)) is_wrong_ = true;
    if (is_wrong_) value_ = kWrong;
    if (!is_ahead_) show();
    return add(value_);
  }
  std::vector<std::byte> apply_at(std::uint64_t index, Bytes command) override {
    auto result = apply(command);
    if (is_ahead_ && is_read_) undecided_.emplace_back(index, value_);
    return result;
  }
  /// Others read what is decided, and never less than before.
  Result<void> decided(std::uint64_t index) override {
    for (; !undecided_.empty() && undecided_.front().first <= index; undecided_.pop_front()) {
      const std::uint64_t value = undecided_.front().second;
      if (value > base::load<std::uint64_t>(memory_)) base::store(memory_, 0, value);
    }
    return {};
  }
  std::vector<std::byte> snapshot() const override { return add(value_); }
  Result<void> restore(Bytes state) override {
    if (state.size() != 8) return fail(Errc::corrupt, "a tally");
    value_ = base::load<std::uint64_t>(state);
    is_wrong_ = value_ == kWrong;
    show();
    return {};
  }
  void reset() override {
    value_ = 0;
    is_wrong_ = false;
    show();
  }
  bool executes_ahead() const override { return is_ahead_; }
  Result<std::vector<std::byte>> effect_of(Bytes request) override {
    const auto amount = request.size() < 8 ? 0 : base::load<std::uint64_t>(request);
    if (request.size() < 8 || amount > most_) return fail(Errc::too_large, "an amount", amount);
    std::vector<std::byte> effect(request.begin(), request.end());
    if (is_ahead_) {
      effect.resize(effect.size() + 8);
      base::store(base::MutableBytes(effect), 8, value_ + amount);
    }
    return effect;
  }

  Result<std::vector<std::byte>> read(Bytes query) const override {
    if (!query.empty()) return fail(Errc::invalid_argument, "a tally's only query is empty");
    return add(value_);
  }
  [[nodiscard]] std::size_t memory_bytes() const override { return is_read_ ? 8 : 0; }
  void use_memory(std::span<std::byte> memory) override { memory_ = memory; }

  [[nodiscard]] std::uint64_t value() const noexcept { return value_; }
  [[nodiscard]] base::MutableBytes memory() const noexcept { return memory_; }
  void refuse_more_than(std::uint64_t amount) { most_ = amount; }

 private:
  static constexpr std::uint64_t kWrong = 0xBAD0BAD0BAD0BAD0;

  void show() {
    undecided_.clear();
    if (!is_read_) return;
    if (!is_ahead_ || value_ > base::load<std::uint64_t>(memory_)) base::store(memory_, 0, value_);
  }

  const bool is_ahead_;
  const bool is_read_;
  base::MutableBytes memory_{};
  std::uint64_t value_ = 0;
  bool is_wrong_ = false;
  std::uint64_t most_ = ~std::uint64_t{0};
  std::deque<std::pair<std::uint64_t, std::uint64_t>> undecided_{};  ///< entries, and values
};

}  // namespace dolmen::sim
