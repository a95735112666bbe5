// SPDX-License-Identifier: Apache-2.0
#include "node/node_file.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace dolmen::node {

namespace {

constexpr std::string_view kFirstLine = "dolmen-node ";
constexpr std::uint32_t kVersion = 1;
constexpr const char* kTrusted = "trusted";

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a node's file"); }

std::optional<std::uint32_t> number_in(std::string_view word) {
  std::uint32_t number = 0;
  const char* const end = word.data() + word.size();
  const auto [rest, failed] = std::from_chars(word.data(), end, number);
  // In one form only, so that what is read is what was written.
  if (failed != std::errc{} || rest != end || word != std::to_string(number)) return std::nullopt;
  return number;
}

bool is_line(std::string_view text) {
  return std::ranges::none_of(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

/// The words behind `key` in the next line, which is taken away; nothing: it has another key.
std::optional<std::string_view> take(std::string_view& text, std::string_view key) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view line = text.substr(0, end);
  if (!line.starts_with(key) || !is_line(line)) return std::nullopt;
  text.remove_prefix(end + 1);
  return line.substr(key.size());
}

}  // namespace

std::string text_of(const NodeFile& file) {
  std::string text = std::string(kFirstLine) + std::to_string(kVersion) + "\n";
  const auto line = [&](const char* key, const std::string& value) {
    text += std::string(key) + value + "\n";
  };
  line("number ", std::to_string(file.number));
  line("life ", std::to_string(file.life));
  line("name ", file.name);
  line("address ", file.address);
  line("key ", file.key_file);
  if (file.journal) line("journal ", file.journal->to_string());
  for (const std::string& founder : file.founders) line("founder ", founder);
  if (file.lease_ms != 0) line("lease ", std::to_string(file.lease_ms));
  if (file.is_trusted_fabric) line("fabric ", kTrusted);
  for (const std::string& seed : file.seeds) line("seed ", seed);
  return text;
}

bool can_be_kept(const NodeFile& file) {
  const auto again = parse_node_file(text_of(file));
  return again && *again == file;
}

Result<NodeFile> parse_node_file(std::string_view text) {
  if (text.size() > kNodeTextMax) return damaged();
  const auto version = take(text, kFirstLine);
  if (!version) return damaged();
  const auto number = number_in(*version);
  if (!number) return damaged();
  if (*number != kVersion) return fail(Errc::version_unsupported, "a node's file", *number);
  NodeFile file;
  const auto own = take(text, "number ");
  const auto life = take(text, "life ");
  const auto name = take(text, "name ");
  const auto address = take(text, "address ");
  const auto key = take(text, "key ");
  if (!own || !life || !name || !address || !key) return damaged();
  const auto its_number = number_in(*own);
  const auto its_life = number_in(*life);
  if (!its_number || !its_life || *its_life == 0 || address->empty()) return damaged();
  file.number = *its_number;
  file.life = *its_life;
  file.name = *name;
  file.address = *address;
  file.key_file = *key;
  if (const auto journal = take(text, "journal ")) {
    file.journal = ObjectId::parse(*journal);
    if (!file.journal || file.journal->to_string() != *journal) return damaged();
  }
  while (const auto founder = take(text, "founder ")) file.founders.emplace_back(*founder);
  if (const auto lease = take(text, "lease ")) {
    const auto lease_ms = number_in(*lease);
    if (!lease_ms || *lease_ms == 0 || *lease_ms > kLeaseMsMax) return damaged();
    file.lease_ms = *lease_ms;
  }
  if (const auto fabric = take(text, "fabric ")) {
    if (*fabric != kTrusted) return damaged();
    file.is_trusted_fabric = true;
  }
  while (const auto seed = take(text, "seed ")) file.seeds.emplace_back(*seed);
  const bool founds = !file.founders.empty();
  if (!founds && file.lease_ms != 0) return damaged();
  if (!text.empty() || founds != file.seeds.empty() || file.founders.size() > kFoundersMax) {
    return damaged();
  }
  if (founds && (file.number == 0 || file.number > file.founders.size() ||
                 file.founders[file.number - 1] != file.address)) {
    return damaged();
  }
  return file;
}

}  // namespace dolmen::node
