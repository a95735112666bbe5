// SPDX-License-Identifier: Apache-2.0
//
// Hostile commit records in the log tail: every page that they name can be read, and nothing else
// is touched.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/commit_record.hpp"
#include "store/tail_index.hpp"

using namespace dolmen;
using namespace dolmen::store;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::deque<std::vector<std::byte>> payloads;
  TailIndex index;
  // Half of the inputs are payloads as they are; the others are words from which good ones are
  // made.
  const bool raw = size > 0 && data[0] % 2 == 0;
  for (std::size_t at = 1; at + 8 <= size;) {
    std::vector<std::byte> payload;
    if (raw) {
      const std::size_t length = std::min<std::size_t>(size - at, 1 + data[at] * 4u);
      for (std::size_t k = 1; k < length; ++k)
        payload.push_back(static_cast<std::byte>(data[at + k]));
      at += length;
    } else {
      base::CommitRecordWriter writer;
      const ObjectId id{1u + data[at] % 5, 7};
      const unsigned capacity = base::kMinCapacityLog2 + data[at + 2] % 8u;
      switch (data[at + 1] % 8) {
        case 0:
          writer.create(id, capacity);
          break;
        case 1:
          writer.erase(id);
          break;
        case 2:
          writer.resize(id, capacity);
          break;
        default: {
          writer.write(id);
          const std::vector<std::byte> bytes(data[at + 3] * 40u, std::byte{data[at + 4]});
          writer.run(data[at + 5] * 257u + (data[at + 6] % 64 == 0 ? 1u << 29 : 0), bytes);
        }
      }
      payload.assign(writer.bytes().begin(), writer.bytes().end());
      at += 8;
    }
    payloads.push_back(std::move(payload));
    if (!index.add(payloads.back())) return 0;
  }
  std::vector<std::byte> page(kPageBytes);
  for (const PageKey& key : index.changed_pages()) {
    const TailIndex::Object* const object = index.find(key.object);
    DOLMEN_ASSERT(object != nullptr && !object->erased && key.page < object->page_limit);
    index.apply(*object, key.page, page);
  }
  for (const TailIndex::Object& object : index.objects()) {
    DOLMEN_ASSERT(index.find(object.id) == &object);
    index.apply(object, 0, base::MutableBytes(page).first(512));
  }
  return 0;
}
