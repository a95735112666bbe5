// SPDX-License-Identifier: Apache-2.0
//
// What the tests of homes share: one mail and one command of each kind, and a table with an object
// in each state. They are golden: every later version has to read their bytes.
#pragma once

#include <vector>

#include <gtest/gtest.h>

#include "cluster/home_table.hpp"
#include "cluster/mail_fixture.hpp"

namespace dolmen::cluster {

inline ObjectId object(std::uint64_t number) { return {0xD0, number}; }

inline std::vector<HomeMail> example_home_mails() {
  return {home::Part{.id = object(1),
                     .move = 7,
                     .counter = 3,
                     .length_class = 12,
                     .object_bytes = 1000,
                     .hash = 0x1122334455667788,
                     .number = 2,
                     .bytes = bytes("some of it")},
          home::Took{.id = object(1), .move = 7, .parts = 2},
          home::Arrived{.id = object(1), .move = 7},
          home::Refused{.id = object(1), .move = 7, .why = HomeRefusal::no_space},
          home::Cancel{.id = object(1), .move = 7},
          home::Settled{.id = object(1), .counter = 4, .former = 2, .length_class = 12},
          home::Erased{.id = object(1), .counter = 5},
          home::Logged{.id = object(1), .counter = 5}};
}

inline std::vector<HomeCommand> example_home_commands() {
  return {home::Take{HomeRefusal::no_space},
          home::SetShards{{8, 9}},
          home::Create{.id = object(1), .length_class = 12},
          home::Erase{object(1)},
          home::Move{.id = object(1), .to = 3, .object_bytes = 1000, .part_bytes = 400, .hash = 77},
          home::PostPart{.id = object(1), .number = 1, .bytes = bytes("some of it")},
          home::CancelMove{object(1)},
          home::Drain{true},
          home::Close{5}};
}

/// Each with its length, 4 bytes, in front.
template <class T>
std::vector<std::byte> in_a_row(const std::vector<T>& all) {
  base::ByteWriter out;
  for (const T& each : all) {
    const std::vector<std::byte> bytes = encode(each);
    out.put(static_cast<std::uint32_t>(bytes.size()));
    out.put_bytes(bytes);
  }
  return out.release();
}

/// Executes the command in the table's next entry.
inline HomePlan execute(HomeTable& table, log::Index& index, const HomeCommand& command) {
  HomePlan plan = table.plan(command);
  if (plan.verdict == HomeVerdict::applied) table.apply(++index, plan);
  return plan;
}
/// … the mail. What the plan says of bytes is valid as long as `mail`.
inline HomePlan consume(HomeTable& table, log::Index& index, GroupNumber from, const HomeMail& mail,
                        HomeRefusal refuse = HomeRefusal::none) {
  HomePlan plan = table.plan(home::Take{refuse}, from, mail);
  EXPECT_EQ(plan.verdict, HomeVerdict::applied);
  table.apply(++index, plan);
  return plan;
}

inline constexpr GroupNumber kDirectoryGroup = 9;

/// Objects 1 and up, made and known to the directory.
inline void make_objects(HomeTable& table, log::Index& index, std::uint64_t count) {
  execute(table, index, home::SetShards{{kDirectoryGroup}});
  for (std::uint64_t i = 1; i <= count; ++i) {
    execute(table, index, home::Create{.id = object(i), .length_class = 12});
    consume(table, index, kDirectoryGroup, home::Logged{.id = object(i), .counter = 1});
  }
}

inline home::Move move_of(std::uint64_t number, GroupNumber to, base::Bytes all,
                          std::uint32_t part_bytes) {
  return {.id = object(number),
          .to = to,
          .object_bytes = all.size(),
          .part_bytes = part_bytes,
          .hash = hash_of_object(object(number), all, part_bytes)};
}

/// Here, leaving, asked back, gone, erased, arriving; of group 1.
inline HomeTable example_homes() {
  HomeTable table(1);
  log::Index index = 0;
  make_objects(table, index, 5);
  const std::vector<std::byte> all = bytes("an object of some length");
  for (const std::uint64_t i : {2, 3, 4}) {
    execute(table, index, move_of(i, 2, all, 10));
    execute(table, index,
            home::PostPart{.id = object(i), .number = 1, .bytes = {all.begin(), all.begin() + 10}});
  }
  consume(table, index, 2, home::Took{.id = object(2), .move = 1, .parts = 1});
  execute(table, index, home::CancelMove{object(3)});
  consume(table, index, 2, home::Arrived{.id = object(4), .move = 3});
  execute(table, index, home::Erase{object(5)});
  consume(table, index, 3,
          home::Part{.id = object(6),
                     .move = 1,
                     .counter = 8,
                     .object_bytes = all.size(),
                     .hash = 5,
                     .number = 1,
                     .bytes = {all.begin(), all.begin() + 4}});
  execute(table, index, home::Close{7});
  execute(table, index, home::Drain{true});
  table.settle(index);
  return table;
}

}  // namespace dolmen::cluster
