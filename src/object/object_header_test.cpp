// SPDX-License-Identifier: Apache-2.0
#include "object/object_header.hpp"

#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "object/fot.hpp"
#include "object/heap_fixture.hpp"

namespace dolmen::object {
namespace {

using test::NoLog;
using test::ObjectMemory;
using test::seed_of;

TEST(ObjectHeaderTest, VerifiesTheIdItWasMadeWith) {
  ObjectHeader header;
  header.nonce[3] = std::byte{9};
  header.owner_key = ObjectId{5, 6};
  header.flags = kCatalog;
  header.default_rights = 3;
  const ObjectId id = derive_object_id(header.seed());
  EXPECT_TRUE(verify_id(header, id));
  EXPECT_FALSE(verify_id(header, ObjectId{id.high, id.low ^ 1}));
  header.default_rights = 7;
  EXPECT_FALSE(verify_id(header, id)) << "rights are part of the id";
}

TEST(ObjectHeaderTest, RefusesEachBadField) {
  using Change = std::function<void(ObjectHeader&)>;
  struct Case {
    const char* what;
    Change change;
    Errc code;
  };
  const Case cases[] = {
      {"magic", [](ObjectHeader& h) { h.magic ^= 1; }, Errc::corrupt},
      {"newer format", [](ObjectHeader& h) { h.format = 2; }, Errc::version_unsupported},
      {"no format", [](ObjectHeader& h) { h.format = 0; }, Errc::corrupt},
      {"capacity", [](ObjectHeader& h) { h.capacity_log2 = 17; }, Errc::corrupt},
      {"nonce", [](ObjectHeader& h) { h.nonce[0] ^= std::byte{1}; }, Errc::corrupt},
      {"no heap state", [](ObjectHeader& h) { h.heap_state = 0; }, Errc::corrupt},
      {"heap state outside", [](ObjectHeader& h) { h.heap_state = 0xFFFF; }, Errc::corrupt},
      {"root without type", [](ObjectHeader& h) { h.root_offset = 128; }, Errc::corrupt},
      {"root outside",
       [](ObjectHeader& h) {
         h.root_offset = 1u << 20;
         h.root_type = 20;
       },
       Errc::corrupt},
      {"table without entries", [](ObjectHeader& h) { h.fot_offset = 128; }, Errc::corrupt},
      {"table outside",
       [](ObjectHeader& h) {
         h.fot_offset = 128;
         h.fot_count = ~0u;
       },
       Errc::corrupt},
      {"origin in the header", [](ObjectHeader& h) { h.heap_origin = 32; }, Errc::corrupt},
      {"origin outside", [](ObjectHeader& h) { h.heap_origin = 1u << 16; }, Errc::corrupt},
  };
  ObjectMemory memory(16);
  NoLog log;
  Heap::format(memory.base(), 16, seed_of(8), log);
  const ObjectHeader good = load_header(memory.base());
  const ObjectId id = derive_object_id(seed_of(8));
  const base::Bytes page(memory.base(), 4096);
  EXPECT_TRUE(check_header(page, id, 16).has_value());
  EXPECT_EQ(check_header(page, id, 15).error().code(), Errc::corrupt);
  EXPECT_EQ(check_header(page.first(63), id, 16).error().code(), Errc::corrupt);
  for (const Case& c : cases) {
    ObjectHeader bad = good;
    c.change(bad);
    std::memcpy(memory.base(), static_cast<const void*>(&bad), sizeof bad);
    const auto checked = check_header(page, id, 16);
    ASSERT_FALSE(checked.has_value()) << c.what;
    EXPECT_EQ(checked.error().code(), c.code) << c.what;
  }
}

/// The object that docs/formats/object.md walks through: 32 KiB with every kind of structure.
std::vector<std::byte> example_object() {
  ObjectMemory memory(15);
  NoLog log;
  ObjectIdSeed seed;
  for (std::size_t i = 0; i < seed.nonce.size(); ++i) seed.nonce[i] = static_cast<std::byte>(i);
  seed.owner_key = ObjectId{0x1111111111111111, 0x2222222222222222};
  seed.default_rights = 0x0102;
  Heap::format(memory.base(), 15, seed, log);
  Heap heap(memory.base(), 15, log);
  const auto make = [&](std::uint32_t tag, std::uint32_t element, std::uint64_t count, int fill) {
    const std::uint32_t offset = heap.allocate(tag, element, count).value();
    std::memset(memory.base() + offset, fill, element * count);
    return offset;
  };
  heap.set_root(make(0xAABBCCDD, 40, 1, 0x52), 0xAABBCCDD);
  FotIndex index;
  EXPECT_TRUE(fot_find_or_insert(heap, index, ObjectId{0x3333333333333333, 0x44}).has_value());
  std::uint32_t nodes[40] = {};
  for (int i = 0; i < 40; ++i) nodes[i] = make(0x1000, 24, 1, 0x61 + i % 26);  // the last in page 1
  (void)make(0x1000, 24, 10, 0x41);
  const std::uint32_t large = make(0x2000, 8, 2500, 0x42);  // pages 2 to 6
  (void)make(0x2000, 8, 450, 0x43);                         // page 7
  EXPECT_TRUE(heap.deallocate(large).has_value());
  EXPECT_TRUE(heap.deallocate(nodes[1]).has_value());
  EXPECT_TRUE(heap.deallocate(nodes[35]).has_value());
  EXPECT_TRUE(heap.verify().has_value());
  // What lies in free memory is not part of the format: only the live bytes are kept.
  std::vector<std::byte> image(std::size_t{1} << 15);
  std::memcpy(image.data(), memory.base(), 2 * 4096);
  std::memcpy(image.data() + 7 * 4096, memory.base() + 7 * 4096, 4096);
  return image;
}

TEST(ObjectHeaderTest, WritesTheObjectFormatThatItAlwaysWrote) {
  const std::vector<std::byte> object = example_object();
  std::ifstream file(DOLMEN_GOLDEN_DIR "/object_v1.bin", std::ios::binary);
  ASSERT_TRUE(file.is_open());
  const std::string golden((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
  ASSERT_EQ(golden.size(), object.size());
  for (std::size_t i = 0; i < object.size(); ++i) {
    ASSERT_EQ(static_cast<std::byte>(golden[i]), object[i]) << "byte " << i;
  }
  const HeapReader heap(object.data(), 15);
  EXPECT_TRUE(heap.verify().has_value());
}

}  // namespace
}  // namespace dolmen::object
