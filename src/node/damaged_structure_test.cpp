// SPDX-License-Identifier: Apache-2.0
//
// Objects whose words lead elsewhere, under checksums that hold: what the library follows itself
// gives corrupt, and check() finds the rest.
#include <cstring>
#include <functional>
#include <vector>

#include <dolmen/hash_map.hpp>
#include <dolmen/ordered_map.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "node/inspect.hpp"
#include "node/space_fixture.hpp"
#include "object/heap.hpp"
#include "txn/catalog.hpp"
#include "txn/space_core.hpp"
#include "txn/types.hpp"

namespace dolmen::node {
namespace {

struct Cabinet {
  hash_map<std::uint64_t, std::uint64_t> table;
  ordered_map<std::uint64_t, std::uint64_t> sorted;
  vector<std::uint64_t> numbers;
  string text;
  ptr<std::uint64_t> pointer;
  std::uint64_t number;
};

constexpr std::uint64_t kEntries = 200;

class DamagedStructure : public testing::Test {
 protected:
  DamagedStructure() {
    space
        .transact(cabinet,
                  [](mut<Cabinet> s) {
                    for (std::uint64_t i = 0; i < kEntries; ++i) {
                      s->table.insert_or_assign(i, i);
                      s->sorted.insert_or_assign(i, i);
                    }
                    s->numbers.resize(50);
                    s->text = "a text that is too long to be kept inside the string";
                    s->pointer = ptr_to(s->number);
                  })
        .value();
  }

  /// Changes the word at an address of the object as nobody would; gives what was there.
  template <class Word>
  Word change(const ObjectId& id, std::uint64_t offset, Word word) {
    Word former{};
    const auto changed =
        space.transact(TransactOptions{.durability = Durability::deferred}, any, [&] {
          const auto home = space.core().home(id).value();
          space.core().require_in_scope(*detail::current_section(), *home, home->base);
          std::byte* const at = home->base + offset;
          std::memcpy(&former, at, sizeof former);
          detail::log_write(at, sizeof word);
          std::memcpy(at, &word, sizeof word);
        });
    EXPECT_TRUE(changed);
    return former;
  }
  /// Offset of the catalog's root.
  std::uint64_t catalog_root() {
    return space
        .read(Object<txn::Catalog>(space.core().catalog_id()),
              [](ref<txn::Catalog> c) {
                return reinterpret_cast<std::uintptr_t>(c.get()) - detail::base_of(c.get());
              })
        .value();
  }
  /// Offsets of all allocations of a type that is named so.
  std::vector<std::uint64_t> allocations(std::string_view type) {
    std::vector<std::uint64_t> found;
    (void)space.read(cabinet, [&](ref<Cabinet> s) {
      const std::uintptr_t base = detail::base_of(s.get());
      const object::HeapReader heap(reinterpret_cast<const std::byte*>(base),
                                    detail::class_of(base));
      return heap.for_each_allocation([&](const object::Allocation& allocation) {
        const TypeInfo* const info = txn::registered_type(allocation.type_tag);
        if (info != nullptr && info->name.starts_with(type)) found.push_back(allocation.offset);
      });
    });
    return found;
  }
  std::uint64_t root() {
    return space
        .read(cabinet,
              [](ref<Cabinet> s) {
                return reinterpret_cast<std::uintptr_t>(s.get()) - detail::base_of(s.get());
              })
        .value();
  }
  std::size_t findings() {
    return Explorer::make(space).value().check(cabinet.id()).value().size();
  }
  template <class Word>
  void expect_found(std::uint64_t offset, Word word) {
    const Word former = change(cabinet.id(), offset, word);
    EXPECT_NE(findings(), 0u) << "offset " << offset << ", instead of " << former;
    change(cabinet.id(), offset, former);
  }
  template <class Word>
  Word word(std::uint64_t offset) {
    const Word here = change(cabinet.id(), offset, Word{});
    change(cabinet.id(), offset, here);
    return here;
  }

  TestDirectory directory;
  Space space = open_test_space(directory, {.background = false});
  Object<Cabinet> cabinet = space.create<Cabinet>("cabinet", {.capacity = 256u << 10}).value();
};

TEST_F(DamagedStructure, CheckFindsEveryWordOfAContainerThatIsNotAsItWas) {
  ASSERT_EQ(findings(), 0u);
  const std::uint64_t at = root();
  for (const std::uint64_t offset :
       {offsetof(Cabinet, table), offsetof(Cabinet, table) + 8, offsetof(Cabinet, table) + 16,
        offsetof(Cabinet, table) + 20, offsetof(Cabinet, sorted), offsetof(Cabinet, sorted) + 8,
        offsetof(Cabinet, sorted) + 16, offsetof(Cabinet, sorted) + 24,
        offsetof(Cabinet, sorted) + 32, offsetof(Cabinet, numbers), offsetof(Cabinet, numbers) + 8,
        offsetof(Cabinet, numbers) + 12, offsetof(Cabinet, text), offsetof(Cabinet, text) + 8,
        offsetof(Cabinet, text) + 12}) {
    const auto former = word<std::uint32_t>(at + offset);
    for (const std::uint32_t wrong : {former + 1000, former ^ 0x8000'0000u}) {
      expect_found(at + offset, wrong);
    }
  }
  EXPECT_EQ(findings(), 0u);
}

TEST_F(DamagedStructure, CheckFindsWrongLinksBetweenTheNodesOfMaps) {
  const auto buckets = allocations("dolmen::detail::HashBucket");
  const auto leaves = allocations("dolmen::detail::BTreeLeaf");
  const auto inner = allocations("dolmen::detail::BTreeInner");
  ASSERT_GE(buckets.size(), 3u);
  ASSERT_GE(leaves.size(), 3u);
  ASSERT_GE(inner.size(), 1u);
  for (const std::uint64_t bucket : buckets) {
    for (std::uint64_t slot = 0; slot < 8; ++slot) {
      const auto link = word<std::uint64_t>(bucket + 8 * slot);
      if (link == 0) continue;
      expect_found(bucket + 8 * slot, std::uint64_t{0});
      expect_found(bucket + 8 * slot, link + 8);
      expect_found(bucket + 8 * slot, link ^ detail::HashLayout::kHasNext);
    }
  }
  for (const std::uint64_t leaf : leaves) {
    expect_found(leaf, word<std::uint64_t>(leaf) ^ leaf);          // previous
    expect_found(leaf + 8, word<std::uint64_t>(leaf + 8) ^ leaf);  // next
    expect_found(leaf + 16, std::uint16_t{0xFFFF});                // count
    expect_found(leaf + 18, word<std::uint8_t>(leaf + 19));        // order
  }
  const std::uint64_t children = inner[0] + detail::BTreeInner<std::uint64_t>::kLayout.children_at(
                                                detail::BTreeInner<std::uint64_t>::kCapacity);
  expect_found(inner[0], std::uint16_t{0xFFFF});
  expect_found(children, inner[0]);                           // a tree that leads to itself
  expect_found(children, word<std::uint64_t>(children + 8));  // a leaf twice
  EXPECT_EQ(findings(), 0u);
}

TEST_F(DamagedStructure, CheckTellsWhatAPointerLeadsToFromWhatItSays) {
  const std::uint64_t at = root() + offsetof(Cabinet, pointer);
  change(cabinet.id(), at, root() + offsetof(Cabinet, text));
  const auto found = Explorer::make(space).value().check(cabinet.id()).value();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].what, "wrong pointer");
  EXPECT_NE(found[0].where.find("Cabinet.pointer"), std::string::npos) << found[0].where;
  EXPECT_NE(found[0].detail.find("where a `"), std::string::npos) << found[0].detail;
}

TEST_F(DamagedStructure, ARootThatDoesNotFitIntoItsObjectIsCorruptToEverySection) {
  const std::uint64_t capacity = 256u << 10;
  for (const std::uint64_t wrong :
       {capacity - 8, capacity - sizeof(Cabinet) + 8, capacity, root() + 4}) {
    SCOPED_TRACE(wrong);
    const auto former = change(cabinet.id(), offsetof(object::ObjectHeader, root_offset),
                               static_cast<std::uint32_t>(wrong));
    const auto look = [](const Cabinet& s) { return s.number; };
    const auto read = space.read(cabinet, [&](ref<Cabinet> s) { return look(*s); });
    EXPECT_EQ(read.error().code(), Errc::corrupt);
    const auto written = space.transact(cabinet, [](mut<Cabinet> s) { s->number = 1; });
    EXPECT_EQ(written.error().code(), Errc::corrupt);
    const View view = space.view().value();
    const auto seen = view.read([&] { return look(*view[cabinet]); });
    EXPECT_EQ(seen.error().code(), Errc::corrupt);
    EXPECT_NE(seen.error().message().find(cabinet.id().to_string()), std::string::npos);
    change(cabinet.id(), offsetof(object::ObjectHeader, root_offset), former);
  }
  EXPECT_TRUE(space.transact(cabinet, [](mut<Cabinet> s) { s->number = 1; }));
}

TEST_F(DamagedStructure, ARangeBeyondItsObjectIsNotLogged) {
  change(cabinet.id(), root() + offsetof(Cabinet, numbers) + 8, std::uint32_t{1u << 30});
  const auto edited =
      space.transact(cabinet, [](mut<Cabinet> s) { return s->numbers.edit_span().size(); });
  ASSERT_FALSE(edited);
  EXPECT_EQ(edited.error().code(), Errc::corrupt);
}

TEST_F(DamagedStructure, CheckFindsAChainThatLeadsToItself) {
  std::size_t chained = 0;
  for (const std::uint64_t node : allocations("dolmen::detail::HashNode")) {
    const auto next = word<std::uint64_t>(node);
    if (next == 0) continue;
    expect_found(node,
                 (next & ~detail::HashLayout::kLocationMask) | node | detail::HashLayout::kHasNext);
    ++chained;
  }
  EXPECT_GT(chained, 0u);
}

TEST_F(DamagedStructure, NamesThatLeadElsewhereAreCorruptToWhoeverFollowsThem) {
  const auto named = space.transact(any, [&] {
    for (int i = 0; i < 100; ++i) {
      (void)space
          .create<Cell>("a name that needs an allocation of its own " + std::to_string(i),
                        {.capacity = 512})
          .value();
    }
  });
  ASSERT_TRUE(named);
  const ObjectId catalog = space.core().catalog_id();
  const std::uint64_t at = catalog_root();
  const auto expect_corrupt = [&](std::uint64_t offset, std::uint32_t wrong) {
    SCOPED_TRACE(offset);
    const auto former = change(catalog, offset, wrong);
    EXPECT_EQ(space.names().error().code(), Errc::corrupt);
    EXPECT_EQ(space.erase(cabinet).error().code(), Errc::corrupt);
    EXPECT_EQ(space.find<Cabinet>("cabinet").error().code(), Errc::corrupt);
    EXPECT_EQ(space.view().value().find<Cabinet>("cabinet").error().code(), Errc::corrupt);
    EXPECT_EQ(space.create<Cell>("another", {.capacity = 512}).error().code(), Errc::corrupt);
    EXPECT_EQ(space.set_name(cabinet.id(), "another").error().code(), Errc::corrupt);
    EXPECT_EQ(space.remove_name("cabinet").error().code(), Errc::corrupt);
    change(catalog, offset, former);
  };
  for (const std::uint32_t wrong : {8u, 0x0FFF'FFF0u, 0xFFFF'FFFFu}) {
    expect_corrupt(at, wrong);       // the directory
    expect_corrupt(at + 16, wrong);  // the number of buckets
    expect_corrupt(at + 20, wrong);  // the mask
  }
  expect_corrupt(at + 12, 1);  // the size
  EXPECT_EQ(space.names().value().size(), 101u);
  EXPECT_TRUE(space.remove_name("cabinet"));
}

TEST_F(DamagedStructure, TheBucketThatANewNameWouldOpenIsLookedAtToo) {
  const ObjectId catalog = space.core().catalog_id();
  const std::uint64_t at = catalog_root();
  const auto in_catalog = [&]<class Word>(std::uint64_t offset, Word) {
    const Word here = change(catalog, offset, Word{});
    change(catalog, offset, here);
    return here;
  };
  // Until the next name opens a bucket inside the last segment.
  int names = 1;
  const auto count = [&] { return in_catalog(at + 16, std::uint32_t{}); };
  while (!((names + 1) * 2 > static_cast<int>(count()) * 15 &&
           detail::HashLayout::place_of(count()).offset != 0)) {
    ASSERT_TRUE(space.set_name(cabinet.id(), "name " + std::to_string(names++)));
  }
  const detail::HashLayout::Place place = detail::HashLayout::place_of(count());
  const std::uint64_t segment = in_catalog(at, std::uint64_t{}) + std::uint64_t{8} * place.segment;
  const auto former = change(catalog, segment, std::uint64_t{0x7654'3210'0000});
  std::size_t refused = 0;
  for (int i = 0; i < 64; ++i) {
    const auto named = space.set_name(cabinet.id(), "another " + std::to_string(i));
    ASSERT_FALSE(named);
    EXPECT_EQ(named.error().code(), Errc::corrupt);
    ++refused;
  }
  EXPECT_EQ(refused, 64u);
  change(catalog, segment, former);
  EXPECT_TRUE(space.set_name(cabinet.id(), "another"));
}

}  // namespace
}  // namespace dolmen::node
