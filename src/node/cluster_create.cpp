// SPDX-License-Identifier: Apache-2.0
//
// How a node's directory comes to be: of a founder, or of one that joins with a token.
#include <algorithm>
#include <array>
#include <utility>

#include "node/cluster_map.hpp"
#include "node/cluster_node.hpp"
#include "node/places.hpp"
#include "replication/journal.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

namespace node {

std::string key_path(const std::string& directory, const NodeFile& file) {
  return file.key_file.starts_with('/') ? file.key_file : directory + "/" + file.key_file;
}

Result<std::optional<NodeFile>> read_node_file(const std::string& directory) {
  const auto text = read_text_file(directory + kNodeFile, kNodeTextMax, false);
  if (!text && text.error().code() == Errc::not_found) return std::nullopt;
  if (!text) return std::unexpected(text.error());
  auto file = parse_node_file(*text);
  if (!file) {
    return fail(file.error().code(), interned(directory + kNodeFile), file.error().detail());
  }
  return std::move(*file);
}

Result<void> write_node_file(const std::string& directory, const NodeFile& file) {
  return sys::write_small_file(directory + kNodeFile, base::as_bytes(text_of(file)),
                               sys::Secrecy::open, true);
}

}  // namespace node

namespace {

using node::kJournal;

std::vector<std::string> addresses_of(const security::JoinToken& token) {
  std::vector<std::string> all;
  for (const security::KnownNode& one : token.nodes) all.push_back(one.address);
  return all;
}

/// As it is before it joins; of a founder, for good.
node::NodeFile file_of(const NodeOptions& options, const std::optional<security::JoinToken>& token,
                       std::uint32_t life) {
  const auto place = std::ranges::find(options.founders, options.address);
  const bool founds = place != options.founders.end();
  node::NodeFile file{
      .number = founds ? static_cast<std::uint32_t>(place - options.founders.begin()) + 1 : 0,
      .life = life,
      .name = options.name,
      .address = options.address,
      .key_file = options.identity_file,
      .founders = options.founders,
      .lease_ms = static_cast<std::uint32_t>(options.lease.count()),
      .is_trusted_fabric = options.is_trusted_fabric};
  if (token) {
    file.key_file = node::kOwnKey;
    file.seeds = addresses_of(*token);
    if (file.name.empty()) file.name = "node-" + std::to_string(token->identity.number);
  }
  if (file.name.empty()) file.name = "node-" + std::to_string(file.number);
  return file;
}

Result<void> check(const NodeOptions& options, const std::optional<security::JoinToken>& token) {
  if (options.founders.size() > node::kFoundersMax) {
    return fail(Errc::invalid_argument, "founders: 9 at most", options.founders.size());
  }
  if (options.lease.count() < 0 || options.lease.count() > node::kLeaseMsMax ||
      (options.lease.count() != 0 && options.founders.empty())) {
    return fail(Errc::invalid_argument,
                "a lease: of a founder, at most 10 s (who joins has the cluster's)");
  }
  if (!token && options.identity_file.empty()) {
    return fail(Errc::invalid_argument, "which key file? (dolmen cluster init makes them)");
  }
  DOLMEN_CHECK(node::address(options.address));
  for (const std::string& where : options.founders) DOLMEN_CHECK(node::address(where));
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
  node::NodeFile longest = file_of(options, token, kLongest);
  if (options.founders.empty()) longest.number = kLongest;
  longest.journal = ObjectId{.high = 1, .low = 1};
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

/// Whether an attempt with this token was made here. With another one: that is given up.
bool has_tried(const std::string& directory, const security::JoinToken& token) {
  const auto text =
      node::read_text_file(directory + "/" + node::kToken, security::kTokenTextMax, true);
  return text && *text == token.text();
}

/// The node's own key, made at the first attempt with this token.
Result<security::Key> own_key(const std::string& directory, const security::JoinToken& token) {
  const std::string path = directory + "/" + node::kOwnKey;
  auto known = node::read_identity(path);
  if (!known && known.error().code() != Errc::not_found) return std::unexpected(known.error());
  if (known) {
    const security::Key& key = *known->key;
    if (key.cluster() == token.cluster && key.identity() == token.identity) return key;
  }
  DOLMEN_TRY(security::Key key, security::Key::make(token.cluster, token.owner, token.identity,
                                                    "node", node::new_secret()));
  DOLMEN_CHECK(sys::write_small_file(path, base::as_bytes(key.text()), sys::Secrecy::secret, true));
  return key;
}

/// Has the root group take the node in, under the number that the token says.
Result<void> join(const NodeOptions& options, const security::JoinToken& token, sys::Disk& disk,
                  node::NodeFile& file, std::uint64_t deadline_ns) {
  // Whom it knows when its map is lost; before its key, which may be another token's yet.
  DOLMEN_CHECK(sys::write_small_file(options.directory + "/" + node::kToken,
                                     base::as_bytes(token.text()), sys::Secrecy::secret, true));
  DOLMEN_TRY(const security::Key own, own_key(options.directory, token));
  DOLMEN_TRY(security::Key key, node::key_of(token));
  const security::LinkSelf self{.key = std::make_shared<const security::Key>(std::move(key)),
                                .trust = node::trust_of(token),
                                .says = node::says_of(options.is_trusted_fabric)};
  DOLMEN_TRY(const auto map, node::fetch_map(file.seeds, self, deadline_ns));
  const std::uint64_t now_ns = sys::linux_env().clock->monotonic_ns();
  const std::chrono::milliseconds left(deadline_ns > now_ns ? (deadline_ns - now_ns) / 1'000'000
                                                            : 0);
  cluster::root::Join command{
      .token = self.key->identity().number, .name = file.name, .address = file.address};
  std::ranges::copy(own.public_key().bytes, command.identity.begin());
  node::sign(command, *self.key);
  DOLMEN_TRY(const cluster::RootReply reply, node::call_root(map, self, command, left));
  if (!reply.is_ok()) {
    return fail(Errc::invalid_argument, interned(std::string(cluster::text(reply.status))),
                reply.value);
  }
  file.number = token.identity.number;
  // So that it finds the others when it starts.
  return node::ClusterCore::write_map(disk, map);
}

Result<security::LinkSelf> identity_in(const NodeOptions& options) {
  node::NodeFile file;
  file.key_file = options.identity_file;
  DOLMEN_TRY(auto self, node::read_identity(node::key_path(options.directory, file)));
  self.says = node::says_of(options.is_trusted_fabric);
  return self;
}

/// As one of the founders: the root group's first members, unless the cluster has begun without it.
Result<void> found(const NodeOptions& options, node::NodeFile& file, sys::Disk& own,
                   std::uint64_t until_ns) {
  const std::uint32_t number = file.number;
  std::vector<std::string> others = options.founders;
  std::erase(others, options.address);
  DOLMEN_TRY(const security::LinkSelf self, identity_in(options));
  const security::Identity expected{security::Role::node, number};
  if (self.key->identity() != expected) {
    return fail(Errc::invalid_argument,
                interned(options.identity_file + ": not the key of this founder's number"), number);
  }
  std::size_t known_founders = 0;
  for (const auto& [place, entry] : self.trust->entries()) {
    known_founders += place.identity.role == security::Role::node && !entry.is_revoked ? 1 : 0;
  }
  if (known_founders != options.founders.size()) {
    return fail(Errc::invalid_argument,
                interned(options.identity_file + ": made for another number of founders"),
                known_founders);
  }
  // What was cut short may have found it already.
  DOLMEN_TRY(const cluster::RootState known, node::ClusterCore::read_map(own));
  if (known.is_begun()) return {};
  if (!others.empty()) {
    DOLMEN_TRY(const auto sooner, node::look_for_cluster(others, self, until_ns));
    // Then this node gets its seat anew, with a log that others have, whoever had it before.
    if (sooner) return node::ClusterCore::write_map(own, *sooner);
  }
  DOLMEN_TRY(auto disk,
             sys::open_directory(options.directory + kJournal, sys::DirectoryMode::open_or_create));
  DOLMEN_TRY(const auto journal,
             replication::Journal::open(sys::linux_env(), std::move(disk),
                                        {.tail_bytes_max = options.log_tail_bytes_max}));
  file.journal = journal->id();
  const auto made =
      journal->add(node::group_of(cluster::kRootGroup),
                   replication::replica_of(fabric::NodeId{number}, replication::kFirstLife),
                   node::ClusterCore::founders(options.founders.size()));
  if (!made && made.error().code() != Errc::already_exists) return made;  // it was cut short
  return journal->close();
}

Result<std::optional<security::JoinToken>> token_of(const NodeOptions& options) {
  if (options.founders.empty() == options.token.empty()) {
    return fail(Errc::invalid_argument, "either founders or the token of a cluster that is there");
  }
  if (options.token.empty()) return std::nullopt;
  auto token = security::JoinToken::parse(options.token);
  if (!token && token.error().code() == Errc::corrupt) {
    return fail(Errc::invalid_argument, "the token is none: was all of it copied?");
  }
  if (!token) return std::unexpected(token.error());
  if (sys::linux_env().clock->wall_ns() / 1'000'000'000 >= token->expiry_s) {
    return fail(Errc::invalid_argument, "the token has expired (dolmen node token makes another)",
                token->expiry_s);
  }
  return std::move(*token);
}

}  // namespace

Result<void> ClusterNode::create(const NodeOptions& given, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(security::prepare());
  DOLMEN_TRY(const auto token, token_of(given));
  DOLMEN_CHECK(check(given, token));
  NodeOptions options = given;
  sys::Network& network = *sys::linux_env().network;
  DOLMEN_TRY(options.address, node::place_of(network, given.address));
  DOLMEN_TRY(options.founders, node::place_of_each(network, given.founders));
  DOLMEN_CHECK(check(options, token));  // two names may be one place
  // Wrong files are said before anything is made.
  if (!token) DOLMEN_CHECK(identity_in(options));
  const std::uint64_t now_ns = sys::linux_env().clock->monotonic_ns();
  const std::uint64_t deadline_ns =
      now_ns + static_cast<std::uint64_t>(std::max<std::int64_t>(patience.count(), 0)) * 1'000'000;
  DOLMEN_TRY(const auto disk,
             sys::open_directory(options.directory, sys::DirectoryMode::open_or_create));
  DOLMEN_TRY(auto known, node::read_node_file(options.directory));
  if (known && known->number != 0) {
    // Of fewer or more founders it would be another cluster under the same name.
    const bool says_lease = !options.founders.empty() && options.lease.count() != 0;
    if (says_lease && known->founders == options.founders &&
        known->lease_ms != options.lease.count()) {
      return fail(Errc::invalid_argument,
                  interned(options.directory + ": a node's already, made with another lease"),
                  known->lease_ms);
    }
    const bool says_trusted = node::says_of(options.is_trusted_fabric) != 0;
    if (known->founders == options.founders &&
        (known->is_trusted_fabric ? !says_trusted : options.is_trusted_fabric)) {
      return fail(Errc::invalid_argument,
                  interned(options.directory + ": a node's already, made for a fabric that is " +
                           (known->is_trusted_fabric ? "trusted" : "not trusted") +
                           " (the line `fabric trusted` of its file `node` says it)"));
    }
    if (known->founders != options.founders) {
      return fail(Errc::invalid_argument,
                  interned(options.directory + ": a node's already, of another cluster: who founds "
                                               "it differs (others join with a token)"));
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
  node::NodeFile file = file_of(options, token, known ? known->life : new_life());
  if (!token) {
    DOLMEN_CHECK(found(options, file, *disk, deadline_ns));
    return node::write_node_file(options.directory, file);
  }
  // First of all under which name it asks: so that it asks as the same one after a crash.
  if (known && has_tried(options.directory, *token)) file.name = known->name;
  DOLMEN_CHECK(node::write_node_file(options.directory, file));
  DOLMEN_CHECK(join(options, *token, *disk, file, deadline_ns));
  return node::write_node_file(options.directory, file);
}

}  // namespace dolmen
