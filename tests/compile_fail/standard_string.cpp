// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <dolmen/reflect.hpp>

struct Page {
  int rank;
  std::string title;
};

int main() { static_cast<void>(dolmen::type_info<Page>()); }
