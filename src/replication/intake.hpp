// SPDX-License-Identifier: Apache-2.0
//
// What clients ask of one group of a member and what is not begun yet: clients take turns, and
// whoever comes when there is more than can be done soon is told so at once, with the time after
// which to try again. So what is answered is answered while its client still waits, whatever is
// asked for, and a client that asks for much leaves the others their turns.
//
// How much can be done soon follows from what it takes to do one, as measured.
//
// Threads: one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>

#include <dolmen/assert.hpp>

#include "fabric/fabric.hpp"

namespace dolmen::replication {

struct IntakeLimits {
  /// Most that is there, begun or not, of all clients; of one; and bytes.
  std::size_t most = 20'000;
  std::size_t most_of_client = 1024;
  std::size_t most_bytes = std::size_t{256} << 20;
  /// As much as takes so long is begun at once: what the loop does not see meanwhile.
  std::uint64_t begun_ns = 30'000'000;
  /// Who comes when there is work for so long has to come again; who has nothing here yet, when
  /// there is twice as much.
  std::uint64_t wait_ns = 100'000'000;
  /// What was not begun after this is told to come again: whoever sent it may be gone.
  std::uint64_t patience_ns = 1'000'000'000;
};

/// What doing one takes, over the last some hundred.
class CostMeter {
 public:
  void worked(std::uint64_t ns, std::uint64_t count) noexcept {
    ns_ += ns;
    count_ += count;
    if (count_ <= kRemembered) return;
    ns_ = static_cast<std::uint64_t>(static_cast<double>(ns_) / static_cast<double>(count_) *
                                     static_cast<double>(kRemembered));
    count_ = kRemembered;
  }
  /// 0: less than a nanosecond, or nothing was done yet.
  [[nodiscard]] std::uint64_t one_ns() const noexcept { return count_ == 0 ? 0 : ns_ / count_; }
  [[nodiscard]] bool is_known() const noexcept { return count_ != 0; }

 private:
  static constexpr std::uint64_t kRemembered = 256;
  std::uint64_t ns_ = 0;
  std::uint64_t count_ = 0;
};

template <class Item>
class Intake {
 public:
  explicit Intake(const IntakeLimits& limits) : limits_(limits) {}

  /// Nothing: it was taken. Else the microseconds after which its client may try again.
  /// `begun`: how many there are that were popped and are not done. Whoever asks from within the
  /// process, client NodeName{}, may have as much waiting as all together.
  [[nodiscard]] std::optional<std::uint64_t> push(const fabric::NodeName& client, std::size_t bytes,
                                                  std::size_t begun, std::uint64_t now_ns,
                                                  Item& item) {
    const auto found = waiting_.find(client);
    const std::size_t its = found == waiting_.end() ? 0 : found->second.size();
    const std::size_t all = size_ + begun;
    const std::uint64_t work_ns = all * cost_.one_ns();
    const bool is_full = all >= limits_.most || bytes > limits_.most_bytes - bytes_ ||
                         (is_client(client) && its >= limits_.most_of_client);
    if (is_full || work_ns > (its == 0 ? 2 : 1) * limits_.wait_ns) return retry_us(begun);
    std::deque<Waiting>& line = found == waiting_.end() ? waiting_[client] : found->second;
    if (line.empty()) turns_.push_back(client);
    line.push_back({std::move(item), bytes, now_ns});
    ++size_;
    bytes_ += bytes;
    return std::nullopt;
  }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  /// How many may be begun now.
  [[nodiscard]] std::size_t may_begin(std::size_t begun) const noexcept {
    constexpr std::size_t kUnknown = 64;
    const std::uint64_t one_ns = std::max<std::uint64_t>(cost_.one_ns(), 1);
    const std::size_t most =
        cost_.is_known() ? std::max<std::uint64_t>(limits_.begun_ns / one_ns, 1) : kUnknown;
    return std::min(size_, most - std::min(most, begun));
  }
  struct Popped {
    Item item;
    bool is_late;  ///< too late to begin it
  };
  /// The next one of the client whose turn it is. Requires: !empty().
  [[nodiscard]] Popped pop(std::uint64_t now_ns) {
    DOLMEN_ASSERT(!empty());
    const fabric::NodeName client = turns_.front();
    turns_.pop_front();
    const auto found = waiting_.find(client);
    std::deque<Waiting>& line = found->second;
    Waiting first = std::move(line.front());
    line.pop_front();
    --size_;
    bytes_ -= first.bytes;
    if (!line.empty()) {
      turns_.push_back(client);
    } else if (waiting_.size() > kIdleMax) {
      waiting_.erase(found);
    }
    return {std::move(first.item), now_ns > first.since_ns + limits_.patience_ns};
  }

  void worked(std::uint64_t ns, std::uint64_t count) noexcept { cost_.worked(ns, count); }
  /// So many were answered; gives what they took when there was more to do.
  void answered(std::uint64_t now_ns, std::uint64_t count) noexcept {
    constexpr std::uint64_t kLongEnoughNs = 10'000'000;
    answered_ += count;
    if (empty() || since_ns_ == 0) {
      since_ns_ = empty() ? 0 : now_ns;
      answered_ = 0;
    } else if (now_ns >= since_ns_ + kLongEnoughNs && answered_ > 0) {
      drain_.worked(now_ns - since_ns_, answered_);
      since_ns_ = now_ns;
      answered_ = 0;
    }
  }
  /// Until about what is there is done.
  [[nodiscard]] std::uint64_t retry_us(std::size_t begun) const noexcept {
    const std::uint64_t one_ns = std::max(cost_.one_ns(), drain_.one_ns());
    return std::clamp<std::uint64_t>((size_ + begun) * one_ns / 1000, 1000, 1'000'000);
  }

 private:
  struct Waiting {
    Item item;
    std::size_t bytes;
    std::uint64_t since_ns;
  };
  static bool is_client(const fabric::NodeName& client) noexcept {
    return client.node != fabric::NodeId::nobody;
  }

  /// So many clients' lines are kept when they are empty: they may come again.
  static constexpr std::size_t kIdleMax = 256;

  const IntakeLimits limits_;
  std::map<fabric::NodeName, std::deque<Waiting>> waiting_;
  std::deque<fabric::NodeName> turns_;  ///< of those who wait, each once
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;
  CostMeter cost_;   ///< of doing one
  CostMeter drain_;  ///< … and what else it waits for, while there is more to do
  std::uint64_t since_ns_ = 0;
  std::uint64_t answered_ = 0;
};

}  // namespace dolmen::replication
