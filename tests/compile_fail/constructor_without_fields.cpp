// SPDX-License-Identifier: Apache-2.0
#include <dolmen/reflect.hpp>

class Point {
 public:
  Point(double x, double y) : x_(x), y_(y) {}
  double length() const { return x_ + y_; }

 private:
  double x_, y_;
};

int main() { dolmen::check_storable<Point>(); }
