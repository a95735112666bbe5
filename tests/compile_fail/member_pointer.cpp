// SPDX-License-Identifier: Apache-2.0
#include <dolmen/reflect.hpp>

struct Event {
  int code;
  int Event::* field;
};

int main() { dolmen::check_storable<Event>(); }
