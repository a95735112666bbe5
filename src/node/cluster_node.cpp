// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_node.hpp"

#include <algorithm>
#include <utility>

#include "node/cluster_map.hpp"
#include "node/hand_over.hpp"
#include "node/job.hpp"
#include "node/node_metrics.hpp"
#include "node/places.hpp"
#include "replication/journal.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/memory_room.hpp"

namespace dolmen {

namespace {

constexpr std::uint64_t kNever = ~std::uint64_t{0};

/// Nodes that it knows when it has no map: those of the token with which it joined.
Result<security::JoinToken> used_token(const std::string& directory) {
  DOLMEN_TRY(const std::string text,
             node::read_text_file(directory + "/" + node::kToken, security::kTokenTextMax, true));
  return security::JoinToken::parse(text);
}

/// The journal of the node whose file this is, which says from here on which one that is. One that
/// is gone is no empty one: what this node said that it has it would not have.
Result<std::unique_ptr<replication::Journal>> open_journal(const std::string& directory,
                                                           node::NodeFile& file) {
  const std::string where = directory + node::kJournal;
  const auto is_another = [&] {
    return fail(Errc::corrupt, interned(where + ": not the journal that this node wrote (lost, or "
                                                "not mounted)"));
  };
  auto disk = sys::open_directory(
      where, file.journal ? sys::DirectoryMode::open_existing : sys::DirectoryMode::open_or_create);
  if (!disk && disk.error().code() == Errc::not_found) return is_another();
  if (!disk) return std::unexpected(disk.error());
  if (file.journal) {
    DOLMEN_TRY(const auto names, (*disk)->list());
    if (std::ranges::find(names, "space") == names.end()) return is_another();
  }
  auto opened = replication::Journal::open(sys::linux_env(), std::move(*disk), {});
  if (!opened && opened.error().code() == Errc::held) {
    return fail(
        Errc::held,
        interned(directory + ": this node runs already: " + std::string(opened.error().context())));
  }
  if (!opened) {
    Error error = opened.error();
    // What does not look like one any more was one.
    if (file.journal && error.code() == Errc::not_a_space) {
      error = Error(Errc::corrupt, interned(std::string(error.context())), error.detail());
    }
    return std::unexpected(node::about_directory(where, error));
  }
  const ObjectId id = (*opened)->id();
  if (file.journal && *file.journal != id) return is_another();
  if (!file.journal) {
    file.journal = id;
    DOLMEN_CHECK(node::write_node_file(directory, file));
  }
  return opened;
}

}  // namespace

Error node::about_directory(const std::string& directory, const Error& error) {
  if (error.code() != Errc::corrupt || error.context().starts_with(directory)) return error;
  return Error(Errc::corrupt, interned(directory + ": " + std::string(error.context())),
               error.detail());
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
  DOLMEN_TRY(auto file, node::read_node_file(directory));
  if (!file || file->number == 0) {
    return fail(Errc::not_found,
                interned(directory + (file ? ": it has not joined yet: make it once more"
                                           : ": no node's directory (dolmen node init makes it)")));
  }
  auto impl = std::make_unique<Impl>(directory, std::move(options));
  impl->file = std::move(*file);
  DOLMEN_TRY(impl->link, node::read_identity(node::key_path(directory, impl->file)));
  impl->link.says = node::says_of(impl->options.is_trusted_fabric || impl->file.is_trusted_fabric);
  const security::Key& key = *impl->link.key;
  if (key.identity() != security::Identity{security::Role::node, impl->file.number}) {
    return fail(Errc::invalid_argument,
                interned(node::key_path(directory, impl->file) + ": the key of somebody else"),
                impl->file.number);
  }
  DOLMEN_TRY(impl->disk, sys::open_directory(directory, sys::DirectoryMode::open_existing));
  DOLMEN_TRY(auto journal, open_journal(directory, impl->file));

  // Who knows of nobody would wait for ever.
  auto map = node::ClusterCore::read_map(*impl->disk);
  if (!map) {
    return fail(map.error().code(),
                interned(directory + "/map (remove it: the node asks others for another one)"));
  }
  if (!map->is_begun() && impl->file.founders.empty()) {
    constexpr std::uint64_t kPatienceNs = 10'000'000'000;
    DOLMEN_TRY(const security::JoinToken token, used_token(directory));
    DOLMEN_TRY(map,
               node::fetch_map(
                   impl->file.seeds,
                   {.key = impl->link.key, .trust = node::trust_of(token), .says = impl->link.says},
                   env.clock->monotonic_ns() + kPatienceNs));
    DOLMEN_CHECK(node::ClusterCore::write_map(*impl->disk, *map));
  }
  // Whom a founder's file names is asked until the cluster has begun.
  const security::LinkSelf first = impl->link;
  const std::uint64_t now_s = env.clock->wall_ns() / 1'000'000'000;
  impl->link.trust =
      map->is_begun() ? node::trust_of(*map, key, now_s) : node::unsigned_trust(*first.trust);

  const fabric::NodeId self{impl->file.number};
  DOLMEN_CHECK(impl->connect());
  impl->began_ns = env.clock->monotonic_ns();
  const auto dial = [endpoint = impl->tcp, self,
                     its = impl.get()](const replication::Addresses& all) {
    if (its->core) its->follow_trust(true);
    // What is no peer was left out; there is nothing else that could be wrong.
    (void)endpoint->set_peers(node::peers_at(all, self));
  };
  const auto lost_ms = std::max<std::int64_t>(impl->options.lost_after.count(), 1);
  node::ClusterCoreOptions core_options{
      .self = impl->file.number,
      .life = impl->file.life,
      .cluster = node::object_id(key.cluster()),
      .founders = impl->file.founders,
      .lease_ms = impl->file.lease_ms,
      .metrics = [its = impl.get()] { return its->say_figures(); }};
  std::ranges::copy(key.owner().bytes, core_options.owner.begin());
  for (const auto& [place, entry] : first.trust->entries()) {
    if (entry.is_revoked || impl->file.founders.empty()) continue;
    cluster::NodeIdentity its_key{};
    std::ranges::copy(place.key.bytes, its_key.begin());
    if (place.identity.role == security::Role::node) {
      core_options.founder_keys.push_back(its_key);
    } else {
      core_options.clients.push_back(
          {.client = place.identity.number, .name = entry.name, .key = its_key});
    }
  }
  core_options.root.lost_ns = static_cast<std::uint64_t>(lost_ms) * 1'000'000;
  auto core = node::ClusterCore::open(env, *impl->endpoint, *impl->disk, std::move(journal),
                                      impl->machines, dial, core_options);
  if (!core) return std::unexpected(node::about_directory(directory, core.error()));
  impl->core = std::move(*core);
  dial(impl->core->addresses());
  DOLMEN_CHECK(impl->serve_metrics());
  return impl;
}

std::string ClusterNode::Impl::shared() const {
  return options.shared_directory.empty() ? sys::linux_env().process->environment("DOLMEN_SHM")
                                          : options.shared_directory;
}

Result<void> ClusterNode::Impl::connect() {
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(const sys::NetworkAddress listen, node::address(file.address));
  const auto spin_us = std::clamp<std::int64_t>(options.spin.count(), 0, 1'000'000'000);
  // A later life has a higher number, as long as the wall clock is not set back below the last
  // start: then the others say "superseded" until it is right.
  const fabric::TcpOptions by_tcp{
      .self = {.node = fabric::NodeId{file.number}, .incarnation = env.clock->wall_ns()},
      .link = link,
      .listen = listen,
      .wait = {.spin_ns = static_cast<std::uint64_t>(spin_us) * 1000}};
  std::unique_ptr<fabric::Endpoint> made;
  const std::string meets_in = shared();
  if (meets_in.empty()) {
    DOLMEN_TRY(auto only,
               fabric::TcpEndpoint::make(
                   by_tcp, {.network = env.network, .clock = env.clock, .entropy = env.entropy}));
    tcp = only.get();
    made = std::move(only);
  } else {
    DOLMEN_TRY(auto exchange,
               sys::open_shared_directory(meets_in, sys::DirectoryMode::open_or_create));
    DOLMEN_TRY(auto both, fabric::JoinedEndpoint::make({.tcp = by_tcp}, env, std::move(exchange)));
    joined = both.get();
    tcp = &both->tcp();
    made = std::move(both);
  }
  constexpr fabric::NodeId kLastNode{~std::uint32_t{0}};
  endpoint = std::make_unique<fabric::Metered>(std::move(made), *env.clock, kLastNode);
  return {};
}

void ClusterNode::Impl::follow_trust(bool is_new_map) {
  constexpr std::uint64_t kSecondNs = 1'000'000'000;
  constexpr std::uint64_t kLookS = 60;  // the wall clock may be set
  const sys::Env& env = sys::linux_env();
  const std::uint64_t now_ns = env.clock->monotonic_ns();
  const cluster::RootState& map = core->map();
  if (!map.is_begun() || (!is_new_map && now_ns < trust_due_ns)) return;
  const std::uint64_t now_s = env.clock->wall_ns() / kSecondNs;
  // It is of the same cluster and of no serial: nothing can be wrong with it.
  (void)tcp->set_trust(node::trust_of(map, *link.key, now_s, is_new_map));
  trust_due_ns = is_new_map ? now_ns + kSecondNs : kNever;
  if (is_new_map) return;
  for (const auto& [number, one] : map.clients()) {
    if (one.expires_s <= now_s) continue;
    const std::uint64_t left_s = std::min(one.expires_s - now_s, kLookS);
    trust_due_ns = std::min(trust_due_ns, now_ns + left_s * kSecondNs);
  }
}

const std::string& ClusterNode::Impl::say_figures() {
  // However often somebody asks.
  constexpr std::uint64_t kMomentNs = 50'000'000;
  const sys::Env& env = sys::linux_env();
  const std::uint64_t now_ns = env.clock->monotonic_ns();
  if (figures.empty() || now_ns >= figures_ns + kMomentNs) {
    figures = node::node_metrics({.self = file.number,
                                  .core = *core,
                                  .machines = machines,
                                  .endpoint = *endpoint,
                                  .joined = joined,
                                  .env = env,
                                  .disk = *disk,
                                  .began_ns = began_ns,
                                  .memory_room = sys::room_in_memory(shared())});
    figures_ns = now_ns;
  }
  return figures;
}

Result<void> ClusterNode::Impl::serve_metrics() {
  if (options.metrics.empty()) return {};
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(const std::string place, node::place_of(*env.network, options.metrics));
  DOLMEN_TRY(const sys::NetworkAddress listen, node::address(place));
  DOLMEN_TRY(metrics, node::MetricsServer::make({.listen = listen}, *env.network, *env.clock,
                                                [this] { endpoint->wake(); }));
  DOLMEN_TRY(metrics_thread,
             env.process->start_thread("dolmen-metrics", [this] { metrics->run(); }));
  return {};
}

ClusterNode::ClusterNode(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
ClusterNode::ClusterNode(ClusterNode&&) noexcept = default;
ClusterNode& ClusterNode::operator=(ClusterNode&&) noexcept = default;
ClusterNode::~ClusterNode() = default;

std::uint32_t ClusterNode::number() const noexcept { return impl_->file.number; }
const std::string& ClusterNode::address() const noexcept { return impl_->file.address; }
std::string ClusterNode::metrics_address() const {
  if (!impl_->metrics) return {};
  const auto& [host, port] = impl_->metrics->address();
  const bool is_v6 = host.find(':') != std::string::npos;
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<void> ClusterNode::run() {
  while (!impl_->is_stopping.load(std::memory_order_relaxed)) {
    impl_->follow_trust(false);
    if (impl_->metrics && impl_->metrics->is_wanted()) impl_->metrics->give(impl_->say_figures());
    DOLMEN_TRY(const bool was_busy, impl_->core->turn());
    if (!was_busy) DOLMEN_CHECK(impl_->core->wait());
  }
  DOLMEN_CHECK(node::hand_over(*sys::linux_env().clock, impl_->core->member(), *impl_->core));
  impl_->leave();
  DOLMEN_CHECK(impl_->core->close());
  return impl_->spaces.close();
}

void ClusterNode::stop() noexcept {
  impl_->is_stopping = true;
  impl_->endpoint->wake();
}

}  // namespace dolmen
