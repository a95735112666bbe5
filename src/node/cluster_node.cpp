// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_node.hpp"

#include <algorithm>
#include <utility>

#include "replication/journal.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

using cluster::GroupNumber;
using cluster::kRootGroup;

namespace {

constexpr const char* kNodeFile = "/node";
constexpr const char* kMapFile = "/map";
constexpr const char* kJournal = "/journal";
constexpr std::size_t kMapBytesMax = std::size_t{4} << 20;

std::string directory_of(const std::string& directory, GroupNumber number) {
  return directory + "/group-" + std::to_string(number);
}

std::string text_in(const std::vector<std::byte>& bytes) {
  std::string text(bytes.size(), '\0');
  std::ranges::transform(bytes, text.begin(), [](std::byte b) { return static_cast<char>(b); });
  return text;
}

Result<std::optional<node::NodeFile>> read_node_file(const std::string& directory) {
  const auto bytes =
      sys::read_small_file(directory + kNodeFile, node::kNodeTextMax, sys::Secrecy::open);
  if (!bytes && bytes.error().code() == Errc::not_found) return std::nullopt;
  if (!bytes) return std::unexpected(bytes.error());
  auto file = node::parse_node_file(text_in(*bytes));
  if (!file) {
    return fail(file.error().code(), interned(directory + kNodeFile), file.error().detail());
  }
  return std::move(*file);
}

Result<void> write_node_file(const std::string& directory, const node::NodeFile& file,
                             bool replaces) {
  return sys::write_small_file(directory + kNodeFile, base::as_bytes(node::text_of(file)),
                               sys::Secrecy::open, replaces);
}

Result<void> write_map(const std::string& directory, const cluster::RootState& map) {
  return sys::write_small_file(directory + kMapFile, cluster::encode_root(map), sys::Secrecy::open,
                               true);
}

log::Configuration first_of(std::size_t founders) {
  log::Configuration first;
  for (std::size_t number = 1; number <= founders; ++number) {
    first.voters.push_back(
        replication::replica_of(fabric::NodeId{number}, replication::kFirstLife));
  }
  return first;
}

Result<void> check(const NodeOptions& options) {
  if (options.founders.empty() == options.seeds.empty()) {
    return fail(Errc::invalid_argument, "either founders or nodes of a cluster that is there");
  }
  if (options.founders.size() > node::kFoundersMax) {
    return fail(Errc::invalid_argument, "founders: 9 at most", options.founders.size());
  }
  if (options.key_file.empty()) return fail(Errc::invalid_argument, "which key file?");
  DOLMEN_CHECK(node::address(options.address));
  for (const auto& list : {options.founders, options.seeds}) {
    for (const std::string& where : list) DOLMEN_CHECK(node::address(where));
  }
  std::vector<std::string> sorted = options.founders;
  std::ranges::sort(sorted);
  if (std::ranges::adjacent_find(sorted) != sorted.end()) {
    return fail(Errc::invalid_argument, "founders: one twice");
  }
  if (!options.founders.empty() &&
      std::ranges::find(options.founders, options.address) == options.founders.end()) {
    return fail(Errc::invalid_argument,
                interned(options.address + ": the node's own address is not among the founders"));
  }
  if (!options.name.empty() && !cluster::is_word(options.name, cluster::kNodeNameBytesMax)) {
    return fail(Errc::invalid_argument, "a node's name: 1 to 63 characters, none of them blank");
  }
  return {};
}

std::uint32_t new_life() {
  std::array<std::byte, 4> random{};
  std::uint32_t life = 0;
  while (life == 0) {
    sys::linux_env().entropy->fill(random);
    life = base::load<std::uint32_t>(random);
  }
  return life;
}

/// Gets the node its number from the root group.
Result<void> join(const NodeOptions& options, const fabric::Secret& key, node::NodeFile& file,
                  std::uint64_t deadline_ns) {
  DOLMEN_TRY(const auto map, node::fetch_map(options.seeds, key, deadline_ns));
  const std::uint64_t now_ns = sys::linux_env().clock->monotonic_ns();
  const std::chrono::milliseconds left(deadline_ns > now_ns ? (deadline_ns - now_ns) / 1'000'000
                                                            : 0);
  DOLMEN_TRY(
      const cluster::RootReply reply,
      node::call_root(map, key, cluster::root::AddNode{.name = file.name, .address = file.address},
                      left));
  if (!reply.is_ok()) {
    return fail(Errc::invalid_argument, interned(std::string(cluster::text(reply.status))),
                reply.value);
  }
  file.number = static_cast<std::uint32_t>(reply.value);
  // With it in it, so that it finds the others when it starts.
  return write_map(options.directory, map);
}

/// As one of the founders: the root group's first members, unless the cluster has begun without it.
Result<void> found(const NodeOptions& options, const fabric::Secret& key, std::uint64_t until_ns) {
  const auto sooner = node::fetch_map(options.founders, key, until_ns);
  if (sooner) return write_map(options.directory, *sooner);
  if (sooner.error().code() != Errc::timed_out) return std::unexpected(sooner.error());
  const auto place = std::ranges::find(options.founders, options.address);
  const fabric::NodeId self{static_cast<std::uint64_t>(place - options.founders.begin()) + 1};
  DOLMEN_TRY(auto disk,
             sys::open_directory(options.directory + kJournal, sys::DirectoryMode::open_or_create));
  DOLMEN_TRY(const auto journal, replication::Journal::open(sys::linux_env(), std::move(disk), {}));
  const auto made = journal->add(node::group_of(kRootGroup),
                                 replication::replica_of(self, replication::kFirstLife),
                                 first_of(options.founders.size()));
  if (!made && made.error().code() != Errc::already_exists) return made;  // it was cut short
  return journal->close();
}

}  // namespace

Result<void> ClusterNode::create(const NodeOptions& options, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(check(options));
  DOLMEN_TRY(const fabric::Secret key, node::read_key_file(options.key_file));
  const std::uint64_t now_ns = sys::linux_env().clock->monotonic_ns();
  const std::uint64_t deadline_ns =
      now_ns + static_cast<std::uint64_t>(std::max<std::int64_t>(patience.count(), 0)) * 1'000'000;
  DOLMEN_TRY(const auto disk,
             sys::open_directory(options.directory, sys::DirectoryMode::open_or_create));
  DOLMEN_TRY(auto known, read_node_file(options.directory));
  if (known && known->number != 0) {
    return fail(Errc::already_exists, interned(options.directory));
  }
  DOLMEN_TRY(const auto names, disk->list());
  if (!known && std::ranges::any_of(names, [](const std::string& name) {
        return name != "journal" && name != "map";
      })) {
    return fail(Errc::already_exists, interned(options.directory + ": files that are no node's"));
  }
  node::NodeFile file{.life = known ? known->life : new_life(),
                      .name = options.name,
                      .address = options.address,
                      .key_file = options.key_file,
                      .founders = options.founders,
                      .seeds = options.seeds};
  if (file.name.empty()) file.name = "node-" + std::to_string(file.life);
  if (!options.founders.empty()) {
    constexpr std::uint64_t kLookNs = 300'000'000;
    DOLMEN_CHECK(found(options, key, std::min(deadline_ns, now_ns + kLookNs)));
    file.number = static_cast<std::uint32_t>(std::ranges::find(options.founders, options.address) -
                                             options.founders.begin() + 1);
    return write_node_file(options.directory, file, true);
  }
  // First of all under which name it asks: so that it asks as the same one after a crash.
  if (known) file.name = known->name;
  DOLMEN_CHECK(write_node_file(options.directory, file, true));
  DOLMEN_CHECK(join(options, key, file, deadline_ns));
  return write_node_file(options.directory, file, true);
}

Result<ClusterNode> ClusterNode::start(const std::string& directory, NodeRunOptions options) {
  const std::string where =
      directory.empty() ? sys::linux_env().process->environment("DOLMEN_NODE") : directory;
  if (where.empty()) {
    return fail(Errc::invalid_argument, "which directory? (DOLMEN_NODE; dolmen run sets it)");
  }
  DOLMEN_TRY(auto impl, Impl::open(where, std::move(options)));
  return ClusterNode(std::move(impl));
}

Result<std::unique_ptr<ClusterNode::Impl>> ClusterNode::Impl::open(const std::string& directory,
                                                                   NodeRunOptions options) {
  const sys::Env& env = sys::linux_env();
  auto impl = std::make_unique<Impl>();
  impl->directory = directory;
  impl->options = std::move(options);
  DOLMEN_TRY(auto file, read_node_file(directory));
  if (!file || file->number == 0) {
    return fail(Errc::not_found,
                interned(directory + (file ? ": it has not joined yet: make it once more"
                                           : ": no node's directory")));
  }
  impl->file = std::move(*file);
  DOLMEN_TRY(impl->key, node::read_key_file(impl->file.key_file));
  const auto bytes = sys::read_small_file(directory + kMapFile, kMapBytesMax, sys::Secrecy::open);
  if (bytes) {
    auto map = cluster::decode_root(*bytes);
    if (!map) return fail(map.error().code(), interned(directory + kMapFile), map.error().detail());
    impl->map = std::move(*map);
  } else if (bytes.error().code() != Errc::not_found) {
    return std::unexpected(bytes.error());
  }
  DOLMEN_TRY(auto disk,
             sys::open_directory(directory + kJournal, sys::DirectoryMode::open_or_create));
  DOLMEN_TRY(auto journal, replication::Journal::open(env, std::move(disk), {}));

  const fabric::NodeId self{impl->file.number};
  DOLMEN_TRY(const sys::NetworkAddress listen, node::address(impl->file.address));
  const auto spin_us = std::clamp<std::int64_t>(impl->options.spin.count(), 0, 1'000'000'000);
  // A later life has a higher number, as long as the wall clock is not set back below the last
  // start: then the others say "superseded" until it is right.
  DOLMEN_TRY(impl->endpoint,
             fabric::TcpEndpoint::make(
                 {.self = {.node = self, .incarnation = env.clock->wall_ns()},
                  .key = impl->key,
                  .listen = listen,
                  .peers = node::peers_at(impl->peers(), self),
                  .wait = {.spin_ns = static_cast<std::uint64_t>(spin_us) * 1000}},
                 {.network = env.network, .clock = env.clock, .entropy = env.entropy}));
  replication::MemberOptions member_options{.addresses = impl->peers()};
  member_options.on_cluster =
      [node = impl.get()](const fabric::NodeName& from, const replication::Envelope& envelope,
                          base::Bytes body) { node->hear(from, envelope, body); };
  impl->member = std::make_unique<replication::Member>(env, *impl->endpoint, std::move(journal),
                                                       member_options);
  if (impl->replicas().contains(kRootGroup)) DOLMEN_CHECK(impl->host(kRootGroup));
  DOLMEN_CHECK(impl->follow_map());
  DOLMEN_TRY(impl->changes, node::GroupChanges::start(
                                env, [endpoint = impl->endpoint.get()] { endpoint->wake(); }));
  return impl;
}

ClusterNode::ClusterNode(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
ClusterNode::ClusterNode(ClusterNode&&) noexcept = default;
ClusterNode& ClusterNode::operator=(ClusterNode&&) noexcept = default;
ClusterNode::~ClusterNode() = default;

std::uint32_t ClusterNode::number() const noexcept { return impl_->file.number; }
const std::string& ClusterNode::address() const noexcept { return impl_->file.address; }

Result<void> ClusterNode::run() { return impl_->run(); }

void ClusterNode::stop() noexcept {
  impl_->is_stopping = true;
  impl_->endpoint->wake();
}

Result<void> ClusterNode::Impl::run() {
  sys::Clock& clock = *sys::linux_env().clock;
  while (!is_stopping.load(std::memory_order_relaxed)) {
    DOLMEN_TRY(const bool was_busy, member->turn());
    if (failure) return std::unexpected(*failure);
    DOLMEN_CHECK(look_after_root(clock.monotonic_ns()));
    if (!was_busy) DOLMEN_CHECK(member->wait(ask_at_ns));
  }
  return member->close();
}

// --- what the map says ---------------------------------------------------------------------------

replication::Addresses ClusterNode::Impl::peers() const {
  if (map.is_begun()) return node::addresses_in(map);
  replication::Addresses addresses;
  for (std::size_t i = 0; i < file.founders.size(); ++i) {
    addresses.emplace(fabric::NodeId{i + 1}, file.founders[i]);
  }
  return addresses;
}

Result<void> ClusterNode::Impl::adopt(cluster::RootState latest) {
  if (latest.version() <= map.version()) return {};
  map = std::move(latest);
  is_new_map = true;
  DOLMEN_CHECK(write_map(directory, map));
  // What is no peer was left out; there is nothing else that could be wrong.
  return endpoint->set_peers(node::peers_at(peers(), endpoint->self().node));
}

std::map<GroupNumber, cluster::ReplicaLife> ClusterNode::Impl::replicas() const {
  std::map<GroupNumber, cluster::ReplicaLife> have;
  for (const auto& [group, self] : member->replicas()) {
    have.emplace(static_cast<GroupNumber>(group.low), replication::life_of(self));
  }
  return have;
}

Result<void> ClusterNode::Impl::follow_map() {
  is_new_map = false;
  if (!map.is_begun()) return {};
  // A map that does not know it at all is from before it joined.
  if (map.node(file.number) == nullptr && map.nodes().contains(file.number)) {
    return fail(Errc::superseded, "this node was removed from the cluster", file.number);
  }
  for (const cluster::SeatStep& step :
       cluster::seats_to_take(map, file.number, file.life, replicas())) {
    DOLMEN_CHECK(step.kind == cluster::SeatStep::Kind::drop ? drop(step.group)
                                                            : make(step.group, step.life));
  }
  for (const replication::GroupId& group : member->found()) {
    DOLMEN_CHECK(host(static_cast<GroupNumber>(group.low)));
  }
  return {};
}

Result<void> ClusterNode::Impl::make(GroupNumber number, cluster::ReplicaLife life) {
  log::Configuration first;
  for (const cluster::NodeNumber founder : map.group(number)->founders) {
    first.voters.push_back(
        replication::replica_of(fabric::NodeId{founder}, replication::kFirstLife));
  }
  return member->make(node::group_of(number),
                      replication::replica_of(fabric::NodeId{file.number}, life), first);
}

Result<void> ClusterNode::Impl::host(GroupNumber number) {
  if (number == kRootGroup) return member->host(node::group_of(number), root);
  const cluster::RootGroup* const group = map.group(number);
  if (group == nullptr || group->kind != cluster::GroupKind::space)
    return {};  // of a later version
  DOLMEN_TRY(auto space, ReplicatedSpace::open(directory_of(directory, number), options.functions,
                                               options.space));
  auto& kept = spaces[number];
  kept = std::make_unique<ReplicatedSpace>(std::move(space));
  return member->host(node::group_of(number), kept->machine());
}

Result<void> ClusterNode::Impl::drop(GroupNumber number) {
  const replication::GroupId id = node::group_of(number);
  const cluster::RootGroup* const group = map.group(number);
  // What the map says of the group may be from before the group took this one in: then a later map
  // will say so, and what it promised must not be forgotten.
  if (const auto inside = member->inside(id); inside && inside->replica->is_voter() &&
                                              group != nullptr &&
                                              inside->replica->configured_at() > group->as_of) {
    return {};
  }
  DOLMEN_CHECK(member->drop(id));
  if (number == kRootGroup) {
    root.reset();
    controller.reset();
    return {};
  }
  spaces.erase(number);
  const auto disk =
      sys::open_directory(directory_of(directory, number), sys::DirectoryMode::open_existing);
  if (!disk) return {};
  DOLMEN_TRY(const auto names, (*disk)->list());
  for (const std::string& name : names) DOLMEN_CHECK((*disk)->remove(name));
  return {};
}

}  // namespace dolmen
