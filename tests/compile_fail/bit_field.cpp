// SPDX-License-Identifier: Apache-2.0
#include <dolmen/reflect.hpp>

struct Flags {
  unsigned dirty : 1;
  unsigned level : 7;
};

int main() { dolmen::check_storable<Flags>(); }
