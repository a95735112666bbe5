// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_node.hpp"

#include <algorithm>
#include <utility>

#include "node/cluster_map.hpp"
#include "node/job.hpp"
#include "replication/journal.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

namespace {

constexpr const char* kNodeFile = "/node";
constexpr const char* kJournal = "/journal";

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

/// As it is before it joins; of a founder, for good.
node::NodeFile file_of(const NodeOptions& options, std::uint32_t life) {
  const auto place = std::ranges::find(options.founders, options.address);
  const bool founds = place != options.founders.end();
  return {.number = founds ? static_cast<std::uint32_t>(place - options.founders.begin()) + 1 : 0,
          .life = life,
          .name = options.name.empty() ? "node-" + std::to_string(life) : options.name,
          .address = options.address,
          .key_file = options.key_file,
          .founders = options.founders,
          .seeds = options.seeds};
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
  // What the root group would not take: it refuses the founders, too, when they begin.
  const auto is_no_word = [](const std::string& where) {
    return !cluster::is_word(where, cluster::kNodeAddressBytesMax);
  };
  if (is_no_word(options.address) || std::ranges::any_of(options.founders, is_no_word)) {
    return fail(Errc::invalid_argument,
                "an address: at most 255 characters, none of them blank or a control character");
  }
  if (!options.name.empty() && !cluster::is_word(options.name, cluster::kNodeNameBytesMax)) {
    return fail(Errc::invalid_argument, "a node's name: 1 to 63 characters, none of them blank");
  }
  constexpr std::uint32_t kLongest = ~std::uint32_t{0};
  node::NodeFile longest = file_of(options, kLongest);
  if (options.founders.empty()) longest.number = kLongest;
  if (!node::can_be_kept(longest)) {
    return fail(Errc::invalid_argument,
                "a node's file: no control characters in the name of the key file or in an "
                "address, and 8 KiB in all");
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
Result<void> join(const NodeOptions& options, const fabric::Secret& key, sys::Disk& disk,
                  node::NodeFile& file, std::uint64_t deadline_ns) {
  DOLMEN_TRY(const auto map, node::fetch_map(options.seeds, key, deadline_ns));
  const std::uint64_t now_ns = sys::linux_env().clock->monotonic_ns();
  const std::chrono::milliseconds left(deadline_ns > now_ns ? (deadline_ns - now_ns) / 1'000'000
                                                            : 0);
  DOLMEN_TRY(const cluster::RootReply reply,
             node::call_root(map, key,
                             cluster::root::AddNode{.name = file.name,
                                                    .address = file.address,
                                                    .identity = node::identity_of(file, key)},
                             left));
  if (!reply.is_ok()) {
    return fail(Errc::invalid_argument, interned(std::string(cluster::text(reply.status))),
                reply.value);
  }
  file.number = static_cast<std::uint32_t>(reply.value);
  // So that it finds the others when it starts.
  return node::ClusterCore::write_map(disk, map);
}

/// As one of the founders: the root group's first members, unless the cluster has begun without it.
Result<void> found(const NodeOptions& options, const fabric::Secret& key, sys::Disk& own,
                   std::uint64_t until_ns) {
  std::vector<std::string> others = options.founders;
  std::erase(others, options.address);
  // What was cut short may have found it already.
  DOLMEN_TRY(const cluster::RootState known, node::ClusterCore::read_map(own));
  if (known.is_begun()) return {};
  if (!others.empty()) {
    DOLMEN_TRY(const auto sooner, node::look_for_cluster(others, key, until_ns));
    // Then this node gets its seat anew, with a log that others have, whoever had it before.
    if (sooner) return node::ClusterCore::write_map(own, *sooner);
  }
  const auto place = std::ranges::find(options.founders, options.address);
  const fabric::NodeId self{static_cast<std::uint64_t>(place - options.founders.begin()) + 1};
  DOLMEN_TRY(auto disk,
             sys::open_directory(options.directory + kJournal, sys::DirectoryMode::open_or_create));
  DOLMEN_TRY(const auto journal, replication::Journal::open(sys::linux_env(), std::move(disk), {}));
  const auto made = journal->add(node::group_of(cluster::kRootGroup),
                                 replication::replica_of(self, replication::kFirstLife),
                                 node::ClusterCore::founders(options.founders.size()));
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
    // Of fewer or more founders it would be another cluster under the same name.
    if (known->founders != options.founders) {
      return fail(Errc::invalid_argument,
                  interned(options.directory + ": a node's already, of another cluster: who founds "
                                               "it differs (others join with seeds)"));
    }
    return fail(Errc::already_exists,
                interned(options.directory + ": a node's already (dolmen serve runs it)"));
  }
  DOLMEN_TRY(const auto names, disk->list());
  if (!known && std::ranges::any_of(names, [](const std::string& name) {
        return !name.starts_with("journal") && name != "map" && !name.ends_with(".new");
      })) {
    return fail(Errc::invalid_argument,
                interned(options.directory + ": files that are no node's; choose an empty one"));
  }
  node::NodeFile file = file_of(options, known ? known->life : new_life());
  if (!options.founders.empty()) {
    DOLMEN_CHECK(found(options, key, *disk, deadline_ns));
    return write_node_file(options.directory, file, true);
  }
  // First of all under which name it asks: so that it asks as the same one after a crash.
  if (known) file.name = known->name;
  DOLMEN_CHECK(write_node_file(options.directory, file, true));
  DOLMEN_CHECK(join(options, key, *disk, file, deadline_ns));
  return write_node_file(options.directory, file, true);
}

Result<ClusterNode> ClusterNode::start(const std::string& directory, NodeRunOptions options) {
  sys::Process& process = *sys::linux_env().process;
  std::string where = directory.empty() ? process.environment("DOLMEN_NODE") : directory;
  if (where.empty()) {
    DOLMEN_TRY(const auto job,
               node::job_of([&](const char* name) { return process.environment(name); }));
    if (!job) {
      return fail(Errc::invalid_argument,
                  "which directory? (`dolmen run`, srun and mpirun say so: DOLMEN_NODE)");
    }
    constexpr std::chrono::seconds kPatience(60);
    DOLMEN_TRY(const node::JobNode made, node::join_job(*job, kPatience));
    where = made.directory;
  }
  DOLMEN_TRY(auto impl, Impl::open(where, std::move(options)));
  return ClusterNode(std::move(impl));
}

Result<std::unique_ptr<ClusterNode::Impl>> ClusterNode::Impl::open(const std::string& directory,
                                                                   NodeRunOptions options) {
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(auto file, read_node_file(directory));
  if (!file || file->number == 0) {
    return fail(Errc::not_found,
                interned(directory + (file ? ": it has not joined yet: make it once more"
                                           : ": no node's directory (dolmen node init makes it)")));
  }
  auto impl = std::make_unique<Impl>(directory, std::move(options));
  impl->file = std::move(*file);
  DOLMEN_TRY(const fabric::Secret key, node::read_key_file(impl->file.key_file));
  DOLMEN_TRY(impl->disk, sys::open_directory(directory, sys::DirectoryMode::open_existing));
  DOLMEN_TRY(auto disk,
             sys::open_directory(directory + kJournal, sys::DirectoryMode::open_or_create));
  DOLMEN_TRY(auto journal, replication::Journal::open(env, std::move(disk), {}));

  // Who knows of nobody would wait for ever.
  const auto map = node::ClusterCore::read_map(*impl->disk);
  if (!map) {
    return fail(map.error().code(),
                interned(directory + "/map (remove it: the node asks others for another one)"));
  }
  if (!map->is_begun() && impl->file.founders.empty()) {
    constexpr std::uint64_t kPatienceNs = 10'000'000'000;
    DOLMEN_TRY(const auto latest,
               node::fetch_map(impl->file.seeds, key, env.clock->monotonic_ns() + kPatienceNs));
    DOLMEN_CHECK(node::ClusterCore::write_map(*impl->disk, latest));
  }

  const fabric::NodeId self{impl->file.number};
  DOLMEN_TRY(const sys::NetworkAddress listen, node::address(impl->file.address));
  const auto spin_us = std::clamp<std::int64_t>(impl->options.spin.count(), 0, 1'000'000'000);
  // A later life has a higher number, as long as the wall clock is not set back below the last
  // start: then the others say "superseded" until it is right.
  DOLMEN_TRY(impl->endpoint,
             fabric::TcpEndpoint::make(
                 {.self = {.node = self, .incarnation = env.clock->wall_ns()},
                  .key = key,
                  .listen = listen,
                  .wait = {.spin_ns = static_cast<std::uint64_t>(spin_us) * 1000}},
                 {.network = env.network, .clock = env.clock, .entropy = env.entropy}));
  const auto dial = [endpoint = impl->endpoint.get(), self](const replication::Addresses& all) {
    // What is no peer was left out; there is nothing else that could be wrong.
    (void)endpoint->set_peers(node::peers_at(all, self));
  };
  const auto lost_ms = std::max<std::int64_t>(impl->options.lost_after.count(), 1);
  node::ClusterCoreOptions core_options{.self = impl->file.number,
                                        .life = impl->file.life,
                                        .cluster = node::cluster_of(key),
                                        .founders = impl->file.founders};
  core_options.root.lost_ns = static_cast<std::uint64_t>(lost_ms) * 1'000'000;
  DOLMEN_TRY(impl->core,
             node::ClusterCore::open(env, *impl->endpoint, *impl->disk, std::move(journal),
                                     impl->machines, dial, core_options));
  dial(impl->core->addresses());
  return impl;
}

ClusterNode::ClusterNode(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
ClusterNode::ClusterNode(ClusterNode&&) noexcept = default;
ClusterNode& ClusterNode::operator=(ClusterNode&&) noexcept = default;
ClusterNode::~ClusterNode() = default;

std::uint32_t ClusterNode::number() const noexcept { return impl_->file.number; }
const std::string& ClusterNode::address() const noexcept { return impl_->file.address; }

Result<void> ClusterNode::run() {
  while (!impl_->is_stopping.load(std::memory_order_relaxed)) {
    DOLMEN_TRY(const bool was_busy, impl_->core->turn());
    if (!was_busy) DOLMEN_CHECK(impl_->core->wait());
  }
  return impl_->core->close();
}

void ClusterNode::stop() noexcept {
  impl_->is_stopping = true;
  impl_->endpoint->wake();
}

}  // namespace dolmen
