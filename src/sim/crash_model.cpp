// SPDX-License-Identifier: Apache-2.0
#include "sim/crash_model.hpp"

#include <set>

#include "base/checksum.hpp"
#include "node/inspect.hpp"

namespace dolmen::sim {

namespace {

void append(std::string& text, const char* label, std::uint64_t value) {
  text += label;
  text += std::to_string(value);
}

/// Long texts (of transactions larger than a log segment) by length and hash.
void append_text(std::string& text, std::string_view value) {
  text += " '";
  if (value.size() <= 64) {
    text += value;
  } else {
    append(text, "#", value.size());
    append(text, "#", base::checksum64(base::as_bytes(value), 0));
  }
  text += "'";
}

/// Of a Box or its model.
void append_target(std::string& text, const char* label, const auto& box) {
  append(text, label, box.serial);
  append(text, "v", box.version);
}

template <class Pairs>
void append_pairs(std::string& text, const char* label, const Pairs& pairs) {
  for (const auto& [k, v] : pairs) append(text, label, k), append(text, "=", v);
}

template <class Names, class Root>
std::string render_all(const Names& names, const Root& root) {
  std::map<std::string, ObjectId> sorted;
  for (const NameEntry& entry : names) sorted.emplace(entry.name, entry.object);
  std::string text;
  std::string smalls;
  std::string hubs;
  std::string sheet;
  for (const auto& [name, id] : sorted) {
    if (name.starts_with("small")) {
      const Small* small = root(Object<Small>(id));
      smalls += "small " + name;
      append(smalls, " v", small->value);
      if (small->box) append_target(smalls, " -> ", *small->box);
      if (small->far) append_target(smalls, " ~> ", *root(Object<Box>(small->far.object())));
      smalls += "\n";
    } else if (name == "sheet") {
      sheet = name;
      for (const std::uint64_t word : root(Object<Sheet>(id))->words) append(sheet, " w", word);
    } else if (name.starts_with("hub")) {
      hubs += "hub " + name;
      for (const ptr<Small>& small : root(Object<Hub>(id))->smalls) {
        append(hubs, " -> v", small->value);
      }
      hubs += "\n";
    } else {
      const Box* box = root(Object<Box>(id));
      text += "box " + name;
      append(text, " v", box->version);
      append_text(text, box->text);
      for (const std::uint64_t n : box->numbers) append(text, " n", n);
      std::map<std::uint64_t, std::uint64_t> table;
      for (const auto& [k, v] : box->table) table.emplace(k, v);
      append_pairs(text, " t", table);
      append_pairs(text, " s", box->sorted);
      std::map<std::string, std::string> words;
      for (const auto& [k, v] : box->words) {
        words.emplace(std::string_view(k), std::string_view(v));
      }
      for (const auto& [k, v] : words) append_text(text, k), append_text(text, v);
      for (auto item = box->list; item; item = item->next) append(text, " l", item->value);
      if (box->other) append_target(text, " -> ", *box->other);
      text += "\n";
    }
  }
  return text + smalls + hubs + sheet;
}

}  // namespace

std::string render(const Model& model) {
  std::string text;
  for (const auto& [name, box] : model.boxes) {
    text += "box " + name;
    append(text, " v", box.version);
    append_text(text, box.text);
    for (const std::uint64_t n : box.numbers) append(text, " n", n);
    append_pairs(text, " t", box.table);
    append_pairs(text, " s", box.sorted);
    for (const auto& [k, v] : box.words) append_text(text, k), append_text(text, v);
    for (const std::uint64_t n : box.list) append(text, " l", n);
    if (!box.other.empty()) append_target(text, " -> ", model.boxes.at(box.other));
    text += "\n";
  }
  for (const auto& [name, small] : model.smalls) {
    text += "small " + name;
    append(text, " v", small.value);
    if (!small.box.empty()) append_target(text, " -> ", model.boxes.at(small.box));
    if (!small.far.empty()) append_target(text, " ~> ", model.boxes.at(small.far));
    text += "\n";
  }
  for (const auto& [name, hub] : model.hubs) {
    text += "hub " + name;
    for (const auto& [id, value] : hub.smalls) append(text, " -> v", value);
    text += "\n";
  }
  if (model.sheet.id.is_null()) return text;
  text += "sheet";
  for (const std::uint64_t word : model.sheet.words) append(text, " w", word);
  return text;
}

Result<std::string> render(const View& view) {
  DOLMEN_TRY(const auto names, view.names());
  return view.read([&] { return render_all(names, [&](auto object) { return view[object]; }); });
}

Result<std::string> render_space(Space& space) {
  DOLMEN_TRY(const View view, space.view(ReadOptions{Level::visible}));
  return render(view);
}

Result<std::string> render_images(Space& space) {
  DOLMEN_TRY(const auto names, space.names());
  return space.read(ReadOptions{Level::visible}, everything, [&] {
    return render_all(names, [&](auto object) { return space.root(object).get(); });
  });
}

std::string unsound(Space& space, const Model& model) {
  const auto scrubbed = node::scrub(space, {});
  if (!scrubbed) return "scrub: " + scrubbed.error().message();
  if (!scrubbed->damage.empty()) return "scrub found " + scrubbed->damage.front().where;
  auto explorer = node::Explorer::make(space);
  if (!explorer) return "explorer: " + explorer.error().message();
  const auto objects = explorer->objects();
  if (!objects) return "list of objects: " + objects.error().message();
  std::set<ObjectId> expected;
  for (const auto& [name, box] : model.boxes) expected.insert(box.id);
  for (const auto& [name, small] : model.smalls) expected.insert(small.id);
  if (!model.sheet.id.is_null()) expected.insert(model.sheet.id);
  for (const auto& [name, hub] : model.hubs) {
    expected.insert(hub.id);
    for (const auto& [id, value] : hub.smalls) expected.insert(id);
  }
  for (const ObjectId& id : *objects) {
    const auto facts = explorer->facts(id);
    if (!facts) return "facts of an object: " + facts.error().message();
    if (expected.erase(id) == 0 && !facts->internal) {
      return "an object that nobody made lives: " + id.to_string() + ", " + facts->type;
    }
    const auto findings = explorer->check(id);
    if (!findings) return "check of an object: " + findings.error().message();
    if (!findings->empty()) {
      const node::Finding& first = findings->front();
      return first.object.to_string() + ", a " + facts->type + " of " +
             std::to_string(facts->capacity) + " bytes: " + first.what + " " + first.where + ": " +
             first.detail;
    }
  }
  return expected.empty() ? "" : "object " + expected.begin()->to_string() + " is gone";
}

}  // namespace dolmen::sim
