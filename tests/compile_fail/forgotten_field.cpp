// SPDX-License-Identifier: Apache-2.0
#include <dolmen/reflect.hpp>

struct Node {
  explicit Node(int n) : rank(n) {}
  int rank;
  Node* next = nullptr;
};
DOLMEN_FIELDS(Node, rank)

int main() { dolmen::check_storable<Node>(); }
