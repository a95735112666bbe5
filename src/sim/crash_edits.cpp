// SPDX-License-Identifier: Apache-2.0
#include "sim/crash_edits.hpp"

namespace dolmen::sim {

namespace {

void drop_last(mut<Box> box, ModelBox& model) {
  auto before = box->list;
  while (before->next->next) before = before->next;
  const mut<Item> last_but_one = dolmen::edit(before);
  const mut<Item> last = dolmen::edit(last_but_one->next);
  last_but_one->next = nullptr;
  destroy(last);
  model.list.pop_back();
}

template <class Value>
[[nodiscard]] Value must(Result<Value> result) {
  if (!result) throw AccessError(result.error());
  return std::move(*result);
}

}  // namespace

void edit(mut<Box> box, ModelBox& model, base::Random& random) {
  ++box->version;
  ++model.version;
  const std::uint64_t edits = random.between(1, 6);
  for (std::uint64_t i = 0; i < edits; ++i) {
    const std::uint64_t key = random.below(40);
    const std::uint64_t value = random.below(1000);
    switch (random.below(10)) {
      case 0:
        model.text = std::string(random.below(60), static_cast<char>('a' + value % 26));
        box->text = model.text;
        break;
      case 1:
        model.numbers.push_back(value);
        box->numbers.push_back(value);
        break;
      case 2:
        if (!model.numbers.empty()) model.numbers.pop_back(), box->numbers.pop_back();
        break;
      case 3:
        model.table[key] = value;
        box->table.insert_or_assign(key, value);
        break;
      case 4:
        model.table.erase(key);
        box->table.erase(key);
        break;
      case 5:
        model.sorted[key] = value;
        box->sorted.insert_or_assign(key, value);
        break;
      case 6:
        model.sorted.erase(key);
        box->sorted.erase(key);
        break;
      case 7: {
        const std::string word = "word" + std::to_string(key);
        const std::string meaning(value % 50, static_cast<char>('A' + key % 26));
        model.words[word] = meaning;
        box->words.insert_or_assign(string(word), string(meaning));
        break;
      }
      case 8: {
        const std::string word = "word" + std::to_string(key);
        model.words.erase(word);
        box->words.erase(std::string_view(word));
        break;
      }
      default: {
        const mut<Item> item = make<Item>(box, value, nullptr);
        item->next = box->list;
        box->list = item;
        model.list.insert(model.list.begin(), value);
        if (model.list.size() > 12) drop_last(box, model);
      }
    }
  }
}

void stamp_sheet(mut<Sheet> sheet, ModelSheet& model, bool twice) {
  ++model.stamps;
  const std::size_t count = twice ? sheet->words.size() : 1;
  for (std::size_t i = 0; i < count; ++i) model.words[i] = sheet->words[i] = model.stamps;
}

void change_hub(Space& space, Model& model, std::size_t many) {
  const std::string name = "hub";
  const bool made = model.hubs.contains(name);
  if (!made) {
    model.hubs[name].id = must(space.create<Hub>(name, {.capacity = 1 << 20})).id();
  }
  ModelHub& hub = model.hubs[name];
  const mut<Hub> root = space.edit(Object<Hub>(hub.id));
  // Most of the old ones go, so that their entries in the foreign object table are free.
  while (made && hub.smalls.size() > many / 4) {
    const Result<void> erased = space.erase(hub.smalls.back().first);
    if (!erased) throw AccessError(erased.error());
    hub.smalls.pop_back();
    root->smalls.pop_back();
  }
  while (hub.smalls.size() < many) {
    const std::uint64_t value = ++hub.made;
    const Object<Small> small = must(space.create<Small>({.capacity = 512}));
    space.edit(small)->value = value;
    root->smalls.push_back(space.root(small));
    hub.smalls.emplace_back(small.id(), value);
  }
}

}  // namespace dolmen::sim
