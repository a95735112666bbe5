// SPDX-License-Identifier: Apache-2.0
//
// What tests of dump and load share: a space with something of everything, dumps in memory, and
// dumps that are taken apart and put together again. Tests only.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/hash_map.hpp>
#include <dolmen/ordered_map.hpp>
#include <dolmen/space.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "node/dump.hpp"
#include "store/dump_test_stream.hpp"

namespace dolmen::node {

struct DumpNode {
  std::uint64_t value;
  ptr<DumpNode> next;
};
struct DumpWeb {
  string title;
  vector<std::uint64_t> numbers;
  hash_map<string, std::uint64_t> by_name;
  ordered_map<std::uint64_t, string> by_number;
  ptr<DumpNode> elsewhere;
  link<DumpNode> linked;
};
struct DumpCounter {
  std::uint64_t value;
};

/// Objects of several classes with names and without, pointers between them, one erased, one
/// resized, one with pages of zeros between others.
inline void fill_space(Space& space) {
  const auto web = space.create<DumpWeb>("web").value();
  const auto list = space.create<DumpNode>("list", {.capacity = 4096}).value();
  const auto gone = space.create<DumpNode>("gone").value();
  space
      .transact(web, list,
                [&](mut<DumpWeb> w, mut<DumpNode> head) {
                  head->value = 1;
                  head->next = make<DumpNode>(head, 2u, nullptr);
                  w->title = "a title that is too long to be kept inside the string itself";
                  w->elsewhere = head->next;
                  w->linked = link<DumpNode>(head->next);
                  for (std::uint64_t i = 0; i < 2000; ++i) {
                    w->numbers.push_back(i * i);
                    w->by_name.insert_or_assign(string("name " + std::to_string(i)), i);
                    w->by_number.insert_or_assign(i, string("number " + std::to_string(i)));
                  }
                })
      .value();
  EXPECT_TRUE(space.resize(list.id(), 1u << 20));
  EXPECT_TRUE(space.erase(gone));
  EXPECT_TRUE(space.set_name(list.id(), "another name"));
  for (int i = 0; i < 20; ++i) {
    const auto small = space.create<DumpCounter>({.capacity = 512}).value();
    space.transact(small, [&](mut<DumpCounter> c) { c->value = 1; }).value();
  }
  const auto holes = space.create<vector<std::uint64_t>>("holes").value();
  space
      .transact(holes,
                [](mut<vector<std::uint64_t>> v) {
                  v->resize(200'000);
                  (*v)[199'999] = 7;
                })
      .value();
}

inline std::string contents(Space& space) {
  const View view = space.view().value();
  const DumpWeb& web = *view[view.find<DumpWeb>("web").value()];
  std::string text = std::string(std::string_view(web.title)) + " ";
  std::uint64_t sum = 0;
  for (const std::uint64_t number : web.numbers) sum += number;
  for (const auto& [name, number] : web.by_name) sum += number * std::string_view(name).size();
  for (const auto& [number, name] : web.by_number) sum += number + std::string_view(name).size();
  text += std::to_string(sum) + " " + std::to_string(web.elsewhere->value) + " " +
          std::to_string(view[web.linked]->value);
  std::vector<NameEntry> names = view.names().value();
  std::ranges::sort(names, {}, &NameEntry::name);
  for (const NameEntry& entry : names) {
    text += " " + entry.name + "=" + entry.object.to_string() + ":" + entry.type;
  }
  return text;
}

inline Result<std::vector<std::byte>> dump_of(Space& space) {
  store::MemorySink sink;
  DOLMEN_CHECK(dump(space, sink));
  return std::move(sink.bytes);
}

/// From behind the header, which alone may differ between dumps of equal contents.
inline base::Bytes behind_header(const std::vector<std::byte>& dump) {
  return base::Bytes(dump).subspan(store::kDumpHeaderBytes);
}

/// One object of a dump, or one name, with contents of its own.
struct OwnedItem {
  store::DumpItem item;
  std::vector<std::byte> contents;
  std::string name;
};

/// `dump` with its items changed by `edit`, and all checksums right.
inline std::vector<std::byte> edited(const std::vector<std::byte>& dump,
                                     const std::function<void(std::vector<OwnedItem>&)>& edit) {
  store::MemorySource source(dump);
  store::DumpReader reader(source);
  const auto header = reader.begin().value();
  std::vector<OwnedItem> items;
  for (auto item = reader.next().value(); item.kind != store::DumpItem::Kind::end;
       item = reader.next().value()) {
    items.push_back({item, {item.contents.begin(), item.contents.end()}, std::string(item.name)});
  }
  edit(items);
  store::MemorySink sink;
  store::DumpWriter writer(sink);
  EXPECT_TRUE(writer.begin(header));
  for (const OwnedItem& owned : items) {
    const store::DumpItem& item = owned.item;
    const auto written = item.kind == store::DumpItem::Kind::object ? writer.object(item.object)
                         : item.kind == store::DumpItem::Kind::pages
                             ? writer.pages(item.first_page, owned.contents)
                             : writer.name(owned.name, item.object.object);
    EXPECT_TRUE(written);
  }
  EXPECT_TRUE(writer.end());
  return sink.bytes;
}

}  // namespace dolmen::node
