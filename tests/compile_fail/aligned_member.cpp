// SPDX-License-Identifier: Apache-2.0
#include <dolmen/reflect.hpp>

struct Sample {
  char tag;
  alignas(2) char kind;  // size and alignment of Sample alone do not show the gap in front
  int value;
};

int main() { dolmen::check_storable<Sample>(); }
