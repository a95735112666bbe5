// SPDX-License-Identifier: Apache-2.0
#include <dolmen/reflect.hpp>

struct Edge {
  int from[2];
  int& weight;
};

int main() { dolmen::check_storable<Edge>(); }
