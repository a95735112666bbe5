// SPDX-License-Identifier: Apache-2.0
// What the refused types beside this one look like after the remedies: the same includes and
// options must compile, or the refusals would prove nothing.
#include <array>

#include <dolmen/reflect.hpp>
#include <dolmen/space.hpp>

struct Node {
  int rank;
  std::array<long, 3> words[2];
};
class Point {
 public:
  Point(double x, double y) : x_(x), y_(y) {}
  double length() const { return x_ + y_; }
  DOLMEN_FIELDS(Point, x_, y_)

 private:
  double x_, y_;
};
struct Entity {
  int id;
};
struct Person : Entity {};
DOLMEN_FIELDS(Person, id)

struct Large {
  std::array<long, 513> words;
};
[[maybe_unused]] void change(dolmen::Space& space, const dolmen::Object<Large>& object) {
  static_cast<void>(
      space.transact(object, [](dolmen::ref<Large> large) { *dolmen::edit(large->words[0]) = 1; }));
}

int main() {
  dolmen::check_storable<Node>();
  dolmen::check_storable<Point>();
  dolmen::check_storable<Person[4]>();
  return dolmen::type_info<Point>().fields.size() == 2 ? 0 : 1;
}
