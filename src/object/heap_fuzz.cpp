// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as an object: the heap answers, never leaves the object, and ends. The first bytes
// choose the capacity, whether a sound heap is damaged or the input taken as it is, and what is
// done with it.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include <dolmen/assert.hpp>

#include "base/bytes.hpp"
#include "object/fot.hpp"
#include "object/heap.hpp"

namespace {

using namespace dolmen;

class Bounds final : public object::WriteLog {
 public:
  Bounds(const std::byte* base, std::size_t bytes) : base_(base), bytes_(bytes) {}
  void log(const void* address, std::size_t bytes) override {
    const auto* at = static_cast<const std::byte*>(address);
    DOLMEN_ASSERT(at >= base_ && bytes <= bytes_ &&
                  static_cast<std::size_t>(at - base_) <= bytes_ - bytes);
  }

 private:
  const std::byte* base_;
  std::size_t bytes_;
};

class AnyType final : public object::PointerLayout {
 public:
  std::optional<std::span<const std::uint32_t>> pointer_offsets(std::uint32_t) override {
    static constexpr std::uint32_t kOffsets[] = {0};
    return std::span<const std::uint32_t>(kOffsets);
  }
};

void work(object::Heap& heap, base::ByteReader& script) {
  object::FotIndex index;
  std::uint32_t offsets[32] = {};
  for (int step = 0; step < 200 && script.remaining() >= 4; ++step) {
    const auto what = script.get<std::uint8_t>();
    const auto size = script.get<std::uint16_t>();
    const auto which = script.get<std::uint8_t>() % 32;
    switch (what % 5) {
      case 0:
        if (const auto made = heap.allocate(1u + which % 20, 1u + size % 400, 1)) {
          offsets[which] = *made;
          DOLMEN_ASSERT(*made < heap.capacity());
        }
        break;
      case 1:
        if (const auto made = heap.allocate(16u + which % 3, 1u + which, 1u + size)) {
          offsets[which] = *made;
          DOLMEN_ASSERT(*made < heap.capacity());
        }
        break;
      case 2:
        (void)heap.deallocate(what < 200 ? offsets[which] : size);
        break;
      case 3:
        if (const auto found = heap.at(std::uint64_t{size} * 8)) {
          DOLMEN_ASSERT(std::uint64_t{found->offset} + found->bytes <= heap.capacity());
          DOLMEN_ASSERT(found->offset <= size * 8u && size * 8u < found->offset + found->bytes);
        }
        break;
      default:
        (void)object::fot_find_or_insert(heap, index, ObjectId{which + 1u, size});
    }
  }
  std::uint64_t visited = 0;
  (void)heap.for_each_allocation([&](const object::Allocation& a) {
    DOLMEN_ASSERT(std::uint64_t{a.offset} + a.bytes <= heap.capacity());
    DOLMEN_ASSERT(++visited <= heap.capacity() / 8);
  });
  AnyType types;
  if (const auto used = object::fot_mark(heap, types)) {
    (void)object::fot_reclaim(heap, index, *used);
  }
  (void)heap.stats();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  const base::Bytes input = std::as_bytes(std::span(data, size));
  const unsigned log2 = 9 + data[0] % 8;
  const std::size_t bytes = std::size_t{1} << log2;
  // Exactly as large as the object, so that the sanitizer sees one byte too far.
  const std::unique_ptr<std::byte[], void (*)(std::byte*)> memory(
      static_cast<std::byte*>(::operator new(bytes, std::align_val_t{4096})),
      [](std::byte* p) { ::operator delete(p, std::align_val_t{4096}); });
  std::memset(memory.get(), 0, bytes);
  Bounds log(memory.get(), bytes);
  object::Heap heap(memory.get(), log2, log);
  const std::size_t half = 4 + (size - 4) / 2;
  base::ByteReader script(input.subspan(half));
  const base::Bytes damage = input.subspan(4, half - 4);
  if (data[1] % 4 == 0) {
    std::memcpy(memory.get(), damage.data(), std::min(bytes, damage.size()));
    // The header's fixed fields, so that what lies behind them is reached.
    const object::ObjectHeader fixed;
    std::memcpy(memory.get(), &fixed.magic, 4);
    memory[4] = std::byte{object::kObjectFormat};
    memory[5] = static_cast<std::byte>(log2);
  } else {
    object::Heap::format(memory.get(), log2, {}, log);
    if (data[1] % 4 == 1) work(heap, script);
    if (data[1] % 4 != 3) {
      for (std::size_t i = 0; i + 3 <= damage.size(); i += 3) {
        const std::size_t at = (base::load<std::uint16_t>(damage, i) * 8u + data[2]) % bytes;
        memory[at] = damage[i + 2];
      }
    }
  }
  const bool is_sound = heap.verify().has_value();
  base::ByteReader again(input.subspan(half));
  work(heap, again);
  // What verify() accepts stays sound: every operation keeps the invariants that it checks. (The
  // table of foreign objects and freely chosen tags are not the heap's own, so only undamaged heaps
  // are held to it.)
  if (is_sound && data[1] % 4 == 3) DOLMEN_ASSERT(heap.verify().has_value());
  (void)heap.resize_capacity(log2 - (log2 > 9 ? data[3] % 2 : 0));
  return 0;
}
