// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_sources.hpp"

#include <algorithm>

namespace dolmen::cli {
namespace {

/// The text between two whole lines that are these markers.
std::string_view marked(std::string_view text, std::string_view name) {
  const std::string first = "// [demo:" + std::string(name) + "]\n";
  const std::string last = "// [/demo:" + std::string(name) + "]\n";
  const auto begin = text.find(first);
  const auto end = text.find(last);
  if (begin == std::string_view::npos || end == std::string_view::npos) return {};
  text = text.substr(begin + first.size(), end - begin - first.size());
  return text.substr(0, text.rfind('\n') + 1);  // without the last marker's indentation
}

}  // namespace

std::vector<std::string> source_lines(std::string_view name) {
  std::vector<std::string> lines;
  for (const std::string_view source : embedded_sources()) {
    std::string_view text = marked(source, name);
    while (!text.empty()) {
      const std::string_view line = text.substr(0, text.find('\n'));
      text.remove_prefix(line.size() + 1);
      if (line.find("// [") == std::string_view::npos) lines.emplace_back(line);
    }
    if (!lines.empty()) break;
  }
  std::size_t indentation = std::string::npos;
  for (const std::string& line : lines) {
    if (!line.empty()) indentation = std::min(indentation, line.find_first_not_of(' '));
  }
  for (std::string& line : lines) line.erase(0, std::min(indentation, line.size()));
  return lines;
}

}  // namespace dolmen::cli
