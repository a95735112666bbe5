// SPDX-License-Identifier: Apache-2.0
#include <dolmen/reflect.hpp>

struct Entity {
  int id;
};
struct Person : Entity {};

int main() { dolmen::check_storable<Person>(); }
