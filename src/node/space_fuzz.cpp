// SPDX-License-Identifier: Apache-2.0
//
// Hostile space directories. The input is a script that changes the files of a small space; the
// checksums are made right again, so that what it changed is read. Then the space is opened, looked
// at in every way, dumped, loaded and written to: errors, and nothing else.
#include <cstddef>
#include <cstdint>
#include <span>

#include "node/hostile_test_space.hpp"
#include "sys/linux/linux.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen;
  static const sim::SimEnv world(1, *sys::linux_env().memory);
  static const node::HostileSpace space(world);
  const auto disk = space.changed(std::span(data, size));
  (void)space.use(*disk);
  return 0;
}
