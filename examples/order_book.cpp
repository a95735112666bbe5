// SPDX-License-Identifier: Apache-2.0
//
// An order book: prices in order, at each price a queue of orders. It is back after kill -9.
#include <algorithm>
#include <cstdio>

#include <dolmen/ordered_map.hpp>
#include <dolmen/space.hpp>
#include <dolmen/vector.hpp>

struct Order {
  std::uint64_t id = 0;
  std::int64_t quantity = 0;
};
using Side = dolmen::ordered_map<std::int64_t, dolmen::vector<Order>>;  // by price
struct Book {
  Side bids;
  Side asks;
  std::int64_t traded = 0;
};

/// A buyer takes from the lowest asks up to `price`; what is left waits among the bids.
static void buy(dolmen::mut<Book> book, Order order, std::int64_t price) {
  while (order.quantity > 0 && !book->asks.empty() && (*book->asks.begin()).first <= price) {
    const std::int64_t best = (*book->asks.begin()).first;
    dolmen::mut<dolmen::vector<Order>> queue = book->asks.edit(best);
    while (order.quantity > 0 && !queue->empty()) {
      Order& waiting = (*queue)[0];  // a non-const vector's brackets log the element
      const std::int64_t taken = std::min(order.quantity, waiting.quantity);
      order.quantity -= taken;
      waiting.quantity -= taken;
      book->traded += taken;
      if (waiting.quantity == 0) queue->erase(queue->begin());
    }
    if (queue->empty()) book->asks.erase(best);
  }
  if (order.quantity > 0) book->bids[price].push_back(order);
}

int main() {
  auto space = dolmen::Space::open("market.dolmen").value();
  const auto book = space.find_or_create<Book>("ACME").value();
  const auto sell = [&](const Order& order, std::int64_t price) {
    space.transact(book, [&](dolmen::mut<Book> b) { b->asks[price].push_back(order); }).value();
  };
  sell({1, 100}, 1012);
  sell({2, 50}, 1010);
  sell({3, 70}, 1010);
  space.transact(book, [&](dolmen::mut<Book> b) { buy(b, {4, 200}, 1011); }).value();

  const dolmen::View view = space.view().value();
  for (const auto& [price, queue] : view[book]->asks) {
    for (const Order& order : queue) {
      std::printf("ask %lld: %lld left\n", static_cast<long long>(price),
                  static_cast<long long>(order.quantity));
    }
  }
  std::printf("traded %lld\n", static_cast<long long>(view[book]->traded));
  return view[book]->traded == 120 && view[book]->bids.at(1011)[0].quantity == 80 ? 0 : 1;
}
