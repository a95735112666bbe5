// SPDX-License-Identifier: Apache-2.0
//
// An order-matching engine on three processes: price first, then time. Arrival times come from the
// leader's clock, which is why orders go through effect_of(): what the log holds, and so what every
// member executes, has the time in it. Trades survive kill -9 of the leader while orders arrive.
#include <algorithm>
#include <cstring>
#include <deque>
#include <map>

#include "replicated_demo.hpp"

struct Order {
  std::uint64_t id = 0;
  std::int64_t price = 0;
  std::int64_t quantity = 0;  ///< above 0 buys, below 0 sells
  std::uint64_t arrived_us = 0;
};

/// What an order's sender is told.
struct Execution {
  std::int64_t traded = 0;   ///< of this order
  std::int64_t volume = 0;   ///< of all orders so far
  std::uint64_t orders = 0;  ///< so far
};

template <class T>
static std::vector<std::byte> bytes_of(const T& value) {
  std::vector<std::byte> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

class Exchange final : public dolmen::StateMachine {
 public:
  bool executes_ahead() const override { return true; }
  dolmen::Result<std::vector<std::byte>> effect_of(Bytes request) override {
    Order order;
    if (request.size() != sizeof order) {
      return dolmen::fail(dolmen::Errc::invalid_argument, "an order");
    }
    std::memcpy(&order, request.data(), sizeof order);
    if (order.quantity == 0 || order.price <= 0) {
      return dolmen::fail(dolmen::Errc::invalid_argument, "an order");
    }
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto now_us = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
    // A new leader's clock may be behind: time never goes back in one market.
    order.arrived_us = std::max(static_cast<std::uint64_t>(now_us), last_us_ + 1);
    return bytes_of(order);
  }
  std::vector<std::byte> apply(Bytes command) override {
    Order order;
    if (command.size() != sizeof order) return {};
    std::memcpy(&order, command.data(), sizeof order);
    last_us_ = order.arrived_us;
    ++done_.orders;
    done_.traded = 0;
    order.quantity > 0 ? match(order, asks_, bids_, 1) : match(order, bids_, asks_, -1);
    return bytes_of(done_);
  }
  std::vector<std::byte> snapshot() const override {
    std::vector<std::byte> bytes = bytes_of(done_);
    const auto add = [&](const std::vector<std::byte>& more) {
      bytes.insert(bytes.end(), more.begin(), more.end());
    };
    add(bytes_of(last_us_));
    for (const Side* const side : {&bids_, &asks_}) {
      for (const auto& [_, queue] : *side) {
        for (const Order& order : queue) add(bytes_of(order));
      }
    }
    return bytes;
  }
  dolmen::Result<void> restore(Bytes state) override {
    reset();
    constexpr std::size_t kHead = sizeof done_ + sizeof last_us_;
    if (state.size() < kHead || (state.size() - kHead) % sizeof(Order) != 0) {
      return dolmen::fail(dolmen::Errc::corrupt, "a market");
    }
    std::memcpy(&done_, state.data(), sizeof done_);
    std::memcpy(&last_us_, state.data() + sizeof done_, sizeof last_us_);
    for (std::size_t at = kHead; at < state.size(); at += sizeof(Order)) {
      Order order;
      std::memcpy(&order, state.data() + at, sizeof order);
      // Asks are kept by falling negative price, so that the best is last on both sides.
      (order.quantity > 0 ? bids_[order.price] : asks_[-order.price]).push_back(order);
    }
    return {};
  }
  void reset() override {
    bids_.clear();
    asks_.clear();
    done_ = {};
    last_us_ = 0;
  }

 private:
  using Side = std::map<std::int64_t, std::deque<Order>>;  ///< the best price last

  void match(Order order, Side& others, Side& own, std::int64_t sign) {
    while (order.quantity != 0 && !others.empty()) {
      const auto best = std::prev(others.end());
      const std::int64_t price = sign > 0 ? -best->first : best->first;
      if (sign > 0 ? price > order.price : price < order.price) break;
      Order& waiting = best->second.front();
      const std::int64_t taken = std::min(sign * order.quantity, -sign * waiting.quantity);
      order.quantity -= sign * taken;
      waiting.quantity += sign * taken;
      done_.traded += taken;
      done_.volume += taken;
      if (waiting.quantity == 0) best->second.pop_front();
      if (best->second.empty()) others.erase(best);
    }
    if (order.quantity != 0) own[sign > 0 ? order.price : -order.price].push_back(order);
  }

  Side bids_;
  Side asks_;
  Execution done_;
  std::uint64_t last_us_ = 0;
};

int main(int count, char** words) {
  Exchange exchange;
  if (demo::is_member(count, words)) return demo::serve(words, exchange);

  demo::Trio members;
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  std::uint64_t state = 7;
  const auto random = [&state] {
    state = state * 6'364'136'223'846'793'005 + 1'442'695'040'888'963'407;
    return state >> 33;
  };
  std::int64_t told = 0;  // the sum of what single orders were told
  unsigned kills = 0;
  Execution last;
  constexpr std::uint64_t kOrders = 300;
  for (std::uint64_t id = 1; id <= kOrders; ++id) {
    const Order order{
        .id = id,
        .price = 1000 + static_cast<std::int64_t>(random() % 20),
        .quantity = (random() % 2 == 0 ? 1 : -1) * (1 + static_cast<std::int64_t>(random() % 100))};
    const auto answer = client.call(bytes_of(order));
    if (!answer || answer->size() != sizeof last) {
      std::fprintf(stderr, "order %llu: %s\n", static_cast<unsigned long long>(id),
                   answer ? "no execution" : answer.error().message().c_str());
      return 1;
    }
    std::memcpy(&last, answer->data(), sizeof last);
    told += last.traded;
    if (last.orders != id || last.volume != told) {
      std::fprintf(stderr, "order %llu is number %llu there, volume %lld instead of %lld\n",
                   static_cast<unsigned long long>(id),
                   static_cast<unsigned long long>(last.orders),
                   static_cast<long long>(last.volume), static_cast<long long>(told));
      return 1;
    }
    if (id % 50 == 0 && members.kill_leader(client) != 0) ++kills;
  }
  std::printf("%llu orders, volume %lld; the leader was killed %u times meanwhile\n",
              static_cast<unsigned long long>(last.orders), static_cast<long long>(last.volume),
              kills);
  return members.stop() && kills > 0 && last.volume > 0 ? 0 : 1;
}
