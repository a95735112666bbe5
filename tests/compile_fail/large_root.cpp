// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdint>

#include <dolmen/space.hpp>

struct Large {
  std::array<std::uint64_t, 513> words;
};

void change(dolmen::Space& space, const dolmen::Object<Large>& object) {
  static_cast<void>(space.transact(object, [](dolmen::mut<Large> large) { large->words[0] = 1; }));
}
