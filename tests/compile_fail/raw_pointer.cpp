// SPDX-License-Identifier: Apache-2.0
#include <dolmen/reflect.hpp>

struct Node {
  int rank;
  Node* next;
};

int main() { dolmen::check_storable<Node>(); }
