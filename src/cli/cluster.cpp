// SPDX-License-Identifier: Apache-2.0
//
// dolmen cluster: the keys with which a cluster begins (docs/links.md).
#include <cstdio>
#include <string>
#include <vector>

#include <dolmen/cluster.hpp>

#include "cli/command.hpp"
#include "node/cluster_identity.hpp"
#include "security/keys.hpp"
#include "security/text.hpp"
#include "security/trust.hpp"

namespace dolmen::cli {

namespace {

using security::Identity;
using security::Key;
using security::Role;
using security::Trust;

struct ClusterOptions {
  std::string directory;
  std::uint32_t nodes = 3;
  std::uint32_t clients = 1;
  bool json = false;
};

struct Keys {
  Key owner;
  Trust trust;
};

std::string owner_file(const std::string& directory) { return directory + "/owner.key"; }
std::string trust_file(const std::string& directory) { return directory + "/trust"; }
std::string name_of(const Identity& identity) {
  return std::string(security::name_of(identity.role)) + "-" + std::to_string(identity.number);
}
std::string key_file(const std::string& directory, const Identity& identity) {
  return directory + "/" + name_of(identity) + ".key";
}

/// The same with the file's name, and without advice about spaces.
std::unexpected<Error> about(const std::string& path, const Error& error) {
  const Errc code = error.code() == Errc::corrupt ? Errc::invalid_argument : error.code();
  const std::string what = error.code() == Errc::corrupt ? ": cut short, changed, or not " : ": ";
  return fail(code, interned(path + what + std::string(error.context())), error.detail());
}

Result<Keys> open(const std::string& directory) {
  DOLMEN_TRY(Key owner, node::read_owner_key(owner_file(directory)));
  const std::string trust_path = trust_file(directory);
  DOLMEN_TRY(const std::string trust_text,
             node::read_text_file(trust_path, security::kTrustTextMax, false));
  auto trust = Trust::parse(trust_text, owner.cluster(), owner.public_key());
  if (!trust) return about(trust_path, trust.error());
  return Keys{std::move(owner), std::move(*trust)};
}

int init(const ClusterOptions& options) {
  const auto made = make_cluster_keys(options.directory, options.nodes, options.clients);
  if (!made) {
    const Error& error = made.error();
    if (error.code() == Errc::already_exists) {
      return failed("'" + shown(options.directory) + "' is there already; choose a new directory");
    }
    return failed(error);
  }
  const auto cluster = open(options.directory);
  if (!cluster) return failed(cluster.error());
  const std::string id = security::to_hex(cluster->trust.cluster().bytes);
  if (options.json) {
    Json keys = Json::array();
    for (const auto& [place, entry] : cluster->trust.entries()) {
      keys.push_back(key_file(options.directory, place.identity));
    }
    print_json({{"directory", options.directory},
                {"cluster", id},
                {"owner_key_file", owner_file(options.directory)},
                {"trust_file", trust_file(options.directory)},
                {"key_files", keys}});
    return kOk;
  }
  std::printf(
      "made the keys of cluster %s in %s: of %u nodes and %u clients\n"
      "give each of them its own key file, and nobody %s\n",
      id.c_str(), options.directory.c_str(), options.nodes, options.clients,
      owner_file(options.directory).c_str());
  return kOk;
}

int show(const ClusterOptions& options) {
  const auto cluster = open(options.directory);
  if (!cluster) return failed(cluster.error());
  const Trust& trust = cluster->trust;
  const std::string id = security::to_hex(trust.cluster().bytes);
  Json rows = Json::array();
  if (!options.json) {
    std::printf("cluster %s, serial %s\n%s%s%s%s%s\n", id.c_str(),
                std::to_string(trust.serial()).c_str(), column("ROLE", 6).c_str(),
                column("NUMBER", 10).c_str(), column("STATE", 7).c_str(),
                column("NAME", 12).c_str(), "PUBLIC KEY");
  }
  for (const auto& [place, entry] : trust.entries()) {
    const std::string role(security::name_of(place.identity.role));
    const std::string key = security::to_hex(place.key.bytes);
    const char* const state = entry.is_revoked ? "revoked" : "trusted";
    if (options.json) {
      rows.push_back({{"role", role},
                      {"number", place.identity.number},
                      {"state", state},
                      {"name", entry.name},
                      {"public_key", key}});
    } else {
      std::printf("%s%s%s%s%s\n", column(role, 6).c_str(),
                  column(std::to_string(place.identity.number), 10).c_str(),
                  column(state, 7).c_str(), column(entry.name, 12).c_str(), key.c_str());
    }
  }
  if (options.json) {
    print_json({{"cluster", id},
                {"owner", security::to_hex(trust.owner().bytes)},
                {"serial", trust.serial()},
                {"keys", rows}});
  }
  return kOk;
}

}  // namespace

void add_cluster(CLI::App& app, Chosen& chosen) {
  CLI::App* const cluster = add_commands(app, "cluster", "keys with which a cluster begins",
                                         "dolmen cluster init keys --nodes 3 --clients 1");

  auto options = std::make_shared<ClusterOptions>();
  const auto add_one = [&](const char* name, const char* description, const char* words,
                           int (*run)(const ClusterOptions&)) {
    CLI::App* const command =
        add_command(*cluster, name, description,
                    std::string("dolmen cluster ") + name + " " + words, options->json);
    command->add_option("DIR", options->directory, "directory of the owner's key and the trust")
        ->required();
    command->callback(
        [options, run, &chosen] { chosen.run = [options, run] { return run(*options); }; });
    return command;
  };
  CLI::App* const make = add_one("init", "make the keys of a new cluster, and say who is trusted",
                                 "keys --nodes 3 --clients 1", init);
  make->add_option("--nodes", options->nodes, "how many")->capture_default_str();
  make->add_option("--clients", options->clients, "how many")->capture_default_str();
  (void)add_one("show", "who is trusted", "keys", show);
}

}  // namespace dolmen::cli
