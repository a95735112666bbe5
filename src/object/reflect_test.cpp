// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/reflect.hpp>

namespace reflect_test {

// A pointer and a map as the library's own: not trivially copyable, described by traits alone.
template <class T>
class FakePtr {
 public:
  FakePtr() = default;
  FakePtr(const FakePtr& other) : bits_(other.bits_) {}
  FakePtr& operator=(const FakePtr& other) {
    bits_ = other.bits_;
    return *this;
  }
  ~FakePtr() {}
  [[nodiscard]] std::uint32_t pointee_size() const {
    dolmen::check_storable<T>();
    return dolmen::type_info<T>().size;
  }

 private:
  std::uint64_t bits_ = 0;
};
template <class K, class V>
struct FakeMap {
  std::uint64_t root = 0;
  std::uint32_t count = 0;
  std::uint32_t depth = 0;
};
struct FakeUuid {
  explicit FakeUuid(int) {}
  std::byte bytes[16];
};

}  // namespace reflect_test

template <class T>
struct dolmen::StorableTraits<reflect_test::FakePtr<T>> {
  static constexpr TypeKind kind = TypeKind::pointer;
  static constexpr std::string_view name = "ptr";
  using element = T;
};
template <class K, class V>
struct dolmen::StorableTraits<reflect_test::FakeMap<K, V>> {
  static constexpr TypeKind kind = TypeKind::hash_map;
  static constexpr std::string_view name = "hash_map";
  static constexpr std::uint32_t layout_version = 3;
  using element = K;
  using element2 = V;
};
template <>
struct dolmen::StorableTraits<reflect_test::FakeUuid> {
  static constexpr TypeKind kind = TypeKind::opaque;
  static constexpr std::string_view name = "uuid";
};

namespace reflect_test {

enum class Color : std::uint8_t { red, green };

struct Inner {
  std::int32_t values[3];
  char tag;
};
struct Node {
  std::int32_t id;
  char name[40];
  FakePtr<Node> next;
  Inner inner;
  char letter;
  Inner grid[2][3];
  std::array<double, 4> weights;
  Color color;
};
struct Right;
struct Left {
  FakePtr<Right> right;
  FakeMap<std::uint64_t, Right> by_id;
};
struct Right {
  Left left;
  FakePtr<Left> up;
  const bool flag;
};

template <class A, class B, std::size_t N = 3>
struct Pair {
  A first;
  B second;
};

class Account {
 public:
  explicit Account(std::int64_t cents) : cents_(cents), owner_{} { owner_[0] = 'x'; }
  [[nodiscard]] std::int64_t cents() const { return cents_ + owner_[0]; }
  DOLMEN_FIELDS(Account, cents_, owner_)

 private:
  std::int64_t cents_;
  char owner_[16];
};
template <class T>
class Counter {
 public:
  explicit Counter(T start) : value_(start) {}
  [[nodiscard]] T value() const { return value_; }
  DOLMEN_FIELDS(Counter, value_)

 private:
  T value_;
};
struct Entity {
  std::uint16_t id;
  std::uint16_t version;
};
struct Person : Entity {};
DOLMEN_FIELDS(Person, id, version)
struct alignas(64) CacheLine {
  std::uint32_t lock;
  alignas(16) char text[3];
};
DOLMEN_FIELDS(CacheLine, lock, text)

struct Empty {};
struct WithEmpty {
  Empty empty;
  std::uint16_t number;
};
struct Letters {
  char c;
  char8_t c8;
  char16_t c16;
  char32_t c32;
  std::byte raw;
  bool yes;
};
struct alignas(32) Aligned {
  std::uint64_t lanes[4];
};
struct Wide {
  std::uint8_t a1, a2, a3, a4, a5, a6, a7, a8;
  std::uint16_t b1, b2, b3, b4, b5, b6, b7, b8;
  std::uint32_t c1, c2, c3, c4, c5, c6, c7, c8;
  std::uint64_t d1, d2, d3, d4, d5, d6, d7, last;
};
struct WithoutDefault {
  FakeUuid uuid;
  std::int32_t numbers[5];
  std::int32_t more;
};

namespace {
struct Hidden {
  std::uint8_t byte;
};
}  // namespace

using dolmen::FieldInfo;
using dolmen::type_info;
using dolmen::type_name;
using dolmen::TypeInfo;
using dolmen::TypeKind;

struct Expected {
  std::string_view name;
  std::size_t offset, size, count;
  std::string_view type;
};
void expect_fields(const TypeInfo& type, const std::vector<Expected>& expected) {
  ASSERT_EQ(type.fields.size(), expected.size()) << type.name;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const FieldInfo& field = type.fields[i];
    EXPECT_EQ(field.name, expected[i].name);
    EXPECT_EQ(field.offset, expected[i].offset) << field.name;
    EXPECT_EQ(field.size, expected[i].size) << field.name;
    EXPECT_EQ(field.count, expected[i].count) << field.name;
    EXPECT_EQ(field.type->name, expected[i].type) << field.name;
    EXPECT_EQ(field.size, field.count * field.type->size) << field.name;
  }
}

TEST(Reflect, FieldsOfAnAggregateWithArraysHaveNamesOffsetsAndCounts) {
  expect_fields(type_info<Node>(), {{"id", offsetof(Node, id), 4, 1, "i32"},
                                    {"name", offsetof(Node, name), 40, 40, "char"},
                                    {"next", offsetof(Node, next), 8, 1, "ptr<reflect_test::Node>"},
                                    {"inner", offsetof(Node, inner), 16, 1, "reflect_test::Inner"},
                                    {"letter", offsetof(Node, letter), 1, 1, "char"},
                                    {"grid", offsetof(Node, grid), 96, 6, "reflect_test::Inner"},
                                    {"weights", offsetof(Node, weights), 32, 4, "f64"},
                                    {"color", offsetof(Node, color), 1, 1, "reflect_test::Color"}});
  EXPECT_EQ(type_info<Node>().size, sizeof(Node));
  EXPECT_EQ(type_info<Node>().align, alignof(Node));
}

TEST(Reflect, ThirtyTwoFieldsAreAllFound) {
  const TypeInfo& wide = type_info<Wide>();
  ASSERT_EQ(wide.fields.size(), 32u);
  EXPECT_EQ(wide.fields[8].name, "b1");
  EXPECT_EQ(wide.fields[8].offset, offsetof(Wide, b1));
  EXPECT_EQ(wide.fields[31].name, "last");
  EXPECT_EQ(wide.fields[31].offset, offsetof(Wide, last));
}

TEST(Reflect, EmptyAndAlignedRecordsAreDescribed) {
  EXPECT_TRUE(type_info<Empty>().fields.empty());
  expect_fields(type_info<WithEmpty>(),
                {{"empty", 0, 1, 1, "reflect_test::Empty"}, {"number", 2, 2, 1, "u16"}});
  expect_fields(type_info<Letters>(), {{"c", 0, 1, 1, "char"},
                                       {"c8", 1, 1, 1, "char8_t"},
                                       {"c16", 2, 2, 1, "char16_t"},
                                       {"c32", 4, 4, 1, "char32_t"},
                                       {"raw", 8, 1, 1, "byte"},
                                       {"yes", 9, 1, 1, "bool"}});
  expect_fields(type_info<Aligned>(), {{"lanes", 0, 32, 4, "u64"}});
  EXPECT_EQ(type_info<Aligned>().align, 32u);
}

TEST(Reflect, GivenFieldsWorkInTheClassInTemplatesAndBehindADerivedStruct) {
  expect_fields(type_info<Account>(), {{"cents_", 0, 8, 1, "i64"}, {"owner_", 8, 16, 16, "char"}});
  expect_fields(type_info<Counter<float>>(), {{"value_", 0, 4, 1, "f32"}});
  expect_fields(type_info<Person>(), {{"id", 0, 2, 1, "u16"}, {"version", 2, 2, 1, "u16"}});
  expect_fields(type_info<CacheLine>(), {{"lock", 0, 4, 1, "u32"}, {"text", 16, 3, 3, "char"}});
  EXPECT_EQ(Account(1).cents(), 1 + 'x');
  EXPECT_EQ(Counter<int>(7).value(), 7);
}

TEST(Reflect, FieldsWithoutDefaultConstructorAreCountedBesideArrays) {
  expect_fields(
      type_info<WithoutDefault>(),
      {{"uuid", 0, 16, 1, "uuid"}, {"numbers", 16, 20, 5, "i32"}, {"more", 36, 4, 1, "i32"}});
}

TEST(Reflect, RecursiveAndMutuallyRecursiveTypesReachEachOther) {
  const TypeInfo& node = type_info<Node>();
  EXPECT_EQ(&node.fields[2].type->element(), &node);
  const TypeInfo& left = type_info<Left>();
  const TypeInfo& right = left.fields[0].type->element();
  EXPECT_EQ(&right, &type_info<Right>());
  EXPECT_EQ(&right.fields[1].type->element(), &left);
  const TypeInfo& map = *left.fields[1].type;
  EXPECT_EQ(map.kind, TypeKind::hash_map);
  EXPECT_EQ(map.name, "hash_map<u64,reflect_test::Right>");
  EXPECT_EQ(map.layout_version, 3u);
  EXPECT_EQ(map.element().name, "u64");
  EXPECT_EQ(&map.element2(), &right);
  EXPECT_EQ(FakePtr<Node>().pointee_size(), sizeof(Node));
}

TEST(Reflect, NamesOutsideAsciiStayWhole) {
  struct Straße {
    std::int32_t länge;
    double größe;
  };
  EXPECT_EQ(type_name<Straße>(), "Straße");
  expect_fields(type_info<Straße>(), {{"länge", 0, 4, 1, "i32"}, {"größe", 8, 8, 1, "f64"}});
}

TEST(Reflect, KindsTellScalarsEnumerationsArraysAndPointersApart) {
  EXPECT_EQ(type_info<bool>().kind, TypeKind::boolean);
  EXPECT_EQ(type_info<long>().kind, TypeKind::signed_integer);
  EXPECT_EQ(type_info<unsigned char>().kind, TypeKind::unsigned_integer);
  EXPECT_EQ(type_info<float>().kind, TypeKind::floating);
  EXPECT_EQ(type_info<char>().kind, TypeKind::character);
  EXPECT_EQ(type_info<std::byte>().kind, TypeKind::byte);
  EXPECT_EQ(type_info<Color>().kind, TypeKind::enumeration);
  EXPECT_EQ(type_info<Color>().element().name, "u8");
  EXPECT_EQ((type_info<std::array<Inner[2], 5>>().kind), TypeKind::array);
  EXPECT_EQ((type_info<std::array<Inner[2], 5>>().count), 10u);
  EXPECT_EQ((&type_info<std::array<Inner[2], 5>>().element()), &type_info<Inner>());
  EXPECT_EQ(type_info<FakeUuid>().kind, TypeKind::opaque);
  EXPECT_EQ(&type_info<const Inner>(), &type_info<Inner>());
}

TEST(Reflect, PointersInsideAreKnownAtAnyDepth) {
  EXPECT_TRUE(type_info<Node>().holds_pointers);
  EXPECT_TRUE(type_info<Right[3]>().holds_pointers);
  EXPECT_FALSE(type_info<Inner>().holds_pointers);
  EXPECT_FALSE(type_info<FakeUuid>().holds_pointers);
}

TEST(Reflect, NamesAreSpelledTheSameByEveryCompiler) {
  struct Local {
    struct Deep {
      int x;
    };
    Deep deep;
  };
  EXPECT_EQ(type_name<Hidden>(), "reflect_test::(anonymous)::Hidden");
  EXPECT_EQ(type_name<Local>(), "Local");
  EXPECT_EQ(type_name<Local::Deep>(), "Local::Deep");
  EXPECT_EQ(
      (type_name<Pair<unsigned long long, Pair<Hidden, const short, 7>>>()),
      "reflect_test::Pair<u64,reflect_test::Pair<reflect_test::(anonymous)::Hidden,const i16,7>>");
  EXPECT_EQ((type_name<Pair<Local, signed char>>()), "reflect_test::Pair<Local,i8>");
  EXPECT_EQ(type_name<unsigned[2][8]>(), "u32[16]");
  EXPECT_EQ((type_name<std::array<long, 3>>()), "i64[3]");
  const auto in_lambda = [] {
    struct Inside {
      int x;
    };
    return type_name<Inside>();
  };
  EXPECT_EQ(in_lambda(), "Inside");
}

TEST(Reflect, SpellingsOfBothCompilersBecomeOneText) {
  const auto normal = [](std::string_view text) {
    return std::string(dolmen::detail::normalised_type_text(text).view());
  };
  EXPECT_EQ(normal("long unsigned int"), "u64");
  EXPECT_EQ(normal("unsigned long"), "u64");
  EXPECT_EQ(normal("ns::P<short int, long double, char> *"), "ns::P<i16,long double,char>*");
  EXPECT_EQ(normal("{anonymous}::A<int [3]>"), "(anonymous)::A<i32[3]>");
  EXPECT_EQ(normal("(anonymous namespace)::A<int[3]>"), "(anonymous)::A<i32[3]>");
  EXPECT_EQ(normal("struct ns::A<12ul, 4UL, 3>"), "ns::A<12,4,3>");
  EXPECT_EQ(normal("f(ns::A<int>, long)::L"), "L");
  EXPECT_EQ(normal("P<main()::<lambda()>::L, ns::C::f(int) const::M>"), "P<L,M>");
  EXPECT_EQ(normal("P<const A, void (*)(unsigned int)>"), "P<const A,void(*)(u32)>");
}

// These numbers are stored with the data: a change of any is a change of the format.
TEST(Reflect, FingerprintsKeepTheirGoldenValues) {
  EXPECT_EQ(type_info<bool>().fingerprint, 0xD19A47DD44AEC13Cu);
  EXPECT_EQ(type_info<std::uint32_t>().fingerprint, 0x756F439A8C115612u);
  EXPECT_EQ(type_info<Color>().fingerprint, 0x216C5A48EF98D5F0u);
  EXPECT_EQ(type_info<Inner>().fingerprint, 0x0871A705209FD49Bu);
  EXPECT_EQ(type_info<Node>().fingerprint, 0x60CCE56678F1BFB7u);
  EXPECT_EQ(type_info<Left>().fingerprint, 0x101CF11D811D930Cu);
  EXPECT_EQ(type_info<Account>().fingerprint, 0x1DAB44E4204F85AEu);
  EXPECT_EQ(type_info<Node[3]>().fingerprint, 0xCE510E3833173020u);
}

TEST(Reflect, FingerprintFollowsItsDefinitionByteForByte) {
  std::uint64_t state = 0xCBF29CE484222325u;
  const auto feed = [&state](std::string_view bytes) {
    for (const char c : bytes) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  };
  using std::string_view_literals::operator""sv;
  feed("\x09\x02\0\0\0\x01\0\0\0"sv);        // record of 2 bytes, aligned to 1
  feed("\x01\0\0\0"sv);                      // one field
  feed("\x02\0\0\0ab\0\0\0\0\x02\0\0\0"sv);  // "ab" at 0, two elements
  const std::uint64_t byte_type = type_info<std::uint8_t>().fingerprint;
  const auto byte_type_bytes = std::bit_cast<std::array<char, 8>>(byte_type);
  feed({byte_type_bytes.data(), byte_type_bytes.size()});
  struct R {
    std::uint8_t ab[2];
  };
  EXPECT_EQ(type_info<R>().fingerprint, state);
}

TEST(Reflect, FingerprintChangesWithNameTypePlaceAndCount) {
  struct Base {
    std::uint32_t a;
    std::uint32_t b;
  };
  struct Same {
    std::uint32_t a;
    std::uint32_t b;
  };
  struct Renamed {
    std::uint32_t a;
    std::uint32_t c;
  };
  struct Signed {
    std::uint32_t a;
    std::int32_t b;
  };
  struct Swapped {
    std::uint32_t b;
    std::uint32_t a;
  };
  struct Deep {
    Base base;
  };
  struct DeepSigned {
    Signed base;
  };
  struct ToBase {
    FakePtr<Base> p;
  };
  struct ToSigned {
    FakePtr<Signed> p;
  };
  const std::uint64_t base = type_info<Base>().fingerprint;
  EXPECT_EQ(base, type_info<Same>().fingerprint);
  EXPECT_NE(type_info<Base>().identity, type_info<Same>().identity);
  EXPECT_EQ(type_info<Base>().identity, dolmen::type_identity("Base", base));
  EXPECT_NE(base, type_info<Renamed>().fingerprint);
  EXPECT_NE(base, type_info<Signed>().fingerprint);
  EXPECT_NE(base, type_info<Swapped>().fingerprint);
  EXPECT_NE(type_info<Deep>().fingerprint, type_info<DeepSigned>().fingerprint);
  EXPECT_NE(type_info<ToBase>().fingerprint, type_info<ToSigned>().fingerprint);
  EXPECT_NE(type_info<Base[2]>().fingerprint, type_info<Base[3]>().fingerprint);
}

union Either {
  int a;
  float b;
};
struct Virtual {
  virtual ~Virtual() = default;
  int x = 0;
};
class Secret {
 public:
  explicit Secret(int x) : x_(x) {}
  [[nodiscard]] int x() const { return x_; }

 private:
  int x_;
};
struct PointerDeep {
  struct {
    std::array<void*, 2> pointers;
  } inside[2];
};
struct WithPointerArray {
  int* all[4];
};

TEST(Reflect, StorableAcceptsAndRefusesAsPromised) {
  using dolmen::Storable;
  static_assert(Storable<Node> && Storable<Left> && Storable<Right> && Storable<Account>);
  static_assert(Storable<int> && Storable<const Color> && Storable<Inner[2][2]> &&
                Storable<FakeUuid>);
  static_assert(Storable<Pair<int, std::array<Person, 2>>>);
  static_assert(!Storable<int*> && !Storable<int&> && !Storable<void (*)()> &&
                !Storable<int Node::*>);
  static_assert(!Storable<std::nullptr_t> && !Storable<void> && !Storable<long double>);
  static_assert(!Storable<std::string> && !Storable<std::vector<int>> &&
                !Storable<std::string_view>);
  static_assert(!Storable<std::unique_ptr<int>> && !Storable<Pair<int, std::string>>);
  static_assert(!Storable<WithPointerArray> && !Storable<PointerDeep> &&
                !Storable<Pair<int&, char>>);
  static_assert(!Storable<Either> && !Storable<Virtual> && !Storable<Secret>);
  static_assert(!Storable<std::array<int, 0>> && !Storable<struct Undefined>);
  EXPECT_EQ(Secret(3).x(), 3);
}

}  // namespace reflect_test
