// SPDX-License-Identifier: Apache-2.0
//
// The keys of a cluster that is yet to begin, and what its owner adds to one that is there.
#include <string>
#include <utility>
#include <vector>

#include <dolmen/cluster.hpp>

#include "node/cluster_identity.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

namespace {

using security::Identity;
using security::Key;
using security::Role;
using security::Trust;

Result<void> write_secret(const std::string& path, const std::string& text, bool replaces) {
  return sys::write_small_file(path, base::as_bytes(text), sys::Secrecy::secret, replaces);
}

std::string name_of(const Identity& identity) {
  return std::string(security::name_of(identity.role)) + "-" + std::to_string(identity.number);
}

/// The files, in a directory that nobody looks into yet.
Result<void> write_keys(const std::string& directory, std::uint32_t nodes, std::uint32_t clients) {
  security::ClusterId id;
  sys::linux_env().entropy->fill(id.bytes);
  DOLMEN_TRY(const Key owner, Key::make_owner(id, "owner", node::new_secret()));
  Trust trust(id, owner.public_key());
  std::vector<Key> keys;
  const auto make = [&](Role role, std::uint32_t count) -> Result<void> {
    for (std::uint32_t number = 1; number <= count; ++number) {
      const Identity identity{role, number};
      DOLMEN_TRY(Key key, Key::make(id, owner.public_key(), identity, name_of(identity),
                                    node::new_secret()));
      DOLMEN_CHECK(trust.add(identity, key.name(), key.public_key()));
      keys.push_back(std::move(key));
    }
    return {};
  };
  DOLMEN_CHECK(make(Role::node, nodes));
  DOLMEN_CHECK(make(Role::client, clients));
  DOLMEN_TRY(const std::string trusted, trust.sign(owner));
  // What was cut short before lies there still.
  DOLMEN_CHECK(write_secret(directory + "/owner.key", owner.text(), true));
  for (const Key& key : keys) {
    DOLMEN_CHECK(write_secret(directory + "/" + name_of(key.identity()) + ".key",
                              key.text() + trusted, true));
  }
  return sys::write_small_file(directory + "/trust", base::as_bytes(trusted), sys::Secrecy::open,
                               true);
}

}  // namespace

Result<void> make_cluster_keys(const std::string& directory, std::uint32_t nodes,
                               std::uint32_t clients) {
  DOLMEN_CHECK(security::prepare());
  if (nodes == 0 || nodes > kClusterKeyNodesMax || clients > kClusterKeyClientsMax) {
    return fail(Errc::invalid_argument, "keys of 1 to 9 nodes and at most 32 clients",
                std::uint64_t{nodes} + clients);
  }
  const std::size_t end = directory.find_last_not_of('/');
  if (end == std::string::npos) return fail(Errc::invalid_argument, "a directory for keys");
  const std::string place = directory.substr(0, end + 1);
  const auto there = sys::open_directory(place, sys::DirectoryMode::open_existing);
  if (there) return fail(Errc::already_exists, interned(directory));
  if (there.error().code() != Errc::not_found) return std::unexpected(there.error());
  const std::size_t slash = place.rfind('/');
  const std::string above = slash == std::string::npos ? "./" : place.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? place : place.substr(slash + 1);
  DOLMEN_TRY(const auto parent, sys::open_directory(above, sys::DirectoryMode::open_existing));
  const std::string fresh = above + name + ".new";
  DOLMEN_CHECK(sys::open_directory(fresh, sys::DirectoryMode::open_or_create));
  DOLMEN_CHECK(write_keys(fresh, nodes, clients));
  DOLMEN_CHECK(parent->rename(name + ".new", name));
  return parent->sync_directory();
}

}  // namespace dolmen
