// SPDX-License-Identifier: Apache-2.0
#include "node/replicated_group.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "sys/linux/linux.hpp"

namespace dolmen::node {

namespace {

constexpr std::size_t kKeyDigits = 64;

std::optional<std::byte> digit(std::byte character) {
  const auto c = static_cast<char>(character);
  if (c >= '0' && c <= '9') return static_cast<std::byte>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<std::byte>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<std::byte>(c - 'A' + 10);
  return std::nullopt;
}

Result<fabric::Secret> read_key(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const bool is_here = slash == std::string::npos;
  DOLMEN_TRY(const auto disk, sys::open_directory(is_here ? "." : path.substr(0, slash + 1),
                                                  sys::DirectoryMode::open_existing));
  auto file = disk->open(is_here ? path : path.substr(slash + 1), sys::OpenMode::read_only);
  if (!file) return fail(file.error().code(), interned("key file " + path), file.error().detail());
  std::array<std::byte, kKeyDigits + 2> text{};
  DOLMEN_TRY(std::size_t count, (*file)->read(0, text));
  if (count == kKeyDigits + 1 && text[kKeyDigits] == std::byte{'\n'}) --count;
  std::array<std::byte, kKeyDigits / 2> key{};
  bool is_key = count == kKeyDigits;
  for (std::size_t i = 0; is_key && i < key.size(); ++i) {
    const auto high = digit(text[2 * i]);
    const auto low = digit(text[2 * i + 1]);
    is_key = high && low;
    if (is_key) key[i] = (*high << 4) | *low;
  }
  if (!is_key) {
    return fail(
        Errc::invalid_argument,
        interned("key file " + path + ": 64 hexadecimal digits (dolmen log key makes one)"));
  }
  return fabric::Secret(key);
}

}  // namespace

Result<sys::NetworkAddress> address(const std::string& text) {
  const auto bad = [&] {
    return fail(Errc::invalid_argument, interned("address: " + text + " (like 192.0.2.7:7400)"));
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || text.size() > replication::kAddressBytesMax) return bad();
  std::string host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  sys::NetworkAddress result{.host = host};
  const char* const end = text.data() + text.size();
  const auto [rest, failed] = std::from_chars(text.data() + colon + 1, end, result.port);
  if (failed != std::errc{} || rest != end || result.port == 0 || host.empty()) return bad();
  return result;
}

std::vector<fabric::TcpPeer> peers_at(const replication::Addresses& addresses,
                                      fabric::NodeId self) {
  std::vector<fabric::TcpPeer> peers;
  for (const auto& [node, text] : addresses) {
    if (node == self) continue;
    if (auto where = address(text)) peers.push_back({node, std::move(*where)});
  }
  return peers;
}

const fabric::TcpPeer* GroupPlan::find(std::uint32_t member) const {
  const auto found = std::ranges::find(members, fabric::NodeId{member}, &fabric::TcpPeer::node);
  return found == members.end() ? nullptr : &*found;
}

Result<GroupPlan> plan(const ReplicatedGroup& group) {
  GroupPlan result;
  if (group.members.empty() || group.members.size() > log::kMembersMax) {
    return fail(Errc::invalid_argument, "members", group.members.size());
  }
  for (std::size_t i = 0; i < group.members.size(); ++i) {
    const std::string& text = group.members[i];
    if (text == "-") continue;
    DOLMEN_TRY(sys::NetworkAddress where, address(text));
    const bool is_twice = std::ranges::any_of(
        result.members, [&](const fabric::TcpPeer& peer) { return peer.address == where; });
    if (is_twice) return fail(Errc::invalid_argument, interned("member twice: " + text));
    result.addresses.emplace(fabric::NodeId{i + 1}, text);
    result.members.push_back({fabric::NodeId{i + 1}, std::move(where)});
  }
  if (result.members.empty()) return fail(Errc::invalid_argument, "members", 0);
  DOLMEN_TRY(result.key, read_key(group.key_file));
  return result;
}

log::Configuration first_members(const GroupPlan& plan) {
  log::Configuration first;
  for (const fabric::TcpPeer& peer : plan.members) {
    first.voters.push_back(replication::replica_of(peer.node, replication::kFirstLife));
  }
  return first;
}

}  // namespace dolmen::node
