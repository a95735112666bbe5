// SPDX-License-Identifier: Apache-2.0
#include <dolmen/reflect.hpp>

struct Shape {
  virtual double area() const { return 0; }
  int sides;
};
struct Drawing {
  Shape shape;
};

int main() { dolmen::check_storable<Drawing>(); }
