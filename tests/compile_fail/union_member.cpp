// SPDX-License-Identifier: Apache-2.0
#include <dolmen/reflect.hpp>

union Value {
  long number;
  double real;
};
struct Cell {
  Value value;
};

int main() { dolmen::check_storable<Cell>(); }
