// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdint>

#include <dolmen/space.hpp>

struct Large {
  std::array<std::uint64_t, 513> words;
};

void change(dolmen::Space& space, const dolmen::Object<Large>& object) {
  static_cast<void>(space.transact(dolmen::any, [&] { space.edit(object)->words[0] = 1; }));
}
