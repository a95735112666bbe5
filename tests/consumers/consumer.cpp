// SPDX-License-Identifier: Apache-2.0
//
// A program of somebody else: it sees the installed headers and the library, nothing of this tree.
#include <cstdio>

#include <dolmen/error.hpp>

int main() {
  const dolmen::Error error(dolmen::Errc::not_found, "consumer");
  std::puts(error.message().c_str());
  return error.name() == "not_found" ? 0 : 1;
}
