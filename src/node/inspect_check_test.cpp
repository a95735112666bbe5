// SPDX-License-Identifier: Apache-2.0
//
// What check() finds in committed objects, and that it finds nothing in ordinary data.
#include <array>
#include <cstring>
#include <vector>

#include <dolmen/hash_map.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "base/random.hpp"
#include "node/inspect.hpp"
#include "node/space_fixture.hpp"

namespace inspect_check_test {

/// Text in a class that keeps its fields to itself.
class Label {
 public:
  Label() = default;
  explicit Label(std::string_view text) { std::memcpy(bytes_, text.data(), text.size()); }
  [[nodiscard]] char first() const noexcept { return bytes_[0]; }

 private:
  alignas(8) char bytes_[16] = {};
};

}  // namespace inspect_check_test

template <>
struct dolmen::StorableTraits<inspect_check_test::Label> {
  static constexpr TypeKind kind = TypeKind::opaque;
  static constexpr std::string_view name = "Label";
};

namespace dolmen::node {
namespace {

using inspect_check_test::Label;

struct Device {
  std::uint64_t id;
  std::int64_t handle;
  ptr<Cell> cell;
};
struct Devices {
  vector<Device> devices;
  Device spare;
  std::uintptr_t table[3];
};
struct Ordinary {
  std::uint64_t id;
  std::uint64_t hash;
  ObjectId object;
  std::int64_t time_ns;
  std::int64_t time_us;
  std::int64_t time_ms;
  std::uint64_t calendar;
  std::uint64_t bytes;
  double price;
  char code[8];
  std::array<std::uint8_t, 16> digest;
  Label label;
  string text;
};
struct Data {
  vector<Ordinary> rows;
  hash_map<string, std::uint64_t> by_name;
  hash_map<std::uint64_t, double> by_hash;
  vector<double> prices;
};

std::vector<Finding> findings(Space& space, const ObjectId& id) {
  return Explorer::make(space).value().check(id).value();
}

class AddressScan : public testing::Test {
 protected:
  /// Changes the devices with `change`; then the one finding is of the field `where`.
  template <class Change>
  void expect_found(Change&& change, const std::string& where) {
    space.transact(devices, [&](mut<Devices> d) { change(*d); }).value();
    const auto found = findings(space, devices.id());
    ASSERT_EQ(found.size(), 1u) << where;
    EXPECT_EQ(found[0].what, "absolute address");
    EXPECT_NE(found[0].where.find(where), std::string::npos) << found[0].where;
    EXPECT_NE(found[0].where.find(" at offset "), std::string::npos) << found[0].where;
  }

  TestDirectory directory;
  Space space = open_test_space(directory, {.background = false});
  Object<Devices> devices = space.create<Devices>({.capacity = 1u << 20}).value();
  std::vector<std::uint64_t> heap = std::vector<std::uint64_t>(64);
};

std::int64_t number_of(const void* address) {
  return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(address));
}
/// One near it whose bytes are not all characters, as those of one address in hundreds are.
std::int64_t kept_number_of(const void* address) {
  return (number_of(address) & ~std::int64_t{0xFF}) | 0x81;
}

TEST_F(AddressScan, FindsAddressesOfEveryKindOfMemoryInIntegers) {
  static std::uint64_t program = 0;
  std::uint64_t stack = 0;
  const auto cell = space.create<Cell>({.capacity = 512}).value();
  const void* small = space.read(cell, [](ref<Cell> c) { return c.get(); }).value();
  const void* large = space.read(devices, [](ref<Devices> d) { return d.get(); }).value();
  for (const void* address : {static_cast<const void*>(&program), static_cast<const void*>(&stack),
                              static_cast<const void*>(heap.data()), small, large}) {
    expect_found([&](Devices& d) { d.spare.handle = kept_number_of(address); },
                 "Devices.spare.handle");
    space.transact(devices, [](mut<Devices> d) { d->spare.handle = 0; }).value();
    EXPECT_TRUE(findings(space, devices.id()).empty());
  }
}

TEST_F(AddressScan, NamesTheElementOfAnArray) {
  expect_found(
      [&](Devices& d) { d.table[2] = static_cast<std::uintptr_t>(kept_number_of(heap.data())); },
      "Devices.table[2]");
}

TEST_F(AddressScan, FindsOneFieldAmongTheElementsOfAVector) {
  expect_found(
      [&](Devices& d) {
        for (std::uint64_t i = 0; i < 64; ++i) {
          d.devices.push_back(Device{i, kept_number_of(&heap[i]), nullptr});
        }
      },
      "Device.handle");
}

TEST_F(AddressScan, FindsAnAddressInAPointerAndInAContainersOwnWords) {
  const std::int64_t address = number_of(heap.data());
  expect_found(
      [&](Devices& d) { std::memcpy(static_cast<void*>(&d.spare.cell), &address, sizeof address); },
      "Devices.spare.cell");
  space.transact(devices, [](mut<Devices> d) { d->spare.cell = nullptr; }).value();
  expect_found(
      [&](Devices& d) {
        d.devices.push_back(Device{});
        std::memcpy(static_cast<void*>(&d.devices), &address, sizeof address);
      },
      "Devices.devices");
}

TEST_F(AddressScan, StillFindsItInTheReopenedSpace) {
  space.transact(devices, [&](mut<Devices> d) { d->spare.handle = kept_number_of(heap.data()); })
      .value();
  ASSERT_TRUE(space.close());
  space = open_test_space(directory, {.read_only = true});
  const auto found = findings(space, devices.id());
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].where.find("Devices.spare.handle"), std::string::npos) << found[0].where;
}

TEST_F(AddressScan, FindsNothingInOrdinaryData) {
  base::Random random(7);
  const auto data = space.create<Data>({.capacity = 16u << 20}).value();
  space
      .transact(data,
                [&](mut<Data> d) {
                  for (std::uint64_t i = 0; i < 2000; ++i) {
                    Ordinary row{};
                    row.id = i * 1'000'003;
                    row.hash = random();
                    row.object = ObjectId{random(), random()};
                    row.time_ns = 1'795'000'000'000'000'000 + static_cast<std::int64_t>(i);
                    row.time_us = row.time_ns / 1000;
                    row.time_ms = row.time_ns / 1'000'000;
                    row.calendar = 20'261'127'120'000 + i;
                    row.bytes = i << 30;
                    row.price = static_cast<double>(random()) / 1e9;
                    const std::string name = "SKU" + std::to_string(100 + i % 900);
                    std::memcpy(row.code, name.data(), 6);
                    for (auto& byte : row.digest) byte = static_cast<std::uint8_t>(random());
                    row.label = Label(name);
                    row.text = name;
                    d->rows.push_back(row);
                    d->by_name.insert_or_assign(string(name), row.hash);
                    d->by_hash.insert_or_assign(row.hash, row.price);
                    d->prices.push_back(-row.price);
                  }
                })
      .value();
  for (const Finding& found : findings(space, data.id())) {
    ADD_FAILURE() << found.what << " " << found.where << " " << found.detail;
  }
}

}  // namespace
}  // namespace dolmen::node
