// SPDX-License-Identifier: Apache-2.0
//
// The world, passed explicitly: nothing in the project reaches clock, entropy, memory, process or
// network in any other way. A Disk belongs to one directory and is passed beside it.
#pragma once

#include "sys/clock.hpp"
#include "sys/disk.hpp"
#include "sys/memory.hpp"
#include "sys/network.hpp"
#include "sys/process.hpp"

namespace dolmen::sys {

struct Env {
  Clock* clock = nullptr;
  Entropy* entropy = nullptr;
  Memory* memory = nullptr;
  Process* process = nullptr;
  Network* network = nullptr;
};

}  // namespace dolmen::sys
