// SPDX-License-Identifier: Apache-2.0
#include "node/replicated_group.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "fabric/joined_endpoint.hpp"
#include "fabric/shm.hpp"
#include "node/cluster_identity.hpp"
#include "node/places.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {

namespace {

constexpr std::size_t kKeyDigits = 64;
constexpr std::string_view kShared = "shm:";
constexpr std::string_view kNextLife = "next-life-";
// Two processes that share a directory would be one life.
constexpr std::string_view kLock = "lock";

std::optional<std::byte> digit(std::byte character) {
  const auto c = static_cast<char>(character);
  if (c >= '0' && c <= '9') return static_cast<std::byte>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<std::byte>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<std::byte>(c - 'A' + 10);
  return std::nullopt;
}

}  // namespace

Result<fabric::Secret> read_key_file(const std::string& path) {
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

namespace {

Result<void> plan_shared(const ReplicatedGroup& group, GroupPlan& result) {
  result.shared_directory = group.members.front().substr(kShared.size());
  if (result.shared_directory.empty()) {
    return fail(Errc::invalid_argument, "shm: which directory? (like shm:/dev/shm/exchange)");
  }
  for (const std::string& text : group.members) {
    if (text != group.members.front()) {
      return fail(Errc::invalid_argument,
                  interned("member: " + text + ": in shared memory all meet in one directory"));
    }
    const fabric::NodeId node{result.members.size() + 1};
    result.addresses.emplace(node, text);
    result.members.push_back({node, {}});
  }
  return {};
}

Result<void> plan_tcp(const ReplicatedGroup& group, GroupPlan& result) {
  for (std::size_t i = 0; i < group.members.size(); ++i) {
    if (group.members[i] == "-") continue;
    DOLMEN_TRY(const std::string text, place_of(*sys::linux_env().network, group.members[i]));
    DOLMEN_TRY(sys::NetworkAddress where, address(text));
    const bool is_twice = std::ranges::any_of(
        result.members, [&](const fabric::TcpPeer& peer) { return peer.address == where; });
    if (is_twice) return fail(Errc::invalid_argument, interned("member twice: " + text));
    result.addresses.emplace(fabric::NodeId{i + 1}, text);
    result.members.push_back({fabric::NodeId{i + 1}, std::move(where)});
  }
  if (result.members.empty()) return fail(Errc::invalid_argument, "members", 0);
  if (group.key_file.empty()) return fail(Errc::invalid_argument, "which key file?");
  DOLMEN_TRY(result.key, read_key_file(group.key_file));
  result.is_trusted_fabric = says_of(group.is_trusted_fabric) != 0;
  return {};
}

}  // namespace

Result<GroupPlan> plan(const ReplicatedGroup& group) {
  GroupPlan result;
  if (group.members.empty() || group.members.size() > log::kMembersMax) {
    return fail(Errc::invalid_argument, "members", group.members.size());
  }
  const bool is_shared = group.members.front().starts_with(kShared);
  DOLMEN_CHECK(is_shared ? plan_shared(group, result) : plan_tcp(group, result));
  for (const std::uint32_t witness : group.witnesses) {
    if (result.find(witness) == nullptr) {
      return fail(Errc::invalid_argument, "witness: a number from 1 to how many members there are",
                  witness);
    }
  }
  if (!is_valid(first_members(result, group.witnesses))) {
    return fail(Errc::invalid_argument, "witnesses: each once, and not all members",
                group.witnesses.size());
  }
  return result;
}

Result<Joined> connect(const GroupPlan& plan, const fabric::NodeName& self,
                       std::chrono::microseconds spin) {
  const sys::Env& env = sys::linux_env();
  constexpr std::int64_t kSpinMax = std::chrono::microseconds(std::chrono::hours(24)).count();
  const std::int64_t spin_us = std::max<std::int64_t>(spin.count(), 0);
  const fabric::WaitPolicy wait{.spin_ns = spin_us > kSpinMax
                                               ? ~std::uint64_t{0}
                                               : static_cast<std::uint64_t>(spin_us) * 1000};
  if (!plan.shared_directory.empty() && !plan.link) {
    DOLMEN_TRY(auto directory, sys::open_shared_directory(plan.shared_directory));
    DOLMEN_TRY(auto shared,
               fabric::open_shm(env, std::move(directory), {.self = self, .wait = wait}));
    return Joined{.endpoint = std::move(shared)};
  }
  fabric::TcpOptions tcp{.self = self,
                         .key = plan.key,
                         .link = plan.link,
                         .is_trusted_fabric = plan.is_trusted_fabric,
                         .wait = wait};
  for (const fabric::TcpPeer& peer : plan.members) {
    if (peer.node == self.node) {
      tcp.listen = peer.address;
    } else {
      tcp.peers.push_back(peer);
    }
  }
  // Where there is no such directory, or nothing can be made in it, others are met by tcp alone.
  auto exchange =
      plan.shared_directory.empty()
          ? Result<std::unique_ptr<sys::SharedDirectory>>(nullptr)
          : sys::open_shared_directory(plan.shared_directory, sys::DirectoryMode::open_existing);
  if (exchange && *exchange) {
    auto made = fabric::JoinedEndpoint::make({.tcp = tcp}, env, std::move(*exchange));
    if (made) {
      fabric::JoinedEndpoint* const both = made->get();
      return Joined{.endpoint = std::move(*made), .tcp = &both->tcp(), .both = both};
    }
  }
  DOLMEN_TRY(auto made,
             fabric::TcpEndpoint::make(
                 tcp, {.network = env.network, .clock = env.clock, .entropy = env.entropy}));
  fabric::TcpEndpoint* const endpoint = made.get();
  return Joined{.endpoint = std::move(made), .tcp = endpoint};
}

const char* link_of(const fabric::TcpEndpoint& tcp, const fabric::JoinedEndpoint* both,
                    fabric::NodeId node) {
  if (!tcp.connected(node)) return "";
  if (both != nullptr && both->carrier(node) == fabric::Carrier::shared) return "shm";
  return (tcp.says(node) & security::kSaysClear) != 0 ? "clear" : "tcp";
}

bool counts_lives(const std::vector<std::string>& names) {
  return std::ranges::any_of(names,
                             [](const std::string& name) { return name.starts_with(kNextLife); });
}

Result<void> make_first_life(sys::Disk& disk) {
  DOLMEN_TRY(const auto file, disk.open(std::string(kNextLife) + "1", sys::OpenMode::create_new));
  return disk.sync_directory();
}

Result<std::unique_ptr<sys::FileLock>> lock_lives(sys::Disk& disk) {
  return disk.try_lock(kLock, sys::LockMode::exclusive, "a member", nullptr);
}

Result<std::uint32_t> begin_life(sys::Disk& disk) {
  DOLMEN_TRY(const auto names, disk.list());
  if (!counts_lives(names)) {
    if (names.empty()) {
      return fail(Errc::not_found, interned(disk.describe() + ": an empty directory, no member"));
    }
    return fail(Errc::invalid_argument,
                interned(disk.describe() + ": not the directory of a memory-only member"));
  }
  // One that was renamed may be there under both names after a crash: the higher one counts.
  std::uint32_t life = 0;
  for (const std::string& name : names) {
    if (!name.starts_with(kNextLife)) continue;
    std::uint32_t number = 0;
    const char* const end = name.data() + name.size();
    const auto [rest, failed] = std::from_chars(name.data() + kNextLife.size(), end, number);
    if (failed != std::errc{} || rest != end || number == 0) {
      return fail(Errc::corrupt, interned(disk.describe() + "/" + name));
    }
    life = std::max(life, number);
  }
  if (life == ~std::uint32_t{0}) return fail(Errc::limit, "lives of a member");
  DOLMEN_CHECK(disk.rename(std::string(kNextLife) + std::to_string(life),
                           std::string(kNextLife) + std::to_string(life + 1)));
  DOLMEN_CHECK(disk.sync_directory());
  return life;
}

log::Configuration first_members(const GroupPlan& plan, std::vector<std::uint32_t> witnesses) {
  log::Configuration first;
  std::ranges::sort(witnesses);
  for (const std::uint32_t witness : witnesses) {
    first.witnesses.push_back(
        replication::replica_of(fabric::NodeId{witness}, replication::kFirstLife));
  }
  for (const fabric::TcpPeer& peer : plan.members) {
    first.voters.push_back(replication::replica_of(peer.node, replication::kFirstLife));
  }
  return first;
}

}  // namespace dolmen::node
