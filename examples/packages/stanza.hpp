// SPDX-License-Identifier: Apache-2.0
//
// Reads package descriptions as `apt-cache dumpavail` prints them and /var/lib/dpkg/status holds
// them. Nothing here knows dolmen.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace packages {

/// One package; the texts lie in the Universe that it belongs to.
struct Stanza {
  std::string_view text;  ///< all of it
  std::string_view name;
  std::string_view version;
  std::string_view section = "unknown";
  std::string_view depends;
  std::string_view pre_depends;
  std::string_view provides;
  std::uint32_t installed_kib = 0;
};

[[nodiscard]] inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// Calls `fn(part)` for each part between separators, trimmed, empty ones left out.
template <class Function>
void for_each_part(std::string_view text, char separator, Function&& fn) {
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    if (const auto part = trimmed(text.substr(0, end)); !part.empty()) fn(part);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

/// "libc6:any (>= 2.36) [amd64]" is libc6: versions are not compared, see Loader.
[[nodiscard]] inline std::string_view bare_name(std::string_view relation) {
  return relation.substr(0, relation.find_first_of(" :([\t\n"));
}

class Universe {
 public:
  /// The stanzas of `text`, of installed packages only where it says Status; the first of a name
  /// counts (the same name may appear once for each architecture).
  explicit Universe(std::string text) : text_(std::move(text)) {
    std::unordered_set<std::string_view> names;
    std::string_view rest = text_;
    while (!rest.empty()) {
      const auto end = std::min(rest.find("\n\n"), rest.size());
      bool installed = true;
      const Stanza stanza = read_stanza(rest.substr(0, end), installed);
      if (installed && !stanza.name.empty() && names.insert(stanza.name).second) {
        stanzas_.push_back(stanza);
      }
      rest.remove_prefix(std::min(end + 2, rest.size()));
    }
  }
  Universe(const Universe&) = delete;
  Universe& operator=(const Universe&) = delete;

  [[nodiscard]] const std::vector<Stanza>& stanzas() const { return stanzas_; }
  [[nodiscard]] std::size_t bytes() const { return text_.size(); }

 private:
  static Stanza read_stanza(std::string_view lines, bool& installed) {
    Stanza stanza;
    stanza.text = lines;
    while (!lines.empty()) {
      // A field goes on in lines that begin with a blank.
      auto end = lines.find('\n');
      while (end != std::string_view::npos && end + 1 < lines.size() && lines[end + 1] == ' ') {
        end = lines.find('\n', end + 1);
      }
      end = std::min(end, lines.size());
      const std::string_view line = lines.substr(0, end);
      lines.remove_prefix(std::min(end + 1, lines.size()));
      const auto colon = line.find(':');
      if (colon == std::string_view::npos) continue;
      const std::string_view field = line.substr(0, colon);
      const std::string_view value = trimmed(line.substr(colon + 1));
      if (field == "Package") stanza.name = value;
      if (field == "Version") stanza.version = value;
      if (field == "Section") stanza.section = value.substr(value.rfind('/') + 1);
      if (field == "Depends") stanza.depends = value;
      if (field == "Pre-Depends") stanza.pre_depends = value;
      if (field == "Provides") stanza.provides = value;
      if (field == "Status") installed = value.ends_with(" installed");
      if (field == "Installed-Size") {
        std::from_chars(value.data(), value.data() + value.size(), stanza.installed_kib);
      }
    }
    return stanza;
  }

  std::string text_;
  std::vector<Stanza> stanzas_;
};

/// A whole file; empty if it cannot be read.
[[nodiscard]] inline std::string read_file(const std::string& path) {
  std::string text;
  std::ifstream file(path, std::ios::binary);
  std::array<char, 1 << 16> chunk{};
  while (file.read(chunk.data(), chunk.size()) || file.gcount() > 0) {
    text.append(chunk.data(), static_cast<std::size_t>(file.gcount()));
  }
  return text;
}

/// What `apt-cache dumpavail` prints; empty if there is no such program or no package list.
[[nodiscard]] inline std::string read_dumpavail() {
  std::string text;
  std::FILE* const pipe = ::popen("apt-cache dumpavail 2>/dev/null", "r");
  if (pipe == nullptr) return text;
  std::array<char, 1 << 16> chunk{};
  while (const auto count = std::fread(chunk.data(), 1, chunk.size(), pipe)) {
    text.append(chunk.data(), count);
  }
  ::pclose(pipe);
  return text;
}

}  // namespace packages
