// SPDX-License-Identifier: Apache-2.0
//
// A list through two objects: a pointer may lead into any object of the space, and is written as
// any other. An aborted transaction leaves every byte as it was.
#include <cstdio>
#include <stdexcept>

#include <dolmen/space.hpp>

struct Node {
  std::uint64_t value = 0;
  dolmen::ptr<Node> next;
};
struct List {
  dolmen::ptr<Node> head;
};

static std::uint64_t sum(const List& list) {
  std::uint64_t total = 0;
  for (dolmen::ptr<Node> node = list.head; node; node = node->next) total += node->value;
  return total;
}

int main() {
  auto space = dolmen::Space::open("lists.dolmen").value();
  const auto odd = space.create<List>("odd").value();
  const auto even = space.create<List>("even").value();

  // Each node lies in the list's own object; `next` leads into the other one.
  const auto fill = [&](dolmen::mut<List> o, dolmen::mut<List> e) {
    for (std::uint64_t i = 1; i <= 10; ++i) {
      const dolmen::mut<List> here = i % 2 == 0 ? e : o;
      const dolmen::mut<List> there = i % 2 == 0 ? o : e;
      here->head = dolmen::make<Node>(here, i, there->head);
    }
  };
  space.transact(odd, even, fill).value();

  try {
    space
        .transact(odd,
                  [](dolmen::mut<List> o) {
                    o->head = nullptr;
                    throw std::runtime_error("changed my mind");
                  })
        .value();
  } catch (const std::runtime_error& error) {
    std::printf("aborted: %s\n", error.what());
  }

  const dolmen::View view = space.view().value();
  std::printf("1 + … + 10 = %llu\n", static_cast<unsigned long long>(sum(*view[even])));
  return sum(*view[even]) == 55 ? 0 : 1;
}
