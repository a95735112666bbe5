// SPDX-License-Identifier: Apache-2.0
//
// Values of stored objects for people and for programs.
#include <cmath>
#include <cstdio>
#include <set>

#include "cli/command.hpp"

namespace dolmen::cli {

namespace {

using node::Value;

std::string real_text(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.17g", value);
  // The shortest of the two that reads back the same.
  char brief[64];
  std::snprintf(brief, sizeof brief, "%.15g", value);
  return std::stod(brief) == value ? brief : text;
}

bool is_scalar(const Value& value) {
  return value.kind != Value::Kind::list && value.kind != Value::Kind::record &&
         value.kind != Value::Kind::map;
}

std::string more(std::uint64_t total, std::uint64_t shown_count) {
  return total > shown_count ? "… " + std::to_string(total - shown_count) + " more" : "";
}

/// Keys of JSON objects are texts: scalars as they are read, others as compact JSON.
std::string key_text(const Value& key) {
  // As it will be written, so that keys which differ in bytes beyond UTF-8 only are seen to be
  // alike.
  if (key.kind == Value::Kind::text) {
    return Json::parse('"' + shown(key.text) + '"').get<std::string>();
  }
  const Json json = value_json(key);
  return json.is_string() ? json.get<std::string>()
                          : json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// An object by key; where two keys read alike, a list of keys and values.
Json map_json(const Value& value) {
  std::set<std::string> keys;
  Json map = Json::object();
  auto& entries = map.get_ref<Json::object_t&>();
  for (std::size_t i = 0; i + 1 < value.items.size(); i += 2) {
    std::string key = key_text(value.items[i]);
    if (!keys.insert(key).second) break;
    // Json's own insertion looks through all entries for the key.
    entries.emplace_back(std::move(key), value_json(value.items[i + 1]));
  }
  if (entries.size() == value.items.size() / 2) return map;
  Json list = Json::array();
  for (std::size_t i = 0; i + 1 < value.items.size(); i += 2) {
    list.push_back(
        {{"key", value_json(value.items[i])}, {"value", value_json(value.items[i + 1])}});
  }
  return list;
}

}  // namespace

Json value_json(const Value& value) {
  switch (value.kind) {
    case Value::Kind::null:
      return nullptr;
    case Value::Kind::boolean:
      return value.natural != 0;
    case Value::Kind::integer:
      return value.integer;
    case Value::Kind::natural:
      return value.natural;
    case Value::Kind::real:
      if (!std::isfinite(value.real)) return real_text(value.real);
      return value.real;
    case Value::Kind::text:
    case Value::Kind::bytes: {
      const std::uint64_t shown_bytes =
          value.kind == Value::Kind::text ? value.text.size() : value.text.size() / 2;
      if (value.total <= shown_bytes) return value.text;
      return {{"total", value.total}, {"first", value.text}};
    }
    case Value::Kind::omitted:
      return {{"omitted", value.text}};
    case Value::Kind::pointer:
      return {{"type", value.text}, {"object", value.object.to_string()}, {"offset", value.offset}};
    case Value::Kind::list: {
      Json list = Json::array();
      for (const Value& item : value.items) list.push_back(value_json(item));
      if (value.total <= value.items.size()) return list;
      return {{"total", value.total}, {"first", std::move(list)}};
    }
    case Value::Kind::record: {
      Json record = Json::object();
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        record[value.names[i]] = value_json(value.items[i]);
      }
      return record;
    }
    case Value::Kind::map: {
      Json map = map_json(value);
      if (value.total <= value.items.size() / 2) return map;
      return {{"total", value.total}, {"first", std::move(map)}};
    }
  }
  return nullptr;
}

std::string value_text(const Value& value, std::size_t indent) {
  const std::string margin(indent + 2, ' ');
  switch (value.kind) {
    case Value::Kind::null:
      return "null";
    case Value::Kind::boolean:
      return value.natural != 0 ? "true" : "false";
    case Value::Kind::integer:
      return std::to_string(value.integer);
    case Value::Kind::natural:
      return std::to_string(value.natural);
    case Value::Kind::real:
      return real_text(value.real);
    case Value::Kind::text:
      return '"' + shown(value.text) + '"' + more(value.total, value.text.size());
    case Value::Kind::omitted:
      return "… " + shown(value.text);
    case Value::Kind::bytes:
      return "0x" + value.text + more(value.total, value.text.size() / 2);
    case Value::Kind::pointer:
      return "-> " + value.text + " at " + value.object.to_string() + ":" +
             std::to_string(value.offset);
    case Value::Kind::list: {
      if (value.items.empty() && value.total == 0) return "[]";
      bool flat = value.items.size() <= 20;
      for (const Value& item : value.items) {
        flat = flat && is_scalar(item) && item.kind != Value::Kind::pointer;
      }
      std::string text = "[";
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        if (i != 0) text += flat ? ", " : "";
        if (!flat) text += "\n" + margin;
        text += value_text(value.items[i], indent + 2);
      }
      if (const std::string rest = more(value.total, value.items.size()); !rest.empty()) {
        text += flat ? ", " + rest : "\n" + margin + rest;
      }
      return text + (flat ? "]" : "\n" + std::string(indent, ' ') + "]");
    }
    case Value::Kind::record: {
      std::string text = "{";
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        text +=
            "\n" + margin + shown(value.names[i]) + ": " + value_text(value.items[i], indent + 2);
      }
      return text + "\n" + std::string(indent, ' ') + "}";
    }
    case Value::Kind::map: {
      if (value.total == 0) return "{}";
      std::string text = "{";
      for (std::size_t i = 0; i + 1 < value.items.size(); i += 2) {
        text += "\n" + margin + value_text(value.items[i], indent + 2) + ": " +
                value_text(value.items[i + 1], indent + 2);
      }
      if (const std::string rest = more(value.total, value.items.size() / 2); !rest.empty()) {
        text += "\n" + margin + rest;
      }
      return text + "\n" + std::string(indent, ' ') + "}";
    }
  }
  return {};
}

}  // namespace dolmen::cli
