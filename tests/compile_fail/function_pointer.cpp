// SPDX-License-Identifier: Apache-2.0
#include <dolmen/reflect.hpp>

struct Event {
  void (*handler)(int);
};

int main() { dolmen::check_storable<Event>(); }
