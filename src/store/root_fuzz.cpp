// SPDX-License-Identifier: Apache-2.0
//
// Hostile root slots: whatever is accepted can be written again, byte for byte, and is chosen.
#include <cstddef>
#include <cstdint>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "store/root.hpp"

using namespace dolmen;
using namespace dolmen::store;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // First byte: which slots get a checksum that holds. The rest fills the slots in turn.
  std::vector<std::byte> file(kRootFileBytes);
  for (std::size_t k = 1; k < size && k <= file.size(); ++k) {
    const std::size_t slot = (k - 1) % kRootSlots;
    file[slot * kRootSlotBytes + (k - 1) / kRootSlots] = static_cast<std::byte>(data[k]);
  }
  for (unsigned slot = 0; slot < kRootSlots; ++slot) {
    const auto bytes = base::MutableBytes(file).subspan(slot * kRootSlotBytes, kRootSlotBytes);
    if (size > 0 && (data[0] >> slot & 1) != 0) {
      base::store(bytes, 0, std::uint64_t{0x544F4F524D4C4F44});
      base::store(bytes, 8, std::uint32_t{kRootVersion});
      base::store(
          bytes, kRootSlotBytes - 8,
          base::checksum64(base::Bytes(bytes).first(kRootSlotBytes - 8), 0x646F6C6D656E2E31));
    }
    if (const auto root = decode_root(bytes)) {
      std::vector<std::byte> again(kRootSlotBytes);
      encode_root(*root, again);
      const auto same = decode_root(again);
      DOLMEN_ASSERT(same && *same == *root);
    }
  }
  if (const auto choice = choose_root(file)) {
    unsigned bad = 0;
    for (unsigned slot = 0; slot < kRootSlots; ++slot) bad += choice->bad[slot] ? 1 : 0;
    DOLMEN_ASSERT(bad <= 1 && choice->root.generation > 0);
  }
  return 0;
}
