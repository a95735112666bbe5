// SPDX-License-Identifier: Apache-2.0
//
// dolmen cluster: the keys of a cluster's owner, nodes and clients, and who is trusted
// (docs/links.md).
#include <array>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/command.hpp"
#include "security/keys.hpp"
#include "security/text.hpp"
#include "security/trust.hpp"
#include "sys/linux/linux.hpp"

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
  std::uint32_t node = 0;    ///< of a key that is added; 0: none
  std::uint32_t client = 0;  ///< the same
  std::string public_key;
  bool json = false;
};

/// What its owner needs to change it.
struct Cluster {
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

Result<std::string> read_text(const std::string& path, std::size_t bytes_max,
                              sys::Secrecy secrecy) {
  DOLMEN_TRY(const auto bytes, sys::read_small_file(path, bytes_max, secrecy));
  std::string text;
  text.reserve(bytes.size());
  for (const std::byte byte : bytes) text += static_cast<char>(byte);
  return text;
}

security::Secret new_secret() {
  security::Secret secret;
  sys::linux_env().entropy->fill(secret.bytes());
  return secret;
}

Result<Cluster> open(const std::string& directory) {
  DOLMEN_CHECK(security::prepare());
  const std::string owner_path = owner_file(directory);
  DOLMEN_TRY(const std::string owner_text,
             read_text(owner_path, security::kKeyTextMax, sys::Secrecy::secret));
  auto owner = Key::parse(owner_text);
  if (!owner) return about(owner_path, owner.error());
  if (owner->identity().role != Role::owner) {
    return fail(Errc::invalid_argument, interned(owner_path + ": not an owner's key"));
  }
  const std::string trust_path = trust_file(directory);
  DOLMEN_TRY(const std::string trust_text,
             read_text(trust_path, security::kTrustTextMax, sys::Secrecy::open));
  auto trust = Trust::parse(trust_text, owner->cluster(), owner->public_key());
  if (!trust) return about(trust_path, trust.error());
  return Cluster{std::move(*owner), std::move(*trust)};
}

Result<void> save(const std::string& directory, Cluster& cluster, bool replaces) {
  DOLMEN_TRY(const std::string text, cluster.trust.sign(cluster.owner));
  return sys::write_small_file(trust_file(directory), base::as_bytes(text), sys::Secrecy::open,
                               replaces);
}

/// Makes the key file of one that the trust takes in. The file comes first: a key that is trusted
/// and that nobody has would be worse than one that is not trusted yet.
Result<Key> make_key(const std::string& directory, Cluster& cluster, const Identity& identity) {
  DOLMEN_TRY(Key key, Key::make(cluster.owner.cluster(), cluster.owner.public_key(), identity,
                                name_of(identity), new_secret()));
  DOLMEN_CHECK(cluster.trust.add(identity, key.name(), key.public_key()));
  DOLMEN_CHECK(sys::write_small_file(key_file(directory, identity), base::as_bytes(key.text()),
                                     sys::Secrecy::secret, false));
  return key;
}

Result<void> make_directory(const std::string& directory) {
  std::error_code error;
  if (!std::filesystem::exists(directory, error)) {
    DOLMEN_TRY(const auto made, sys::open_directory(directory, sys::DirectoryMode::create));
  } else if (!std::filesystem::is_directory(directory, error) ||
             !std::filesystem::is_empty(directory, error)) {
    return fail(Errc::already_exists, interned(directory));
  }
  std::filesystem::permissions(directory, std::filesystem::perms::owner_all, error);
  if (error) return fail(Errc::io_error, interned(directory));
  return {};
}

Result<Cluster> make_cluster(const ClusterOptions& options) {
  DOLMEN_CHECK(security::prepare());
  if (std::uint64_t{options.nodes} + options.clients > security::kTrustEntriesMax) {
    return fail(Errc::invalid_argument, "nodes and clients: 4096 at most",
                std::uint64_t{options.nodes} + options.clients);
  }
  DOLMEN_CHECK(make_directory(options.directory));
  security::ClusterId id;
  sys::linux_env().entropy->fill(id.bytes);
  DOLMEN_TRY(Key owner, Key::make_owner(id, "owner", new_secret()));
  DOLMEN_CHECK(sys::write_small_file(owner_file(options.directory), base::as_bytes(owner.text()),
                                     sys::Secrecy::secret, false));
  Trust trust(id, owner.public_key());
  Cluster cluster{std::move(owner), std::move(trust)};
  for (std::uint32_t number = 1; number <= options.nodes; ++number) {
    DOLMEN_TRY(const Key key, make_key(options.directory, cluster, {Role::node, number}));
  }
  for (std::uint32_t number = 1; number <= options.clients; ++number) {
    DOLMEN_TRY(const Key key, make_key(options.directory, cluster, {Role::client, number}));
  }
  DOLMEN_CHECK(save(options.directory, cluster, false));
  return cluster;
}

int init(const ClusterOptions& options) {
  const auto cluster = make_cluster(options);
  if (!cluster) {
    const Error& error = cluster.error();
    if (error.code() == Errc::already_exists && error.context() == options.directory) {
      return failed("'" + shown(options.directory) +
                    "' is not empty; choose a new or an empty directory");
    }
    return failed(error);
  }
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
      "made cluster %s in %s: keys of %u nodes and %u clients, and who is trusted\n"
      "give each node and client its own key file and the file trust, and nobody %s\n",
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

int add(const ClusterOptions& options) {
  if ((options.node == 0) == (options.client == 0)) {
    return misused("either --node or --client with a number from 1 on is required", "cluster add");
  }
  const Identity identity = options.node != 0 ? Identity{Role::node, options.node}
                                              : Identity{Role::client, options.client};
  auto cluster = open(options.directory);
  if (!cluster) return failed(cluster.error());
  const std::string path = key_file(options.directory, identity);
  const auto key = make_key(options.directory, *cluster, identity);
  if (!key) return failed(key.error());
  if (const auto saved = save(options.directory, *cluster, true); !saved) {
    // Nobody trusts it: the next attempt must find its name free.
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    return failed(saved.error());
  }
  if (options.json) {
    print_json({{"key_file", path},
                {"public_key", security::to_hex(key->public_key().bytes)},
                {"serial", cluster->trust.serial()}});
  } else {
    std::printf("made %s; give the new file trust (serial %s) to every node\n", path.c_str(),
                std::to_string(cluster->trust.serial()).c_str());
  }
  return kOk;
}

int revoke(const ClusterOptions& options) {
  security::PublicKey key;
  if (!security::from_hex(options.public_key, key.bytes)) {
    return misused("PUBLIC_KEY: 64 digits as `dolmen cluster show` gives them", "cluster revoke");
  }
  auto cluster = open(options.directory);
  if (!cluster) return failed(cluster.error());
  if (const auto revoked = cluster->trust.revoke(key); !revoked) {
    return failed(Error(Errc::not_found, interned("key " + options.public_key)));
  }
  if (const auto saved = save(options.directory, *cluster, true); !saved) {
    return failed(saved.error());
  }
  if (options.json) {
    print_json({{"public_key", options.public_key}, {"serial", cluster->trust.serial()}});
  } else {
    std::printf("revoked; give the new file trust (serial %s) to every node\n",
                std::to_string(cluster->trust.serial()).c_str());
  }
  return kOk;
}

}  // namespace

void add_cluster(CLI::App& app, Chosen& chosen) {
  CLI::App* const cluster =
      app.add_subcommand("cluster", "keys of a cluster's owner, nodes and clients");
  cluster->require_subcommand(1);

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
  CLI::App* const one = add_one("add", "make one more key, also another one of the same number",
                                "keys --node 4", add);
  one->add_option("--node", options->node, "the node's number");
  one->add_option("--client", options->client, "or the client's");
  CLI::App* const no_more =
      add_one("revoke", "trust a key no more, for ever",
              "keys 8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c", revoke);
  no_more->add_option("PUBLIC_KEY", options->public_key, "which one, as show gives it")->required();
}

}  // namespace dolmen::cli
