// SPDX-License-Identifier: Apache-2.0
//
// transact(any, …): when it is not known beforehand which objects a change will touch. Follow
// pointers and edit what they lead to; the objects are locked on the way, and the body runs again
// if somebody else holds one. All changes, in all objects, are one transaction.
#include <array>
#include <cstdio>
#include <vector>

#include <dolmen/space.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

struct Person {
  dolmen::string name;
  std::uint64_t heard = 0;  // how often the rumour came by
  dolmen::vector<dolmen::ptr<Person>> friends;
};

static void tell(const dolmen::ptr<Person>& whom, int depth) {
  ++dolmen::edit(whom)->heard;
  if (depth == 0) return;
  for (const dolmen::ptr<Person>& other : whom->friends) tell(other, depth - 1);
}

int main() {
  auto space = dolmen::Space::open("village.dolmen").value();
  const std::array names = {"Ada", "Ben", "Cleo", "Dan"};
  std::vector<dolmen::Object<Person>> people;
  for (const char* name : names) people.push_back(space.create<Person>(name).value());
  space
      .transact(dolmen::any,
                [&] {
                  for (std::size_t i = 0; i < people.size(); ++i) {
                    const dolmen::mut<Person> person = space.edit(people[i]);
                    person->name = names[i];
                    person->friends.push_back(space.root(people[(i + 1) % people.size()]));
                    person->friends.push_back(space.root(people[(i + 2) % people.size()]));
                  }
                })
      .value();
  space.transact(dolmen::any, [&] { tell(space.root(people[0]), 3); }).value();

  // read(everything, …): a short look at a state that writers wait for.
  const auto heard = space.read(dolmen::everything, [&] {
    std::uint64_t sum = 0;
    for (const auto& person : people) {
      std::printf("%s heard it %llu times\n", space.root(person)->name.c_str(),
                  static_cast<unsigned long long>(space.root(person)->heard));
      sum += space.root(person)->heard;
    }
    return sum;
  });
  return heard.value() == 15 ? 0 : 1;  // 1 + 2 + 4 + 8
}
