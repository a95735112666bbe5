// SPDX-License-Identifier: Apache-2.0
#include <array>

#include <dolmen/reflect.hpp>

struct Word;
struct Bucket {
  std::array<const Word* [2], 3> words;
};
struct Index {
  int count;
  Bucket buckets[4];
};

int main() { dolmen::check_storable<Index>(); }
