// SPDX-License-Identifier: Apache-2.0
//
// dolmen node, serve and status: the nodes of a cluster (dolmen/cluster.hpp, docs/cluster.md).
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <dolmen/cluster.hpp>

#include "cli/command.hpp"
#include "cli/commit_json.hpp"
#include "node/replicated_group.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/service.hpp"

namespace dolmen::cli {

namespace {

struct Options {
  NodeOptions node;
  std::string address;  ///< of a cluster: dolmen://…
  std::string name;
  std::string owner_file;
  std::string file;  ///< of a new client
  std::string rights = "owner";
  std::uint32_t groups_max = ClientGrant{}.groups_max;
  double minutes = 60;
  std::uint32_t number = 0;
  std::uint32_t size = 3;
  std::uint32_t lease_ms = 0;
  double lost_after_s = 10;
  double patience_s = 10;
  std::string metrics;
  std::string shared;
  bool trusted_fabric = false;
  bool quiet = false;
  bool json = false;
};

constexpr double kLongestS = 1e6;

std::chrono::milliseconds milliseconds(double seconds) {
  // Written so that what is no number is none.
  const double sane_s = seconds > 0 ? std::min(seconds, kLongestS) : 0;
  return std::chrono::milliseconds(static_cast<std::int64_t>(sane_s * 1000));
}

/// What several calls may take together.
class Patience {
 public:
  explicit Patience(const Options& options)
      : deadline_ns_(now_ns() +
                     static_cast<std::uint64_t>(milliseconds(options.patience_s).count()) *
                         1'000'000) {}
  [[nodiscard]] std::chrono::milliseconds left() const {
    const std::uint64_t now = now_ns();
    return std::chrono::milliseconds(now < deadline_ns_ ? (deadline_ns_ - now) / 1'000'000 : 0);
  }

 private:
  static std::uint64_t now_ns() { return sys::linux_env().clock->monotonic_ns(); }
  std::uint64_t deadline_ns_;
};

int make_node(const Options& options) {
  if (options.node.founders.empty() == options.node.token.empty()) {
    return misused("a node is of a new cluster (--founders), or joins one (--join)", "node init");
  }
  std::vector<std::string> all = options.node.founders;
  all.insert(all.begin(), options.node.address);
  for (const std::string& one : all) {
    const auto where = node::address(one);
    if (!where) return misused(where.error().context(), "node init");
  }
  NodeOptions its = options.node;
  its.lease = std::chrono::milliseconds(options.lease_ms);
  its.is_trusted_fabric = options.trusted_fabric;
  // It is read again whenever the node starts, from wherever that is.
  if (!its.identity_file.empty()) its.identity_file = std::filesystem::absolute(its.identity_file);
  const auto made = ClusterNode::create(its, milliseconds(options.patience_s));
  if (!made) return failed(made.error());
  if (options.json) {
    print_json({{"directory", options.node.directory}, {"address", options.node.address}});
  } else {
    std::printf("made a node in %s; `dolmen serve %s` runs it\n", options.node.directory.c_str(),
                options.node.directory.c_str());
  }
  return kOk;
}

/// What is damaged in a node's directory nobody looks at with `dolmen scrub`.
int node_failed(const std::string& directory, const Error& error, bool was_running) {
  const std::string what(error.context());
  const bool is_own = what.starts_with(directory);
  // A map that is damaged has an advice of its own, and keys lie elsewhere.
  if (error.code() != Errc::corrupt || what.starts_with(directory + "/map") ||
      (!is_own && !was_running)) {
    return failed(error);
  }
  (void)failed(std::string(error.name()) + ": " + (is_own ? "" : directory + ": ") + what +
               kDamagedNodeAdvice);
  return kDamaged;
}

// Runs until it is told to end. Whoever cares for it starts it again when it fails.
int run_node(const Options& options) {
  NodeRunOptions run;
  run.lost_after = milliseconds(options.lost_after_s);
  run.metrics = options.metrics;
  run.shared_directory = options.shared;
  run.is_trusted_fabric = options.trusted_fabric;
  const bool is_port = run.metrics.find_first_not_of("0123456789") == std::string::npos;
  if (is_port && !run.metrics.empty()) run.metrics = "127.0.0.1:" + run.metrics;
  auto node = ClusterNode::start(options.node.directory, run);
  if (!node && node.error().code() == Errc::held) {
    return failed(node.error().context());  // by nobody who writes a space, as the code says
  }
  if (!node) return node_failed(options.node.directory, node.error(), false);
  static ClusterNode* running = nullptr;
  running = &*node;
  const auto end = [](int) { running->stop(); };
  std::signal(SIGTERM, end);
  std::signal(SIGINT, end);
  if (const auto told = sys::tell_service_manager("READY=1"); !told) return failed(told.error());
  if (!options.json && !options.quiet) {
    std::printf("node %u serves at %s\n", node->number(), node->address().c_str());
    const std::string metrics = node->metrics_address();
    if (!metrics.empty()) std::printf("its figures are at http://%s/metrics\n", metrics.c_str());
    std::fflush(stdout);
  }
  const auto ended = node->run();
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
  if (!ended) return node_failed(options.node.directory, ended.error(), true);
  if (options.json) print_json({{"node", node->number()}, {"ended", true}});
  return kOk;
}

std::string list_of(const std::vector<std::uint32_t>& numbers) {
  std::string text;
  for (const std::uint32_t number : numbers) {
    text += (text.empty() ? "" : ",") + std::to_string(number);
  }
  return text.empty() ? "-" : text;
}

void print(const ClusterStatus& status) {
  std::printf("cluster %s, map %s\n\n%s%s%s%s%s%s\n", status.cluster.c_str(),
              std::to_string(status.version).c_str(), column("NODE", 5).c_str(),
              column("STATE", 9).c_str(), column("SEATS", 6).c_str(), column("LINK", 6).c_str(),
              column("ADDRESS", 24).c_str(), "NAME");
  for (const ClusterStatus::Node& node : status.nodes) {
    std::printf("%s%s%s%s%s%s\n", column(std::to_string(node.number), 5).c_str(),
                column(node.state, 9).c_str(), column(std::to_string(node.seats), 6).c_str(),
                column(node.link.empty() ? "-" : node.link, 6).c_str(),
                column(node.address, 24).c_str(), node.name.c_str());
  }
  std::printf("\n%s%s%s%s%s%s%s\n", column("GROUP", 6).c_str(), column("KIND", 9).c_str(),
              column("SIZE", 5).c_str(), column("MEMBERS", 14).c_str(), column("LEADER", 7).c_str(),
              column("CHANGE", 12).c_str(), "NAME");
  for (const ClusterStatus::Group& group : status.groups) {
    std::string change = "-";
    if (group.adding != 0) change = "+" + std::to_string(group.adding);
    if (group.leaving != 0) {
      change = (group.adding != 0 ? change + " " : "") + "-" + std::to_string(group.leaving);
    }
    std::printf("%s%s%s%s%s%s%s\n", column(std::to_string(group.number), 6).c_str(),
                column(group.kind, 9).c_str(), column(std::to_string(group.size), 5).c_str(),
                column(list_of(group.members), 14).c_str(),
                column(group.leader == 0 ? "-" : std::to_string(group.leader), 7).c_str(),
                column(change, 12).c_str(), group.name.empty() ? "-" : group.name.c_str());
  }
  std::printf("\n%s%s%s%s\n", column("CLIENT", 11).c_str(), column("STATE", 8).c_str(),
              column("RIGHTS", 7).c_str(), "NAME");
  for (const ClusterStatus::Client& client : status.clients) {
    std::printf("%s%s%s%s\n", column(std::to_string(client.number), 11).c_str(),
                column(client.state, 8).c_str(), column(client.rights, 7).c_str(),
                client.name.c_str());
  }
}

Json json_of(const ClusterStatus& status) {
  Json nodes = Json::array();
  for (const ClusterStatus::Node& node : status.nodes) {
    nodes.push_back({{"node", node.number},
                     {"name", node.name},
                     {"address", node.address},
                     {"state", node.state},
                     {"seats", node.seats},
                     {"link", node.link}});
  }
  Json groups = Json::array();
  for (const ClusterStatus::Group& group : status.groups) {
    groups.push_back({{"group", group.number},
                      {"name", group.name},
                      {"kind", group.kind},
                      {"size", group.size},
                      {"members", group.members},
                      {"adding", group.adding},
                      {"leaving", group.leaving},
                      {"leader", group.leader},
                      {"stable_index", group.stable_index}});
  }
  Json clients = Json::array();
  for (const ClusterStatus::Client& client : status.clients) {
    clients.push_back({{"number", client.number},
                       {"name", client.name},
                       {"state", client.state},
                       {"expires_s", client.expires_s},
                       {"rights", client.rights},
                       {"groups_max", client.groups_max}});
  }
  return {{"cluster", status.cluster},
          {"version", status.version},
          {"nodes", std::move(nodes)},
          {"groups", std::move(groups)},
          {"clients", std::move(clients)}};
}

int show_status(const Options& options) {
  const Patience patience(options);
  auto cluster = Cluster::open(options.address, patience.left());
  if (!cluster) return failed(cluster.error());
  const auto told = cluster->status(patience.left());
  if (!told) return failed(told.error());
  if (options.json) {
    print_json(json_of(*told));
  } else {
    print(*told);
  }
  return kOk;
}

/// A change of a node that is there.
using NodeChange = Result<void> (*)(Cluster&, const Options&, std::chrono::milliseconds);
int change(const Options& options, NodeChange make, const char* said) {
  const Patience patience(options);
  auto cluster = Cluster::open(options.address, patience.left());
  if (!cluster) return failed(cluster.error());
  const auto made = make(*cluster, options, patience.left());
  // Of one that has seats yet, where nothing is queued: what there is to do is in its words.
  if (!made && made.error().code() == Errc::busy) return failed(as_said(made.error()));
  if (!made) return failed(made.error());
  if (options.json) {
    print_json({{"node", options.number}, {"commit", commit_of(*cluster)}});
  } else {
    std::printf("node %u %s\n", options.number, said);
  }
  return kOk;
}

/// The owner's key beside the client's, if nobody says where it is.
std::string owner_file(const Options& options) {
  if (!options.owner_file.empty()) return options.owner_file;
  const auto address = ClusterAddress::parse(options.address);
  if (!address) return "owner.key";
  return (std::filesystem::path(address->identity_file).parent_path() / "owner.key").string();
}

Result<void> drain(Cluster& cluster, const Options& its, std::chrono::milliseconds patience) {
  return cluster.drain(its.number, patience);
}
Result<void> undrain(Cluster& cluster, const Options& its, std::chrono::milliseconds patience) {
  return cluster.undrain(its.number, patience);
}
Result<void> remove_node(Cluster& cluster, const Options& its, std::chrono::milliseconds patience) {
  return cluster.remove(its.number, owner_file(its), patience);
}

int make_token(const Options& options) {
  const Patience patience(options);
  auto cluster = Cluster::open(options.address, patience.left());
  if (!cluster) return failed(cluster.error());
  const auto lifetime = std::chrono::seconds(
      static_cast<std::int64_t>(std::clamp(options.minutes, 0.0, kLongestS) * 60));
  const auto token = cluster->make_token(owner_file(options), lifetime, patience.left());
  if (!token) return failed(token.error());
  if (options.json) {
    print_json({{"token", *token}, {"commit", commit_of(*cluster)}});
  } else {
    std::printf("%s\n", token->c_str());
  }
  return kOk;
}

ClientGrant grant_of(const Options& options) {
  return {.is_owner = options.rights == "owner", .groups_max = options.groups_max};
}

int add_client(const Options& options) {
  const Patience patience(options);
  auto cluster = Cluster::open(options.address, patience.left());
  if (!cluster) return failed(cluster.error());
  const auto made = cluster->add_client(options.name, owner_file(options), options.file,
                                        grant_of(options), patience.left());
  if (!made) return failed(made.error());
  auto address = ClusterAddress::parse(options.address);
  if (!address) return failed(address.error());
  address->identity_file = std::filesystem::absolute(options.file);
  if (options.json) {
    print_json(
        {{"client", options.name}, {"address", address->text()}, {"commit", commit_of(*cluster)}});
  } else {
    std::printf("client %s is known; its address, with %s at hand:\n  %s\n", options.name.c_str(),
                options.file.c_str(), address->text().c_str());
  }
  return kOk;
}

int revoke_client(const Options& options) {
  const Patience patience(options);
  auto cluster = Cluster::open(options.address, patience.left());
  if (!cluster) return failed(cluster.error());
  const auto made = cluster->revoke_client(options.name, owner_file(options), patience.left());
  if (!made) return failed(made.error());
  if (options.json) {
    print_json({{"client", options.name}, {"commit", commit_of(*cluster)}});
  } else {
    std::printf("client %s was revoked\n", options.name.c_str());
  }
  return kOk;
}

int grant_client(const Options& options) {
  const Patience patience(options);
  auto cluster = Cluster::open(options.address, patience.left());
  if (!cluster) return failed(cluster.error());
  const auto made =
      cluster->grant_client(options.name, owner_file(options), grant_of(options), patience.left());
  if (!made) return failed(made.error());
  if (options.json) {
    print_json({{"client", options.name},
                {"rights", options.rights},
                {"groups_max", options.groups_max},
                {"commit", commit_of(*cluster)}});
  } else {
    std::printf("client %s has the rights: %s\n", options.name.c_str(), options.rights.c_str());
  }
  return kOk;
}

int make_space(const Options& options) {
  const Patience patience(options);
  auto cluster = Cluster::open(options.address, patience.left());
  if (!cluster) return failed(cluster.error());
  const auto number = cluster->create_space(options.name, options.size, patience.left());
  if (!number) return failed(number.error());
  if (options.json) {
    print_json({{"group", *number}, {"name", options.name}, {"commit", commit_of(*cluster)}});
  } else {
    std::printf("space %s is group %u\n", options.name.c_str(), *number);
  }
  return kOk;
}

void add_address(CLI::App& command, Options& options) {
  add_cluster_address(command, options.address);
  command.add_option("--patience", options.patience_s, "seconds that it may take")
      ->check(number_between(0.0, kLongestS))
      ->capture_default_str();
}

int give_up_import(const Options& options) {
  const Patience patience(options);
  auto cluster = Cluster::open(options.address, patience.left());
  if (!cluster) return failed(cluster.error());
  const auto done = cluster->give_up_import(options.name, patience.left());
  if (!done) return failed(done.error());
  if (options.json) {
    print_json({{"name", options.name}, {"commit", commit_of(*cluster)}});
  } else {
    std::printf("the name %s is free; what was imported is erased\n", options.name.c_str());
  }
  return kOk;
}

}  // namespace

void add_node(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<Options>();
  const auto choose = [&](CLI::App* command, std::function<int(const Options&)> run) {
    command->callback([options, run = std::move(run), &chosen] {
      chosen.run = [options, run] { return run(*options); };
    });
  };

  CLI::App* const node = add_commands(app, "node", "the nodes of a cluster",
                                      std::string("dolmen node drain ") + kExampleCluster + " 4");
  CLI::App* const make = add_command(
      *node, "init", "make a node's directory, of a new cluster or of one that is there",
      "dolmen node init node1 --listen 127.0.0.1:7401 --identity keys/node-1.key "
      "--founders 127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403",
      options->json);
  make->add_option("DIR", options->node.directory, "the node's directory")->required();
  make->add_option("--listen", options->node.address, "where it listens and is reached: HOST:PORT")
      ->required();
  make->add_option("--identity", options->node.identity_file,
                   "of a founder: its key (dolmen cluster init makes them)");
  make->add_option("--founders", options->node.founders,
                   "all addresses that a new cluster begins with, in one order at all nodes")
      ->delimiter(',');
  make->add_option(
          "--lease", options->lease_ms,
          "of a new cluster: milliseconds that leaders of its groups are lent, for ever and "
          "the same at all founders; 0: no leases")
      ->check(CLI::Range(0, 10'000));
  make->add_flag("--trusted-fabric", options->trusted_fabric,
                 "nobody else can reach its network: nothing is encrypted, now and whenever it "
                 "runs; all nodes and clients must say so");
  make->add_option("--join", options->node.token,
                   "instead: a token of a cluster that is there (dolmen node token)");
  make->add_option("--name", options->node.name, "for people");
  make->add_option("--patience", options->patience_s, "seconds that joining may take")
      ->check(number_between(0.0, kLongestS))
      ->capture_default_str();
  choose(make, make_node);

  const auto add_owner = [&](CLI::App* command) {
    command->add_option("--owner", options->owner_file,
                        "the owner's key; as a rule owner.key beside the client's");
  };
  const auto add_change = [&](const char* name, const char* description, NodeChange make_it,
                              const char* said) {
    CLI::App* const command =
        add_command(*node, name, description,
                    std::string("dolmen node ") + name +
                        " 'dolmen://127.0.0.1:7401?identity=keys/client-1.key' 4",
                    options->json);
    add_address(*command, *options);
    command->add_option("NODE", options->number, "its number")->required();
    choose(command, [make_it, said](const Options& its) { return change(its, make_it, said); });
    return command;
  };
  add_change("drain", "give a node's seats to others while it serves", drain,
             "gives its seats away; dolmen status says how far it is");
  add_change("undrain", "let a node have seats again", undrain, "may have seats again");
  add_owner(add_change("remove", "take a node without seats out of the cluster", remove_node,
                       "was removed"));

  CLI::App* const token = add_command(
      *node, "token", "let one node join, once, with the word that this prints",
      "dolmen node token 'dolmen://127.0.0.1:7401?identity=keys/client-1.key'", options->json);
  add_address(*token, *options);
  add_owner(token);
  token->add_option("--minutes", options->minutes, "how long it is good")
      ->check(number_between(0.05, 5e6))
      ->capture_default_str();
  choose(token, make_token);

  CLI::App* const client =
      add_commands(app, "client", "who may use a cluster",
                   std::string("dolmen client add ") + kExampleCluster + " web web.key");
  CLI::App* const add = add_command(
      *client, "add", "make the key of one more client",
      "dolmen client add 'dolmen://127.0.0.1:7401?identity=keys/client-1.key' web web.key",
      options->json);
  add_address(*add, *options);
  add->add_option("NAME", options->name, "the client's name")->required();
  add->add_option("FILE", options->file, "the new file, for the client alone")->required();
  add_owner(add);
  const auto add_groups = [&](CLI::App* command) {
    command
        ->add_option("--groups", options->groups_max,
                     "how many groups it may make, each shard of an index being one")
        ->capture_default_str();
  };
  const std::set<std::string> kRights{"owner", "none"};
  add->add_option("--rights", options->rights,
                  "owner: whatever there is; none: see where and how nodes are, and their figures")
      ->check(CLI::IsMember(kRights))
      ->capture_default_str();
  add_groups(add);
  choose(add, add_client);
  CLI::App* const grant = add_command(
      *client, "rights", "say what a client may do from now on",
      "dolmen client rights 'dolmen://127.0.0.1:7401?identity=keys/client-1.key' web none",
      options->json);
  add_address(*grant, *options);
  grant->add_option("NAME", options->name, "the client's name")->required();
  grant->add_option("RIGHTS", options->rights, "owner or none")
      ->required()
      ->check(CLI::IsMember(kRights));
  add_owner(grant);
  add_groups(grant);
  choose(grant, grant_client);
  CLI::App* const revoke =
      add_command(*client, "revoke", "trust a client no more, for ever",
                  "dolmen client revoke 'dolmen://127.0.0.1:7401?identity=keys/client-1.key' web",
                  options->json);
  add_address(*revoke, *options);
  revoke->add_option("NAME", options->name, "the client's name")->required();
  add_owner(revoke);
  choose(revoke, revoke_client);

  CLI::App* const run =
      add_command(app, "serve", "run a node", "dolmen serve node1", options->json);
  run->add_option("DIR", options->node.directory, "the node's directory (dolmen node init)")
      ->required();
  run->add_option("--lost-after", options->lost_after_s,
                  "seconds of silence after which a node's seats are given to others")
      ->check(number_between(0.1, kLongestS))
      ->capture_default_str();
  run->add_option("--metrics", options->metrics,
                  "give figures to Prometheus at HOST:PORT, or at PORT of 127.0.0.1");
  run->add_option(
      "--shm", options->shared,
      "a directory in memory (of /dev/shm) in which nodes and clients of this host meet");
  run->add_flag("--quiet", options->quiet, "say nothing, unless it fails");
  run->add_flag("--trusted-fabric", options->trusted_fabric,
                "prove who is there, and do not encrypt what is said; all nodes and clients must");
  choose(run, run_node);

  CLI::App* const look = add_command(
      app, "status", "the nodes and groups of a cluster",
      "dolmen status 'dolmen://127.0.0.1:7401?identity=keys/client-1.key'", options->json);
  add_address(*look, *options);
  choose(look, show_status);

  CLI::App* const space =
      add_commands(app, "space", "spaces that a cluster keeps",
                   std::string("dolmen space create ") + kExampleCluster + " web");
  CLI::App* const create =
      add_command(*space, "create", "let nodes of a cluster keep a space",
                  "dolmen space create 'dolmen://127.0.0.1:7401?identity=keys/client-1.key' web",
                  options->json);
  add_address(*create, *options);
  create->add_option("NAME", options->name, "the space's name")->required();
  create->add_option("--size", options->size, "how many nodes keep it")
      ->check(group_size())
      ->capture_default_str();
  choose(create, make_space);
  CLI::App* const give_up =
      add_command(*space, "give-up", "free the name of a space whose import did not end",
                  "dolmen space give-up 'dolmen://127.0.0.1:7401?identity=keys/client-1.key' web",
                  options->json);
  add_address(*give_up, *options);
  give_up->add_option("NAME", options->name, "the space's name")->required();
  choose(give_up, give_up_import);
}

}  // namespace dolmen::cli
