// SPDX-License-Identifier: Apache-2.0
//
// A program of somebody else: it sees the installed headers and the library, nothing of this tree.
// Each run pushes one node onto a list that lives in a space in the current directory, and prints
// the list and what the library's build asks its users to compile with.
#include <cstdint>
#include <cstdio>

#include <dolmen/space.hpp>

namespace {

struct Node {
  std::uint64_t value;
  dolmen::ptr<Node> next;
};

struct List {
  dolmen::ptr<Node> head;
  std::uint64_t length;
};

dolmen::Result<std::uint64_t> push_and_print() {
  DOLMEN_TRY(auto space, dolmen::Space::open("list.dolmen"));
  DOLMEN_TRY(const auto list, space.find_or_create<List>("list"));
  DOLMEN_CHECK(space.transact(list, [](dolmen::mut<List> l) {
    l->head = dolmen::make<Node>(l, l->length, l->head);
    ++l->length;
  }));
  DOLMEN_TRY(const std::uint64_t sum, space.read(list, [](dolmen::ref<List> l) {
    std::uint64_t total = 0;
    for (auto node = l->head; node; node = node->next) {
      std::printf("%d ", static_cast<int>(node->value));
      total += node->value;
    }
    return total;
  }));
  DOLMEN_CHECK(space.close());
  return sum;
}

}  // namespace

int main() {
  const auto sum = push_and_print();
  if (!sum) {
    std::fprintf(stderr, "%s\n", sum.error().message().c_str());
    return 1;
  }
  std::printf("= %d (checked %d, regions 2^%d)\n", static_cast<int>(*sum), DOLMEN_CHECKED,
              DOLMEN_REGION_SHIFT);
}
