// SPDX-License-Identifier: Apache-2.0
#include "object/type_query.hpp"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

namespace dolmen::object {
namespace {

std::string quoted(std::string_view text) { return "`" + std::string(text) + "`"; }

const FieldDescription* find_field(const TypeEntry& type, std::string_view name) {
  const auto found = std::ranges::find(type.fields, name, &FieldDescription::name);
  return found == type.fields.end() ? nullptr : &*found;
}

/// Walks two descriptions side by side. Each step gives the difference, or "" and goes on.
class Comparison {
 public:
  Comparison(const TypeDescription& stored, const TypeDescription& now)
      : stored_(stored), now_(now) {}

  std::string run() {
    reach(0, 0);
    // What is reached by pointers is compared after what lies in a type by value: pairs_ grows on
    // the way.
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      std::string difference =
          compare(stored_.types[pairs_[i].first], now_.types[pairs_[i].second]);
      if (!difference.empty()) return difference;
    }
    return "";
  }

 private:
  using Pair = std::pair<std::uint16_t, std::uint16_t>;

  void reach(std::uint16_t was, std::uint16_t is) {
    // A stored type meets as many types as there are places that name it: few, so a list will do.
    if (was == kNoType || is == kNoType) return;
    if (met_.size() < stored_.types.size()) met_.resize(stored_.types.size());
    std::vector<std::uint16_t>& met = met_[was];
    if (std::ranges::find(met, is) != met.end()) return;
    met.push_back(is);
    pairs_.emplace_back(was, is);
  }

  std::string compare(const TypeEntry& was, const TypeEntry& is) {
    if (was.kind == TypeKind::record && is.kind == TypeKind::record)
      return compare_records(was, is);
    if (!same_by_value(was, is) || was.layout_version != is.layout_version) {
      if (was.name == is.name && was.layout_version != is.layout_version)
        return quoted(was.name) + " changed its own layout from version " +
               std::to_string(was.layout_version) + " to " + std::to_string(is.layout_version);
      return reshaped(was, is);
    }
    reach(was.element, is.element);
    reach(was.element2, is.element2);
    return "";
  }

  // Two types that a field may change between without anyone noticing by looking at this level
  // only.
  bool same_by_value(const TypeEntry& was, const TypeEntry& is) const {
    if (was.kind != is.kind || was.size != is.size || was.align != is.align) return false;
    switch (was.kind) {
      case TypeKind::record:
        return true;  // compared by its parts
      case TypeKind::enumeration:
        return stored_.types[was.element].name == now_.types[is.element].name;
      case TypeKind::array:
        return was.count == is.count;
      default:
        return was.name == is.name;
    }
  }

  // A record that changed inside is reported there: here only another kind of type counts.
  bool same_in_field(const FieldDescription& was, const FieldDescription& is) const {
    const TypeEntry& was_type = stored_.types[was.type];
    const TypeEntry& is_type = now_.types[is.type];
    if (was.count != is.count) return false;
    if (was_type.kind == TypeKind::record && is_type.kind == TypeKind::record)
      return was_type.name == is_type.name || same_by_value(was_type, is_type);
    return same_by_value(was_type, is_type);
  }

  std::string compare_records(const TypeEntry& was, const TypeEntry& is) {
    for (const FieldDescription& field : was.fields) {
      if (find_field(is, field.name) == nullptr) return missing(was, is, field);
    }
    for (const FieldDescription& field : was.fields) {
      const FieldDescription& other = *find_field(is, field.name);
      if (!same_in_field(field, other)) return changed(was, field, other);
    }
    for (const FieldDescription& field : is.fields) {
      if (find_field(was, field.name) == nullptr) return added(was, is, field);
    }
    for (const FieldDescription& field : was.fields) {
      const FieldDescription& other = *find_field(is, field.name);
      // Something in front of it, in this record or inside one of its fields, took more or less
      // room: the parts are asked first.
      if (field.offset != other.offset) {
        std::string inside = compare_parts(was, is);
        return inside.empty() ? changed(was, field, other) : inside;
      }
    }
    if (was.size != is.size || was.align != is.align) {
      std::string inside = compare_parts(was, is);
      if (!inside.empty()) return inside;
      return reshaped(was, is);
    }
    for (const FieldDescription& field : was.fields)
      reach(field.type, find_field(is, field.name)->type);
    return "";
  }

  // Requires: both records have the same fields. They nest at most kNestingMax deep.
  std::string compare_parts(const TypeEntry& was, const TypeEntry& is) {
    for (const FieldDescription& field : was.fields) {
      const TypeEntry& was_type = stored_.types[field.type];
      const TypeEntry& is_type = now_.types[find_field(is, field.name)->type];
      if (was_type.size == is_type.size && was_type.align == is_type.align) continue;
      std::string difference = compare(was_type, is_type);
      if (!difference.empty()) return difference;
    }
    return "";
  }

  std::string missing(const TypeEntry& was, const TypeEntry& is,
                      const FieldDescription& field) const {
    std::string text = "field " + quoted(was.name + "::" + field.name) + " is missing";
    for (const FieldDescription& other : is.fields) {
      if (find_field(was, other.name) == nullptr && other.offset == field.offset &&
          same_in_field(field, other))
        return text + ": " + quoted(other.name) + " has its place and type";
    }
    return text;
  }

  std::string added(const TypeEntry& was, const TypeEntry& is,
                    const FieldDescription& field) const {
    const std::string news = "new field " + quoted(field.name) + " (" + place(now_, field) + ")";
    if (is.size > was.size)
      return quoted(was.name) + " grew from " + std::to_string(was.size) + " to " +
             std::to_string(is.size) + " bytes: " + news;
    return quoted(was.name) + " has a " + news;
  }

  std::string changed(const TypeEntry& record, const FieldDescription& was,
                      const FieldDescription& is) const {
    return "field " + quoted(record.name + "::" + was.name) + " changed from " +
           place(stored_, was) + " to " + place(now_, is);
  }

  std::string reshaped(const TypeEntry& was, const TypeEntry& is) const {
    const std::string before = shown(stored_, was);
    const std::string after = shown(now_, is);
    const auto shape = [&](const std::string& name, const TypeEntry& type) {
      return (before == after ? "" : name + " of ") + std::to_string(type.size) +
             " bytes aligned to " + std::to_string(type.align);
    };
    return quoted(was.name) + " changed from " + shape(before, was) + " to " + shape(after, is);
  }

  static std::string shown(const TypeDescription& table, const TypeEntry& type) {
    if (type.kind != TypeKind::enumeration) return type.name;
    return type.name + " (" + table.types[type.element].name + ")";
  }

  static std::string place(const TypeDescription& table, const FieldDescription& field) {
    std::string text = shown(table, table.types[field.type]);
    if (field.count != 1) text += "[" + std::to_string(field.count) + "]";
    return text + " at offset " + std::to_string(field.offset);
  }

  const TypeDescription& stored_;
  const TypeDescription& now_;
  std::vector<Pair> pairs_;
  std::vector<std::vector<std::uint16_t>> met_;
};

}  // namespace

std::string describe_difference(const TypeDescription& stored, const TypeDescription& now) {
  return Comparison(stored, now).run();
}

std::string field_path(const TypeDescription& table, std::uint16_t type, std::uint32_t offset) {
  std::string path;
  const auto index = [&](std::uint32_t element_size, std::uint32_t count) {
    if (count != 1) path += "[" + std::to_string(offset / element_size) + "]";
    offset %= element_size;
  };
  if (type >= table.types.size() || offset >= table.types[type].size) return path;
  for (const TypeEntry* at = &table.types[type];;) {
    if (at->kind == TypeKind::array) {
      const TypeEntry& element = table.types[at->element];
      index(element.size, at->count);
      at = &element;
      continue;
    }
    if (at->kind != TypeKind::record) return path;
    if (!path.empty()) path += ".";
    const auto holds_offset = [&](const FieldDescription& field) {
      const std::uint64_t bytes = std::uint64_t{field.count} * table.types[field.type].size;
      return offset >= field.offset && offset - field.offset < bytes;
    };
    const auto field = std::ranges::find_if(at->fields, holds_offset);
    if (field == at->fields.end()) return path + "(padding)";
    path += field->name;
    offset -= field->offset;
    at = &table.types[field->type];
    index(at->size, field->count);
  }
}

bool type_lies_at(const TypeDescription& table, std::uint16_t type, std::uint32_t offset,
                  std::uint64_t fingerprint) {
  const TypeEntry& entry = table.types[type];
  if (offset == 0 && entry.fingerprint == fingerprint) return true;
  for (const FieldDescription& field : entry.fields) {
    const std::uint32_t element = table.types[field.type].size;
    if (offset < field.offset || offset >= field.offset + field.count * element) continue;
    return type_lies_at(table, field.type, (offset - field.offset) % element, fingerprint);
  }
  return false;
}

}  // namespace dolmen::object
