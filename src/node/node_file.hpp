// SPDX-License-Identifier: Apache-2.0
//
// Who a node is, as its directory says (docs/formats/node.md): a text file that people can read.
// Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

namespace dolmen::node {

inline constexpr std::size_t kNodeTextMax = 8192;
inline constexpr std::size_t kFoundersMax = 9;
inline constexpr std::uint32_t kLeaseMsMax = 10'000;

struct NodeFile {
  std::uint32_t number = 0;  ///< 0: it has none yet, and is about to join
  std::uint32_t life = 0;    ///< of this directory, drawn at random; not 0
  std::string name{};
  std::string address{};
  std::string key_file{};
  std::optional<ObjectId> journal{};    ///< which one it has; nothing: none yet
  std::vector<std::string> founders{};  ///< of whom this is one; none: it joined
  std::uint32_t lease_ms = 0;           ///< of a founder: what it begins the cluster with
  bool is_trusted_fabric = false;       ///< it says so whenever it runs
  std::vector<std::string> seeds{};     ///< through whom it joins
  friend bool operator==(const NodeFile&, const NodeFile&) = default;
};

/// Requires: can_be_kept(file), if anybody is to read it.
[[nodiscard]] std::string text_of(const NodeFile& file);
/// Whether its text says this and nothing else: no control characters, not too much.
[[nodiscard]] bool can_be_kept(const NodeFile& file);
/// Errors: corrupt, version_unsupported (detail: the file's version).
[[nodiscard]] Result<NodeFile> parse_node_file(std::string_view text);

}  // namespace dolmen::node
